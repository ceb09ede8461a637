//! `lockstep recover`, `attach`, `detach`: one node in or out.

use lockstep_runtime::config::Config;
use lockstep_runtime::door::protocol::{Reply, Request};

use crate::control;
use crate::exit::{Exit, Stop};
use crate::progress::Display;
use crate::show::{self, Paint};

pub async fn change(config: Config, node: String, request: impl FnOnce(String) -> Request) -> Result<Exit, Stop> {
    known(&config, &node)?;
    let mut display = Display::new();
    let reply = control::ask(&config.control.socket, &request(node), |progress| display.show(&progress)).await;
    drop(display);
    match reply? {
        Reply::Done { text } => {
            show::line(&format!("{} {text}", Paint::for_stdout().mark(true)));
            Ok(Exit::Good)
        }
        other => Err(control::unexpected(other)),
    }
}

fn known(config: &Config, node: &str) -> Result<(), Stop> {
    let names: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.contains(&node) {
        return Ok(());
    }
    let there_is = format!("{} has {}", config.file.display(), names.join(", "));
    Err(Stop::usage(format!("there is no node `{node}`")).remedy(there_is))
}
