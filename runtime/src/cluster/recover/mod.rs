//! `lockstep recover NODE`: replaces a node's data by a copy of an active node's, while clients go on.
//!
//! The steps, their order and what undoes them are [`lockstep_core::cluster::recovery`]'s. Here they are done: commands
//! on the target's machine in `target` (through `shell`), questions to the two servers in `servers`. Commits are held
//! from the moment that the standby is near until the node has joined; nobody is disconnected.

use std::cell::Cell;
use std::time::Duration;

use lockstep_core::cluster::recovery::{self, Before, Step, Undo};
use lockstep_core::cluster::{Event, Kinship, MemberState};
use lockstep_core::id::{Epoch, NodeId};

use super::actor::Cluster;
use super::command::Trouble;
use super::lineage;
use super::report::Report;
use crate::clock;
use crate::config;
use crate::node::StandingFault;

mod servers;
mod shell;
mod target;
mod unlogged;

use target::Target;

/// Commits wait no longer for a copy to become a node; more than a second of it is a sign of trouble.
const HELD: Duration = Duration::from_secs(60);

/// What stops a step, in words for the operator.
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// One recovery under way.
struct Recovery<'a> {
    cluster: &'a Cluster,
    report: &'a Report,
    node: NodeId,
    source: NodeId,
    settings: &'a config::Recovery,
    /// Replication slot on the source, so that it keeps what the standby has yet to read.
    slot: String,
    step: Cell<Step>,
    /// `None` until it has been looked at.
    before: Cell<Option<Before>>,
}

impl Cluster {
    pub(super) async fn recover(&self, node: NodeId, report: &Report) -> Result<String, Trouble> {
        let name = self.name(node);
        let Some(settings) = self.shared.config.nodes[usize::from(node.0)].recovery.as_ref() else {
            return Err(Trouble::new(format!("{name} has no [node.recovery]"))
                .hint(format!("say in {} how commands run on its machine", self.shared.config.file.display())));
        };
        let source = self.source().ok_or_else(|| Trouble::new("no node is active that could be copied".into()))?;
        self.refuse_if_newer(node).await?;
        let how = format!("is being recovered from {}", self.name(source));
        self.registry
            .change(Event::Recover { node, how })
            .await
            .map_err(|refusal| Trouble::new(refusal.to_string()))?;
        self.standings[usize::from(node.0)].leave().await;
        let slot = format!("lockstep_recover_{}", node.0);
        let (step, before) = (Cell::new(Step::Inspect), Cell::new(None));
        let recovery = Recovery { cluster: self, report, node, source, settings, slot, step, before };
        recovery.carry_out().await
    }

    /// A recovery destroys what the node holds: not what another proxy serves there, or has written since.
    async fn refuse_if_newer(&self, node: NodeId) -> Result<(), Trouble> {
        let (name, limit) = (self.name(node), self.shared.config.health.now().timeout);
        let line = match self.standings[usize::from(node.0)].line().await {
            Ok(line) => line,
            Err(StandingFault::Taken(who)) => {
                return Err(Trouble::new(format!("another proxy serves {name}: {who}")).hint(
                    "find out which of the two has the data that counts, and stop the other proxy first".into(),
                ));
            }
            // It does not run, as most that are recovered.
            Err(_) => return Ok(()),
        };
        let (Ok(Some(theirs)), Some(ours)) = (lineage::read(&line, limit).await, self.registry.record().await) else {
            return Ok(());
        };
        match theirs.kinship(&ours.cluster, Epoch(0), ours.membership.epoch) {
            Kinship::Ahead => Err(Trouble::new(format!(
                "another proxy has served {name} since: its data is of epoch {}, this proxy's of {}",
                theirs.epoch.0, ours.membership.epoch.0
            ))
            .hint("if what was written there does not count, stop that server, move its data directory away and run this again".into())),
            Kinship::Same | Kinship::Behind | Kinship::Stranger => Ok(()),
        }
    }

    /// A follower if there is one: the copy then costs the leader nothing.
    fn source(&self) -> Option<NodeId> {
        let membership = self.shared.membership.load();
        membership.followers().next().or(membership.leader())
    }
}

