//! `lockstep recover`, `attach`, `detach`: one node in or out.

use std::path::Path;

use lockstep_runtime::door::protocol::{Reply, Request};

use crate::control;
use crate::exit::{Exit, Stop};
use crate::progress::Display;
use crate::show::{self, Paint};
use crate::signals::Signals;

pub async fn change(socket: &Path, node: String, request: impl FnOnce(String) -> Request) -> Result<Exit, Stop> {
    known(socket, &node).await?;
    let mut signals = Signals::listen()?;
    let mut display = Display::new();
    let request = request(node);
    let reply = tokio::select! {
        reply = control::ask(socket, &request, |progress| display.show(&progress)) => reply,
        () = signals.any() => {
            drop(display);
            return Err(Stop::bad("this program no longer waits, but the proxy goes on with what it was asked")
                .remedy("`lockstep status` and the proxy's log say what becomes of it"));
        }
    };
    drop(display);
    match reply? {
        Reply::Done { text } => {
            show::line(&format!("{} {text}", Paint::for_stdout().mark(true)));
            Ok(Exit::Good)
        }
        other => Err(control::unexpected(other)),
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
