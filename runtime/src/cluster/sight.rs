//! Looking at all nodes: at the start, and when one of several that are missed is back.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::opening::Sighting;

use super::lineage;
use crate::clock;
use crate::config::Config;
use crate::node::{Standing, StandingFault};

/// A proxy that was killed a moment ago may still be seen by a node for so long.
const GHOST: Duration = Duration::from_secs(5);
const GHOST_PAUSE: Duration = Duration::from_millis(100);

/// Another proxy holds the guard of a node.
#[derive(Debug, Clone)]
pub struct Taken {
    pub node: String,
    pub who: String,
}

/// One sighting a node, in the order of the configuration. The guards are taken one after the other, so that of two
/// proxies that start at once the first node's guard decides.
pub async fn look(config: &Config, standings: &[Arc<Standing>]) -> Result<Vec<Sighting>, Taken> {
    let mut seen = Vec::with_capacity(standings.len());
    for (node, standing) in config.nodes.iter().zip(standings) {
        seen.push(look_at(&node.name, standing, config.health.now().timeout).await?);
    }
    Ok(seen)
}

async fn look_at(name: &str, standing: &Standing, limit: Duration) -> Result<Sighting, Taken> {
    let begun = clock::now();
    let line = loop {
        match standing.line().await {
            Ok(line) => break line,
            Err(StandingFault::Service(fault)) => return Ok(Sighting::Silent(fault.to_string())),
            Err(StandingFault::Taken(who)) if begun.elapsed() > GHOST => {
                return Err(Taken { node: name.to_owned(), who });
            }
            Err(StandingFault::Taken(_)) => tokio::time::sleep(GHOST_PAUSE).await,
        }
    };
    Ok(match lineage::read(&line, limit).await {
        Ok(lineage) => Sighting::Seen(lineage),
        Err(fault) => Sighting::Silent(fault.to_string()),
    })
}
