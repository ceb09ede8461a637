//! A command that the proxy carries out, with progress and a sentence at its end: `pause`, `resume`, and those about a node.

use std::path::Path;

use lockstep_runtime::door::protocol::{Reply, Request};

use crate::control;
use crate::exit::{Exit, Stop};
use crate::progress::Display;
use crate::show::{self, Paint};

pub async fn give(socket: &Path, request: Request) -> Result<Exit, Stop> {
    let mut display = Display::new();
    let reply = control::ask(socket, &request, |progress| display.show(&progress)).await;
    drop(display);
    match reply? {
        Reply::Done { text } => {
            show::line(&format!("{} {text}", Paint::for_stdout().mark(true)));
            Ok(Exit::Good)
        }
        other => Err(control::unexpected(other)),
    }
}
