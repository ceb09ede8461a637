//! The one source of chance in a run: decisions that were handed to it, as long as there are some, and then a seed.

use std::cell::RefCell;
use std::rc::Rc;

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Rng {
    state: u64,
    tape: Option<Tape>,
}

/// Decisions in the order in which they are taken, whoever takes them: a byte for each, two where one does not do.
#[derive(Debug, Clone)]
pub(super) struct Tape(Rc<RefCell<std::vec::IntoIter<u8>>>);

impl Tape {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Rc::new(RefCell::new(Vec::from(bytes).into_iter())))
    }

    /// `None`: it is at its end.
    fn below(&self, bound: usize) -> Option<usize> {
        let mut bytes = self.0.borrow_mut();
        if bound <= 1 {
            return (bytes.len() > 0).then_some(0);
        }
        let first = usize::from(bytes.next()?);
        let drawn = if bound <= 256 { first } else { (first << 8) | usize::from(bytes.next()?) };
        Some(drawn % bound)
    }
}

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, tape: None }
    }

    pub(super) fn steered(seed: u64, tape: Option<&Tape>) -> Self {
        Self { state: seed, tape: tape.cloned() }
    }

    /// Another stream, which does not move with this one, but for the decisions that were handed to both.
    pub(super) fn fork(&mut self) -> Self {
        Self { state: self.next(), tape: self.tape.clone() }
    }

    /// By the seed alone.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let decided = self.tape.as_ref().and_then(|tape| tape.below(bound));
        decided.unwrap_or_else(|| (self.next() % bound.max(1) as u64) as usize)
    }

    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
