//! A unit's look at the commits in flight, before its batches go out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use super::faults::Fault;
use super::node::Link;
use super::seat::{Asked, Bell};
use super::world::World;
use crate::inflight::{Flight, InFlight};
use crate::session::CommitNumber;

impl World {
    /// The session's unit is about to send its batches.
    pub(super) fn enter_flight(&mut self, seat: usize, of: CommitNumber) {
        let Some(link) = self.seats[seat].leader else { return };
        let trusted = self.seats[seat].session.trusts_leader();
        match self.fault {
            Some(Fault::NoLook) => return self.clear(seat, of),
            Some(Fault::LookedFirst) if self.is_clear(seat, &self.in_flight.enter(link, trusted), Waker::noop()) => {
                return self.seats[seat].asked.push(Asked::EnterAfterLook(of));
            }
            _ => {}
        }
        let registry = if self.fault == Some(Fault::OwnOnly) { InFlight::new() } else { self.in_flight.clone() };
        self.seats[seat].flight = Some(registry.enter(link, trusted));
        self.seats[seat].looks = Some((of, Arc::new(Bell::rung())));
        self.look(seat);
    }

    /// By one who has looked before: a fault of ours.
    pub(super) fn enter_after_look(&mut self, seat: usize, of: CommitNumber) {
        let Some(link) = self.seats[seat].leader else { return };
        let trusted = self.seats[seat].session.trusts_leader();
        self.seats[seat].flight = Some(self.in_flight.enter(link, trusted));
        self.clear(seat, of);
    }

    /// It may be clear now.
    pub(super) fn look(&mut self, seat: usize) {
        let Some((of, bell)) = self.seats[seat].looks.clone() else { return };
        bell.0.store(false, Ordering::SeqCst);
        let Some(flight) = self.seats[seat].flight.take() else { return };
        let clear = self.is_clear(seat, &flight, &Waker::from(bell));
        self.seats[seat].flight = Some(flight);
        if clear {
            return self.clear(seat, of);
        }
        self.note(|| format!("s{seat}: waits for a commit whose leader connection is not quiet"));
    }

    fn is_clear(&self, seat: usize, flight: &Flight<Link>, waker: &Waker) -> bool {
        let own = self.seats[seat].leader.filter(|_| self.fault == Some(Fault::OthersOnly));
        // That it was ended may be heard long after its last word.
        let is_quiet = |link: &Link| Some(*link) == own || self.backend_of(*link).out.is_empty();
        flight.poll_clear(&Context::from_waker(waker), is_quiet).is_ready()
    }

    fn clear(&mut self, seat: usize, of: CommitNumber) {
        self.hear_out_if_out(seat);
        let seated = &mut self.seats[seat];
        seated.looks = None;
        let membership =
            if self.fault == Some(Fault::MembersNotReread) { &seated.seen } else { &self.cluster.membership };
        if let Some(answers) = seated.session.answers(of) {
            answers.clear(membership);
        }
    }

    /// Something is about to be taken off the session's leader connection, or it is lost.
    pub(super) fn busy(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        of.flight.iter().filter(|_| self.fault != Some(Fault::ReadUnmarked)).for_each(Flight::busy);
    }

    /// What was taken has been worked off.
    pub(super) fn trust(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        if of.session.trusts_leader() {
            of.flight.iter().for_each(Flight::trusted);
        }
    }
}
