//! `lockstep run`: serve until told to stop.

use lockstep_runtime::config::Config;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Stop};
use crate::server;

pub fn run(config: Config) -> Result<Exit, Stop> {
    server::block_on(serve(config))
}

async fn serve(config: Config) -> Result<Exit, Stop> {
    let mut signals = Signals::listen()?;
    let listen = config.listen.address;
    let server = server::start(config).await?;
    notify(&[NotifyState::Ready]);
    tracing::info!(address = %listen, "serving");
    signals.stop().await;
    tracing::info!("stopping: no new clients, those that are at work may finish; a second signal ends them");
    notify(&[NotifyState::Stopping]);
    tokio::select! {
        () = server.drain() => tracing::info!("stopped"),
        () = signals.stop() => tracing::warn!("stopped at once, as asked twice"),
    }
    Ok(Exit::Good)
}

/// Outside systemd there is nobody to tell, and that is no error.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not notified");
    }
}

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

    /// Until the operator wants the process to end.
    pub async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: reloading is not in this version; restart to apply a new configuration");
                }
            }
        }
    }
}
