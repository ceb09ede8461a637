//! Holding commits while nodes are compared, changed or let in.
//!
//! Invariant: clients wait for no hold longer than its limit, whatever the nodes do. What is awaited under a hold goes
//! through [`Hold::within_limit`]; only a change of the membership, which must not end half way, stands outside it.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::commitlock::{CommitLock, Pass};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;

/// How long commits that are under way may keep whoever wants to hold them waiting.
pub(super) const HOLD_PATIENCE: Duration = Duration::from_secs(30);

/// While it lives, nothing is committed and no command runs that each node runs by itself.
pub(super) struct Hold {
    begun: Instant,
    limit: Duration,
    _commits: Pass,
    _utilities: OwnedRwLockWriteGuard<()>,
}

/// What was done under a hold took longer than commits may wait.
#[derive(Debug, thiserror::Error)]
#[error("it was not done in the {} s for which commits may be held", .0.as_secs_f64())]
pub(super) struct Overheld(Duration);

impl Hold {
    /// `None`: what was under way did not end in time.
    pub async fn take(commits: &CommitLock, utilities: &Arc<RwLock<()>>, limit: Duration) -> Option<Self> {
        let both = async {
            let utilities = utilities.clone().write_owned().await;
            (commits.exclusive().await, utilities)
        };
        let (commits, utilities) = tokio::time::timeout(HOLD_PATIENCE, both).await.ok()?;
        Some(Self { begun: Instant::now(), limit, _commits: commits, _utilities: utilities })
    }

    /// Does `work`, or gives it up when the hold has reached its limit.
    pub async fn within_limit<T>(&self, work: impl Future<Output = T>) -> Result<T, Overheld> {
        tokio::time::timeout_at(self.begun + self.limit, work).await.map_err(|_| Overheld(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_never_ends_is_given_up_at_the_limit_and_commits_go_on() {
        let (commits, utilities) = (CommitLock::new(), Arc::default());
        let hold = Hold::take(&commits, &utilities, Duration::from_millis(10)).await.expect("nobody else holds it");
        assert!(commits.try_shared().is_none(), "commits wait while it is held");
        assert_eq!(hold.within_limit(async { 1 }).await.ok(), Some(1));
        let overheld = hold.within_limit(std::future::pending::<()>()).await.expect_err("it never ends");
        assert_eq!(overheld.to_string(), "it was not done in the 0.01 s for which commits may be held");
        drop(hold);
        assert!(commits.try_shared().is_some() && utilities.try_read().is_ok());
    }
}
