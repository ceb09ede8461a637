//! tokio-postgres: typed values, pipelines, transactions, COPY, portals, cancel, as a Rust program uses them.

use std::time::Duration;

use ::tokio_postgres::error::SqlState;
use ::tokio_postgres::{Client, IsolationLevel, NoTls};
use bytes::Bytes;
use futures_util::{SinkExt, future};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;

use super::stage;

const SCHEMA: &str = "CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE, n bigint, flags bool[], raw bytea);";

async fn prepared(database: &str) -> (std::sync::Arc<Cluster>, Client) {
    let cluster = stage(database);
    let client = cluster.connect_async(database).await;
    client.batch_execute(SCHEMA).await.expect("make the schema");
    (cluster, client)
}

#[tokio::test]
async fn typed_values_go_out_and_come_back_in_binary() {
    let (cluster, client) = prepared("tokio_values").await;
    let insert = client
        .prepare("INSERT INTO item (name, n, flags, raw) VALUES ($1, $2, $3, $4) RETURNING *")
        .await
        .expect("prepare");
    let (name, n, flags, raw) = ("one", i64::MIN, vec![Some(true), None], vec![0_u8, 255]);
    let row = client.query_one(&insert, &[&name, &n, &flags, &raw]).await.expect("insert");
    assert_eq!(row.get::<_, i32>("id"), 1);
    assert_eq!(row.get::<_, i64>("n"), n);
    assert_eq!(row.get::<_, Vec<Option<bool>>>("flags"), flags);
    assert_eq!(row.get::<_, Vec<u8>>("raw"), raw);
    let error = client.query_one(&insert, &[&name, &n, &flags, &raw]).await.expect_err("a second one");
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_identical_database(&cluster.nodes, "tokio_values");
}

#[tokio::test]
async fn a_hundred_statements_under_way_at_once() {
    let (cluster, client) = prepared("tokio_pipeline").await;
    let insert = client.prepare("INSERT INTO item (name, n) VALUES ($1, $2)").await.expect("prepare");
    let writes = (0..100_i64).map(|n| {
        let (client, insert) = (&client, &insert);
        // Every tenth one meets the row before it.
        let name = format!("item {}", if n % 10 == 9 { n - 1 } else { n });
        async move { client.execute(insert, &[&name, &n]).await }
    });
    let answers = future::join_all(writes).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 90);
    assert_identical_database(&cluster.nodes, "tokio_pipeline");
}

#[tokio::test]
async fn transactions_savepoints_and_portals() {
    let (cluster, mut client) = prepared("tokio_transactions").await;
    let mut outer =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.expect("begin");
    outer.execute("INSERT INTO item (n) SELECT generate_series(1, 100)", &[]).await.expect("insert");
    let inner = outer.savepoint("nested").await.expect("savepoint");
    inner.execute("DELETE FROM item", &[]).await.expect("delete");
    inner.rollback().await.expect("rollback");
    let portal = outer.bind("SELECT n FROM item ORDER BY n", &[]).await.expect("bind");
    let mut seen = 0;
    loop {
        let rows = outer.query_portal(&portal, 30).await.expect("rows of a portal");
        seen += rows.len();
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 100);
    outer.commit().await.expect("commit");
    let dropped = client.transaction().await.expect("begin");
    dropped.execute("DELETE FROM item", &[]).await.expect("delete");
    drop(dropped);
    let count: i64 = client.query_one("SELECT count(*) FROM item", &[]).await.expect("count").get(0);
    assert_eq!(count, 100);
    assert_identical_database(&cluster.nodes, "tokio_transactions");
}

#[tokio::test]
async fn copy_in() {
    let (cluster, client) = prepared("tokio_copy").await;
    let mut sink = Box::pin(client.copy_in("COPY item (name, n) FROM STDIN").await.expect("COPY"));
    for n in 0..1000 {
        sink.send(Bytes::from(format!("item {n}\t{n}\n"))).await.expect("send a row");
    }
    assert_eq!(sink.as_mut().finish().await.expect("finish"), 1000);
    assert_identical_database(&cluster.nodes, "tokio_copy");
}

#[tokio::test]
async fn cancel() {
    let (cluster, client) = prepared("tokio_cancel").await;
    let token = client.cancel_token();
    let sleep = client.batch_execute("INSERT INTO item (n) VALUES (1); SELECT pg_sleep(60)");
    let cancel = async {
        let observer = lockstep_tests::cluster::connect_async(
            cluster.nodes[0].port(),
            &lockstep_tests::users::SUPERUSER,
            "postgres",
        )
        .await;
        let busy = "SELECT 1 FROM pg_stat_activity WHERE datname = 'tokio_cancel' AND wait_event = 'PgSleep'";
        while observer.query_opt(busy, &[]).await.expect("observe").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        token.cancel_query(NoTls).await.expect("cancel");
    };
    let (answer, ()) =
        tokio::time::timeout(Duration::from_secs(30), future::join(sleep, cancel)).await.expect("in time");
    assert_eq!(answer.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    let count: i64 = client.query_one("SELECT count(*) FROM item", &[]).await.expect("count").get(0);
    assert_eq!(count, 0);
    assert_identical_database(&cluster.nodes, "tokio_cancel");
}
