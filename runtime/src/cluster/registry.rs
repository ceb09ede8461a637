//! The membership, and the only place that changes it.
//!
//! Invariant: what is published is on disk, and the leader of an epoch bears its lineage. The order of a change is: state
//! file; if another node is to lead, nobody leads; then sequences of the new leader, then lineage on the active nodes; then
//! everybody sees it. Changes happen one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::join_all;
use lockstep_core::cluster::lineage::Unborne;
use lockstep_core::cluster::{Event, Lineage, MemberState, Membership, Record, Refusal};
use lockstep_core::id::NodeId;
use tokio::sync::{Mutex, watch};

use super::level::Leveller;
use super::lineage::{self, Over};
use super::open::fresh;
use super::state::{StateDirectory, StateFault};
use crate::clock;
use crate::config::Config;
use crate::journal::Journal;
use crate::roster::Full;
use crate::service::ServiceFault;

/// Pause between two attempts to write the state file.
const SAVE_PAUSE: Duration = Duration::from_millis(250);

/// For each node since when its server runs, where lineage was written.
type Written = Vec<(NodeId, Result<Option<String>, ServiceFault>)>;

#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    state: Arc<StateDirectory>,
    leveller: Arc<Leveller>,
    journal: Arc<Journal>,
    /// `None` until the cluster has been opened.
    record: Mutex<Option<Record>>,
    /// Of the epoch that is in force.
    lineage: Mutex<Option<Lineage>>,
    membership: Arc<ArcSwap<Membership>>,
    published: watch::Sender<Arc<Membership>>,
    /// What cannot be written of a change, and why; commits wait for it.
    unwritten: Arc<ArcSwapOption<String>>,
}

impl Registry {
    pub fn new(
        config: Arc<Config>,
        state: Arc<StateDirectory>,
        leveller: Arc<Leveller>,
        journal: Arc<Journal>,
    ) -> Self {
        let first = Arc::new(fresh(&config));
        let membership = Arc::new(ArcSwap::new(first.clone()));
        let published = watch::Sender::new(first);
        let (record, lineage) = (Mutex::new(None), Mutex::new(None));
        let unwritten = Arc::default();
        Self { config, state, leveller, journal, record, lineage, membership, published, unwritten }
    }

    pub fn unwritten(&self) -> &Arc<ArcSwapOption<String>> {
        &self.unwritten
    }

