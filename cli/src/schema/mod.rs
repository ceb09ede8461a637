//! A database's schema as the planner sees it, read from a node past the proxy: for `lockstep explain` and
//! `lockstep check --schema`, with or without a running proxy.
//!
//! The catalog is loaded by the planner's own queries and judged by the planner itself; nothing is decided here.

mod report;

use bytes::Bytes;
use lockstep_core::catalog::{Catalog, Loader, QUERIES, SEARCH_PATH_QUERY, SearchPath};
use lockstep_core::quote::{quote_identifier, quote_literal};
use lockstep_runtime::config::{Config, Node};
use lockstep_runtime::door::protocol::{Reply, Request};

use crate::check;
use crate::control;
use crate::exit::{Exit, Stop};
use crate::postgres::{Connection, Failure, Rows};

pub use report::{Report, TableReport, judge};

/// The setting that holds for a role in a database, the closest first.
const SEARCH_PATH_SETTING: &str = "SELECT substr(s, 13) FROM pg_db_role_setting, unnest(setconfig) s \
    WHERE s LIKE 'search_path=%' AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
    AND setrole IN (0, coalesce((SELECT oid FROM pg_roles WHERE rolname = ";

/// A connection to one database of a node that holds everything.
pub struct Reader {
    connection: Connection,
    pub node: String,
    pub database: String,
}

/// Connects to the leader, where a proxy says who that is, else to the heaviest node that answers.
pub async fn open(config: &Config, database: &str) -> Result<Reader, Stop> {
    let mut nodes: Vec<&Node> = config.nodes.iter().collect();
    let leader = leader(config).await;
    nodes.sort_by_key(|node| (Some(&node.name) != leader.as_ref(), std::cmp::Reverse(node.weight)));
    let mut why = Vec::new();
    for node in nodes {
        match check::login(config, node).database(database).connect().await {
            Ok(connection) => {
                return Ok(Reader { connection, node: node.name.clone(), database: database.to_owned() });
            }
            Err(Failure::Answer { state, message, .. }) if state == "3D000" => {
                return Err(Stop::usage(message).remedy("name the database with --database NAME"));
            }
            Err(failure) => why.push(format!("{}: {failure}", node.name)),
        }
    }
    Err(Stop::unreachable(format!("no node answers: {}", why.join("; "))).remedy("see `lockstep check`"))
}

async fn leader(config: &Config) -> Option<String> {
    match control::ask(&config.control.socket, &Request::Status, |_| ()).await {
        Ok(Reply::Status(status)) => status.nodes.into_iter().find(|node| node.role == "leader").map(|node| node.name),
        _ => None,
    }
}

/// Every database that takes connections.
pub async fn databases(config: &Config) -> Result<Vec<String>, Stop> {
    let reader = open(config, &config.service.database).await?;
    let sql = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";
    Ok(reader.ask(sql).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

impl Reader {
    pub async fn catalog(&self) -> Result<Catalog, Stop> {
        let mut loader = Loader::new();
        for (number, query) in QUERIES.iter().enumerate() {
            for row in self.ask(query).await? {
                loader.row(number, bytes(row)).map_err(|fault| self.unreadable(&fault))?;
            }
        }
        loader.finish().map_err(|fault| self.unreadable(&fault))
    }

    /// What the names of `user` are looked up in: as it says itself, or as is set for it.
    pub async fn search_path(&self, user: Option<&str>, given: Option<&str>) -> Result<SearchPath, Stop> {
        let name = quote_literal(user.unwrap_or_default());
        let set = format!("{SEARCH_PATH_SETTING}{name}), 0)) ORDER BY setrole = 0, setdatabase = 0 LIMIT 1");
        let path = match given {
            Some(given) => Some(given.to_owned()),
            None => self.ask(&set).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()),
        };
        if let Some(user) = user {
            self.ask(&format!("SET SESSION AUTHORIZATION {}", quote_identifier(user))).await?;
        }
        if let Some(path) = path {
            self.ask(&format!("SELECT set_config('search_path', {}, false)", quote_literal(&path))).await?;
        }
        let rows = self.ask(SEARCH_PATH_QUERY).await?;
        SearchPath::from_row(&rows.into_iter().next().map(bytes).unwrap_or_default())
            .map_err(|fault| self.unreadable(&fault))
    }

    async fn ask(&self, sql: &str) -> Result<Rows, Stop> {
        self.connection.query(sql).await.map_err(|failure| self.unreadable(&failure))
    }

    fn unreadable(&self, why: &impl std::fmt::Display) -> Stop {
        let exit = Exit::Unreachable;
        Stop::new(exit, format!("database {} on {} could not be read: {why}", self.database, self.node))
    }
}

fn bytes(row: Vec<Option<String>>) -> Vec<Option<Bytes>> {
    row.into_iter().map(|value| value.map(Bytes::from)).collect()
}
