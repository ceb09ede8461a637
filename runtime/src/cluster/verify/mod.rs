//! `lockstep verify`: an exact comparison of all active nodes while clients write.
//!
//! Commits are held for an instant, in which every node exports a snapshot ([`look`]); what is read in those snapshots
//! must be equal. Tables are read piece by piece ([`table`]), a few at a time, each piece in a transaction of its own that
//! takes the snapshot over: so a client's DDL waits for a piece at most, and a look is renewed before it holds VACUUM
//! back for long. What changed its definition under the reading is read again in a new look. Definitions that seem to
//! differ are read a second time while commits are held: PostgreSQL shows them as of now, whatever the snapshot.
//!
//! Nothing here is kept for each row: sums of a piece, and the keys of one piece that differs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_core::cluster::pace::{Others, Rate};
use lockstep_core::cluster::pieces::Sums;
use lockstep_core::id::NodeId;
use std::time::Instant;

use super::actor::Cluster;
use super::command::Trouble;
use super::report::Report;
use crate::clock;
use crate::door::protocol::{Verified, VerifyScope};
use crate::service::ServiceFault;

mod database;
mod definitions;
mod look;
mod positions;
mod scrub;
mod table;

/// Sentences beyond this many are only counted.
const LISTED: usize = 100;
/// Progress is told no more often.
const TELLING: Duration = Duration::from_millis(200);

/// One comparison.
struct Verification<'a> {
    cluster: &'a Cluster,
    /// The leader first: the others are compared with it.
    nodes: Vec<NodeId>,
    scope: &'a VerifyScope,
    rate: Rate,
    report: &'a Report,
    begun: Instant,
    told: Cell<Option<Instant>>,
    tally: RefCell<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    read: Sums,
    databases: usize,
    tables: usize,
    rows: u64,
    differences: Vec<String>,
    more: usize,
    differing: BTreeSet<NodeId>,
    unread: Vec<String>,
    held: Duration,
    holds: u32,
}

impl Cluster {
    /// Compares all active nodes; ends early when one of them leaves.
    pub(super) async fn verify(&self, scope: &VerifyScope, report: &Report) -> Result<Verified, Trouble> {
        let rate = match &scope.rate {
            Some(text) => Rate::parse(text).ok_or_else(|| Trouble::new(format!("`{text}` is not a rate")))?,
            None => Rate::default(),
        };
        let membership = self.shared.membership.load_full();
        let leader = membership.leader().ok_or("no node is active")?;
        let verification = Verification {
            cluster: self,
            nodes: std::iter::once(leader).chain(membership.followers()).collect(),
            scope,
            rate,
            report,
            begun: clock::now(),
            told: Cell::new(None),
            tally: RefCell::default(),
        };
        tokio::select! {
            done = verification.run() => done?,
            name = verification.a_node_leaves() => {
                return Err(Trouble::new(format!("{name} is not active any more; the comparison was given up")));
            }
        }
        Ok(verification.verdict())
    }
}

impl Verification<'_> {
    async fn run(&self) -> Result<(), Trouble> {
        let databases = self.server().await?;
        let wanted: Vec<_> = match &self.scope.database {
            Some(name) if !databases.contains(name) => {
                return Err(Trouble::new(format!("there is no database {name}; there are {}", databases.join(", "))));
            }
            Some(name) => vec![name.clone()],
            None => databases,
        };
        for database in &wanted {
            self.database(database).await?;
        }
        if !self.scope.tables.is_empty() && self.tally.borrow().tables == 0 {
            return Err(Trouble::new(format!("there is no table {}", self.scope.tables.join(" or "))));
        }
        Ok(())
    }

    async fn a_node_leaves(&self) -> &str {
        let shared = &self.cluster.shared;
        let mut seen = shared.membership.load_full();
        loop {
            if let Some(gone) = self.nodes.iter().find(|node| !seen.active().any(|active| active == **node)) {
                return self.name(*gone);
            }
            seen = shared.cluster.changed(&seen).await;
        }
    }

    fn verdict(self) -> Verified {
        let names: Vec<_> = self.nodes.iter().map(|node| self.name(*node).to_owned()).collect();
        let differing = |tally: &Tally| tally.differing.iter().map(|node| self.name(*node).to_owned()).collect();
        let mut tally = self.tally.take();
        if tally.more > 0 {
            tally.differences.push(format!("and {} more differences", tally.more));
        }
        tracing::info!(
            tables = tally.tables,
            rows = tally.rows,
            differences = tally.differences.len() + tally.more,
            unread = tally.unread.len(),
            held_ms = tally.held.as_secs_f64() * 1000.0,
            holds = tally.holds,
            seconds = self.begun.elapsed().as_secs_f64(),
            "the active nodes were compared"
        );
        Verified {
            databases: tally.databases,
            tables: tally.tables,
            rows: tally.rows,
            nodes: names,
            differing: differing(&tally),
            differences: tally.differences,
            unread: tally.unread,
            held_ms: tally.held.as_secs_f64() * 1000.0,
            holds: tally.holds,
            seconds: self.begun.elapsed().as_secs_f64(),
        }
    }

    fn differs(&self, node: usize, sentence: String) {
        let mut tally = self.tally.borrow_mut();
        tally.differing.insert(self.nodes[node]);
        if tally.differences.len() < LISTED {
            tally.differences.push(sentence);
        } else {
            tally.more += 1;
        }
    }

    fn unread(&self, sentence: String) {
        tracing::warn!(what = sentence, "could not be compared");
        self.tally.borrow_mut().unread.push(sentence);
    }

    /// Waits where more has been read than the rate allows, and lets nodes rest that work for others.
    async fn paced(&self, piece: Sums, took: Duration, others: Others) {
        let due = {
            let mut tally = self.tally.borrow_mut();
            tally.read.add(piece);
            self.begun + self.rate.least_time(tally.read.rows, tally.read.bytes)
        };
        let rested = clock::now() + self.rate.rest(took, others);
        tokio::time::sleep_until(due.max(rested).into()).await;
    }

    fn tell(&self, text: impl FnOnce() -> String, done: u64, total: u64) {
        if self.told.get().is_none_or(|told| told.elapsed() > TELLING) {
            self.told.set(Some(clock::now()));
            self.report.measure("compare", text(), done.min(total), total);
        }
    }

    fn name(&self, node: NodeId) -> &str {
        self.cluster.name(node)
    }

    fn names(&self, follower: usize) -> (&str, &str) {
        (self.name(self.nodes[0]), self.name(self.nodes[follower]))
    }

    fn unreadable(&self, node: usize, fault: &ServiceFault) -> Trouble {
        Trouble::new(format!("{} could not be read: {fault}", self.name(self.nodes[node])))
    }
}
