//! Nodes that come and go with the configuration, and their weights, while clients are served.
//!
//! Invariant: all of it is in force and written down, or nothing is. A node has its place in every roster before anybody can
//! learn its id, and keeps it when it has gone: what still has to do with it then finds that it is out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use lockstep_core::cluster::{Event, MemberState, Membership, Refusal};
use lockstep_core::id::NodeId;

use super::actor::Cluster;
use super::sight;
use crate::clock;
use crate::config::Node;
use crate::node::{self, NodeHandle, Pulses, ServiceProbe, Standing, Surroundings};
use crate::roster::Full;
use crate::shared::Shared;
use crate::supervise::Guardian;

/// The actor of a node, until the node has gone.
pub struct Watched {
    pub handle: NodeHandle,
    guardian: Mutex<Option<Guardian>>,
}

impl Watched {
    pub fn start(
        arbiter: &ArbiterHandle,
        shared: &Shared,
        pulses: &Arc<Pulses>,
        position: usize,
        standing: &Arc<Standing>,
    ) -> Self {
        let config = &shared.config;
        let probe = Arc::new(ServiceProbe::new(config.clone(), config.nodes[position].clone(), standing.clone()));
        let surroundings = Surroundings {
            node: NodeId(position as u16),
            health: config.health.clone(),
            membership: shared.membership.clone(),
            pulses: pulses.clone(),
            cluster: shared.cluster.clone(),
        };
        let (handle, guardian) = node::start(arbiter, surroundings, probe);
        Self { handle, guardian: Mutex::new(Some(guardian)) }
    }

    fn end(&self) {
        drop(self.guardian.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Cluster {
    pub(super) async fn configure(&self, nodes: Vec<Node>) -> Result<(), String> {
        let event = Event::Configured { nodes: nodes.iter().map(Node::configured).collect() };
        let before = self.shared.membership.load_full();
        self.nothing_else_changed(&before, &nodes)?;
        let after = match before.after(event.clone(), clock::unix_seconds()) {
            Ok(after) => after,
            Err(Refusal::Idle) => return Ok(()),
            Err(refusal) => return Err(refusal.to_string()),
        };
        if self.registry.record().await.is_none() {
            return Err("no node has served yet; start again".into());
        }
        let added: Vec<_> = nodes.into_iter().filter(|node| before.find(&node.name).is_none()).collect();
        let removed: Vec<_> = before.ids().filter(|id| after.member(*id).state == MemberState::Removed).collect();
        let _turn = match added.is_empty() && removed.is_empty() {
            true => None,
            false => Some(self.take_turn("reload").map_err(|trouble| trouble.message().to_owned())?),
        };
        sight::all_free(&self.shared.config, added.iter()).await.map_err(|sight::Taken { node, who }| {
            format!("another proxy serves node {node}: {who}; two would part the nodes")
        })?;
        self.registry.can_change().await.map_err(|fault| format!("the state file cannot be written: {fault}"))?;
        // As by `detach`, a node that serves is left at a point that all others have been at.
        let _held = match removed.is_empty() {
            true => None,
            false => Some(self.hold(Duration::ZERO).await.ok_or("commits under way did not end in time")?),
        };
        for node in &removed {
            self.falls(*node).await;
        }
        let (config, first) = (&self.shared.config, self.standings.len());
        config.nodes.has_room_for(added.len()).map_err(|full| full.to_string())?;
        let changed = self.registry.change_when(event, || added.into_iter().try_for_each(|node| self.make_room(node)));
        changed.await?;
        for position in first..self.standings.len() {
            let (arbiter, standing) = (Arbiter::current(), &self.standings[position]);
            let watched = Watched::start(&arbiter, &self.shared, &self.pulses, position, standing);
            self.watched.push(watched).map_err(|full| full.to_string())?;
        }
        for node in removed {
            self.watched[usize::from(node.0)].end();
            self.standings[usize::from(node.0)].retire().await;
        }
        Ok(())
    }

    /// Connections are open to the address that a node has, and a recovery may be under way in its directory.
    fn nothing_else_changed(&self, membership: &Membership, nodes: &[Node]) -> Result<(), String> {
        let known = |node: &&Node| {
            let id = membership.find(&node.name)?;
            Some(self.shared.config.nodes[usize::from(id.0)].unweighed() != node.unweighed())
        };
        match nodes.iter().find(|node| known(node) == Some(true)) {
            Some(Node { name, .. }) => Err(format!(
                "what has changed of [[node]] {name} needs a restart; while it serves, only its weight can change, or the node \
                 go (with one reload) and come back as another (with the next)"
            )),
            None => Ok(()),
        }
    }

    fn make_room(&self, node: Node) -> Result<(), Full> {
        self.standings.push(Arc::new(Standing::new(self.shared.config.clone(), node.clone())))?;
        self.shared.config.nodes.push(node)
    }

    /// For the end of the proxy.
    pub fn stop_watching(&self) {
        self.watched.iter().for_each(Watched::end);
    }
}
