//! `lockstep run`: serve until told to stop.

use lockstep_runtime::config::Config;
use sd_notify::NotifyState;

use crate::exit::{Exit, Stop};
use crate::server;
use crate::signals::Signals;

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
    tracing::info!("stopping: no new clients, those at work may finish; a second signal ends them");
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
