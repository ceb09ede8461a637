//! `lockstep reload`: the wish comes in by the control socket, and goes to whoever can read configurations, which is the
//! program and not this crate.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::protocol::Reply;

/// Wishes that wait; more wait in their askers.
const WAITING: usize = 4;
/// It takes no longer, though commits that are under way have to end before a node can go. Who stops the proxy answers nobody
/// any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many users may log in now, or why nothing was taken on.
pub type Outcome = Result<usize, String>;

/// Where operators ask.
#[derive(Debug)]
pub struct Asking(mpsc::Sender<Wish>);

/// Where they are answered.
#[derive(Debug)]
pub struct Reloads(mpsc::Receiver<Wish>);

/// To be answered with what became of it.
#[derive(Debug)]
pub struct Wish(oneshot::Sender<Outcome>);

pub fn channel() -> (Asking, Reloads) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asking(sender), Reloads(receiver))
}

impl Asking {
    pub async fn ask(&self) -> Reply {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            self.0.send(Wish(answer)).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(Ok(users))) => Reply::Reloaded { users },
            Ok(Some(Err(message))) => Reply::Failed { message, hint: Some("the old configuration holds".into()) },
            Ok(None) | Err(_) => {
                Reply::Failed { message: "it is stopping, or takes on no configuration".into(), hint: None }
            }
        }
    }
}

impl Reloads {
    /// `None`: nobody can ask any more.
    pub async fn next(&mut self) -> Option<Wish> {
        self.0.recv().await
    }
}

impl Wish {
    pub fn answer(self, outcome: Outcome) {
        // Whoever asked may have left; the log has it too.
        let _ = self.0.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_is_answered_with_what_became_of_it() {
        let (asking, mut reloads) = channel();
        let answer = |outcome| async {
            if let Some(wish) = reloads.next().await {
                wish.answer(outcome);
            }
            reloads
        };
        let (taken, mut reloads) = tokio::join!(asking.ask(), answer(Ok(3)));
        assert_eq!(taken, Reply::Reloaded { users: 3 });
        let refuse = async { reloads.next().await.expect("a wish").answer(Err("[listen] needs a restart".into())) };
        let (refused, ()) = tokio::join!(asking.ask(), refuse);
        assert!(matches!(refused, Reply::Failed { message, .. } if message == "[listen] needs a restart"));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_proxy_that_stops() {
        let (asking, reloads) = channel();
        drop(reloads);
        assert!(matches!(asking.ask().await, Reply::Failed { message, .. } if message.contains("stopping")));
    }
}
