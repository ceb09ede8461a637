//! Statements that the proxy may refuse for now: what it does not refuse, it does as PostgreSQL does.

use super::agree_or_refuse;
use super::script::Step::{Call, Query};

#[test]
fn or_refused() {
    agree_or_refuse(
        "refusable",
        &[
            ("a file of the server", &[Query("COPY item FROM '/etc/passwd'"), Query("COPY item TO '/tmp/item'")]),
            (
                "rows that a write returns",
                &[
                    Query("COPY (DELETE FROM child WHERE id = 1 RETURNING *) TO STDOUT"),
                    Query("SELECT count(*) FROM child"),
                ],
            ),
            (
                "roles",
                &[
                    Query("SELECT current_user, session_user"),
                    Query("SET ROLE app_md5"),
                    Query("SET SESSION AUTHORIZATION postgres"),
                    Query("RESET ROLE"),
                ],
            ),
            ("large objects", &[Query("BEGIN"), Query("SELECT lo_open(4711, 131072)"), Query("ROLLBACK")]),
            (
                "errors in calls of large objects' functions",
                &[
                    Query("SELECT 'é', lo_create(nothing)"),
                    Query("SELECT 1; SELECT pg_catalog.lo_put(1, 0, 'a'), lo_create(1), nothing"),
                    Query("SELECT lo_open('a', 1)"),
                ],
            ),
            (
                "a write in WITH",
                &[Query("WITH d AS (DELETE FROM child WHERE id = 1 RETURNING *) SELECT id, parent FROM d")],
            ),
            (
                "a DO block",
                &[Query(
                    "DO $$ BEGIN RAISE WARNING 'careful' USING HINT = 'look', DETAIL = 'there', ERRCODE = '01234'; END $$",
                )],
            ),
            ("a call of a function that does not exist", &[Call(4_000_000, &[], 0)]),
            (
                "a key that changes",
                &[
                    Query("UPDATE person SET name = 'x'"),
                    Query("UPDATE item SET id = id + 10 WHERE id > 3 RETURNING *"),
                ],
            ),
        ],
    );
}
