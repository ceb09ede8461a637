//! Making nodes equal in the rows that units have touched.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};
use lockstep_core::effect::Change;
use lockstep_core::id::NodeId;
use lockstep_core::journal::{Follows, Hindrance, Touch};
use tokio_postgres::Client;

use super::Unsettled;
use super::rows::{Probes, Raw, Rows};
use crate::cluster::compare::inventory::PINNED;
use crate::config::Config;
use crate::service::{self, Line};

/// Rows are found by index, whatever is known of their number.
const BEGIN: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET xmloption = 'content'; \
    BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '2s'";

/// Foreign keys, and triggers of users, have had their effects where the rows come from.
const AS_REPLICA: &str = "SET LOCAL session_replication_role = replica";

/// Of a table and its partitions: what fires also for rows that are copied; whether rows elsewhere go, or change, with its
/// rows, or with these columns of them.
const FOLLOWED: &str = "WITH family AS (SELECT to_regclass($1)::oid AS oid \
        UNION SELECT relid::oid FROM pg_partition_tree(to_regclass($1))) \
    SELECT to_regclass($1) IS NOT NULL, \
        EXISTS (SELECT FROM pg_trigger g JOIN family f ON f.oid = g.tgrelid \
            WHERE g.tgenabled IN ('A', 'R') AND NOT g.tgisinternal) \
        OR EXISTS (SELECT FROM pg_rewrite r JOIN family f ON f.oid = r.ev_class WHERE r.ev_enabled IN ('A', 'R')), \
        EXISTS (SELECT FROM pg_constraint k JOIN family f ON f.oid = k.confrelid \
            WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')), \
        EXISTS (SELECT FROM pg_constraint k JOIN family f ON f.oid = k.confrelid \
            JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey) \
            WHERE k.contype = 'f' AND k.confupdtype IN ('c', 'n', 'd') AND a.attname = ANY ($2::text[]))";

const COLUMNS: &str = "SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum), \
        string_agg(format('r.%I', attname), ', ' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";

/// Gives each of `others` the rows of `right`, among those that were touched. Each of them gets all of it, or nothing.
pub async fn make_equal(
    config: &Arc<Config>,
    database: &str,
    right: NodeId,
    others: &[NodeId],
    touches: &[Touch],
) -> Result<(), Unsettled> {
    let lines = try_join_all(others.iter().map(|node| open(config, *node, database)));
    let (source, lines) = try_join(open(config, right, database), lines).await?;
    let probes = Probes::of(&source, touches).await?;
    for table in probes.tables.keys() {
        check(&source, table, probes.changes.get(table).map_or(&[], Vec::as_slice)).await?;
    }
    let rows = probes.read(&source).await?;
    for (node, line) in others.iter().zip(&lines) {
        let found = probes.read(line).await?;
        if found != rows {
            let name = &config.nodes[usize::from(node.0)].name;
            repair(line, &probes, &found, &rows, (name, database)).await?;
        }
    }
    Ok(())
}

pub(super) async fn open(config: &Config, node: NodeId, database: &str) -> Result<Line, Unsettled> {
    let (node, limit) = (&config.nodes[usize::from(node.0)], config.health.now().timeout);
    let line = service::dial(&config.service, node, database, limit).await?;
    line.batch_execute(&format!("{PINNED}; {BEGIN}")).await?;
    Ok(line)
}

/// Whether the rows that were touched in `table` are all that were, and can be copied.
async fn check(client: &Client, table: &str, changes: &[Change]) -> Result<(), Unsettled> {
    let table = || table.to_owned();
    let updated: Vec<&String> = changes
        .iter()
        .flat_map(|change| match change {
            Change::Updated(columns) => columns.as_slice(),
            _ => &[],
        })
        .collect();
    let row = client.query_one(FOLLOWED, &[&table(), &updated]).await?;
    if !row.try_get::<_, bool>(0)? {
        return Err(Unsettled::NoKey { table: table() });
    }
    let follows = Follows { copied: row.try_get(1)?, deleted: row.try_get(2)?, updated: row.try_get(3)? };
    match follows.hinders(changes) {
        None => Ok(()),
        Some(Hindrance::Triggers) => Err(Unsettled::Triggers { table: table() }),
        Some(Hindrance::Followed) => Err(Unsettled::Followed { table: table() }),
    }
}

async fn repair(
    line: &Line,
    probes: &Probes,
    found: &Rows,
    right: &Rows,
    (node, database): (&str, &str),
) -> Result<(), Unsettled> {
    line.batch_execute(AS_REPLICA).await?;
    for (table, rows) in right.iter().filter(|(table, rows)| found.get(*table) != Some(rows)) {
        probes.remove(line, table).await?;
        let names = line.query_one(COLUMNS, &[table]).await?;
        let (columns, values): (String, String) = (names.try_get(0)?, names.try_get(1)?);
        let insert = format!(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest($1::{table}[]) AS r"
        );
        let each = rows.iter().flat_map(|(row, count)| (0..*count).map(move |_| row));
        line.execute(&insert, &[&Raw::array(each)]).await?;
        let here = found.get(table);
        let different = rows.iter().filter(|(row, count)| here.and_then(|here| here.get(*row)) != Some(count)).count()
            + here.map_or(0, |here| here.keys().filter(|row| !rows.contains_key(*row)).count());
        tracing::warn!(node, database, table, different, "rows that were being committed were brought to one state");
    }
    let now = probes.read(line).await?;
    if let Some((table, _)) = right.iter().find(|(table, rows)| now.get(*table) != Some(rows)) {
        return Err(Unsettled::Differs { table: table.clone() });
    }
    Ok(line.batch_execute("COMMIT").await?)
}
