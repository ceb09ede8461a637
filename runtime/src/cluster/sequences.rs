//! Reading and setting sequences over a service connection.

use std::collections::BTreeMap;

use lockstep_core::cluster::sequence::{Counting, Position, Positions};
use tokio_postgres::Client;

use crate::service::ServiceFault;

/// Sequences that are read by one statement.
const AT_ONCE: usize = 200;

const LIST: &str = "SELECT format('%I.%I', n.nspname, c.relname), seqincrement, seqmin, seqmax, seqcycle \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid \
    WHERE c.relpersistence <> 't' AND n.nspname <> 'lockstep'";

/// To be appended: without those that cannot be read before another transaction ends.
const FREE: &str = " AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.granted AND l.mode = 'AccessExclusiveLock' \
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))";

/// One that was dropped since the leader was read is passed over.
const SET: &str = "SELECT setval(to_regclass(name), last, called) \
    FROM unnest($1::text[], $2::bigint[], $3::boolean[]) AS wanted (name, last, called) \
    WHERE to_regclass(name) IS NOT NULL";

/// Whole-numbered columns that a sequence serves, by ownership or by default, where an index makes the ends quick to find.
const SERVED: &str = "SELECT DISTINCT format('%I.%I', sn.nspname, s.relname), \
    format('SELECT %s(%I)::bigint FROM %s %I.%I', CASE WHEN q.seqincrement < 0 THEN 'min' ELSE 'max' END, a.attname, \
        CASE WHEN t.relkind = 'p' THEN '' ELSE 'ONLY' END, tn.nspname, t.relname) \
    FROM (SELECT objid AS seq, refobjid AS rel, refobjsubid::int AS att FROM pg_depend \
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i') \
        UNION SELECT d.refobjid, f.adrelid, f.adnum::int FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid \
            WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass) served \
    JOIN pg_sequence q ON q.seqrelid = served.seq \
    JOIN pg_class s ON s.oid = served.seq JOIN pg_namespace sn ON sn.oid = s.relnamespace \
    JOIN pg_class t ON t.oid = served.rel JOIN pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_attribute a ON a.attrelid = served.rel AND a.attnum = served.att \
    WHERE s.relpersistence <> 't' AND sn.nspname <> 'lockstep' AND t.relkind IN ('r', 'p') \
        AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) \
        AND EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam \
            WHERE i.indrelid = t.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL \
                AND (m.amname = 'btree' OR t.relkind = 'p'))";

/// Somebody waits: what does not answer quickly is gone without.
const HURRY: &str = "SET statement_timeout = '1s'; SET lock_timeout = '200ms'";
const NO_HURRY: &str = "RESET statement_timeout; RESET lock_timeout";

/// Has questions on this connection give up soon.
pub async fn hurry(client: &Client) -> Result<(), ServiceFault> {
    Ok(client.batch_execute(HURRY).await?)
}

/// The farthest value, in its sequence's direction, of each column that a sequence serves.
pub async fn farthest(client: &Client) -> Result<Vec<(String, i64)>, ServiceFault> {
    client.batch_execute(HURRY).await?;
    let found = read_farthest(client).await;
    client.batch_execute(NO_HURRY).await?;
    found
}

async fn read_farthest(client: &Client) -> Result<Vec<(String, i64)>, ServiceFault> {
    let served: Vec<(String, String)> =
        client.query(SERVED, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut found = Vec::new();
    for some in served.chunks(AT_ONCE) {
        let selects: Vec<_> =
            some.iter().enumerate().map(|(n, (_, value))| format!("SELECT {n}::bigint, ({value})")).collect();
        for row in client.query(&selects.join(" UNION ALL "), &[]).await? {
            let served = usize::try_from(row.get::<_, i64>(0)).ok().and_then(|n| some.get(n));
            let value: Option<i64> = row.get(1);
            found.extend(served.zip(value).map(|((sequence, _), value)| (sequence.clone(), value)));
        }
    }
    Ok(found)
}

/// How each sequence of the database counts, by qualified and quoted name.
pub async fn counting(client: &Client) -> Result<BTreeMap<String, Counting>, ServiceFault> {
    listed(client, LIST).await
}

/// The same of those that no transaction has locked.
pub async fn counting_free(client: &Client) -> Result<BTreeMap<String, Counting>, ServiceFault> {
    listed(client, &format!("{LIST}{FREE}")).await
}

async fn listed(client: &Client, sql: &str) -> Result<BTreeMap<String, Counting>, ServiceFault> {
    let rows = client.query(sql, &[]).await?;
    let counting = |row: &tokio_postgres::Row| Counting {
        increment: row.get(1),
        min: row.get(2),
        max: row.get(3),
        cycle: row.get(4),
    };
    Ok(rows.iter().map(|row| (row.get(0), counting(row))).collect())
}

/// Where the sequences `names` stand. (`pg_sequences` will not do: it hides a position that was set and not yet used.)
pub async fn positions(client: &Client, names: impl Iterator<Item = &String>) -> Result<Positions, ServiceFault> {
    let names: Vec<&String> = names.collect();
    let mut found = Positions::new();
    for some in names.chunks(AT_ONCE) {
        let selects: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(n, name)| format!("SELECT {n}::bigint, last_value, is_called FROM {name}"))
            .collect();
        for row in client.query(&selects.join(" UNION ALL "), &[]).await? {
            let name = usize::try_from(row.get::<_, i64>(0)).ok().and_then(|n| some.get(n));
            let position = Position { last: row.get(1), called: row.get(2) };
            found.extend(name.map(|name| ((*name).clone(), position)));
        }
    }
    Ok(found)
}

pub async fn set(client: &Client, wanted: &Positions) -> Result<(), ServiceFault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let last: Vec<i64> = wanted.values().map(|position| position.last).collect();
    let called: Vec<bool> = wanted.values().map(|position| position.called).collect();
    client.query(SET, &[&names, &last, &called]).await?;
    Ok(())
}
