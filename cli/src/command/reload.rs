//! `lockstep reload`: the running proxy takes on its configuration as it is now, as at SIGHUP.

use lockstep_runtime::config::Config;
use lockstep_runtime::door::protocol::{Reply, Request};
use serde::Serialize;

use crate::control;
use crate::exit::{Exit, Stop};
use crate::show::{self, Paint};

#[derive(Debug, Serialize)]
struct Outcome {
    taken_on: bool,
    users: Option<usize>,
    why: Option<String>,
}

/// The file has been read here already, so what is wrong in it never comes as far as the proxy.
pub async fn reload(config: &Config, json: bool) -> Result<Exit, Stop> {
    let (outcome, exit) = match control::ask(&config.control.socket, &Request::Reload, |_| ()).await? {
        Reply::Reloaded { users } => (Outcome { taken_on: true, users: Some(users), why: None }, Exit::Good),
        Reply::Failed { message, .. } if json => {
            (Outcome { taken_on: false, users: None, why: Some(message) }, Exit::Bad)
        }
        other => return Err(control::unexpected(other)),
    };
    if json {
        show::json(&outcome);
    } else {
        let users = match outcome.users.unwrap_or_default() {
            1 => "1 user".into(),
            users => format!("{users} users"),
        };
        show::line(&format!("{} the configuration has been taken on, with {users}", Paint::for_stdout().mark(true)));
    }
    Ok(exit)
}
