//! Full comparison of nodes. What it finds means something only while commits are held.
//!
//! Every node is read by a task of its own, database by database, table by table; of a table nothing but a count and a
//! hash travels. What is compared, and which sentence a difference gives, is [`lockstep_core::cluster::compare`]'s.

use std::sync::Arc;

use lockstep_core::cluster::compare::{self, Inventory};
use lockstep_core::id::NodeId;
use tokio::task::JoinSet;

use super::report::Report;
use crate::config::Config;
use crate::door::protocol::Verified;
use crate::service::ServiceFault;

pub(super) mod inventory;

#[derive(Debug, thiserror::Error)]
#[error("{node} could not be read: {fault}")]
pub struct CompareFault {
    pub node: String,
    pub fault: ServiceFault,
}

/// All of a node that is compared.
#[derive(Debug)]
pub struct Reading {
    pub node: NodeId,
    pub databases: usize,
    pub inventory: Inventory,
}

/// Compares everything on `nodes` with the first of them.
pub async fn compare_nodes(config: &Arc<Config>, nodes: &[NodeId], report: &Report) -> Result<Verified, CompareFault> {
    let mut readings = Vec::new();
    for (node, reading) in read(config, nodes, report).await {
        readings.push(reading.map_err(|fault| CompareFault { node: name(config, node).to_owned(), fault })?);
    }
    Ok(judge(config, &readings))
}

/// Reads all `nodes` at once; the answers stand in their order.
pub async fn read(
    config: &Arc<Config>,
    nodes: &[NodeId],
    report: &Report,
) -> Vec<(NodeId, Result<Reading, ServiceFault>)> {
    let mut readers = JoinSet::new();
    for (place, node) in nodes.iter().copied().enumerate() {
        let (config, report) = (config.clone(), if place == 0 { report.clone() } else { Report::nobody() });
        readers.spawn(async move { (place, node, inventory::take(&config, node, &report).await) });
    }
    let mut read = Vec::new();
    while let Some(done) = readers.join_next().await {
        let Ok(done) = done else { continue };
        read.push(done);
        let missing = nodes.iter().filter(|node| read.iter().all(|(_, done, _)| done != *node));
        let missing: Vec<_> = missing.map(|node| name(config, *node)).collect();
        if !missing.is_empty() {
            report.phase("compare", format!("waiting for {}", missing.join(", ")));
        }
    }
    read.sort_by_key(|(place, ..)| *place);
    read.into_iter().map(|(_, node, reading)| (node, reading)).collect()
}

pub fn judge<'a>(config: &Config, readings: impl IntoIterator<Item = &'a Reading>) -> Verified {
    let readings: Vec<_> = readings.into_iter().collect();
    let named: Vec<_> = readings.iter().map(|reading| (name(config, reading.node), &reading.inventory)).collect();
    let first = readings.first();
    Verified {
        databases: first.map_or(0, |reading| reading.databases),
        tables: first.map_or(0, |reading| reading.inventory.tables()),
        rows: first.map_or(0, |reading| reading.inventory.rows()),
        nodes: named.iter().map(|(name, _)| (*name).to_owned()).collect(),
        differences: compare::differences(&named),
        ..Verified::default()
    }
}

fn name(config: &Config, node: NodeId) -> &str {
    &config.nodes[usize::from(node.0)].name
}