    pub fn membership(&self) -> &Arc<ArcSwap<Membership>> {
        &self.membership
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Membership>> {
        self.published.subscribe()
    }

    pub async fn record(&self) -> Option<Record> {
        self.record.lock().await.clone()
    }

    /// What the state file says, if there is one.
    pub fn load(&self) -> Result<Option<Record>, StateFault> {
        self.state.load(&self.membership.load())
    }

    /// Puts a record in force that [`lockstep_core::cluster::opening`] has decided on.
    pub async fn install(&self, record: Record) {
        let mut held = self.record.lock().await;
        self.enact(&mut held, record).await;
    }

    /// Shows a membership that nothing can be written about yet.
    pub fn show(&self, membership: Membership) {
        self.publish(membership);
    }

    pub async fn change(&self, event: Event) -> Result<Arc<Membership>, Refusal> {
        let mut held = self.record.lock().await;
        let next = self.membership.load().after(event, clock::unix_seconds())?;
        self.replace(&mut held, next).await;
        Ok(self.membership.load_full())
    }

    /// The same; between the decision and all that comes of it, `prepare` makes room for the nodes that come.
    pub async fn change_when(&self, event: Event, prepare: impl FnOnce() -> Result<(), Full>) -> Result<(), String> {
        let mut held = self.record.lock().await;
        let next = self.membership.load().after(event, clock::unix_seconds()).map_err(|refusal| refusal.to_string())?;
        prepare().map_err(|full| full.to_string())?;
        self.replace(&mut held, next).await;
        Ok(())
    }

    async fn replace(&self, held: &mut Option<Record>, next: Membership) {
        match held.as_ref() {
            Some(record) if next != record.membership => {
                let record = record.with(next);
                self.enact(held, record).await;
            }
            _ => {}
        }
    }

    /// The last word of an orderly stop: an epoch that the nodes bear, then the state file.
    pub async fn mark_clean(&self) {
        let mut held = self.record.lock().await;
        let Some(record) = held.as_mut() else { return };
        if let Err(fault) = self.end_epoch(record).await {
            tracing::error!(fault, "the orderly stop cannot be written down; the next start will compare the nodes");
        }
    }

    async fn end_epoch(&self, record: &mut Record) -> Result<(), String> {
        let before = record.membership.epoch;
        *record = record.stopped();
        self.save_once(record).await?;
        let lineage = lineage::of(&record.cluster, before, &record.membership);
        let active: Vec<_> = record.membership.active().collect();
        let done = self.write_lineage(&lineage, &active, Over::Any, None).await;
        self.bear(record, &lineage, done, Over::Any);
        record.clean = true;
        self.save_once(record).await
    }

    /// Whether a change could be written down now. To be asked before commits are held for one that nobody needs: they
    /// would wait for as long as it cannot.
    pub async fn can_change(&self) -> Result<(), String> {
        match self.record.lock().await.as_ref() {
            Some(record) => self.save_once(record).await,
            None => Ok(()),
        }
    }

    async fn enact(&self, held: &mut Option<Record>, mut record: Record) {
        let in_force = self.membership.load_full();
        let mut before = (*in_force).clone();
        loop {
            self.save(&record).await;
            announce(&before, &record.membership);
            self.keep_journal_true(&before, &record.membership);
            if in_force.leader().is_some_and(|leader| record.membership.leader() != Some(leader)) {
                // Values of sequences that the old leader gives out from here on reach no client.
                self.publish(Membership { leading: None, ..(*in_force).clone() });
            }
            if before.epoch == record.membership.epoch {
                break;
            }
            let Some(event) = self.prepare(&before, &mut record).await else { break };
            let Ok(next) = record.membership.after(event, clock::unix_seconds()) else { break };
            before = record.membership.clone();
            record = record.with(next);
        }
        self.publish(record.membership.clone());
        *held = Some(record);
    }

    /// A commit that was under way when nobody could be reached any more is over, and what became of it may not be known;
    /// the nodes are current all the same.
    fn keep_journal_true(&self, before: &Membership, after: &Membership) {
        let lost = |node: &NodeId| {
            after.member(*node).state == MemberState::Unreachable
                && before.member(*node).state != MemberState::Unreachable
        };
        if after.ids().any(|node| lost(&node)) {
            self.journal.suspend(before.epoch, after.epoch);
        }
    }

    /// What must be true on the active nodes before service goes on in a new epoch. A follower on which it fails is not
    /// waited for: its own health says what becomes of it, and [`Self::complete_lineage`] tries again. What is given is why
    /// the leader cannot serve in it ([`Unborne`]).
    async fn prepare(&self, before: &Membership, record: &mut Record) -> Option<Event> {
        match (before.leader(), record.membership.leader()) {
            (Some(old), Some(new)) if old != new => self.jump(&record.membership, new).await,
            _ => {}
        }
        let lineage = lineage::of(&record.cluster, before.epoch, &record.membership);
        let active: Vec<_> = record.membership.active().collect();
        let begun = clock::now();
        let done = self.write_lineage(&lineage, &active, Over::Any, record.membership.leader()).await;
        let follows = self.wait_for_leader(record, &lineage, done, begun).await;
        *self.lineage.lock().await = Some(lineage);
        follows
    }

    /// Goes on until the leader bears the lineage, or cannot.
    async fn wait_for_leader(
        &self,
        record: &mut Record,
        lineage: &Lineage,
        mut done: Written,
        mut begun: Instant,
    ) -> Option<Event> {
        let leader = record.membership.leader()?;
        let mut unborne = Unborne::new(leader, self.config.health.now().retries);
        let follows = loop {
            let failed = done.iter().find_map(|(node, outcome)| outcome.as_ref().err().filter(|_| *node == leader));
            let failed = failed.map(|fault| (fault.observation(), fault.to_string()));
            self.bear(record, lineage, done, Over::Any);
            let Some((seen, why)) = failed else { break None };
            let (limit, another) =
                (lineage::longest(self.config.health.now().patience()), record.written.contains(&lineage.epoch));
            if let Some(event) = unborne.failed(seen, begun.elapsed(), limit, another) {
                break Some(event);
            }
            let name = &record.membership.member(leader).name;
            self.unwritten.store(Some(Arc::new(format!("lineage cannot be written on {name}: {why}"))));
            tokio::time::sleep(SAVE_PAUSE).await;
            begun = clock::now();
            done = self.write_lineage(lineage, &[leader], Over::Any, Some(leader)).await;
        };
        self.unwritten.store(None);
        follows
    }

    /// Writes it on the active nodes that could not take it when their epoch began. Without it a proxy that comes after
    /// this one, and knows less, could take a node for what it is not.
    pub async fn complete_lineage(&self) {
        let (Some(record), Some(lineage)) = (self.record().await, self.lineage.lock().await.clone()) else { return };
        let lacks = |node: &NodeId| record.written[usize::from(node.0)] < lineage.epoch;
        let lacking: Vec<_> = record.membership.active().filter(lacks).collect();
        if lacking.is_empty() {
            return;
        }
        // Changes are not held up for it: one that comes in between is not overwritten, and known by its epoch.
        let mut done = self.write_lineage(&lineage, &lacking, Over::Older, None).await;
        // The server may have been started again since the epoch began: the journal is not to say that it has not.
        done.iter_mut().for_each(|(_, written)| {
            let _ = written.as_mut().map(Option::take);
        });
        let mut held = self.record.lock().await;
        let Some(record) = held.as_mut().filter(|record| record.membership.epoch == lineage.epoch) else { return };
        if self.bear(record, &lineage, done, Over::Older)
            && let Err(fault) = self.save_once(record).await
        {
            tracing::error!(fault, "the state file cannot be written");
        }
    }

    /// Writes again what has been removed of the state directory while the proxy runs.
    pub async fn look_after_files(&self) {
        self.journal.look_after();
        let held = self.record.lock().await;
        let Some(record) = held.as_ref().filter(|_| !self.state.is_there()) else { return };
        let written = match self.save_once(record).await {
            Ok(()) => self.state.lock_again().map_err(|fault| fault.to_string()),
            Err(fault) => Err(fault),
        };
        match written {
            Ok(()) => tracing::error!(
                "files were removed from the state directory while the proxy runs; they are written anew"
            ),
            Err(fault) => tracing::debug!(fault, "what was removed from the state directory cannot be written anew"),
        }
    }

    /// `awaited`: who is not given up for a slow answer. A login and a write are some round trips, and health takes it for
    /// alive when each comes in time; what others need not do now is not waited for so long.
    async fn write_lineage(&self, lineage: &Lineage, nodes: &[NodeId], over: Over, awaited: Option<NodeId>) -> Written {
        let health = self.config.health.now();
        let write = async |node: NodeId| {
            let limit = if awaited == Some(node) { health.patience() } else { health.timeout };
            (node, lineage::write(&self.config, node, lineage, over, limit).await)
        };
        join_all(nodes.iter().map(|node| write(*node))).await
    }

    /// Whether any node bears it now that did not before.
    fn bear(&self, record: &mut Record, lineage: &Lineage, done: Written, over: Over) -> bool {
        let mut any = false;
        for (node, outcome) in done {
            let name = &record.membership.member(node).name;
            match outcome {
                Ok(start) => {
                    any = true;
                    record.written[usize::from(node.0)] = lineage.epoch;
                    if let Some(start) = start {
                        self.journal.note(name, lineage.epoch, &start);
                    }
                }
                Err(fault) if over == Over::Any => {
                    tracing::error!(node = name, %fault, epoch = lineage.epoch.0, "lineage could not be written; trying again");
                }
                Err(fault) => tracing::debug!(node = name, %fault, "lineage can still not be written"),
            }
        }
        any
    }

    async fn jump(&self, membership: &Membership, leader: NodeId) {
        if let Err(fault) = self.leveller.jump(membership, leader).await {
            let node = &membership.member(leader).name;
            tracing::error!(node, %fault, "sequences may give out values again that were given out");
        }
    }

    /// Goes on until it is on disk: nothing may be acknowledged before.
    async fn save(&self, record: &Record) {
        let mut told = None;
        loop {
            let Err(fault) = self.save_once(record).await else { break };
            if told.as_ref() != Some(&fault) {
                tracing::error!(fault, "the state file cannot be written; commits wait until it can");
                self.unwritten.store(Some(Arc::new(format!("the state file cannot be written: {fault}"))));
                told = Some(fault);
            }
            tokio::time::sleep(SAVE_PAUSE).await;
        }
        if told.is_some() {
            self.unwritten.store(None);
            tracing::info!("the state file has been written; commits go on");
        }
    }

    async fn save_once(&self, record: &Record) -> Result<(), String> {
        let (state, copy) = (self.state.clone(), record.clone());
        let saved = tokio::task::spawn_blocking(move || state.save(&copy)).await.map_err(|error| error.to_string())?;
        saved.map_err(|fault| fault.to_string())
    }

    fn publish(&self, membership: Membership) {
        let membership = Arc::new(membership);
        self.membership.store(membership.clone());
        self.published.send_replace(membership);
    }
}

/// One line for each node whose state changed: the node, the reason, and what follows.
fn announce(before: &Membership, after: &Membership) {
    for (place, is) in after.members.iter().enumerate() {
        let was = before.members.get(place).map(|member| member.state);
        if was == Some(is.state) {
            continue;
        }
        let from = was.map_or("not configured", MemberState::name);
        let (to, follows) = (is.state.name(), what_follows(after, NodeId(place as u16)));
        match is.state {
            MemberState::Degraded | MemberState::Unreachable => {
                tracing::error!(node = is.name, from, to, reason = is.reason, follows, "node changed state");
            }
            _ => tracing::info!(node = is.name, from, to, reason = is.reason, follows, "node changed state"),
        }
    }
}

fn what_follows(after: &Membership, node: NodeId) -> String {
    let name = |id: NodeId| after.member(id).name.as_str();
    match (after.member(node).state, after.leader()) {
        (MemberState::Unreachable, None) => "nobody serves until it is back".into(),
        (_, None) => "nobody serves".into(),
        (MemberState::Active, Some(leader)) if leader == node => "it leads".into(),
        (MemberState::Active, Some(leader)) => format!("it follows {}", name(leader)),
        (MemberState::Recovering | MemberState::Removed, Some(leader)) => format!("{} leads", name(leader)),
        (_, Some(leader)) => format!("{} leads; bring it back with: lockstep recover {}", name(leader), name(node)),
    }
}
