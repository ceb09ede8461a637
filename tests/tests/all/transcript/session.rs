//! What belongs to a session: settings, notifications, cancelling, temporary things, function calls.

use lockstep_core::wire::backend::NOTIFICATION_RESPONSE;

use super::agree;
use super::script::Step::{Ask, Bind, Call, Cancel, Elsewhere, Execute, Parse, Query, Ready, Sync, Until};
use super::script::Value::{Binary, Null, Text};

/// OIDs of functions that every server has: int4pl, upper(text), numeric_div, pg_notify's neighbour is not needed.
const INT4PL: u32 = 177;
const UPPER: u32 = 871;
const INT4DIV: u32 = 154;

#[test]
fn settings() {
    agree(
        "setting",
        &[
            (
                "a change that the client is told of",
                &[
                    Query("SET client_encoding = 'LATIN1'"),
                    Query("SET datestyle = 'German'"),
                    Query("SET timezone = 'Asia/Kolkata'; SET application_name = 'me'"),
                    Query("SELECT '2024-02-29 12:00+00'::timestamptz, current_setting('application_name')"),
                    Query("RESET ALL"),
                    Query("SELECT set_config('timezone', 'UTC', false)"),
                ],
            ),
            (
                "SET LOCAL and rollback take it back",
                &[
                    Query("BEGIN"),
                    Query("SET LOCAL datestyle = 'SQL'"),
                    Query("SET timezone = 'PST8PDT'"),
                    Query("ROLLBACK"),
                    Query("SHOW timezone"),
                    Query("SET LOCAL timezone = 'UTC'"),
                    Query("BEGIN; SET LOCAL timezone = 'Japan'; COMMIT; SHOW timezone"),
                ],
            ),
            (
                "DISCARD ALL",
                &[
                    Query("PREPARE s AS SELECT 1"),
                    Query("SET datestyle = 'SQL'"),
                    Query("CREATE TEMP TABLE t (id int)"),
                    Query("LISTEN news"),
                    Query("DISCARD ALL"),
                    Query("EXECUTE s"),
                    Query("SELECT * FROM t"),
                    Query("SELECT pg_listening_channels()"),
                    Query("BEGIN; DISCARD ALL"),
                    Query("ROLLBACK"),
                ],
            ),
            (
                "wrong values",
                &[
                    Query("SET timezone = 'Nowhere'"),
                    Query("SET missing = 1"),
                    Query("SET own.thing = 'x'; SHOW own.thing"),
                    Query("SET port = 1"),
                ],
            ),
            (
                "a statement that takes too long",
                &[
                    Query("SET statement_timeout = '50ms'"),
                    Query("SELECT pg_sleep(10)"),
                    Query("BEGIN"),
                    Query("INSERT INTO parent VALUES (10)"),
                    Query("SELECT pg_sleep(10)"),
                    Query("COMMIT"),
                    Query("SET statement_timeout = 0"),
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
        ],
    );
}

#[test]
fn notifications() {
    agree(
        "notify",
        &[
            (
                "to a session that is idle",
                &[
                    Query("LISTEN news"),
                    Elsewhere("NOTIFY news, 'first'"),
                    Until(NOTIFICATION_RESPONSE),
                    Elsewhere("BEGIN; INSERT INTO parent VALUES (10); NOTIFY news, 'second'; COMMIT"),
                    Until(NOTIFICATION_RESPONSE),
                    Query("UNLISTEN news"),
                    Elsewhere("NOTIFY news, 'third'"),
                    Query("SELECT 1"),
                ],
            ),
            (
                "to oneself",
                &[
                    Query("LISTEN a; LISTEN b"),
                    Query("NOTIFY a"),
                    Query("SELECT pg_notify('b', 'payload')"),
                    Query("BEGIN; NOTIFY a, '1'; NOTIFY a, '1'; NOTIFY a, '2'; COMMIT"),
                    Query("BEGIN; NOTIFY a, 'never'; ROLLBACK"),
                    Query("UNLISTEN *"),
                    Query("NOTIFY a"),
                ],
            ),
            (
                "together with a write",
                &[
                    Query("LISTEN news"),
                    Query("INSERT INTO parent VALUES (10); NOTIFY news, 'made'"),
                    Parse("", "SELECT pg_notify('news', $1)"),
                    Bind("", "", &["by name"]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (11)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "held back while a transaction is open",
                &[
                    Query("LISTEN news"),
                    Query("BEGIN"),
                    Elsewhere("NOTIFY news, 'later'"),
                    Query("SELECT 1"),
                    Query("COMMIT"),
                ],
            ),
        ],
    );
}

#[test]
fn cancelling() {
    agree(
        "cancel",
        &[
            ("a simple query", &[Ask("SELECT pg_sleep(60)"), Cancel, Ready, Query("SELECT 1")]),
            (
                "an extended one, in a pipeline",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELECT pg_sleep(60)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELECT 1"),
                    Sync,
                    Cancel,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "in a transaction",
                &[
                    Query("BEGIN"),
                    Query("INSERT INTO parent VALUES (10)"),
                    Ask("SELECT pg_sleep(60)"),
                    Cancel,
                    Ready,
                    Query("SELECT 1"),
                    Query("ROLLBACK"),
                ],
            ),
            (
                "the second statement of a string",
                &[
                    Ask("INSERT INTO parent VALUES (10); SELECT pg_sleep(60); SELECT 2"),
                    Cancel,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "a write that waits inside",
                &[
                    Ask("UPDATE item SET price = 0 FROM (SELECT pg_sleep(60)) s WHERE id = 1"),
                    Cancel,
                    Ready,
                    Query("SELECT price FROM item WHERE id = 1"),
                ],
            ),
        ],
    );
}

#[test]
fn function_calls_and_what_only_the_session_sees() {
    agree(
        "session",
        &[
            (
                "function calls by the protocol",
                &[
                    Call(INT4PL, &[Text("40"), Text("2")], 0),
                    Call(INT4PL, &[Binary(&[0, 0, 0, 1]), Binary(&[0, 0, 0, 2])], 1),
                    Call(UPPER, &[Text("loud")], 0),
                    Call(UPPER, &[Null], 0),
                    Call(INT4DIV, &[Text("1"), Text("0")], 0),
                    Call(INT4PL, &[Text("1")], 0),
                    Query("BEGIN"),
                    Call(INT4PL, &[Text("1"), Text("1")], 0),
                    Call(INT4DIV, &[Text("1"), Text("0")], 0),
                    Call(INT4PL, &[Text("1"), Text("1")], 0),
                    Query("ROLLBACK"),
                ],
            ),
            (
                "temporary tables",
                &[
                    Query("CREATE TEMP TABLE t (id serial PRIMARY KEY, v text)"),
                    Query("INSERT INTO t (v) VALUES ('a'), ('b') RETURNING *"),
                    Query("UPDATE t SET v = v || now()::text RETURNING id"),
                    Query("DELETE FROM t WHERE id = 1"),
                    Query("INSERT INTO parent SELECT 10 + id FROM t"),
                    Query("CREATE TEMP TABLE item (id int)"),
                    Query("INSERT INTO item VALUES (1), (1)"),
                    Query("SELECT * FROM item"),
                    Query("DROP TABLE item"),
                    Query("SELECT count(*) FROM item"),
                    Query("BEGIN; CREATE TEMP TABLE d ON COMMIT DROP AS SELECT 1 AS x; SELECT * FROM d; COMMIT"),
                    Query("SELECT * FROM d"),
                ],
            ),
            (
                "advisory locks and row locks",
                &[
                    Query("SELECT pg_advisory_lock(1), pg_try_advisory_lock(2)"),
                    Query("SELECT pg_advisory_unlock(1), pg_advisory_unlock(3)"),
                    Query("BEGIN"),
                    Query("SELECT id FROM item WHERE id = 1 FOR UPDATE"),
                    Query("SELECT id FROM item ORDER BY id FOR SHARE SKIP LOCKED"),
                    Query("LOCK TABLE parent IN SHARE MODE"),
                    Query("COMMIT"),
                    Query("LOCK TABLE parent"),
                ],
            ),
        ],
    );
}
