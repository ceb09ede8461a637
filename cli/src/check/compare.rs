//! Whether nodes are fit, each for itself and all for each other. Pure: facts in, findings out.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_runtime::config::{Config, Node};

use super::facts::{Database, Facts};
use super::finding::Report;

/// PostgreSQL 13 and newer.
const OLDEST: u32 = 13;

pub type Known<'a> = (&'a Node, &'a Facts);

/// Settings that must have one value, and why.
const FIXED: &[(&str, &str, &str)] = &[
    ("session_replication_role", "origin", "foreign keys and triggers do not work"),
    ("default_transaction_read_only", "off", "writes are refused"),
    ("standard_conforming_strings", "on", "backslashes in strings mean something else"),
];

/// Settings whose value a statement's result depends on: what is written on one node must read the same on another.
const EQUAL: &[&str] = &[
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "default_transaction_isolation",
    "default_text_search_config",
    "bytea_output",
    "extra_float_digits",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_identifier_length",
    "password_encryption",
    "xmlbinary",
    "xmloption",
];

/// A standby refuses to start where one of these is smaller than on the server that it follows.
const STANDBY: &[&str] = &[
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
];

/// One node for itself.
pub fn alone(report: &mut Report, config: &Config, (node, facts): Known<'_>) {
    let name = node.name.as_str();
    version(report, name, facts);
    let user = &config.service.user;
    if !facts.superuser {
        let remedy = format!("on {name}: ALTER ROLE {user} SUPERUSER");
        report.problem(name, format!("the service's role {user} is no superuser"), remedy);
    }
    if facts.standby {
        let remedy = format!("promote it, or bring it in with `lockstep recover {name}`");
        report.problem(name, "is a standby of another server and takes no writes", remedy);
    }
    for (setting, good, why) in FIXED {
        if let Some(value) = facts.settings.get(*setting).filter(|value| value != good) {
            let remedy = format!("on {name}: ALTER SYSTEM SET {setting} = '{good}', then reload");
            report.problem(name, format!("{setting} is {value}: {why}"), remedy);
        }
    }
    for setting in ["fsync", "synchronous_commit"] {
        if facts.settings.get(setting).is_some_and(|value| value == "off") {
            let remedy = format!("on {name}: ALTER SYSTEM SET {setting} = 'on', then reload");
            report.advice(name, format!("{setting} is off: a power cut may lose what was acknowledged"), remedy);
        }
    }
    connections(report, config, (node, facts));
    if facts.prepared > 0 {
        let found = format!("{} prepared transactions hold their locks", facts.prepared);
        report.advice(name, found, "see pg_prepared_xacts; COMMIT PREPARED or ROLLBACK PREPARED each");
    }
    for (database, described) in &facts.databases {
        collation_moved(report, name, database, described, facts);
    }
}

fn version(report: &mut Report, name: &str, facts: &Facts) {
    let (major, minor) = (facts.version / 10_000, facts.version % 10_000);
    if major >= OLDEST {
        report.good(name, format!("answers, PostgreSQL {major}.{minor}"));
    } else {
        let found = format!("PostgreSQL {major} is too old: {OLDEST} is the oldest that is served");
        report.problem(name, found, "upgrade it with pg_upgrade");
    }
}

fn connections(report: &mut Report, config: &Config, (node, facts): Known<'_>) {
    let number = |setting: &str| facts.settings.get(setting).and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
    let usable = number("max_connections").saturating_sub(number("superuser_reserved_connections"));
    let clients = config.limits.now().max_clients;
    if usable < clients {
        let found =
            format!("takes {usable} connections, fewer than listen.max_clients ({clients}): clients beyond get 53300");
        report.advice(&node.name, found, "raise max_connections on every node, or lower listen.max_clients");
    }
}

/// The database was made with another version of the sorting rules than the system has now.
fn collation_moved(report: &mut Report, name: &str, database: &str, described: &Database, facts: &Facts) {
    let provider = described.locale.split(' ').next().unwrap_or_default();
    let (Some(made), Some(now)) = (&described.collation, facts.collations.get(provider)) else { return };
    if made != now {
        let found = format!("database {database} was made with collation version {made}, the system now has {now}");
        let remedy = format!("REINDEX DATABASE {database}, then ALTER DATABASE {database} REFRESH COLLATION VERSION");
        report.problem(name, found, remedy);
    }
}

/// All nodes against the first.
pub fn between(report: &mut Report, nodes: &[Known<'_>]) {
    let Some(((first, facts), others)) = nodes.split_first() else { return };
    let before = report.findings.len();
    for (node, other) in others {
        let pair = Pair { names: (&first.name, &node.name) };
        let (major, other_major) = (facts.version / 10_000, other.version / 10_000);
        if major != other_major {
            let remedy = "bring both to the same major version with pg_upgrade";
            report.problem("nodes", pair.differ("PostgreSQL", &major.to_string(), &other_major.to_string()), remedy);
        }
        pair.identity(report, facts, other);
        pair.settings(report, facts, other);
        pair.databases(report, facts, other);
        pair.collations(report, facts, other);
        pair.roles(report, facts, other);
    }
    if !others.is_empty() && report.findings.len() == before {
        report.good("nodes", "versions, settings, databases, encodings, collations and extensions are the same");
    }
}

struct Pair<'a> {
    names: (&'a str, &'a str),
}

