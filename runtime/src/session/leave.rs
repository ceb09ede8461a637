//! The end of a session, in whatever state it is.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::drive::Driver;
use super::login::Identity;
use super::peer::Peer;
use crate::server::Server;

/// How long a client that does not read may keep us.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Driver {
    /// What is still to be written.
    pub(super) async fn farewell(mut self) {
        let mut out = std::mem::take(&mut self.session.client_out);
        let mut last = std::mem::replace(&mut self.session.leader_out, BytesMut::new());
        if let Some(leader) = self.leader.take() {
            let _ = leader.peer.write(&mut last);
            if self.draws {
                tokio::task::spawn_local(drawn(leader.peer, self.server.clone(), self.identity.clone()));
            }
        }
        if self.client_open {
            let _ = tokio::time::timeout(LAST_WORDS, self.client.write_all(&mut out)).await;
        }
    }
}

/// The statement that was under way when its session ended has come to its end, too, or the connection has.
async fn drawn(leader: Peer, server: Arc<Server>, identity: Rc<Identity>) {
    leader.hear_out().await;
    server.cluster().sequences_moved(&identity.database);
}

/// A session that ends in the middle of a commit, by a fault of ours: nobody will go on with it. The commit lock is kept
/// until the nodes that may differ are out, and so are the place among the commits in flight and the leader's connection.
impl Drop for Driver {
    fn drop(&mut self) {
        let nodes = self.session.abandoned();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if nodes.is_empty() {
            return;
        }
        self.be_busy();
        let (server, held) = (self.server.clone(), std::mem::take(&mut self.held));
        runtime.spawn(async move {
            for node in nodes {
                server.cluster().diverged(node, "a session ended in the middle of a commit to it".into()).await;
            }
            drop(held);
        });
    }
}
