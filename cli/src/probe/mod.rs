//! `lockstep probe`: what an application would notice, measured from outside.
//!
//! Each client keeps one connection ([`mod@line`]), and in every round writes one row and reads it back. A row that was
//! acknowledged and is not there is a failure like an error is. [`tally`] counts; printing is the command's business.

mod health;
mod line;
mod tally;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_postgres::types::Type;

use crate::postgres::{Failure, Login};

pub use line::Line;
pub use tally::{Gap, Outcome, Tally};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS lockstep_probe (client integer PRIMARY KEY, mark bigint NOT NULL)";

/// Several probes may share the table: a mark only ever grows.
const WRITE: &str = "INSERT INTO lockstep_probe (client, mark) VALUES ($1, $2) \
                     ON CONFLICT (client) DO UPDATE SET mark = greatest(lockstep_probe.mark, excluded.mark)";
const READ: &str = "SELECT mark FROM lockstep_probe WHERE client = $1";

pub struct Plan {
    pub login: Login,
    pub http: Option<SocketAddr>,
    pub interval: Duration,
    pub clients: u16,
    /// `None`: until stopped.
    pub rounds: Option<u64>,
}

/// What happened in one round.
#[derive(Debug)]
pub struct Round {
    /// Since the probe began.
    pub at: Duration,
    pub health: Option<Outcome>,
    /// One for each client.
    pub reads: Vec<Outcome>,
    pub writes: Vec<Outcome>,
}

#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Summary {
    pub rounds: u64,
    pub health: Tally,
    pub reads: Tally,
    pub writes: Tally,
}

impl Summary {
    /// A connection that broke between two rounds cost no error, and is still what no client should see.
    pub fn is_good(&self) -> bool {
        [&self.health, &self.reads, &self.writes].iter().all(|tally| tally.failed() == 0 && tally.reconnects == 0)
    }
}

/// Makes the table, where it is not there. The first thing to fail when nobody is there to be probed.
pub async fn prepare(login: &Login) -> Result<(), Failure> {
    let connection = login.connect().await?;
    // Asked first: a user may write to a table that another has made, and not be allowed to make one.
    if connection.value("SELECT to_regclass('lockstep_probe')").await?.is_none() {
        connection.query(TABLE).await?;
    }
    Ok(())
}

/// Rounds until `stop`, or as many as planned. `each` sees every round.
pub async fn probe(plan: &Plan, stop: impl Future<Output = ()>, mut each: impl FnMut(&Round)) -> Summary {
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..plan.clients).map(|number| Client::new(number, plan, begun)).collect();
    let mut health_gap = Gap::starting(begun);
    let mut summary = Summary::default();
    let mut stop = pin!(stop);
    let mut ticks = tokio::time::interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while plan.rounds.is_none_or(|rounds| summary.rounds < rounds) {
        tokio::select! {
            _ = ticks.tick() => (),
            () = &mut stop => break,
        }
        let round = round(plan, begun, &mut clients).await;
        summary.rounds += 1;
        if let Some(outcome) = &round.health {
            summary.health.add(outcome);
            health_gap.seen(outcome.is_ok(), Instant::now(), &mut summary.health);
        }
        each(&round);
    }
    for client in clients {
        summary.reads.merge(&client.reads);
        summary.writes.merge(&client.writes);
    }
    summary
}

async fn round(plan: &Plan, begun: Instant, clients: &mut [Client]) -> Round {
    let at = begun.elapsed();
    let health = async {
        match plan.http {
            Some(address) => Some(health::ask(address, plan.login.timeout).await),
            None => None,
        }
    };
    let (health, outcomes) = tokio::join!(health, join_all(clients.iter_mut().map(Client::round)));
    let (writes, reads) = outcomes.into_iter().unzip();
    Round { at, health, reads, writes }
}

struct Client {
    number: i32,
    line: Line,
    /// The highest mark that was acknowledged.
    acknowledged: i64,
    reads: Tally,
    writes: Tally,
    read_gap: Gap,
    write_gap: Gap,
}

impl Client {
    fn new(number: u16, plan: &Plan, now: Instant) -> Self {
        Self {
            number: number.into(),
            line: Line::new(plan.login.clone()),
            acknowledged: 0,
            reads: Tally::default(),
            writes: Tally::default(),
            read_gap: Gap::starting(now),
            write_gap: Gap::starting(now),
        }
    }

    async fn round(&mut self) -> (Outcome, Outcome) {
        let write = self.write().await;
        self.writes.add(&write);
        self.write_gap.seen(write.is_ok(), Instant::now(), &mut self.writes);
        let read = self.read().await;
        self.reads.add(&read);
        self.read_gap.seen(read.is_ok(), Instant::now(), &mut self.reads);
        self.writes.reconnects += self.line.take_reconnects();
        (write, read)
    }

    async fn write(&mut self) -> Outcome {
        let mark = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64);
        let number = self.number;
        let written = self.line.call(async |client| {
            client.query_typed(WRITE, &[(&number, Type::INT4), (&mark, Type::INT8)]).await.map(drop)
        });
        let ((), time) = written.await?;
        self.acknowledged = self.acknowledged.max(mark);
        Ok(time)
    }

    async fn read(&mut self) -> Outcome {
        let number = self.number;
        let read = self.line.call(async |client| {
            let rows = client.query_typed(READ, &[(&number, Type::INT4)]).await?;
            rows.first().map(|row| row.try_get(0)).transpose()
        });
        let (mark, time): (Option<i64>, _) = read.await?;
        if mark.unwrap_or(0) < self.acknowledged {
            return Err(Failure::Broken("an acknowledged write is missing".into()));
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(port: u16) -> Plan {
        let login = Login {
            host: "127.0.0.1".into(),
            port,
            user: "app".into(),
            password: None,
            database: "shop".into(),
            timeout: Duration::from_secs(5),
        };
        Plan { login, http: None, interval: Duration::from_millis(1), clients: 2, rounds: Some(3) }
    }

    #[tokio::test]
    async fn nobody_there_is_counted_and_not_the_end() {
        let mut lines = 0;
        let summary = probe(&plan(1), std::future::pending(), |_| lines += 1).await;
        assert_eq!((summary.rounds, lines), (3, 3));
        assert_eq!((summary.reads.failed(), summary.writes.failed()), (6, 6));
        assert!(summary.writes.failures.keys().all(|kind| kind.contains("refused")), "{summary:?}");
    }

    #[tokio::test]
    async fn a_stop_ends_it_with_a_summary() {
        let summary = probe(&Plan { rounds: None, ..plan(1) }, std::future::ready(()), |_| ()).await;
        assert!(summary.rounds <= 1);
    }

    #[tokio::test]
    async fn a_table_cannot_be_made_where_nobody_answers() {
        assert!(matches!(prepare(&plan(1).login).await, Err(Failure::Broken(_))));
    }
}
