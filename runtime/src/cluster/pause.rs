//! `lockstep pause`: clients are held without being disconnected; `lockstep resume` lets them go on.

use std::time::Duration;

use lockstep_core::cluster::intake::PauseRefusal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actor::Cluster;
use super::command::Trouble;
use super::report::Report;
use crate::door::protocol::Reply;
use crate::intake::Pausing;

/// From one look at who is still at work to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Cluster {
    /// Returns when nothing of any client's is under way. If that does not come about in time, or nobody waits for it any
    /// more, clients go on as if nothing had been.
    pub(super) async fn pause(
        &self,
        patience: Duration,
        report: &Report,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<String, Trouble> {
        let pausing = match self.shared.intake.pause() {
            Ok(pausing) => pausing,
            Err(PauseRefusal::Already) => return Ok("clients are held already; go on with: lockstep resume".into()),
            Err(refusal) => return Err(Trouble::new(refusal.to_string())),
        };
        tracing::info!(?patience, "nothing new of clients begins; what is under way may finish");
        match stillness(pausing, patience, report, replies).await {
            Ok(()) => {
                tracing::warn!("clients are held until: lockstep resume");
                Ok("clients are held, and nothing is under way; go on with: lockstep resume".into())
            }
            Err(trouble) => {
                tracing::warn!(why = trouble.message(), "clients go on");
                Err(trouble.hint("clients go on; nothing has been changed".into()))
            }
        }
    }

    pub(super) fn resume(&self) -> String {
        if self.shared.intake.resume() {
            tracing::info!("clients go on");
            "clients go on".into()
        } else {
            "clients were not held".into()
        }
    }
}

async fn stillness(
    pausing: Pausing<'_>,
    patience: Duration,
    report: &Report,
    replies: &mpsc::Sender<Reply>,
) -> Result<(), Trouble> {
    let (deadline, mut told) = (Instant::now() + patience, 0);
    loop {
        let at_work = pausing.at_work();
        if replies.is_closed() {
            return Err("whoever asked for the pause has left".into());
        }
        if at_work == 0 {
            return if pausing.settle() { Ok(()) } else { Err("the pause was ended before it held".into()) };
        }
        if !pausing.is_in_force() {
            return Err("the pause was ended before it held".into());
        }
        if Instant::now() >= deadline {
            return Err(Trouble::new(format!("after {patience:?}, {}", unfinished(at_work))));
        }
        if told != at_work {
            report.phase("pause", unfinished(at_work));
            told = at_work;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn unfinished(clients: usize) -> String {
    match clients {
        1 => "1 client has a transaction or a statement under way".into(),
        clients => format!("{clients} clients have a transaction or a statement under way"),
    }
}
