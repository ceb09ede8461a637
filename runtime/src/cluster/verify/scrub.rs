//! The comparison in the background: what `lockstep verify` does, by itself, every so often.
//!
//! A follower that differs twice in a row is taken out: a disagreement is never passed over, and one look may have met
//! what an operator was just putting right.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::{Event, Refusal};

use crate::clock;
use crate::cluster::actor::Cluster;
use crate::cluster::report::Report;
use crate::door::protocol::{Scrubbed, Verified, VerifyScope};

/// When an operator compares just then, or nobody leads.
const AGAIN: Duration = Duration::from_secs(60);
/// Differences that are shown in the status.
const SHOWN: usize = 10;

impl Cluster {
    /// For ever; without a setting it only waits.
    pub(in crate::cluster) async fn scrub(self: Arc<Self>) {
        let Some(every) = self.shared.config.replication.scrub else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            while !self.scrub_now().await {
                tokio::time::sleep(AGAIN.min(every)).await;
            }
        }
    }

    /// `false`: it is not its turn.
    async fn scrub_now(&self) -> bool {
        if self.shared.membership.load().followers().next().is_none() {
            return true;
        }
        let Some(_turn) = self.comparing() else { return false };
        let scope = VerifyScope::default();
        let scrubbed = match self.verify(&scope, &Report::nobody()).await {
            Ok(first) if first.is_equal() => scrubbed("equal", &first),
            Ok(first) => self.look_twice(&scope, first).await,
            Err(trouble) => {
                tracing::warn!(why = trouble.message(), "the comparison in the background failed");
                Scrubbed { found: vec![trouble.message().to_owned()], ..scrubbed("failed", &Verified::default()) }
            }
        };
        self.shared.scrubbed.store(Some(Arc::new(scrubbed)));
        true
    }

    async fn look_twice(&self, scope: &VerifyScope, first: Verified) -> Scrubbed {
        for difference in &first.differences {
            tracing::warn!(difference, "the comparison in the background found a difference; looking again");
        }
        if first.differences.is_empty() {
            return scrubbed("failed", &first);
        }
        let second = match self.verify(scope, &Report::nobody()).await {
            Ok(second) => second,
            Err(trouble) => {
                tracing::warn!(why = trouble.message(), "the second look failed");
                return scrubbed("differs", &first);
            }
        };
        for name in second.differing.iter().filter(|name| first.differing.contains(name)) {
            self.take_out(name, &second).await;
        }
        if second.differences.is_empty() {
            tracing::warn!("the difference was not there any more at a second look");
        }
        scrubbed(if second.differences.is_empty() { "equal" } else { "differs" }, &second)
    }

    async fn take_out(&self, name: &str, second: &Verified) {
        let Some(node) = self.shared.membership.load().find(name) else { return };
        let shown = second.differences.iter().find(|difference| difference.contains(name));
        let first = shown.or(second.differences.first()).map_or("", String::as_str);
        let why = format!("the comparison in the background found it different, twice: {first}");
        tracing::error!(node = name, why, differences = second.differences.len(), "a node differs");
        match self.registry.change(Event::Diverged { node, why }).await {
            Ok(_) | Err(Refusal::NotActive { .. }) => {}
            Err(refusal) => tracing::error!(node = name, %refusal, "a node differs but cannot be taken out"),
        }
    }
}

fn scrubbed(result: &str, verified: &Verified) -> Scrubbed {
    let found = verified.differences.iter().chain(&verified.unread).take(SHOWN).cloned().collect();
    Scrubbed {
        finished: clock::rfc3339(clock::unix_seconds()),
        result: result.to_owned(),
        tables: verified.tables,
        rows: verified.rows,
        seconds: verified.seconds as u64,
        found,
    }
}
