//! `lockstep recover`, `attach`, `detach`: one node in or out.

use lockstep_runtime::config::Config;
use lockstep_runtime::door::protocol::Request;

use super::order;
use crate::exit::{Exit, Stop};

pub async fn change(config: Config, node: String, request: impl FnOnce(String) -> Request) -> Result<Exit, Stop> {
    known(&config, &node)?;
    order::give(config, request(node)).await
}

fn known(config: &Config, node: &str) -> Result<(), Stop> {
    let names: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.contains(&node) {
        return Ok(());
    }
    let there_is = format!("{} has {}", config.file.display(), names.join(", "));
    Err(Stop::usage(format!("there is no node `{node}`")).remedy(there_is))
}
