//! `lockstep recover`, `attach`, `detach`: one node in or out.

use std::path::Path;

use lockstep_runtime::door::protocol::{Reply, Request};

use super::order;
use crate::control;
use crate::exit::{Exit, Stop};
use crate::signals::Signals;

pub async fn change(socket: &Path, node: String, request: impl FnOnce(String) -> Request) -> Result<Exit, Stop> {
    known(socket, &node).await?;
    let mut signals = Signals::listen()?;
    tokio::select! {
        outcome = order::give(socket, request(node)) => outcome,
        () = signals.any() => {
            Err(Stop::bad("this program no longer waits, but the proxy goes on with what it was asked")
                .remedy("`lockstep status` and the proxy's log say what becomes of it"))
        }
    }
}

/// By the running proxy's word: the file may have been changed since it was started.
async fn known(socket: &Path, node: &str) -> Result<(), Stop> {
    let status = match control::ask(socket, &Request::Status, |_| ()).await? {
        Reply::Status(status) => status,
        other => return Err(control::unexpected(other)),
    };
    let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.contains(&node) {
        return Ok(());
    }
    Err(Stop::usage(format!("there is no node `{node}`")).remedy(format!("the running proxy has {}", names.join(", "))))
}
