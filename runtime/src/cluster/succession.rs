//! When a new leader may be asked for the first time.
//!
//! Invariant: while a session is served by one leader, no commit is under way that began under another. For when a leader
//! dies, its locks die with it, and the batches that it had ordered may still be on their way to the follower that leads
//! now: a statement that came before them would work on rows that they are about to replace, and its change would be lost.
//! (Found by the simulator: `lockstep_core::sim`.)

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use lockstep_core::commitlock::CommitLock;
use lockstep_core::id::NodeId;
use tokio::sync::Mutex;

use crate::shared::Shared;

/// Whose predecessor's commits are known to be over.
#[derive(Debug, Default)]
pub struct Succession(Mutex<Option<NodeId>>);

impl Succession {
    /// Returns when nothing is under way any more that a former leader of `leader` has begun. To be called when everybody
    /// can see that `leader` leads: who takes the commit lock after that does not commit for another.
    pub async fn settled(&self, leader: NodeId, lock: &CommitLock) {
        let mut settled = self.0.lock().await;
        if *settled != Some(leader) {
            drop(lock.exclusive().await);
            *settled = Some(leader);
        }
    }
}

/// Returns when every unit that was open under another leader has been brought over to `leader` or is over
/// ([`lockstep_core::heirs`]), or `leader` leads no more; who has not come by `limit` is waited for no longer.
pub async fn gathered(leader: NodeId, shared: &Shared, limit: Duration) {
    let leads = || shared.membership.load().leader() == Some(leader);
    let all = poll_fn(|context| if leads() { shared.heirs.poll_gathered(leader, context) } else { Poll::Ready(()) });
    if tokio::time::timeout(limit, all).await.is_err() && leads() {
        let late = shared.heirs.give_up(leader);
        tracing::warn!(late, ?limit, "open transactions could not be brought over to the new leader in time; they end");
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_new_leader_waits_for_the_commits_of_the_old_one_and_for_no_later_ones() {
        let (lock, succession) = (CommitLock::new(), Succession::default());
        let commit = lock.try_shared();
        let mut settled = Box::pin(succession.settled(NodeId(1), &lock));
        let mut context = Context::from_waker(Waker::noop());
        assert!(settled.as_mut().poll(&mut context).is_pending());
        drop(commit);
        assert!(settled.as_mut().poll(&mut context).is_ready());
        drop(settled);
        let _later = lock.try_shared();
        assert!(Box::pin(succession.settled(NodeId(1), &lock)).as_mut().poll(&mut context).is_ready());
    }
}
