//! Progress of a command, on its way to whoever gave it; or of a start, for all who ask.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::admission::Admission;
use crate::door::protocol::Reply;

/// Never waits and never fails: a command does not depend on whether somebody watches it.
#[derive(Debug, Clone)]
pub struct Report {
    to: To,
}

#[derive(Debug, Clone)]
enum To {
    Nobody,
    Asker(mpsc::Sender<Reply>),
    Everybody(Arc<Admission>),
}

impl Report {
    pub fn to(replies: mpsc::Sender<Reply>) -> Self {
        Self { to: To::Asker(replies) }
    }

    pub fn nobody() -> Self {
        Self { to: To::Nobody }
    }

    pub fn everybody(admission: Arc<Admission>) -> Self {
        Self { to: To::Everybody(admission) }
    }

    pub fn phase(&self, phase: &str, text: impl Into<String>) {
        self.send(Reply::Progress { phase: phase.to_owned(), text: text.into(), done: None, total: None });
    }

    pub fn measure(&self, phase: &str, text: impl Into<String>, done: u64, total: u64) {
        let (done, total) = (Some(done), Some(total));
        self.send(Reply::Progress { phase: phase.to_owned(), text: text.into(), done, total });
    }

    fn send(&self, reply: Reply) {
        match (&self.to, reply) {
            (To::Nobody, _) => {}
            (To::Asker(replies), reply) => {
                // Full: a later line says more.
                let _ = replies.try_send(reply);
            }
            (To::Everybody(admission), Reply::Progress { text, .. }) => admission.progress(text),
            (To::Everybody(_), _) => {}
        }
    }
}
