//! What a node says about itself, read once over the service's own login. No judgement here.
//!
//! Columns that came or went between versions of PostgreSQL are read through `to_jsonb(row)`, so that one text serves all.

use std::collections::BTreeMap;

use crate::postgres::{Connection, Failure, Login, Rows};

/// Settings that change what a statement does, or whether a node can serve at all.
pub const SETTINGS: &[&str] = &[
    "bytea_output",
    "DateStyle",
    "default_text_search_config",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "fsync",
    "IntervalStyle",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_connections",
    "max_identifier_length",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "password_encryption",
    "session_replication_role",
    "standard_conforming_strings",
    "superuser_reserved_connections",
    "synchronous_commit",
    "TimeZone",
    "wal_level",
    "xmlbinary",
    "xmloption",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// As in `server_version_num`: 150006 is 15.6.
    pub version: u32,
    pub superuser: bool,
    pub standby: bool,
    pub system_identifier: String,
    /// When the server was started, to the microsecond.
    pub started: String,
    /// The cluster that its lineage names; `None` before it has been in one.
    pub cluster: Option<String>,
    /// Our own address as the node sees it; `None` on a Unix socket.
    pub our_address: Option<String>,
    pub settings: BTreeMap<String, String>,
    pub databases: BTreeMap<String, Database>,
    /// The version of each collation provider (`c` is the C library, `i` is ICU).
    pub collations: BTreeMap<String, String>,
    /// Role → whether it may log in, is a superuser, and its stored password.
    pub roles: BTreeMap<String, Role>,
    pub strangers: Vec<Stranger>,
    pub subscriptions: Vec<String>,
    pub prepared: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    pub encoding: String,
    pub locale: String,
    /// The collation's version when the database was made, and what the system has now.
    pub collation: Option<String>,
    /// Name → version.
    pub extensions: BTreeMap<String, String>,
    /// Active jobs of pg_cron.
    pub jobs: u64,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Role {
    pub login: bool,
    pub superuser: bool,
    pub verifier: Option<String>,
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Role").field("login", &self.login).field("superuser", &self.superuser).finish_non_exhaustive()
    }
}

/// A session that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub user: String,
    pub database: String,
    pub application: String,
    pub address: Option<String>,
}

pub async fn read(login: &Login) -> Result<Facts, Failure> {
    let connection = login.connect().await?;
    let mut facts = itself(&connection).await?;
    facts.settings = settings(&connection).await?;
    facts.databases = databases(&connection).await?;
    facts.collations = collations(&connection).await?;
    facts.strangers = strangers(&connection).await?;
    facts.prepared = number(connection.value("SELECT count(*) FROM pg_prepared_xacts").await?);
    if facts.superuser {
        facts.cluster = cluster(&connection).await?;
        facts.roles = roles(&connection).await?;
        let subscriptions = connection.query("SELECT subname FROM pg_subscription WHERE subenabled ORDER BY 1").await?;
        facts.subscriptions = subscriptions.into_iter().map(|row| text(&row, 0)).collect();
    }
    for (name, database) in &mut facts.databases {
        inside(&login.database(name), database).await?;
    }
    Ok(facts)
}

async fn itself(connection: &Connection) -> Result<Facts, Failure> {
    let sql = "SELECT current_setting('server_version_num'), rolsuper, pg_is_in_recovery(), \
               (SELECT system_identifier FROM pg_control_system()), host(inet_client_addr()), \
               pg_postmaster_start_time()::text \
               FROM pg_roles WHERE rolname = current_user";
    // A role without rights may not read the control file: its node is judged without an identifier.
    let rows = match connection.query(sql).await {
        Err(Failure::Answer { state, .. }) if state == "42501" => {
            connection.query(&sql.replace("(SELECT system_identifier FROM pg_control_system())", "''")).await?
        }
        other => other?,
    };
    let row = rows.into_iter().next().unwrap_or_else(|| vec![None; 6]);
    Ok(Facts {
        version: text(&row, 0).parse().unwrap_or(0),
        superuser: truth(&row, 1),
        standby: truth(&row, 2),
        system_identifier: text(&row, 3),
        our_address: row[4].clone(),
        started: text(&row, 5),
        ..Facts::default()
    })
}

