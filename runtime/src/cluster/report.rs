//! Progress of a command, on its way to whoever gave it.

use tokio::sync::mpsc;

use crate::door::protocol::Reply;

/// Never waits and never fails: a command does not depend on whether somebody watches it.
#[derive(Debug, Clone)]
pub struct Report {
    replies: Option<mpsc::Sender<Reply>>,
}

impl Report {
    pub fn to(replies: mpsc::Sender<Reply>) -> Self {
        Self { replies: Some(replies) }
    }

    pub fn nobody() -> Self {
        Self { replies: None }
    }

    pub fn phase(&self, phase: &str, text: impl Into<String>) {
        self.send(Reply::Progress { phase: phase.to_owned(), text: text.into(), done: None, total: None });
    }

    pub fn measure(&self, phase: &str, text: impl Into<String>, done: u64, total: u64) {
        let (done, total) = (Some(done), Some(total));
        self.send(Reply::Progress { phase: phase.to_owned(), text: text.into(), done, total });
    }

    fn send(&self, reply: Reply) {
        if let Some(replies) = &self.replies {
            // Full: a later line says more.
            let _ = replies.try_send(reply);
        }
    }
}
