//! `lockstep status`: each node, its role, its state, since when and why.

use std::path::Path;

use lockstep_runtime::door::protocol::{Comparing, NodeStatus, PauseStatus, Reply, Request, Scrubbed, Status};

use crate::control;
use crate::exit::{Exit, Stop};
use crate::show::{self, Paint};

pub async fn status(socket: &Path, json: bool) -> Result<Exit, Stop> {
    let status = match control::ask(socket, &Request::Status, |_| ()).await? {
        Reply::Status(status) => *status,
        other => return Err(control::unexpected(other)),
    };
    if json {
        show::json(&status);
    } else {
        show::line(&text(&status, Paint::for_stdout()));
    }
    Ok(judge(&status))
}

fn judge(status: &Status) -> Exit {
    let served = status.pause.is_none() && status.elsewhere.is_none() && status.unwritten.is_none();
    if served && status.nodes.iter().all(is_active) { Exit::Good } else { Exit::Bad }
}

fn is_active(node: &NodeStatus) -> bool {
    node.state == "active"
}

fn text(status: &Status, paint: Paint) -> String {
    let row = |node: &NodeStatus| {
        let cells = [&node.name, &node.address, &node.role, &node.state, &node.since, &node.reason];
        cells.map(String::clone).to_vec()
    };
    let rows: Vec<_> = status.nodes.iter().map(row).collect();
    let table = show::table(&["node", "address", "role", "state", "since", "why"], &rows);
    let painted = table.lines().enumerate().map(|(number, line)| match number.checked_sub(1) {
        None => paint.bold(line),
        Some(node) if is_active(&status.nodes[node]) => line.into(),
        Some(_) => paint.red(line),
    });
    let clients = match status.clients {
        1 => "1 client".into(),
        clients => format!("{} clients", show::count(clients as u64)),
    };
    let mut lines: Vec<String> = painted.collect();
    lines.push(String::new());
    lines.push(format!("cluster {}, epoch {}, {clients}, lockstep {}", status.cluster, status.epoch, status.version));
    lines.extend(status.elsewhere.as_ref().map(|why| format!("clients are not served here: {why}")));
    lines.extend(status.unwritten.as_ref().map(|why| format!("commits wait, for {why}")));
    lines.extend(status.pause.as_ref().map(paused));
    lines.extend(inexact(status.unsafe_statements));
    lines.extend(status.comparing.as_ref().map(comparing));
    lines.extend(status.scrub.as_ref().map(scrubbed));
    lines.extend(remedies(status));
    lines.join("\n")
}

fn paused(pause: &PauseStatus) -> String {
    match &pause.since {
        Some(since) => format!("clients have been held since {since}; let them go on: lockstep resume"),
        None => "clients are being held, as soon as open transactions have finished".into(),
    }
}

/// What the operator has allowed with `[replication] unsafe`.
fn inexact(statements: u64) -> Option<String> {
    let statements = show::count(Some(statements).filter(|statements| *statements > 0)?);
    Some(format!(
        "{statements} unsafe statements were let through since the start; lockstep verify tells whether the nodes differ"
    ))
}

fn comparing(comparing: &Comparing) -> String {
    let Comparing { nodes, leader, progress, clients_wait } = comparing;
    let meanwhile =
        if *clients_wait { "clients are let in when that is done" } else { "commits wait until that is done" };
    format!("{} is being compared with {leader}: {progress}; {meanwhile}", nodes.join(", "))
}

fn scrubbed(scrub: &Scrubbed) -> String {
    let Scrubbed { finished, result, tables, rows, .. } = scrub;
    let found = scrub.found.first().map_or(String::new(), |first| format!(": {first}"));
    format!("compared in the background {finished}: {result}, {tables} tables, {} rows{found}", show::count(*rows))
}