impl Pair<'_> {
    fn differ(&self, what: &str, left: &str, right: &str) -> String {
        format!("{what} is {left} on {} and {right} on {}", self.names.0, self.names.1)
    }

    fn identity(&self, report: &mut Report, left: &Facts, right: &Facts) {
        let known = !left.system_identifier.is_empty() && !left.started.is_empty();
        if known && left.system_identifier == right.system_identifier && left.started == right.started {
            let found = format!("{} and {} are the same server", self.names.0, self.names.1);
            report.problem(
                "nodes",
                found,
                "set node.address of one of them right: each node needs a server of its own",
            );
        }
        if let (Some(a), Some(b)) = (&left.cluster, &right.cluster)
            && a != b
        {
            let remedy = format!(
                "look at node.address of both; if {0} is meant, `lockstep recover {0}` replaces all that it holds",
                self.names.1
            );
            report.problem("nodes", self.differ("the cluster in the lineage", a, b), remedy);
        }
    }

    /// Rows and definitions are compared without stored passwords, so nobody else would notice.
    fn roles(&self, report: &mut Report, left: &Facts, right: &Facts) {
        let names: BTreeSet<_> = left.roles.keys().chain(right.roles.keys()).collect();
        for name in names {
            let recover = format!("`lockstep recover {}` copies everything, this too", self.names.1);
            match (left.roles.get(name), right.roles.get(name)) {
                (Some(a), Some(b)) if a.verifier == b.verifier => {}
                (Some(_), Some(_)) => {
                    let found =
                        format!("role {name} has another stored password on {} than on {}", self.names.1, self.names.0);
                    let remedy =
                        format!("through the proxy: \\password {name} (every node then stores the same); or {recover}");
                    report.advice("nodes", found, remedy);
                }
                (here, _) => {
                    let missing = if here.is_some() { self.names.1 } else { self.names.0 };
                    report.problem("nodes", format!("role {name} is not on {missing}"), recover);
                }
            }
        }
    }

    fn settings(&self, report: &mut Report, left: &Facts, right: &Facts) {
        for setting in EQUAL {
            let (Some(a), Some(b)) = (left.settings.get(*setting), right.settings.get(*setting)) else { continue };
            if a != b {
                let remedy = format!("on {}: ALTER SYSTEM SET {setting} = '{a}', then reload", self.names.1);
                report.problem("nodes", self.differ(setting, a, b), remedy);
            }
        }
        let (a, b) = (left.settings.get("lc_messages"), right.settings.get("lc_messages"));
        if let (Some(a), Some(b)) = (a, b)
            && a != b
        {
            let remedy = "give both the same, or clients see errors in another language after a failover";
            report.advice("nodes", self.differ("lc_messages", a, b), remedy);
        }
        for setting in STANDBY {
            let number = |facts: &Facts| facts.settings.get(*setting).and_then(|value| value.parse::<u64>().ok());
            let (Some(a), Some(b)) = (number(left), number(right)) else { continue };
            if a != b {
                let found = self.differ(setting, &a.to_string(), &b.to_string());
                let remedy =
                    format!("give both {}, or the smaller cannot be recovered from the larger; restart", a.max(b));
                report.problem("nodes", found, remedy);
            }
        }
    }

    fn databases(&self, report: &mut Report, left: &Facts, right: &Facts) {
        for (name, a) in &left.databases {
            match right.databases.get(name) {
                Some(b) => self.database(report, name, a, b),
                None => self.missing(report, name, self.names.1),
            }
        }
        for name in right.databases.keys().filter(|name| !left.databases.contains_key(*name)) {
            self.missing(report, name, self.names.0);
        }
    }

    fn missing(&self, report: &mut Report, database: &str, node: &str) {
        let remedy = format!("start the proxy and run `lockstep recover {node}`, which copies everything");
        report.problem("nodes", format!("database {database} is not on {node}"), remedy);
    }

    fn database(&self, report: &mut Report, name: &str, a: &Database, b: &Database) {
        let recover = format!("`lockstep recover {}` copies everything, this too", self.names.1);
        for (what, a, b) in [("encoding", &a.encoding, &b.encoding), ("locale", &a.locale, &b.locale)] {
            if a != b {
                report.problem("nodes", self.differ(&format!("database {name}: {what}"), a, b), &recover);
            }
        }
        let absent = String::from("absent");
        let names: BTreeSet<_> = a.extensions.keys().chain(b.extensions.keys()).collect();
        for extension in names {
            let version = |database: &Database| database.extensions.get(extension).unwrap_or(&absent).clone();
            let (a, b) = (version(a), version(b));
            if a != b {
                let remedy = format!("install the same packages, then ALTER EXTENSION {extension} UPDATE or {recover}");
                report.problem(
                    "nodes",
                    self.differ(&format!("database {name}: extension {extension}"), &a, &b),
                    remedy,
                );
            }
        }
    }

    fn collations(&self, report: &mut Report, left: &Facts, right: &Facts) {
        let named: BTreeMap<_, _> = [("c", "the C library"), ("i", "ICU"), ("b", "PostgreSQL")].into();
        for (provider, a) in &left.collations {
            let Some(b) = right.collations.get(provider).filter(|b| *b != a) else { continue };
            let what =
                format!("the collation version of {}", named.get(provider.as_str()).unwrap_or(&provider.as_str()));
            let remedy = "text may sort differently: bring both to the same release of the operating system";
            report.problem("nodes", self.differ(&what, a, b), remedy);
        }
    }
}
