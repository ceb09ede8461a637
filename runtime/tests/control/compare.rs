//! The comparison sees what it must see, and nothing else.

use std::sync::Arc;

use lockstep_core::id::NodeId;
use lockstep_runtime::cluster::{Report, compare_nodes};

use crate::servers::Pair;

/// Something of every kind.
const SCHEMA: &str = include_str!("schema.sql");

#[tokio::test]
async fn equal_nodes_are_equal_and_each_single_change_is_seen() {
    let pair = Pair::start();
    pair.on_both(SCHEMA).await;
    // OIDs are numbered apart from here on.
    pair.servers[1].run("CREATE TABLE passing (a int); DROP TABLE passing").await;
    pair.on_both(
        "CREATE TYPE later AS ENUM ('x'); CREATE TABLE uses_later (l later, k regclass); \
        INSERT INTO uses_later VALUES ('x', 'uses_later')",
    )
    .await;
    let differences = async || {
        let config = Arc::new(pair.config());
        compare_nodes(&config, &[NodeId(0), NodeId(1)], &Report::nobody()).await.expect("compare").differences
    };
    assert_eq!(differences().await, [""; 0]);

    let b = &pair.servers[1];
    for (change, undo, sentence) in CHANGES {
        b.run(change).await;
        let found = differences().await;
        assert!(found.iter().any(|found| found.contains(sentence)), "{change}: {found:#?}");
        b.run(undo).await;
        assert_eq!(differences().await, [""; 0], "after {undo}");
    }
}

/// What is done to one node, how it is undone, and what must be said of it.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "UPDATE item SET price = 2 WHERE id = 1",
        "UPDATE item SET price = 1 WHERE id = 1",
        "public.item has 3 rows on a and on b, but not the same",
    ),
    (
        "INSERT INTO bag VALUES (1)",
        "DELETE FROM bag WHERE ctid = (SELECT max(ctid) FROM bag)",
        "public.bag has 2 rows on a, 3 on b",
    ),
    (
        "SELECT nextval('item_id_seq')",
        "SELECT setval('item_id_seq', 3)",
        "sequence public.item_id_seq is at 3 on a, at 4 on b",
    ),
    (
        "DROP INDEX item_price",
        "CREATE INDEX item_price ON item (price) WHERE price > 0",
        "index public.item_price is on a, not on b",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'item_price'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'item_price'::regclass",
        "index public.item_price differs",
    ),
    ("GRANT SELECT ON item TO reader", "REVOKE SELECT ON item FROM reader", "table public.item differs"),
    ("ALTER ROLE reader PASSWORD 'other'", "ALTER ROLE reader PASSWORD NULL", "role reader differs"),
    ("GRANT writer TO reader", "REVOKE writer FROM reader", "membership of reader in writer is on b, not on a"),
    (
        "ALTER TABLE item ALTER note SET DEFAULT 'x'",
        "ALTER TABLE item ALTER note SET DEFAULT 'none'",
        "column public.item.note differs",
    ),
    (
        "ALTER TABLE item DISABLE TRIGGER touch",
        "ALTER TABLE item ENABLE TRIGGER touch",
        "trigger touch on public.item differs",
    ),
    (
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "function public.touch() differs",
    ),
    ("ALTER TYPE mood ADD VALUE 'late'", "DELETE FROM pg_enum WHERE enumlabel = 'late'", "type public.mood differs"),
    (
        "ALTER DATABASE postgres SET work_mem = '8MB'",
        "ALTER DATABASE postgres RESET work_mem",
        "settings in database postgres",
    ),
    ("COMMENT ON TABLE item IS 'other'", "COMMENT ON TABLE item IS 'things'", "comment on table public.item differs"),
    ("CREATE DATABASE stray", "DROP DATABASE stray", "database stray is on b, not on a"),
    ("SELECT lo_put(4711, 0, 'X')", "SELECT lo_put(4711, 0, 'h')", "large objects"),
    ("COMMENT ON LARGE OBJECT 4711 IS 'x'", "COMMENT ON LARGE OBJECT 4711 IS NULL", "comment on large object 4711"),
    (
        "CREATE POLICY all_of_it ON bag USING (true)",
        "DROP POLICY all_of_it ON bag",
        "policy all_of_it on public.bag is on b",
    ),
    (
        "ALTER SEQUENCE item_id_seq CACHE 5",
        "ALTER SEQUENCE item_id_seq CACHE 1",
        "counting of sequence public.item_id_seq differs",
    ),
    (
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO reader",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) FROM reader",
        "privileges on pg_ls_dir(text) differs",
    ),
];
