//! Who writes to the nodes past the proxy. What it writes is on one node only, so the nodes drift apart.

use lockstep_runtime::config::Node;

use super::facts::{Facts, Stranger};
use super::finding::Report;

/// `running`: a proxy is at work on this machine, and what comes from here is taken for its own sessions.
pub fn look(report: &mut Report, node: &Node, facts: &Facts, running: bool) {
    let before = report.findings.len();
    for stranger in facts.strangers.iter().filter(|stranger| !(running && stranger.address == facts.our_address)) {
        report.problem(&node.name, session(stranger), shut_out(node, stranger, facts));
    }
    for (name, database) in facts.databases.iter().filter(|(_, database)| database.jobs > 0) {
        let found = format!("pg_cron runs {} jobs in database {name}, on this node alone", database.jobs);
        report.problem(
            &node.name,
            found,
            "run them from outside, through the proxy; UPDATE cron.job SET active = false",
        );
    }
    for subscription in &facts.subscriptions {
        let found = format!("subscription {subscription} writes to this node alone");
        let remedy = format!("ALTER SUBSCRIPTION {subscription} DISABLE");
        report.problem(&node.name, found, remedy);
    }
    if report.findings.len() == before {
        let running = if running { " (sessions from this machine are taken for the proxy's)" } else { "" };
        report.good(&node.name, format!("nobody else is connected{running}"));
    }
}

fn session(stranger: &Stranger) -> String {
    let from = stranger.address.as_deref().unwrap_or("a Unix socket");
    let application = match stranger.application.as_str() {
        "" => String::new(),
        application => format!(" ({application})"),
    };
    format!("{}{application} is connected from {from} to database {}, past the proxy", stranger.user, stranger.database)
}

fn shut_out(node: &Node, stranger: &Stranger, facts: &Facts) -> String {
    if stranger.address == facts.our_address {
        return "connect it to the proxy, and end this session".into();
    }
    let line = match &stranger.address {
        Some(address) => format!("host all all {address}/{} reject", if address.contains(':') { 128 } else { 32 }),
        None => "local all all reject".into(),
    };
    format!("connect it to the proxy; the line `{line}` in pg_hba.conf on {} shuts it out", node.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Mark;
    use crate::check::tests::{facts, node};

    fn stranger(address: Option<&str>) -> Stranger {
        Stranger {
            user: "app".into(),
            database: "shop".into(),
            application: "psql".into(),
            address: address.map(String::from),
        }
    }

    fn report(facts: &Facts, running: bool) -> Report {
        let mut report = Report::default();
        look(&mut report, &node("alp", 5502), facts, running);
        report
    }

    #[test]
    fn a_session_past_the_proxy_is_named_with_the_line_that_shuts_it_out() {
        let facts = Facts { strangers: vec![stranger(Some("10.0.0.7"))], ..facts() };
        let finding = &report(&facts, false).findings[0];
        assert_eq!(finding.found, "app (psql) is connected from 10.0.0.7 to database shop, past the proxy");
        assert!(finding.remedy.as_ref().unwrap().contains("`host all all 10.0.0.7/32 reject` in pg_hba.conf on alp"));
    }

    #[test]
    fn sessions_from_here_are_the_proxys_own_while_it_runs() {
        let here =
            Facts { strangers: vec![stranger(Some("127.0.0.1"))], our_address: Some("127.0.0.1".into()), ..facts() };
        assert_eq!(report(&here, true).count(Mark::Problem), 0);
        assert_eq!(report(&here, false).count(Mark::Problem), 1);
    }

    #[test]
    fn jobs_and_subscriptions_are_writers_too() {
        let mut facts = facts();
        facts.databases.get_mut("shop").unwrap().jobs = 2;
        facts.subscriptions.push("from_erp".into());
        let report = report(&facts, false);
        assert!(report.findings[0].found.contains("pg_cron runs 2 jobs in database shop"));
        assert!(report.findings[1].found.contains("subscription from_erp writes"));
    }
}
