//! Who serves: at the start of the proxy, and when nobody has served for a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lockstep_core::cluster::opening::{self, Opening};
use lockstep_core::cluster::{ClusterId, Member, MemberState, Membership, Record};
use lockstep_core::id::{Epoch, NodeId};

use super::actor::Cluster;
use super::{StartFault, ghosts, sight};
use crate::clock;
use crate::config::{self, Config};
use crate::entropy;

/// Pause between two looks at a cluster that is not as it should be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// The first look. A new cluster serves only when all nodes that are there have been compared; an old one serves at
    /// once, and the comparison goes on behind it.
    pub async fn start(self: Arc<Self>) -> Result<(), StartFault> {
        let is_new = self.registry.load()?.is_none();
        let compare = self.clone().open().await?;
        if is_new {
            self.admit(compare).await;
        } else {
            actix::spawn(async move { self.admit(compare).await });
        }
        Ok(())
    }

    /// Looks again and again at what no node actor watches: a cluster that cannot begin yet, for it has no current node,
    /// and one that the preferred node does not lead.
    pub(super) async fn look_after(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
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
            Ok(compare) => drop(actix::spawn(async move { self.admit(compare).await })),
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
    async fn open(self: Arc<Self>) -> Result<Vec<NodeId>, StartFault> {
        let mut waiting = self.opening.lock().await;
        if self.shared.membership.load().leader().is_some() {
            return Ok(Vec::new());
        }
        let seen = sight::look(&self.shared.config, &self.standings)
            .await
            .map_err(|sight::Taken { node, who }| StartFault::AnotherProxy { node, who })?;
        let known = match self.registry.record().await {
            Some(record) => Some(record),
            None => self.registry.load()?,
        };
        let now = clock::unix_seconds();
        let decision = match known.clone() {
            Some(record) => opening::reopen(record, &seen, now),
            None => opening::first(fresh(&self.shared.config), ClusterId::from_random(entropy::bytes()), &seen, now),
        };
        match decision {
            Opening::Refuse { why } => Err(StartFault::Refused(why)),
            Opening::Wait { record, why } => {
                if waiting.as_ref() != Some(&why) {
                    tracing::error!(why, "nobody serves");
                    self.wait(record, &why).await;
                    *waiting = Some(why);
                }
                Ok(Vec::new())
            }
            Opening::Serve { mut record, mut compare } => {
                *waiting = None;
                let mut alone = true;
                if known.as_ref().is_none_or(|known| !known.clean) && record.written.iter().any(|epoch| epoch.0 > 0) {
                    alone = self.lay_ghosts().await;
                }
                match &known {
                    Some(known)
                        if !compare.is_empty()
                            && Box::pin(self.settle(known, &record.membership, &compare, alone)).await =>
                    {
                        opening::let_in(&mut record, &std::mem::take(&mut compare), now);
                    }
                    _ => self.succeed(known.as_ref(), &record.membership).await,
                }
                self.shared.journal.begin(record.cluster.0.clone());
                self.registry.install(record).await;
                Ok(compare)
            }
        }
    }

    async fn wait(&self, record: Option<Record>, why: &str) {
        match record {
            Some(record) => self.registry.install(record).await,
            None => {
                let mut membership = fresh(&self.shared.config);
                membership.members.iter_mut().for_each(|member| member.reason = why.to_owned());
                self.registry.show(membership);
            }
        }
    }

    /// After a crash, on every node that serves or is to be compared. Whether nothing of the former proxy is left.
    async fn lay_ghosts(&self) -> bool {
        let laid = self.shared.config.nodes.iter().zip(&self.standings).map(|(node, standing)| async move {
            let Ok(line) = standing.line().await else { return true };
            let laid = ghosts::lay(&line, &node.name).await;
            if let Err(fault) = &laid {
                tracing::error!(node = node.name, %fault, "statements of the former proxy may still run");
            }
            laid.is_ok()
        });
        join_all(laid).await.into_iter().all(|laid| laid)
    }

    /// If another node led before, what that one gave out of its sequences may not have come here.
    pub(super) async fn succeed(&self, known: Option<&Record>, next: &Membership) {
        let (Some(known), Some(leader)) = (known, next.leader()) else { return };
        if known.clean || known.membership.leading == Some(leader) {
            return;
        }
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