impl Recovery<'_> {
    async fn carry_out(&self) -> Result<String, Trouble> {
        let (name, step) = (self.cluster.name(self.node), &self.step);
        let target = match Target::open(self).await {
            Ok(target) => target,
            Err(failure) => return Err(self.give_up(failure, Vec::new()).await),
        };
        match self.run(&target).await {
            Ok(()) => Ok(format!("{name} is active, a copy of {}", self.cluster.name(self.source))),
            Err(failure) if self.cluster.state(self.node) == MemberState::Active => {
                Ok(format!("{name} is active; but {} failed: {}", step.get().name(), failure.0))
            }
            Err(failure) => {
                let left = self.undo_all(&target).await;
                Err(self.give_up(failure, left).await)
            }
        }
    }

    async fn run(&self, target: &Target<'_>) -> Result<(), Failure> {
        self.enter(Step::Inspect, "looking at the data directory");
        let before = target.inspect(&self.measure_source().await?).await?;
        self.before.set(Some(before));
        self.enter(Step::Prove, "the target reaches the source");
        target.prove().await?;
        self.enter(Step::Stop, "stopping the target's server, if it runs");
        target.stop().await?;
        self.enter(Step::Clear, "setting the old data aside");
        target.clear(before.room).await?;
        self.enter(Step::Backup, "copying");
        self.drop_slot().await?;
        target.backup().await?;
        self.enter(Step::Start, "starting as a standby");
        target.start().await?;
        self.enter(Step::CatchUp, "following the source");
        let lines = self.catch_up().await?;
        self.enter(Step::Hold, "waiting for commits that are under way");
        let held = self.cluster.hold(HELD).await.ok_or(Failure("commits under way did not end in time".into()))?;
        let held_since = clock::now();
        self.check_source()?;
        held.within_limit(Box::pin(self.finish_copy(&lines))).await??;
        self.enter(Step::Join, "joining");
        self.join(&lines).await?;
        drop(held);
        tracing::info!(milliseconds = held_since.elapsed().as_millis(), "commits were held for the recovery");
        self.enter(Step::CleanUp, "removing the old data");
        self.drop_slot().await?;
        target.clean_up().await
    }

    /// What must be done while commits wait.
    async fn finish_copy(&self, lines: &servers::Both) -> Result<(), Failure> {
        self.enter(Step::Drain, "replaying the last byte; commits wait");
        self.drain(lines).await?;
        self.enter(Step::Promote, "promoting; commits wait");
        self.promote(lines).await?;
        self.enter(Step::Level, "sequences and unlogged tables; commits wait");
        self.level(lines).await
    }

    fn enter(&self, step: Step, text: &str) {
        self.step.set(step);
        self.report.phase(step.name(), text);
        tracing::info!(node = self.cluster.name(self.node), step = step.name(), text, "recovery");
    }

    /// Gives what could not be undone.
    async fn undo_all(&self, target: &Target<'_>) -> Vec<String> {
        let Some(before) = self.before.get() else { return Vec::new() };
        let mut left = Vec::new();
        for undo in recovery::undo(self.step.get(), before) {
            if undo == Undo::StartAgain && !left.is_empty() {
                left.push("its server is stopped".into());
            } else if let Err(also) = self.undo(target, undo).await {
                left.push(also.0);
            }
        }
        left
    }

    async fn undo(&self, target: &Target<'_>, undo: Undo) -> Result<(), Failure> {
        match undo {
            Undo::StopTarget => target.stop().await,
            Undo::PutDataBack => target.put_back().await,
            Undo::StartAgain => target.start_again().await,
            Undo::DropSlot => self.drop_slot().await,
        }
    }

    /// The node stays out, as it was.
    async fn give_up(&self, failure: Failure, left: Vec<String>) -> Trouble {
        let (name, step) = (self.cluster.name(self.node), self.step.get().name());
        let why = format!("recovery failed at `{step}`: {}", failure.0);
        self.cluster.stays(self.node, why.clone()).await;
        let again = format!("put that right and run again: lockstep recover {name}");
        let as_it_is = self.before.get().and_then(|before| before.left(self.step.get()));
        let hint = match (&left[..], as_it_is) {
            ([], None) => again,
            ([], Some(as_it_is)) => format!("{as_it_is}; {again}"),
            (left, _) => format!("this was left behind: {}; {again}", left.join("; ")),
        };
        Trouble::new(why).hint(hint)
    }
}
