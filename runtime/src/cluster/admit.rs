//! Letting nodes in that may be equal, when a full comparison under held commits shows that they are.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::{Event, MemberState};
use lockstep_core::id::NodeId;

use super::actor::Cluster;
use super::admission::Admitting;
use super::command::Trouble;
use super::compare::{self, Reading};
use super::hold::Hold;
use super::report::Report;
use crate::door::protocol::Verified;
use crate::service::ServiceFault;

/// Clients wait for a comparison no longer; a recovery, which holds commits for less than a second, is then the better way.
const COMPARING: Duration = Duration::from_secs(120);

/// What a comparison with the leader said of a node.
enum Finding {
    Equal,
    Differs(Verified),
    Unread(ServiceFault),
}

/// Nodes that come in if they are equal; while this lives, it is known that they are being compared.
pub(super) struct Candidates {
    pub nodes: Vec<NodeId>,
    pub admitting: Admitting,
}

impl Cluster {
    /// Compares nodes with the leader and lets in those that are equal.
    pub async fn admit(self: Arc<Self>, candidates: Candidates) {
        let Candidates { nodes, admitting } = candidates;
        let names = nodes.iter().map(|node| self.name(*node)).collect::<Vec<_>>().join(", ");
        let follows = match self.shared.admission.keeps_clients() {
            Some(_) => "clients are let in when that is done",
            None => "clients are served, and commits wait until that is done",
        };
        tracing::info!(nodes = names, limit = ?COMPARING, follows, "comparing with the leader");
        self.compare_and_admit(nodes).await;
        drop(admitting);
    }

    async fn compare_and_admit(&self, nodes: Vec<NodeId>) {
        let report = Report::everybody(self.shared.admission.clone());
        report.phase("hold", "waiting for commits that are under way");
        let Some(held) = self.hold(COMPARING).await else {
            for node in nodes {
                self.stays(node, "commits could not be held for a comparison".into()).await;
            }
            return;
        };
        let Some(leader) = self.shared.membership.load().leader() else { return };
        let findings = tokio::select! {
            findings = held.within_limit(Box::pin(self.compare_with(leader, &nodes, &report))) => findings,
            // Commits must not be held up to keep a stop waiting.
            () = self.shared.admission.is_given_up() => {
                tracing::info!("the comparison is given up, for the proxy stops");
                return;
            }
        };
        let findings = match findings {
            Ok(findings) => findings,
            Err(overheld) => {
                for node in nodes {
                    self.stays(node, format!("it could not be compared: {overheld}")).await;
                }
                return;
            }
        };
        for (node, finding) in findings {
            match finding {
                Finding::Equal => self.joins(node, leader).await,
                Finding::Differs(verified) => self.stays(node, self.difference(node, leader, &verified)).await,
                Finding::Unread(fault) => self.stays(node, format!("it could not be compared: {fault}")).await,
            }
        }
    }

    /// Lets one node back in at the operator's word.
    pub(super) async fn attach(&self, node: NodeId, report: &Report) -> Result<String, Trouble> {
        let name = self.name(node);
        report.phase("hold", "waiting for commits that are under way");
        let held = self.hold(COMPARING).await.ok_or("commits under way did not end in time")?;
        let leader =
            self.shared.membership.load().leader().ok_or("no node is active that it could be compared with")?;
        if self.state(node).is_current() {
            return Err(Trouble::new(format!("{name} is {} already", self.state(node).name())));
        }
        let findings =
            held.within_limit(Box::pin(self.compare_with(leader, &[node], report))).await.map_err(|overheld| {
                Trouble::new(format!("{name} could not be compared: {overheld}"))
                    .hint(format!("copy it instead, which holds commits for an instant: lockstep recover {name}"))
            });
        match findings?.pop().map(|(_, finding)| finding) {
            Some(Finding::Equal) => {
                let how = format!("attached; equal to {}", self.name(leader));
                self.registry
                    .change(Event::Joined { node, how })
                    .await
                    .map_err(|refusal| Trouble::new(refusal.to_string()))?;
                Ok(format!("{name} is equal to {} and active", self.name(leader)))
            }
            Some(Finding::Differs(verified)) => Err(Trouble::new(self.difference(node, leader, &verified))),
            Some(Finding::Unread(fault)) => Err(Trouble::new(format!("a node could not be read: {fault}"))),
            None => Err("nothing was compared".into()),
        }
    }

    /// Commits, and commands that each node runs by itself, wait until the hold is dropped. What is done under it has
    /// `limit` to end.
    pub(super) async fn hold(&self, limit: Duration) -> Option<Hold> {
        Hold::take(&self.shared.commit_lock, &self.shared.utilities, limit).await
    }

    async fn compare_with(&self, leader: NodeId, nodes: &[NodeId], report: &Report) -> Vec<(NodeId, Finding)> {
        let config = &self.shared.config;
        let all: Vec<_> = std::iter::once(leader).chain(nodes.iter().copied()).collect();
        let mut readings = compare::read(config, &all, report).await.into_iter();
        let leaders = match readings.next() {
            Some((_, Ok(reading))) => reading,
            Some((_, Err(fault))) => {
                tracing::error!(node = self.name(leader), %fault, "the leader could not be read for a comparison");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut findings = Vec::new();
        for (node, reading) in readings {
            let finding = match reading {
                Ok(reading) => self.finding(&leaders, &reading).await.unwrap_or_else(Finding::Unread),
                Err(fault) => Finding::Unread(fault),
            };
            findings.push((node, finding));
        }
        findings
    }

    /// A node that differs in nothing but where its sequences stand is levelled, for values that were drawn leave no
    /// other trace; a new node is not, for there the position may be all that tells.
    async fn finding(&self, leaders: &Reading, reading: &Reading) -> Result<Finding, ServiceFault> {
        if self.state(reading.node) != MemberState::New
            && leaders.inventory.is_equal_but_for_positions(&reading.inventory)
        {
            self.leveller.level_joining(&self.shared.membership.load(), reading.node).await?;
            return Ok(Finding::Equal);
        }
        let verified = compare::judge(&self.shared.config, [leaders, reading]);
        Ok(if verified.differences.is_empty() { Finding::Equal } else { Finding::Differs(verified) })
    }

    async fn joins(&self, node: NodeId, leader: NodeId) {
        let how = format!("compared in full, equal to {}", self.name(leader));
        if let Err(refusal) = self.registry.change(Event::Joined { node, how }).await {
            tracing::error!(%refusal, "an equal node cannot join");
        }
    }

    pub(super) async fn stays(&self, node: NodeId, why: String) {
        tracing::warn!(
            node = self.name(node),
            why,
            remedy = format!("lockstep recover {}", self.name(node)),
            "stays out"
        );
        if let Err(refusal) = self.registry.change(Event::Stayed { node, why }).await {
            tracing::debug!(%refusal, "nothing changes");
        }
    }

    fn difference(&self, node: NodeId, leader: NodeId, verified: &Verified) -> String {
        let (name, leader) = (self.name(node), self.name(leader));
        let first = verified.differences.first().map_or("", String::as_str);
        let more = match verified.differences.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        format!("differs from {leader}: {first}{more}; make it equal with: lockstep recover {name}")
    }
}
