//! Statements that the proxy may refuse for now: what it does not refuse, it does as PostgreSQL does.

use lockstep_core::wire::backend::COPY_IN_RESPONSE;

use super::agree_or_refuse;
use super::script::Step::{Ask, Call, CopyData, CopyDone, Query, Ready, Until};

const STARTED: super::script::Step = Until(COPY_IN_RESPONSE);

#[test]
fn or_refused() {
    agree_or_refuse(
        "refusable",
        &[
            (
                "defaults and a sequence of columns that are left out",
                &[
                    Ask("COPY counted (v) FROM STDIN"),
                    STARTED,
                    CopyData(b"5\n6\n\\N\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT * FROM counted ORDER BY id"),
                    Query("INSERT INTO counted (v) VALUES (1) RETURNING id"),
                ],
            ),
            (
                "with a WHERE clause",
                &[
                    Ask("COPY parent FROM STDIN WHERE id > 10"),
                    STARTED,
                    CopyData(b"10\n11\n12\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
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
