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

/// One that was dropped since the leader was read is passed over.
const SET: &str = "SELECT setval(to_regclass(name), last, called) \
    FROM unnest($1::text[], $2::bigint[], $3::boolean[]) AS wanted (name, last, called) \
    WHERE to_regclass(name) IS NOT NULL";

/// How each sequence of the database counts, by qualified and quoted name.
pub async fn counting(client: &Client) -> Result<BTreeMap<String, Counting>, ServiceFault> {
    let rows = client.query(LIST, &[]).await?;
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
