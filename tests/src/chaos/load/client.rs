//! One client's life: an operation, a pause, and a new connection where the old one has gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::session::Session;
use super::{Order, PATIENCE, Shared, bank, counters, ids, marks};
use crate::chance::Chance;
use crate::chaos::trouble::Trouble;

/// Before somebody who was turned away tries again.
const AGAIN: Duration = Duration::from_millis(10);

/// What a client does all day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Bank,
    Ids,
    Marks,
    Counters,
}

impl Work {
    pub fn of(client: usize) -> Self {
        [Self::Bank, Self::Ids, Self::Marks, Self::Counters][client % 4]
    }
}

struct Client {
    number: usize,
    shared: Arc<Shared>,
    chance: Chance,
    session: Option<Session>,
    has_been_connected: bool,
    /// It was turned away since it was connected last; once is enough to count.
    was_turned_away: bool,
}

pub async fn live(number: usize, shared: Arc<Shared>) {
    let chance = Chance::new(shared.seed.wrapping_mul(1_000).wrapping_add(number as u64));
    let mut client =
        Client { number, shared, chance, session: None, has_been_connected: false, was_turned_away: false };
    while client.may_go_on().await {
        let begun = Instant::now();
        let ended = tokio::time::timeout(PATIENCE, client.operation()).await;
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(_) => {
                client.session = None;
                let work = Work::of(number);
                client.shared.ledger.wrong(format!("client {number} ({work:?}) had no answer for {PATIENCE:?}"));
                Err(("operation", Trouble::no_answer()))
            }
        };
        client.note(begun, outcome);
        client.pause().await;
    }
}

type Outcome = Result<(), (&'static str, Trouble)>;

impl Client {
    /// Rests for as long as it is told to; false: it is time to stop.
    async fn may_go_on(&self) -> bool {
        let mut orders = self.shared.order.subscribe();
        if *orders.borrow_and_update() == Order::Rest {
            self.shared.resting.fetch_add(1, Ordering::AcqRel);
            let _ = orders.wait_for(|order| *order != Order::Rest).await;
            self.shared.resting.fetch_sub(1, Ordering::AcqRel);
        }
        *orders.borrow() != Order::Stop
    }

    async fn operation(&mut self) -> Outcome {
        let shared = &*self.shared;
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            self.session = Some(Session::open(shared.port).await.map_err(|trouble| ("login", trouble))?);
            if self.has_been_connected {
                let mut entries = shared.ledger.entries();
                let phase = entries.phase.clone();
                entries.tally.reconnected(&phase);
            }
            (self.has_been_connected, self.was_turned_away) = (true, false);
        }
        let session = self.session.as_mut().expect("a session since just now");
        match Work::of(self.number) {
            Work::Bank => bank::operation(session, &mut self.chance, &shared.ledger).await,
            Work::Ids => ids::operation(session, &mut self.chance, &shared.ledger).await,
            Work::Marks => marks::operation(session, &mut self.chance, &shared.ledger, self.number as i32).await,
            Work::Counters => counters::operation(session, &mut self.chance, &shared.ledger).await,
        }
    }

    fn note(&mut self, begun: Instant, outcome: Outcome) {
        if outcome.is_ok() {
            self.shared.note_success(self.number, begun);
        }
        let mut entries = self.shared.ledger.entries();
        let phase = entries.phase.clone();
        match outcome {
            Ok(()) => entries.tally.succeeded(&phase),
            Err(("login", _)) if std::mem::replace(&mut self.was_turned_away, true) => {}
            Err((operation, trouble)) => {
                // What a plain server gives too.
                let expected =
                    phase.expects(&trouble.cause) || operation == bank::SERIALIZABLE && trouble.cause == "40001";
                entries.tally.failed(&phase, operation, &trouble, expected);
            }
        }
    }

    async fn pause(&mut self) {
        let pause = match self.session {
            Some(_) => self.shared.pace.mul_f64(self.chance.below(1_000) as f64 / 500.0),
            None => AGAIN,
        };
        tokio::time::sleep(pause).await;
    }
}
