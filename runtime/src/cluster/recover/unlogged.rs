//! Unlogged tables: their rows are not in the write-ahead log, so that a promoted standby has none.

use std::pin::pin;

use futures_util::{SinkExt, StreamExt};
use lockstep_core::id::NodeId;

use super::Failure;
use crate::config::Config;
use crate::service::{self, Line, ServiceFault};

const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'";

/// Name, columns that hold values of their own, and what silences triggers that fire for copies too, and wakes them again.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname), \
        (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), \
        coalesce(string_agg(format('ALTER TABLE %I.%I DISABLE TRIGGER %I', n.nspname, c.relname, tgname), '; ') \
            FILTER (WHERE tgname IS NOT NULL), ''), \
        coalesce(string_agg(format('ALTER TABLE %I.%I ENABLE %s TRIGGER %I', n.nspname, c.relname, \
            CASE tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, tgname), '; ') FILTER (WHERE tgname IS NOT NULL), '') \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_trigger ON tgrelid = c.oid AND tgenabled IN ('A', 'R') AND NOT tgisinternal \
    WHERE relkind = 'r' AND relpersistence = 'u' GROUP BY c.oid, n.nspname, c.relname";

/// Copies all of them from one node to another, while commits are held.
pub async fn copy(config: &Config, from: NodeId, to: NodeId) -> Result<(), Failure> {
    let dial = async |node: NodeId, database: &str| {
        let limit = config.health.now().timeout * 5;
        service::dial(&config.service, &config.nodes[usize::from(node.0)], database, limit).await
    };
    let first = dial(from, &config.service.database).await?;
    for database in first.query(DATABASES, &[]).await? {
        let database: String = database.get(0);
        let source = dial(from, &database).await?;
        let tables = source.query(TABLES, &[]).await?;
        if tables.is_empty() {
            continue;
        }
        let target = dial(to, &database).await?;
        // What keeps foreign keys and triggers from running again; the rows have been through them.
        target.batch_execute("SET session_replication_role = replica").await?;
        for table in tables {
            let (silence, wake): (&str, &str) = (table.get(2), table.get(3));
            if let (name, Some(columns)) = (table.get(0), table.get::<_, Option<&str>>(1)) {
                target.batch_execute(&format!("BEGIN; {silence}")).await?;
                copy_table(&source, &target, name, columns).await?;
                target.batch_execute(&format!("{wake}; COMMIT")).await?;
            }
        }
    }
    Ok(())
}

async fn copy_table(source: &Line, target: &Line, name: &str, columns: &str) -> Result<(), ServiceFault> {
    let mut rows = pin!(source.copy_out(&format!("COPY (SELECT {columns} FROM ONLY {name}) TO STDOUT")).await?);
    let mut sink = pin!(target.copy_in(&format!("COPY {name} ({columns}) FROM STDIN")).await?);
    while let Some(chunk) = rows.next().await {
        sink.send(chunk?).await?;
    }
    sink.finish().await?;
    Ok(())
}
