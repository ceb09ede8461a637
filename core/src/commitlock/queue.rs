//! Who enters next: a plain decision without mutex, waker or thread, so that property tests reach every state of it.

use std::collections::BTreeMap;

use super::bug::{Bug, planted};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// A place in the line. Given out in rising order and never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Who is inside. That shared and exclusive cannot both be written down here is the exclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Shared(usize),
    Exclusive,
}

/// A first-come line before a room.
///
/// Invariant, between any two calls: the head of the line is one that cannot enter now.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    inside: Inside,
    line: BTreeMap<Ticket, Mode>,
    next: Ticket,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { inside: Inside::Shared(0), line: BTreeMap::new(), next: Ticket(0) }
    }

    /// Enters if nobody waits and the room allows it.
    pub(super) fn try_enter(&mut self, mode: Mode) -> bool {
        (self.line.is_empty() || planted(Bug::Barging)) && self.admit(mode)
    }

    /// Enters at once (`None`) or stands in line.
    pub(super) fn enter(&mut self, mode: Mode) -> Option<Ticket> {
        if self.try_enter(mode) {
            return None;
        }
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.line.insert(ticket, mode);
        Some(ticket)
    }

    /// A ticket that no longer waits has been admitted: nobody but its owner takes it out of the line otherwise.
    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        self.line.contains_key(&ticket)
    }

    /// One of those inside goes. Returns who is admitted in its stead; they are inside from now on.
    #[must_use]
    pub(super) fn leave(&mut self) -> Vec<Ticket> {
        self.inside = match self.inside {
            Inside::Shared(count) => {
                debug_assert!(count > 0, "somebody left who never entered");
                Inside::Shared(count.saturating_sub(1))
            }
            Inside::Exclusive => Inside::Shared(0),
        };
        self.admit_line()
    }

    /// The owner of `ticket` gives up, in line or already admitted. Returns who is admitted because of it.
    #[must_use]
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Vec<Ticket> {
        match self.line.remove(&ticket) {
            Some(_) => self.admit_line(),
            None => self.leave(),
        }
    }

    fn admit_line(&mut self) -> Vec<Ticket> {
        let mut admitted = Vec::new();
        while let Some((&ticket, &mode)) = self.line.first_key_value()
            && self.admit(mode)
        {
            self.line.remove(&ticket);
            admitted.push(ticket);
        }
        admitted
    }

    fn admit(&mut self, mode: Mode) -> bool {
        self.inside = match (self.inside, mode) {
            (Inside::Shared(count), Mode::Shared) => Inside::Shared(count + 1),
            (Inside::Shared(count), Mode::Exclusive) if planted(Bug::NoExclusion) => Inside::Shared(count + 1),
            (Inside::Shared(0), Mode::Exclusive) => Inside::Exclusive,
            _ => return false,
        };
        true
    }
}

#[cfg(all(test, not(lockstep_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        TryShared,
        Enter(Mode),
        Leave(usize),
        Withdraw(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::TryShared),
            Just(Step::Enter(Mode::Shared)),
            Just(Step::Enter(Mode::Exclusive)),
            (0..8usize).prop_map(Step::Leave),
            (0..8usize).prop_map(Step::Withdraw),
        ];
        prop::collection::vec(step, 0..80)
    }

    /// The queue beside a naive account of who is inside and who waits.
    struct Account {
        queue: Queue,
        inside: Vec<Mode>,
        line: Vec<(Ticket, Mode)>,
    }

    impl Account {
        fn new() -> Self {
            Self { queue: Queue::new(), inside: Vec::new(), line: Vec::new() }
        }

        fn run(&mut self, step: &Step) {
            match *step {
                Step::TryShared => {
                    let entered = self.queue.try_enter(Mode::Shared);
                    assert_eq!(entered, self.line.is_empty() && self.fits(Mode::Shared));
                    if entered {
                        self.inside.push(Mode::Shared);
                    }
                }
                Step::Enter(mode) => match self.queue.enter(mode) {
                    None => {
                        assert!(self.line.is_empty(), "nobody overtakes the line");
                        self.inside.push(mode);
                    }
                    Some(ticket) => self.line.push((ticket, mode)),
                },
                Step::Leave(n) if !self.inside.is_empty() => {
                    self.inside.swap_remove(n % self.inside.len());
                    let admitted = self.queue.leave();
                    self.admit(&admitted);
                }
                Step::Withdraw(n) if !self.line.is_empty() => {
                    let (ticket, _) = self.line.remove(n % self.line.len());
                    let admitted = self.queue.withdraw(ticket);
                    self.admit(&admitted);
                }
                Step::Leave(_) | Step::Withdraw(_) => {}
            }
            self.check();
        }

        fn admit(&mut self, tickets: &[Ticket]) {
            for &ticket in tickets {
                let (first, mode) = self.line.remove(0);
                assert_eq!(first, ticket, "first come, first served");
                self.inside.push(mode);
            }
        }

        fn fits(&self, mode: Mode) -> bool {
            match mode {
                Mode::Shared => !self.inside.contains(&Mode::Exclusive),
                Mode::Exclusive => self.inside.is_empty(),
            }
        }

        fn check(&self) {
            assert!(!self.inside.contains(&Mode::Exclusive) || self.inside.len() == 1, "{:?}", self.inside);
            if let Some(&(_, mode)) = self.line.first() {
                assert!(!self.fits(mode), "the head of the line waits for nothing");
            }
            assert!(self.line.iter().all(|(ticket, _)| self.queue.waits(*ticket)));
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_line_is_served_in_order_and_exclusive_is_alone(steps in steps()) {
            let mut account = Account::new();
            for step in &steps {
                account.run(step);
            }
        }

        #[test]
        fn when_all_leave_all_have_been_served(steps in steps()) {
            let mut account = Account::new();
            for step in &steps {
                account.run(step);
            }
            while !account.inside.is_empty() {
                account.run(&Step::Leave(0));
            }
            prop_assert!(account.line.is_empty());
            prop_assert!(account.queue.try_enter(Mode::Exclusive));
        }
    }

    #[test]
    fn a_run_of_shared_tickets_enters_together_up_to_the_next_exclusive_one() {
        let mut queue = Queue::new();
        assert_eq!(queue.enter(Mode::Exclusive), None);
        let tickets = [Mode::Shared, Mode::Shared, Mode::Exclusive, Mode::Shared]
            .map(|mode| queue.enter(mode).expect("waits for the exclusive holder"));
        assert_eq!(queue.leave(), tickets[..2]);
        assert_eq!(queue.leave(), []);
        assert_eq!(queue.leave(), tickets[2..3]);
        assert_eq!(queue.leave(), tickets[3..]);
    }

    #[test]
    fn one_who_withdraws_after_being_admitted_passes_the_room_on() {
        let mut queue = Queue::new();
        assert_eq!(queue.enter(Mode::Shared), None);
        let [first, second] = [Mode::Exclusive; 2].map(|mode| queue.enter(mode).expect("waits for the shared holder"));
        assert_eq!(queue.leave(), [first]);
        assert_eq!(queue.withdraw(first), [second]);
    }
}
