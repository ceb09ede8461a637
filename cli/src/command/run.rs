//! `lockstep run`: serve until told to stop.

use std::path::Path;

use lockstep_runtime::config::Config;
use sd_notify::NotifyState;

use crate::config;
use crate::exit::{Exit, Stop};
use crate::server::{self, Running};
use crate::signals::Signals;

pub fn run(config: Config) -> Result<Exit, Stop> {
    server::block_on(serve(config))
}

async fn serve(config: Config) -> Result<Exit, Stop> {
    let mut signals = Signals::listen()?;
    let (listen, file) = (config.listen.address, config.file.clone());
    let server = server::start(config).await?;
    notify(&[NotifyState::Ready]);
    tracing::info!(address = %listen, "serving");
    signals.stop(|| reload(&server, &file)).await;
    tracing::info!("stopping: no new clients, those at work may finish; a second signal ends them");
    notify(&[NotifyState::Stopping]);
    tokio::select! {
        () = server.drain() => tracing::info!("stopped"),
        () = signals.stop(|| tracing::warn!("SIGHUP: it is stopping and takes on no configuration")) => tracing::warn!("stopped at once, as asked twice"),
    }
    Ok(Exit::Good)
}

/// Takes on the file as it is now, or says why not and goes on as before.
fn reload(server: &Running, file: &Path) {
    let config = match config::load(Some(file)) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                tracing::error!(%problem, "SIGHUP: the configuration is not taken on; the old one holds");
            }
            return;
        }
    };
    match server.reload(&config) {
        Ok(users) => tracing::info!(users, "SIGHUP: the users file and [health] have been taken on"),
        Err(why) => tracing::error!(%why, "SIGHUP: the configuration is not taken on; the old one holds"),
    }
}

/// Outside systemd there is nobody to tell, and that is no error.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
