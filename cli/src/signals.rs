//! The signals that ask a process to end, or to look again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Stop;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on the process no longer ends by itself.
    pub fn listen() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|error| Stop::bad(format!("signals cannot be caught: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// SIGTERM or Ctrl-C. For a service: a terminal that closes is no reason to stop, but to `look_again`.
    pub async fn stop(&mut self, mut look_again: impl FnMut()) {
        while self.next().await == Asked::ToLookAgain {
            look_again();
        }
    }

    /// Any of them. For what somebody watches: with the terminal it has no purpose left.
    pub async fn any(&mut self) {
        self.next().await;
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToStop,
            _ = self.interrupt.recv() => Asked::ToStop,
            _ = self.hang_up.recv() => Asked::ToLookAgain,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    ToStop,
    ToLookAgain,
}
