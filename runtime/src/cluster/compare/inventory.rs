//! Reading one node.

use std::time::Duration;

use lockstep_core::cluster::compare::{Contents, Inventory, TABLE, Thing};
use lockstep_core::id::NodeId;
use lockstep_core::quote::quote_literal;
use tokio_postgres::Client;

use super::Reading;
use crate::cluster::report::Report;
use crate::cluster::sequences;
use crate::config::Config;
use crate::service::{self, Line, ServiceFault, within};

const SERVER: &str = include_str!("server.sql");
/// What only PostgreSQL 15 and newer ones have.
const SETTINGS: &str = "UNION ALL SELECT 'privileges on setting', parname, \
    (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE \"C\") FROM unnest(paracl) a) FROM pg_parameter_acl";
pub const HAS_SETTINGS: &str = "SELECT to_regclass('pg_catalog.pg_parameter_acl') IS NOT NULL";
pub const DATABASE: &str = include_str!("database.sql");

/// Whatever a role or a server sets, values have one text. `jit` and parallel workers only decide how long it takes.
pub const PINNED: &str = "SET search_path = ''; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET lc_monetary = 'C'; \
    SET row_security = off; SET quote_all_identifiers = off; SET standard_conforming_strings = on; SET jit = off";
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub const DATABASES: &str =
    "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY datname";

const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't' AND n.nspname <> 'lockstep' \
      AND (c.oid >= 16384 AND n.nspname NOT IN ('pg_catalog', 'pg_toast')) ORDER BY 1";

/// A table that is being locked by a stranger is not waited for longer than this.
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = '30s'";
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

pub async fn take(config: &Config, node: NodeId, report: &Report) -> Result<Reading, ServiceFault> {
    let mut inventory = Inventory::default();
    let line = open(config, node, &config.service.database).await?;
    let has_settings = line.query_one(HAS_SETTINGS, &[]).await?.get(0);
    let rows = line.query(&server(&config.service.user, has_settings), &[]).await?;
    inventory.schema.extend(rows.iter().map(|row| definition(None, row)));
    let databases: Vec<String> = line.query(DATABASES, &[]).await?.iter().map(|row| row.get(0)).collect();
    drop(line);
    for database in &databases {
        report.phase("compare", format!("database {database}"));
        let line = open(config, node, database).await?;
        read_database(&line, database, &mut inventory, report).await?;
    }
    Ok(Reading { node, databases: databases.len(), inventory })
}

/// What all databases of a server share. The password of the service role is left out.
pub fn server(service_role: &str, has_settings: bool) -> String {
    let sql = SERVER.replace("$1", &quote_literal(service_role));
    if has_settings { format!("{sql} {SETTINGS}") } else { sql }
}

async fn open(config: &Config, node: NodeId, database: &str) -> Result<Line, ServiceFault> {
    let node = &config.nodes[usize::from(node.0)];
    let line = service::dial(&config.service, node, database, LOGIN_PATIENCE).await?;
    within(LOGIN_PATIENCE, async { Ok(line.batch_execute(&format!("{PINNED}; {BEGIN}; {LOCK_PATIENCE}")).await?) })
        .await?;
    Ok(line)
}

async fn read_database(
    client: &Client,
    database: &str,
    inventory: &mut Inventory,
    report: &Report,
) -> Result<(), ServiceFault> {
    let rows = client.query(DATABASE, &[]).await?;
    inventory.schema.extend(rows.iter().map(|row| definition(Some(database), row)));
    let tables: Vec<String> = client.query(TABLES, &[]).await?.iter().map(|row| row.get(0)).collect();
    for (done, table) in tables.iter().enumerate() {
        report.phase("compare", format!("{database}: {table}, table {} of {}", done + 1, tables.len()));
        let contents = contents(client, &format!("(x.*)::text FROM ONLY {table} x")).await?;
        inventory.contents.insert(thing(database, TABLE, table), contents);
    }
    let pages = contents(client, "(x.*)::text FROM pg_largeobject x").await?;
    inventory.contents.insert(thing(database, "contents of", "large objects"), pages);
    read_sequences(client, database, inventory).await
}

async fn read_sequences(client: &Client, database: &str, inventory: &mut Inventory) -> Result<(), ServiceFault> {
    let counting = sequences::counting(client).await?;
    for (name, position) in sequences::positions(client, counting.keys()).await? {
        inventory.sequences.insert(thing(database, "sequence", &name), position);
    }
    Ok(())
}

/// A count and two sums of hashes: whatever the order of the rows, and however often one is there. The offset keeps a
/// row's text from being made once for each hash; were it a number and not a literal yet to be read, it would keep
/// parallel workers away too.
async fn contents(client: &Client, rows: &str) -> Result<Contents, ServiceFault> {
    let sql = format!(
        "SELECT count(*), concat_ws(' ', sum(hashtextextended(row COLLATE \"C\", 0)), \
         sum(hashtextextended(row COLLATE \"C\", 7919))) FROM (SELECT {rows} OFFSET '0') AS t (row)"
    );
    let row = client.query_one(&sql, &[]).await?;
    Ok(Contents { rows: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0), hash: row.get(1) })
}

fn thing(database: &str, kind: &str, name: &str) -> Thing {
    Thing { database: Some(database.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

pub fn definition(database: Option<&str>, row: &tokio_postgres::Row) -> (Thing, String) {
    let thing = Thing { database: database.map(str::to_owned), kind: row.get(0), name: row.get(1) };
    (thing, row.get::<_, Option<String>>(2).unwrap_or_default())
}
