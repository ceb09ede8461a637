//! A batch that followers play before the commit lock is taken, up to its COMMIT: what takes long there holds nobody up.
//!
//! A follower that cannot do it, or of which a connection cannot be had, is passed over: it is sent the whole batch under the
//! lock, and what is wrong is found out there. Invariant: nothing that was played stays open behind the end of its commit.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use lockstep_core::cluster::Membership;
use lockstep_core::id::NodeId;
use lockstep_core::session::{CommitNumber, Settings};
use lockstep_core::unit::Batch;
use tokio::sync::{OwnedSemaphorePermit, watch as signal};

use super::drive::Driver;
use super::exchange;
use super::local::Local;
use super::login::Identity;
use super::perform::Answer;
use super::pool::{self, Follower, Kind};
use super::spill::Spill;
use super::watchdog::watch;
use crate::server::Server;

/// What was played for a commit; to drop it ends what is still being played.
#[derive(Default)]
pub(super) struct Ahead {
    played: HashMap<NodeId, Follower>,
    _goes_on: Option<signal::Sender<()>>,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Ahead {
    pub(super) fn have_played(&mut self, followers: Vec<Follower>) {
        self.played = followers.into_iter().map(|follower| (follower.kind.node, follower)).collect();
    }

    /// A connection that waits for the COMMIT.
    pub(super) fn take(&mut self, node: NodeId) -> Option<Follower> {
        let mut follower = self.played.remove(&node)?;
        follower.is_quiet().then_some(follower)
    }
}

impl Driver {
    pub(super) fn play_ahead(&mut self, of: CommitNumber, batch: Batch) {
        let Ok(seat) = self.local.ahead.clone().try_acquire_owned() else {
            return self.answered(of, Answer::Played(Vec::new()));
        };
        let (goes_on, ends) = signal::channel(());
        self.ahead = Ahead { played: HashMap::new(), _goes_on: Some(goes_on), _seat: Some(seat) };
        let membership = self.server.shared().membership.load();
        let player = Player {
            server: self.server.clone(),
            local: self.local.clone(),
            identity: self.identity.clone(),
            leader: self.session.leader(),
            batch,
            spill: self.spill.clone(),
            ends,
        };
        let kinds: Vec<_> = membership.followers().map(|node| self.follower_of(node, Settings::default())).collect();
        self.ask_of(of, async move { Answer::Played(player.play_on_each(kinds).await) });
    }
}

/// Whatever a follower has played ahead belongs to a unit of this leader.
struct Player {
    server: Arc<Server>,
    local: Rc<Local>,
    identity: Rc<Identity>,
    leader: NodeId,
    batch: Batch,
    spill: Option<Rc<Spill>>,
    ends: signal::Receiver<()>,
}

impl Player {
    async fn play_on_each(self, kinds: Vec<Kind>) -> Vec<Follower> {
        tokio::select! {
            // Whoever has committed on the leader first is on the followers when it is had.
            pass = self.server.shared().commit_lock.shared() => drop(pass),
            () = self.is_over() => return Vec::new(),
        }
        join_all(kinds.into_iter().map(|kind| self.play(kind))).await.into_iter().flatten().collect()
    }

    async fn play(&self, kind: Kind) -> Option<Follower> {
        let node = kind.node;
        let pooled = self.local.pool().take(&kind);
        let dialled = async {
            match pooled {
                Some(follower) => Some(follower),
                None => pool::dial(self.server.node(node), kind, &self.identity.key, self.local.keys()).await.ok(),
            }
        };
        let mut follower = tokio::select! {
            follower = dialled => follower?,
            () = self.is_out(node) => return None,
        };
        let pid = follower.link.pid;
        let why = tokio::select! {
            biased;
            played = exchange::ahead(&mut follower, &self.batch, self.spill.as_deref()) => match played {
                Ok(true) => return Some(follower),
                Ok(false) => "it refuses it".to_owned(),
                Err(why) => why,
            },
            () = self.is_out(node) => "its unit, or the node, is given up".to_owned(),
            why = watch(self.server.clone(), self.local.clone(), node, pid) => why,
        };
        tracing::debug!(node = self.server.node(node).name, why, "a follower could not play ahead");
        self.end(follower);
        None
    }

    /// What it does there would otherwise go on to its end, with its locks.
    fn end(&self, follower: Follower) {
        let server = self.server.clone();
        tokio::task::spawn_local(async move {
            let Follower { kind, link, .. } = follower;
            if let Err(error) = super::link::cancel(server.node(kind.node), link.pid, &link.cancel_key).await {
                tracing::debug!(%error, "a cancel request did not reach its server");
            }
        });
    }

    /// The unit is over, or not led by this leader any more, or the node follows no longer.
    async fn is_out(&self, node: NodeId) {
        tokio::select! {
            () = self.is_over() => {}
            () = self.until(|now| now.leader() != Some(self.leader) || !now.followers().any(|other| other == node)) => {}
        }
    }

    async fn is_over(&self) {
        // Nothing is ever sent by it: it is dropped.
        let _ = self.ends.clone().changed().await;
    }

    async fn until(&self, is_so: impl Fn(&Membership) -> bool) {
        let mut now = self.server.shared().membership.load_full();
        while !is_so(&now) {
            now = self.server.cluster().changed(&now).await;
        }
    }
}
