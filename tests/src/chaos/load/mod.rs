//! Clients at work, each with a driver and a connection of its own, until they are told to rest or to stop.
//!
//! They live on a thread of their own. Whoever rests keeps its connection and has nothing under way, so that the nodes can
//! be compared; see [`Load::rest`].

mod bank;
mod client;
mod counters;
mod ids;
mod marks;
mod session;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::ledger::Ledger;
use super::phase::Phase;
use crate::wait;

pub use client::Work;

/// A client without an answer for so long waits for ever. A recovery's hold, a full comparison and `hold_timeout` end
/// before.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// What the clients work on.
pub const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE transfer (id bigserial PRIMARY KEY, source int REFERENCES account, target int, amount bigint,
        at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE keyed (id bigint PRIMARY KEY, n bigserial, at timestamptz DEFAULT clock_timestamp(), filler text);
    CREATE TABLE bag (id bigint, n bigserial, at timestamptz DEFAULT clock_timestamp(), filler text);
    CREATE TABLE mark (client int PRIMARY KEY, value bigint NOT NULL);
    CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL, changed timestamptz);
    CREATE TABLE noted (id int PRIMARY KEY, n bigint NOT NULL, changed timestamptz);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END';
    CREATE TRIGGER note BEFORE UPDATE ON noted FOR EACH ROW EXECUTE FUNCTION note()";

/// Its first rows. A table with a trigger takes none in the transaction that makes it.
pub const ROWS: &str = "INSERT INTO noted SELECT n, 0 FROM generate_series(0, 4) n;
    INSERT INTO counter SELECT n, 0 FROM generate_series(0, 2) n;
    INSERT INTO account SELECT n, 1000 FROM generate_series(1, 20) n;";

pub use bank::{ACCOUNTS, TOTAL};
pub use ids::table as id_table;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Work,
    Rest,
    Stop,
}

/// What the clients and whoever watches them share.
#[derive(Debug)]
pub struct Shared {
    pub ledger: Ledger,
    port: u16,
    /// The time that a client waits between two operations lies between nothing and twice this.
    pace: Duration,
    seed: u64,
    begun: Instant,
    order: watch::Sender<Order>,
    resting: AtomicUsize,
    /// For each client, when its last operation that succeeded began: microseconds since `begun`.
    succeeded: Vec<AtomicU64>,
    latest: Mutex<Option<Instant>>,
}

#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Who works, at what pace.
#[derive(Debug, Clone, Copy)]
pub struct Crew {
    pub clients: usize,
    pub pace: Duration,
    pub seed: u64,
}

impl Load {
    pub fn start(port: u16, crew: Crew) -> Self {
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            port,
            pace: crew.pace,
            seed: crew.seed,
            begun: Instant::now(),
            order: watch::Sender::new(Order::Work),
            resting: AtomicUsize::new(0),
            succeeded: (0..crew.clients).map(|_| AtomicU64::new(0)).collect(),
            latest: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || work(&theirs));
        Self { shared, thread: Some(thread) }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    pub fn phase_begins(&self, phase: Phase) {
        let mut entries = self.shared.ledger.entries();
        entries.tally.phase_begins(&phase);
        entries.phase = phase;
    }

    /// Waits until every client has succeeded with something that it began after that moment; else says who has not.
    pub fn everybody_works(&self, since: Instant, limit: Duration) -> Result<(), String> {
        match wait::within(limit, || self.shared.idle_since(since).is_empty().then_some(())) {
            Some(()) => Ok(()),
            None => Err(format!("after {limit:?} nothing works for {}", self.shared.idle_since(since).join(", "))),
        }
    }

    /// Waits until somebody has succeeded with something that began after that moment.
    pub fn somebody_works(&self, since: Instant, limit: Duration) -> Result<(), String> {
        let works = || self.shared.latest.lock().expect("a time").is_some_and(|begun| begun >= since).then_some(());
        wait::within(limit, works).ok_or_else(|| format!("after {limit:?} nothing works for anybody"))
    }

    /// Waits until nobody has anything under way, and sees to it that nobody begins anything.
    pub fn rest(&self) -> Result<(), String> {
        self.shared.order.send_replace(Order::Rest);
        self.wait_for_resting(self.shared.succeeded.len()).ok_or_else(|| "a client does not come to rest".into())
    }

    pub fn go_on(&self) {
        self.shared.order.send_replace(Order::Work);
        self.wait_for_resting(0);
    }

    fn wait_for_resting(&self, count: usize) -> Option<()> {
        wait::within(2 * PATIENCE, || (self.shared.resting.load(Ordering::Acquire) == count).then_some(()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.order.send_replace(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn idle_since(&self, since: Instant) -> Vec<String> {
        let since = since.saturating_duration_since(self.begun).as_micros() as u64;
        let idle = |(number, begun): (usize, &AtomicU64)| {
            (begun.load(Ordering::Acquire) < since).then(|| format!("client {number} ({:?})", Work::of(number)))
        };
        self.succeeded.iter().enumerate().filter_map(idle).collect()
    }

    fn note_success(&self, client: usize, begun: Instant) {
        let micros = begun.saturating_duration_since(self.begun).as_micros() as u64;
        self.succeeded[client].store(micros, Ordering::Release);
        let mut latest = self.latest.lock().expect("a time");
        *latest = (*latest).max(Some(begun));
    }
}

fn work(shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for clients");
    let clients = (0..shared.succeeded.len()).map(|number| client::live(number, Arc::clone(shared)));
    // Boxed: together they are large.
    runtime.block_on(join_all(clients.map(Box::pin)));
}