/// What brings each absent node back. Without an active node there is nothing that a recovery could copy.
fn remedies(status: &Status) -> Vec<String> {
    let serves = status.nodes.iter().any(|node| node.role == "leader");
    let decided = |node: &NodeStatus| status.comparing.as_ref().is_none_or(|now| !now.nodes.contains(&node.name));
    let remedy = |node: &NodeStatus| match node.state.as_str() {
        _ if !decided(node) => None,
        "degraded" | "new" if serves => Some(format!("bring {0} back: lockstep recover {0}", node.name)),
        "detached" if serves => Some(format!("let {0} back in: lockstep attach {0}", node.name)),
        _ => None,
    };
    let mut lines: Vec<String> = status.nodes.iter().filter_map(remedy).collect();
    if !serves {
        lines.push(
            "nobody serves: `lockstep check` says what is in the way; once that is put right it serves by itself"
                .into(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(state: &str) -> Status {
        let node = |name: &str, role: &str, state: &str| NodeStatus {
            name: name.into(),
            address: "127.0.0.1:5501".into(),
            role: role.into(),
            state: state.into(),
            since: "2025-01-01T00:00:00Z".into(),
            reason: "equal".into(),
            weight: 1,
        };
        Status {
            cluster: "main".into(),
            version: "0.1.0".into(),
            epoch: 3,
            clients: 1_200,
            unsafe_statements: 0,
            pause: None,
            elsewhere: None,
            unwritten: None,
            nodes: vec![node("midna", "leader", "active"), node("alp", "follower", state)],
            comparing: None,
            scrub: None,
        }
    }

    #[test]
    fn a_node_that_is_not_active_is_a_bad_answer() {
        assert_eq!(judge(&status_of("active")), Exit::Good);
        for state in ["degraded", "detached", "new", "recovering"] {
            assert_eq!(judge(&status_of(state)), Exit::Bad, "{state}");
        }
    }

    #[test]
    fn a_pause_that_was_forgotten_is_seen() {
        let mut status = status_of("active");
        status.pause = Some(PauseStatus { since: Some("2025-01-01T00:00:00Z".into()) });
        assert_eq!(judge(&status), Exit::Bad);
        let text = text(&status, Paint::none());
        assert!(text.contains("held since 2025-01-01T00:00:00Z; let them go on: lockstep resume"), "{text}");
    }

    #[test]
    fn the_table_shows_every_node_and_what_to_do() {
        let text = text(&status_of("degraded"), Paint::none());
        assert!(text.starts_with("node   address         role      state     since"), "{text}");
        assert!(text.contains("cluster main, epoch 3, 1,200 clients, lockstep 0.1.0"), "{text}");
        assert!(text.ends_with("bring alp back: lockstep recover alp"), "{text}");
    }

    #[test]
    fn a_node_that_is_being_compared_needs_no_recovery_yet() {
        let mut status = status_of("new");
        let (nodes, leader, progress) = (vec!["alp".into()], "midna".into(), "shop: public.t, 3 of 7 tables".into());
        status.comparing = Some(Comparing { nodes, leader, progress, clients_wait: true });
        let text = text(&status, Paint::none());
        let told =
            "alp is being compared with midna: shop: public.t, 3 of 7 tables; clients are let in when that is done";
        assert!(text.ends_with(told), "{text}");
    }

    #[test]
    fn where_nobody_serves_there_is_nothing_to_recover_from() {
        let mut status = status_of("degraded");
        (status.nodes[0].role, status.nodes[0].state) = ("none".into(), "unreachable".into());
        let text = text(&status, Paint::none());
        assert!(text.contains("nobody serves: `lockstep check` says") && !text.contains("lockstep recover"), "{text}");
    }

    #[test]
    fn statements_that_were_not_exact_are_never_passed_over() {
        let mut status = status_of("active");
        assert!(!text(&status, Paint::none()).contains("unsafe"));
        status.unsafe_statements = 3;
        assert!(text(&status, Paint::none()).contains("\n3 unsafe statements"), "{}", text(&status, Paint::none()));
    }

    #[test]
    fn programs_find_what_the_contract_names() {
        let json = serde_json::to_value(status_of("active")).unwrap();
        for key in ["name", "address", "role", "state", "since", "reason"] {
            assert!(json["nodes"][1][key].is_string(), "{key}");
        }
    }
}
