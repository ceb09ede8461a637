//! `lockstep check`: are the configuration and the servers fit to run? Needs no running proxy and changes nothing.
//!
//! [`facts`] asks the nodes, `compare`, `users` and `strangers` judge (pure), `recovery` tries the way back, and every
//! finding names its remedy. To add a check: read the fact in `facts.rs`, judge it in a function of its own.

mod compare;
mod facts;
mod finding;
mod recovery;
mod strangers;
mod users;

use std::time::Duration;

use lockstep_runtime::config::{Config, Node};

use crate::postgres::{Failure, Login};
use facts::Facts;
pub use finding::{Finding, Mark, Report};

const PATIENCE: Duration = Duration::from_secs(10);

pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    report.good("configuration", config.file.display().to_string());
    let users = users::read(&mut report, &config.auth.users_file);
    state_directory(&mut report, config);
    service_name(&mut report, config).await;
    let running = tokio::net::UnixStream::connect(&config.control.socket).await.is_ok();
    let mut known: Vec<(&Node, Facts)> = Vec::new();
    for node in config.nodes.iter() {
        match facts::read(&login(config, node)).await {
            Ok(facts) => known.push((node, facts)),
            Err(failure) => unreachable(&mut report, config, node, &failure),
        }
    }
    let known: Vec<_> = known.iter().map(|(node, facts)| (*node, facts)).collect();
    for (node, facts) in &known {
        compare::alone(&mut report, config, (node, facts));
        users::at_node(&mut report, &users, node, facts);
        strangers::look(&mut report, node, facts, running);
    }
    compare::between(&mut report, &known);
    for node in config.nodes.iter().filter(|_| config.nodes.len() > 1) {
        let source = known.iter().find(|(source, _)| source.name != node.name).copied();
        recovery::try_out(&mut report, config, node, source).await;
    }
    report
}

pub fn login(config: &Config, node: &Node) -> Login {
    Login {
        host: node.host.clone(),
        port: node.port,
        user: config.service.user.clone(),
        password: config.service.password.clone(),
        database: config.service.database.clone(),
        timeout: PATIENCE,
    }
}

/// What must outlive a restart must be writable; the proxy makes the directory itself where it can.
fn state_directory(report: &mut Report, config: &Config) {
    let directory = &config.cluster.state_dir;
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
    if nix::unistd::access(existing, nix::unistd::AccessFlags::W_OK).is_err() {
        let found = format!("{} cannot be written by this user", directory.display());
        report.problem(
            "cluster",
            found,
            format!("mkdir -p {0} and give it to who runs the proxy", directory.display()),
        );
    }
}

/// On the machine that is to stand by, the name points elsewhere: no problem, but to be known before the day.
async fn service_name(report: &mut Report, config: &Config) {
    let Some(settings) = &config.guard else { return };
    match lockstep_runtime::guard::look(settings).await {
        Ok(()) => report.good("guard", format!("{} points here", settings.name)),
        Err(why) => report.advice(
            "guard",
            format!("{why}; clients would not be served"),
            "let it point here, or set guard.addresses to what it points to; to stand by, leave it",
        ),
    }
}

fn unreachable(report: &mut Report, config: &Config, node: &Node, failure: &Failure) {
    let user = &config.service.user;
    let remedy = match failure {
        Failure::Answer { state, .. } if state == "28P01" => {
            format!(
                "set service.password, PGPASSWORD or ~/.pgpass to the password of {user} on this node; an empty server gets \
                 its roles by `lockstep recover {}`",
                node.name
            )
        }
        Failure::Answer { state, .. } if state == "28000" => {
            format!("let {user} in with a line in pg_hba.conf on {}, then reload", node.name)
        }
        Failure::Answer { state, .. } if state == "3D000" => {
            format!("create database {} there, or set service.database", config.service.database)
        }
        Failure::Broken(_) if config.service.password.is_none() => format!(
            "give the password of {user} in service.password, PGPASSWORD or ~/.pgpass if it wants one; else start it, or \
             check node.address"
        ),
        _ => format!("start it, or check node.address, the firewall, and listen_addresses on {}", node.name),
    };
    report.problem(&node.name, format!("{} does not answer {user}: {failure}", node.address()), remedy);
}

#[cfg(test)]
mod tests;
