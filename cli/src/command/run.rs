//! `lockstep run`: serve until told to stop.

use std::path::Path;
use std::time::Duration;

use lockstep_runtime::config::Config;
use lockstep_runtime::door::reload::{Outcome, Reloads, Wish};
use sd_notify::NotifyState;

use crate::config::{self, UsersFile};
use crate::exit::{Exit, Stop};
use crate::server::{self, Running};
use crate::signals::{Asked, Signals};

/// How long clients may take to finish their transactions at a stop.
const DRAIN: Duration = Duration::from_secs(30);

pub fn run(mut config: Config, standby: bool) -> Result<Exit, Stop> {
    config.standby = standby;
    server::block_on(serve(config))
}

pub async fn serve(config: Config) -> Result<Exit, Stop> {
    let mut signals = Signals::listen()?;
    let (listen, file) = (config.listen.address, config.file.clone());
    let mut server = tokio::select! {
        server = server::start(config) => server?,
        () = signals.stop(|| tracing::warn!("SIGHUP: it is starting, with the configuration as it was read")) => {
            tracing::info!("stopped before it served");
            return Ok(Exit::Good);
        }
    };
    notify(&[NotifyState::Ready]);
    tracing::info!(address = %listen, "listening for clients");
    let wishes = server.reloads();
    until_stopped(&mut signals, wishes, &server, &file).await;
    tracing::info!("stopping: no new clients, those at work may finish; a second signal ends them");
    notify(&[NotifyState::Stopping]);
    let deaf = || tracing::warn!("SIGHUP: it is stopping and takes on no configuration");
    tokio::select! {
        () = server.drain(DRAIN) => tracing::info!("stopped"),
        () = signals.stop(deaf) => tracing::warn!("stopped at once, as asked twice"),
    }
    Ok(Exit::Good)
}

/// Takes on the configuration whenever somebody asks for that. A stop waits for nothing of it.
async fn until_stopped(signals: &mut Signals, mut wishes: Option<Reloads>, server: &Running, file: &Path) {
    loop {
        let wish = tokio::select! {
            asked = signals.next() => match asked {
                Asked::ToStop => return,
                Asked::ToLookAgain => None,
            },
            wish = next(&mut wishes) => Some(wish),
        };
        let asked = if wish.is_some() { "lockstep reload" } else { "SIGHUP" };
        let outcome = tokio::select! {
            outcome = reload(server, file, asked) => outcome,
            () = signals.stop(|| tracing::warn!("SIGHUP: it is taking on the configuration already")) => return,
        };
        if let Some(wish) = wish {
            wish.answer(outcome);
        }
    }
}

async fn next(wishes: &mut Option<Reloads>) -> Wish {
    if let Some(wishes) = wishes
        && let Some(wish) = wishes.next().await
    {
        return wish;
    }
    std::future::pending().await
}

/// Takes on the file as it is now, or says why not and goes on as before.
async fn reload(server: &Running, file: &Path, asked: &str) -> Outcome {
    let outcome = match config::load(Some(file), UsersFile::Needed) {
        Ok(config) => server.reload(&config).await.map_err(|why| why.to_string()),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    };
    match &outcome {
        Ok(users) => tracing::info!(users, asked, "the configuration has been taken on"),
        Err(why) => tracing::error!(why, asked, "the configuration is not taken on; the old one holds"),
    }
    outcome
}

/// Outside systemd there is nobody to tell, and that is no error.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
