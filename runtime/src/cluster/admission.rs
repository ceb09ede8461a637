//! A comparison that decides which nodes come in, as clients, operators and the log see it.
//!
//! Invariant: in a cluster's first comparison no client is let in, so that what it sees of the nodes is all that they hold;
//! in any other the leader serves meanwhile. When the comparison ends, however it does, nobody is kept waiting for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::fault::{Fault, SqlState};
use tokio::sync::watch;

use crate::door::protocol::Comparing;

/// From one line of progress in the log to the next.
const TELL_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Admission {
    now: watch::Sender<Option<Underway>>,
    given_up: watch::Sender<bool>,
}

#[derive(Debug, Clone)]
struct Underway {
    shown: Comparing,
    told: Instant,
}

/// Ends the comparison for all who look when it is dropped.
#[derive(Debug)]
pub struct Admitting(Arc<Admission>);

impl Default for Admission {
    fn default() -> Self {
        Self { now: watch::Sender::new(None), given_up: watch::Sender::new(false) }
    }
}

impl Admission {
    /// `nodes` are about to be compared with `leader`.
    pub fn begin(self: &Arc<Self>, nodes: Vec<String>, leader: &str, is_first: bool) -> Admitting {
        let (leader, progress) = (leader.to_owned(), "it begins".to_owned());
        let shown = Comparing { nodes, leader, progress, clients_wait: is_first };
        self.now.send_replace(Some(Underway { shown, told: Instant::now() }));
        Admitting(self.clone())
    }

    /// What is being done now. The log has it now and then.
    pub fn progress(&self, text: String) {
        self.now.send_if_modified(|now| {
            let Some(Underway { shown, told }) = now else { return false };
            if told.elapsed() > TELL_AGAIN {
                *told = Instant::now();
                tracing::info!(nodes = shown.nodes.join(", "), leader = shown.leader, progress = text, "comparing");
            }
            shown.progress = text;
            true
        });
    }

    pub fn now(&self) -> Option<Comparing> {
        self.now.borrow().as_ref().map(|now| now.shown.clone())
    }

    /// Why nobody may log in yet.
    pub fn keeps_clients(&self) -> Option<Fault> {
        let Comparing { nodes, leader, progress, .. } = self.now().filter(|now| now.clients_wait)?;
        let nodes = nodes.join(", ");
        let text = format!("the proxy is starting up: comparing {nodes} with {leader} ({progress})");
        Some(
            Fault::fatal(SqlState::CANNOT_CONNECT_NOW, text)
                .with_hint("Try again; \"lockstep status\" shows how far it is."),
        )
    }

    /// Waits until clients may log in.
    pub async fn open_to_clients(&self) {
        // It ends with `self`, and so not before this.
        let _ = self.now.subscribe().wait_for(|now| now.as_ref().is_none_or(|now| !now.shown.clients_wait)).await;
    }

    /// The proxy stops: there is nothing to be decided any more.
    pub fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    pub async fn is_given_up(&self) {
        let _ = self.given_up.subscribe().wait_for(|given_up| *given_up).await;
    }
}

impl Drop for Admitting {
    fn drop(&mut self) {
        self.0.now.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_first_comparison_keeps_clients_out_and_only_while_it_lasts() {
        let admission = Arc::new(Admission::default());
        assert!(admission.keeps_clients().is_none());
        drop(admission.begin(vec!["alp".into()], "midna", false));
        let first = admission.begin(vec!["alp".into()], "midna", true);
        admission.progress("shop: table 3 of 7".into());
        let fault = admission.keeps_clients().expect("it is the first");
        assert!(fault.to_string().contains("comparing alp with midna (shop: table 3 of 7)"), "{fault}");
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.open_to_clients().await }
        });
        drop(first);
        waiting.await.expect("clients come in");
        assert!(admission.now().is_none());
        let _later = admission.begin(vec!["alp".into()], "midna", false);
        assert!(admission.keeps_clients().is_none() && admission.now().is_some());
    }
}
