//! Looking at all nodes: at the start, and when one of several that are missed is back.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::opening::Sighting;

use super::lineage;
use crate::clock;
use crate::config::{Config, Node};
use crate::node::{self, Standing, StandingFault};
use crate::roster::Roster;

/// A proxy that was killed a moment ago may still be seen by a node for so long.
pub const KILLED: Duration = Duration::from_secs(5);
/// The same of a proxy whose machine is gone: until the node's keep-alive misses it.
pub const GONE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// Another proxy holds the guard of a node.
#[derive(Debug, Clone)]
pub struct Taken {
    pub node: String,
    pub who: String,
}

/// One sighting a node, in the order of the configuration. The guards are taken one after the other, so that of two
/// proxies that start at once the first node's guard decides.
pub async fn look(
    config: &Config,
    standings: &Roster<Arc<Standing>>,
    patience: Duration,
) -> Result<Vec<Sighting>, Taken> {
    let mut seen = Vec::with_capacity(standings.len());
    for (node, standing) in config.nodes.iter().zip(standings.iter()) {
        seen.push(look_at(&node.name, standing, config.health.now().timeout, patience).await?);
    }
    Ok(seen)
}

/// Whether no node that answers is in the use of another proxy. Takes nothing: who looks is not in anybody's way.
pub async fn are_free(config: &Config) -> Result<(), Taken> {
    all_free(config, config.nodes.iter()).await
}

/// The same of these nodes.
pub async fn all_free(config: &Config, nodes: impl Iterator<Item = &Node>) -> Result<(), Taken> {
    let limit = config.health.now().timeout;
    for node in nodes {
        if let Ok(Some(who)) = node::user_of(&config.service, node, limit).await {
            return Err(Taken { node: node.name.clone(), who });
        }
    }
    Ok(())
}

async fn look_at(name: &str, standing: &Standing, limit: Duration, patience: Duration) -> Result<Sighting, Taken> {
    let begun = clock::now();
    let line = loop {
        match standing.line().await {
            Ok(line) => break line,
            Err(fault @ (StandingFault::Service(_) | StandingFault::Retired)) => {
                return Ok(Sighting::Silent(fault.to_string()));
            }
            Err(StandingFault::Taken(who)) if begun.elapsed() > patience => {
                return Err(Taken { node: name.to_owned(), who });
            }
            Err(StandingFault::Taken(_)) => tokio::time::sleep(PAUSE).await,
        }
    };
    Ok(match lineage::read(&line, limit).await {
        Ok(lineage) => Sighting::Seen(lineage),
        Err(fault) => {
            // It may be left from before the node fell silent; the next look has one of its own.
            standing.leave().await;
            Sighting::Silent(fault.to_string())
        }
    })
}