async fn cluster(connection: &Connection) -> Result<Option<String>, Failure> {
    match connection.query("SELECT cluster FROM lockstep.lineage").await {
        Err(Failure::Answer { state, .. }) if state == "42P01" || state == "3F000" => Ok(None),
        other => Ok(other?.first().map(|row| text(row, 0))),
    }
}

async fn settings(connection: &Connection) -> Result<BTreeMap<String, String>, Failure> {
    let names: Vec<_> = SETTINGS.iter().map(|name| crate::postgres::literal(name)).collect();
    let sql = format!("SELECT name, setting FROM pg_settings WHERE name IN ({})", names.join(", "));
    Ok(pairs(connection.query(&sql).await?))
}

async fn databases(connection: &Connection) -> Result<BTreeMap<String, Database>, Failure> {
    let rows = connection
        .query(
            "SELECT datname, pg_encoding_to_char(encoding), \
                    concat_ws(' ', to_jsonb(d)->>'datlocprovider', datcollate, datctype, \
                              coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale')), \
                    to_jsonb(d)->>'datcollversion' \
             FROM pg_database d WHERE datallowconn ORDER BY 1",
        )
        .await?;
    let database = |row: Vec<Option<String>>| {
        let described = Database {
            encoding: text(&row, 1),
            locale: text(&row, 2),
            collation: row[3].clone(),
            ..Database::default()
        };
        (text(&row, 0), described)
    };
    Ok(rows.into_iter().map(database).collect())
}

async fn collations(connection: &Connection) -> Result<BTreeMap<String, String>, Failure> {
    let sql = "SELECT collprovider, max(pg_collation_actual_version(oid)) FROM pg_collation \
               WHERE collversion IS NOT NULL GROUP BY 1";
    Ok(pairs(connection.query(sql).await?))
}

async fn roles(connection: &Connection) -> Result<BTreeMap<String, Role>, Failure> {
    let rows = connection.query("SELECT rolname, rolcanlogin, rolsuper, rolpassword FROM pg_authid").await?;
    let role = |row: Vec<Option<String>>| {
        (text(&row, 0), Role { login: truth(&row, 1), superuser: truth(&row, 2), verifier: row[3].clone() })
    };
    Ok(rows.into_iter().map(role).collect())
}

/// Client sessions but ours and those of the proxy's own kind. Replication is read-only and harms nobody.
async fn strangers(connection: &Connection) -> Result<Vec<Stranger>, Failure> {
    let rows = connection
        .query(
            "SELECT usename, coalesce(datname, ''), application_name, host(client_addr) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
               AND application_name NOT LIKE 'lockstep%' ORDER BY 1, 2, 3, 4",
        )
        .await?;
    let stranger = |row: Vec<Option<String>>| Stranger {
        user: text(&row, 0),
        database: text(&row, 1),
        application: text(&row, 2),
        address: row[3].clone(),
    };
    Ok(rows.into_iter().map(stranger).collect())
}

/// What only a connection to the database itself can tell.
async fn inside(login: &Login, database: &mut Database) -> Result<(), Failure> {
    let connection = login.connect().await?;
    database.extensions = pairs(connection.query("SELECT extname, extversion FROM pg_extension").await?);
    if database.extensions.contains_key("pg_cron") {
        database.jobs = number(connection.value("SELECT count(*) FROM cron.job WHERE active").await?);
    }
    Ok(())
}

fn pairs(rows: Rows) -> BTreeMap<String, String> {
    rows.into_iter().map(|row| (text(&row, 0), text(&row, 1))).collect()
}

fn text(row: &[Option<String>], column: usize) -> String {
    row[column].clone().unwrap_or_default()
}

fn truth(row: &[Option<String>], column: usize) -> bool {
    row[column].as_deref() == Some("t")
}

fn number(value: Option<String>) -> u64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
