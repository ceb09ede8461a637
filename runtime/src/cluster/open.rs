//! Who serves: at the start of the proxy, and when nobody has served for a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lockstep_core::cluster::health::Observation;
use lockstep_core::cluster::opening::{self, Ghosts, Opening, Sighting};
use lockstep_core::cluster::{ClusterId, Member, MemberState, Membership, Record};
use lockstep_core::id::{Epoch, NodeId};

use super::actor::Cluster;
use super::admit::Candidates;
use super::{StartFault, ghosts, sight};
use crate::clock;
use crate::config::{self, Config};
use crate::entropy;
use crate::service::{self, Line, ServiceFault};

/// Pause between two looks at a cluster that is not as it should be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many times a server that answers is tried that lets nobody in.
const LOGINS: u32 = 10;
/// Commits that were under way when all nodes were lost are over by then, or looked for again.
const COMMITS_END: Duration = Duration::from_secs(10);

impl Cluster {
    /// The first look. The comparison goes on behind it: in a new cluster clients wait for its end, in an old one they are
    /// served meanwhile.
    pub async fn start(self: Arc<Self>) -> Result<(), StartFault> {
        if let Some(candidates) = self.clone().open().await? {
            actix::spawn(self.admit(candidates));
        }
        Ok(())
    }

    /// Looks again and again at what no node actor watches: a cluster that cannot begin yet, for it has no current node, one
    /// that the preferred node does not lead, and lineage that an active node does not bear.
    pub(super) async fn look_after(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            self.registry.look_after_files().await;
            self.registry.complete_lineage().await;
            let membership = self.shared.membership.load_full();
            if membership.current().next().is_none() {
                self.clone().try_to_open().await;
            } else if membership.leader().is_some() && membership.leader() != membership.preferred() {
                self.try_to_hand_back(&membership).await;
            }
        }
    }

    pub(super) async fn try_to_open(self: Arc<Self>) {
        match self.clone().open().await {
            Ok(candidates) => drop(candidates.map(|candidates| actix::spawn(self.admit(candidates)))),
            Err(fault) => {
                let why = Some(fault.to_string());
                let mut waiting = self.opening.lock().await;
                if *waiting != why {
                    tracing::error!(%fault, "nobody serves");
                    *waiting = why;
                }
            }
        }
    }

    /// Looks at all nodes and decides who serves, if nobody does. Gives the nodes that are to be compared.
    async fn open(self: Arc<Self>) -> Result<Option<Candidates>, StartFault> {
        let mut waiting = self.opening.lock().await;
        if self.shared.membership.load().leader().is_some() {
            return Ok(None);
        }
        // What a session was about to commit when all nodes were lost is over before anybody looks who has it.
        let commits = tokio::time::timeout(COMMITS_END, self.shared.commit_lock.exclusive()).await;
        let Ok(still) = commits else {
            tracing::warn!("commits that were under way do not come to an end; looking again");
            return Ok(None);
        };
        let mut seen = sight::look(&self.shared.config, &self.standings, sight::KILLED).await?;
        let known = match self.registry.record().await {
            Some(record) => Some(record),
            None => self.registry.load()?,
        };
        let now = clock::unix_seconds();
        loop {
            match self.decide(known.as_ref(), &mut seen, now).await {
                Opening::Refuse { why } => return Err(StartFault::Refused(why)),
                Opening::Wait { record, why } => {
                    if waiting.as_ref() != Some(&why) {
                        tracing::error!(why, "nobody serves");
                        self.wait(record, &why).await;
                        *waiting = Some(why);
                    }
                    return Ok(None);
                }
                Opening::Serve { mut record, mut compare, ghosts, jump } => {
                    *waiting = None;
                    let leader = record.membership.leader().map_or(0, |leader| usize::from(leader.0));
                    let former = known.as_ref().filter(|_| ghosts == Ghosts::Here);
                    let ready = self.make_ready(former, &record.membership, &compare, jump);
                    let settled = tokio::select! {
                        settled = Box::pin(ready) => Ok(settled),
                        why = self.falls_silent(leader) => Err(why),
                    };
                    let settled = match settled {
                        Ok(false) => self.answers(leader).await.map(|()| false),
                        settled => settled,
                    };
                    if let Err(why) = settled {
                        // It has served nobody yet: another one can. What it was to settle may still run somewhere, and is
                        // laid with the other ghosts before anybody is decided upon.
                        seen[leader] = Sighting::Silent(why);
                        continue;
                    }
                    if settled == Ok(true) {
                        opening::let_in(&mut record, &std::mem::take(&mut compare), now);
                    }
                    drop(still);
                    self.shared.journal.begin(record.cluster.0.clone());
                    let candidates = self.candidates(compare, &record);
                    self.registry.install(record).await;
                    return Ok(candidates);
                }
            }
        }
    }

    /// What comes before the first client: what was under way is brought to one state, and the leader's sequences pass what
    /// was given out. Whether the nodes that are to be compared are equal by that.
    async fn make_ready(&self, former: Option<&Record>, next: &Membership, compare: &[NodeId], jump: bool) -> bool {
        let settled = match former {
            Some(former) if !compare.is_empty() => self.settle(former, next, compare, jump).await,
            _ => false,
        };
        if !settled && jump {
            self.jump(next).await;
        }
        settled
    }

    /// Ends when a node that is about to lead does not answer any more, with what is to be said of it.
    async fn falls_silent(&self, position: usize) -> String {
        loop {
            if let Err(why) = self.answers(position).await {
                return why;
            }
            tokio::time::sleep(self.shared.config.health.now().interval).await;
        }
    }

    /// Whether a node that is about to lead answers, and opens its door, as patiently as health asks.
    async fn answers(&self, position: usize) -> Result<(), String> {
        let health = self.shared.config.health.now();
        let node = &self.shared.config.nodes[position];
        for _ in 0..=health.retries {
            let knock = service::within(health.timeout, service::knock(node));
            if let (Ok(()), Ok(())) = tokio::join!(self.standings[position].feel(), knock) {
                return Ok(());
            }
        }
        Err("it fell silent while the proxy made ready to serve".into())
    }

    /// Who serves. A node that answered a moment ago counts as silent when it lets nobody in any more, for it would lead and
    /// serve nobody; and when something of a former proxy is left on it, which may yet commit what no other node has.
    async fn decide(&self, known: Option<&Record>, seen: &mut [Sighting], now: u64) -> Opening {
        let new_id = || ClusterId::from_random(entropy::bytes());
        loop {
            let decision = match known.cloned() {
                known if self.shared.config.standby => opening::relieve(known, self.unknown(now), new_id(), seen, now),
                Some(record) => opening::reopen(record, seen, now),
                None => opening::first(self.unknown(now), new_id(), seen, now),
            };
            let Opening::Serve { ghosts, .. } = &decision else { return decision };
            let haunted = self.lay_ghosts(*ghosts, seen).await;
            if haunted.is_empty() {
                return decision;
            }
            for (position, why) in haunted {
                seen[position] = Sighting::Silent(why);
            }
        }
    }

    fn unknown(&self, now: u64) -> Membership {
        self.shared.membership.load().unknown(now)
    }

    /// To be called before the leader is published: who waits for a leader must then know whether to wait for these too.
    fn candidates(&self, nodes: Vec<NodeId>, record: &Record) -> Option<Candidates> {
        let leader = record.membership.leader().filter(|_| !nodes.is_empty())?;
        let is_first = record.written.iter().all(|epoch| epoch.0 == 0);
        let names = nodes.iter().map(|node| self.name(*node).to_owned()).collect();
        Some(Candidates { nodes, admitting: self.shared.admission.begin(names, self.name(leader), is_first) })
    }

    async fn wait(&self, record: Option<Record>, why: &str) {
        match record {
            Some(record) => self.registry.install(record).await,
            None => {
                let mut membership = self.unknown(clock::unix_seconds());
                membership.members.iter_mut().for_each(|member| member.reason = why.to_owned());
                self.registry.show(membership);
            }
        }
    }

    /// On every node that serves or is to be compared. The nodes on which something of a former proxy may be left, and why.
    async fn lay_ghosts(&self, whose: Ghosts, seen: &[Sighting]) -> Vec<(usize, String)> {
        if whose == Ghosts::None {
            return Vec::new();
        }
        let nodes = self.shared.config.nodes.iter().zip(seen).enumerate();
        let there = nodes.filter(|(_, (_, seen))| matches!(seen, Sighting::Seen(_)));
        let laid = there.map(|(position, (node, _))| async move {
            // On a connection of its own: it sees whatever has come before it.
            let laid = match self.dial(position, node).await {
                Ok(line) => ghosts::lay(&line, &node.name, whose).await,
                Err(fault) => Err(fault),
            };
            laid.err().map(|fault| (position, format!("statements of the former proxy may still run on it: {fault}")))
        });
        join_all(laid).await.into_iter().flatten().collect()
    }

    /// As patient as health is: a busy server may let nobody in for a while, but answers on what is open.
    async fn dial(&self, position: usize, node: &config::Node) -> Result<Line, ServiceFault> {
        let (service, health) = (&self.shared.config.service, self.shared.config.health.now());
        let mut attempt = 1;
        loop {
            let dialled = service::dial(service, node, &service.database, health.timeout).await;
            let is_silent = |fault: &ServiceFault| matches!(fault.observation(), Observation::Silent(_));
            if !dialled.as_ref().is_err_and(is_silent) || attempt >= LOGINS {
                return dialled;
            }
            if attempt >= health.retries && !self.standings[position].pulse(health.timeout).await {
                return dialled;
            }
            attempt += 1;
        }
    }

    pub(super) async fn jump(&self, next: &Membership) {
        let Some(leader) = next.leader() else { return };
        let jumped = async {
            self.leveller.mark_all(leader).await?;
            self.leveller.jump(next, leader).await
        };
        if let Err(fault) = jumped.await {
            tracing::error!(node = self.name(leader), %fault, "sequences may give out values again that were given out");
        }
    }
}

/// The nodes as configured, of which nothing is known.
pub fn fresh(config: &Config) -> Membership {
    let member = |node: &config::Node| Member {
        name: node.name.clone(),
        address: node.address(),
        weight: node.weight,
        state: MemberState::New,
        reason: "has not been looked at".into(),
        since: clock::unix_seconds(),
    };
    Membership { epoch: Epoch(0), members: config.nodes.iter().map(member).collect(), leading: None }
}
