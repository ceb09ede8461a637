//! Pipelines: many messages under way before the first answer, errors in their middle, several Syncs at once.

use super::agree;
use super::script::Step::{
    Ask, Bind, ClosePortal, CloseStatement, DescribePortal, Execute, ExecuteRows, Flush, Parse, Query, Ready, Sync,
    Until,
};

#[test]
fn up_to_one_sync() {
    agree(
        "pipeline",
        &[
            (
                "is one transaction",
                &[
                    Parse("add", "INSERT INTO parent VALUES ($1)"),
                    Bind("", "add", &["10"]),
                    Execute(""),
                    Bind("", "add", &["11"]),
                    Execute(""),
                    Parse("", "SELECT count(*) FROM parent"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "an error undoes all of it and everything up to Sync is skipped",
                &[
                    Parse("add", "INSERT INTO parent VALUES ($1)"),
                    Bind("", "add", &["10"]),
                    Execute(""),
                    Bind("", "add", &["1"]),
                    Execute(""),
                    Bind("", "add", &["11"]),
                    Execute(""),
                    CloseStatement("add"),
                    Sync,
                    Ready,
                    Query("SELECT id FROM parent ORDER BY id"),
                    Bind("", "add", &["12"]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "a read that fails after a write undoes the write",
                &[
                    Parse("", "DELETE FROM child"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELECT 1/(count(*)) FROM child"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT count(*) FROM child"),
                ],
            ),
            (
                "an error in Parse skips the rest",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELEC"),
                    Bind("", "", &[]),
                    DescribePortal(""),
                    Execute(""),
                    Flush,
                    Sync,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "explicit transaction inside",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "BEGIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (11)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "COMMIT"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (12)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELECT 1/0"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "left open by BEGIN and closed in the next",
                &[
                    Parse("", "BEGIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "INSERT INTO parent VALUES (11)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "COMMIT"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "a failed transaction stays failed over a Sync",
                &[
                    Query("BEGIN"),
                    Parse("", "INSERT INTO parent VALUES (1)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "SELECT 1"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "ROLLBACK"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "rows of a portal read in parts between writes",
                &[
                    Parse("", "SELECT id FROM item ORDER BY id"),
                    Bind("p", "", &[]),
                    ExecuteRows("p", 2),
                    Parse("", "UPDATE item SET price = 0 WHERE id = 4"),
                    Bind("", "", &[]),
                    Execute(""),
                    ExecuteRows("p", 2),
                    ClosePortal("p"),
                    Sync,
                ],
            ),
            (
                "a commit that fails comes at Sync",
                &[
                    Parse("", "INSERT INTO child VALUES (10, 99)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT count(*) FROM child"),
                ],
            ),
            (
                "a savepoint needs a block",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SAVEPOINT a"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "settings for a block only are of no use",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SET LOCAL work_mem = '1MB'"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "a lock needs a block",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "LOCK TABLE parent"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "no chain without a block",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "COMMIT AND CHAIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "ROLLBACK undoes what came before it in the pipeline",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "ROLLBACK"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (11)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "BEGIN takes in what came before it",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "BEGIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "INSERT INTO parent VALUES (1)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Query("ROLLBACK"),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            ("a hundred statements deep", &HUNDRED),
        ],
    );
}

/// Twenty-five inserts, each with the three other messages that it needs, in one segment.
const HUNDRED: [super::script::Step; 101] = {
    let mut steps = [Sync; 101];
    let mut n = 0;
    while n < 100 {
        steps[n] = Parse("", "INSERT INTO counted (v) VALUES ($1) RETURNING id");
        steps[n + 1] = Bind("", "", &["7"]);
        steps[n + 2] = DescribePortal("");
        steps[n + 3] = Execute("");
        n += 4;
    }
    steps
};

#[test]
fn over_several_syncs_sent_at_once() {
    agree(
        "syncs",
        &[
            (
                "each segment is a transaction of its own",
                &[
                    Parse("add", "INSERT INTO parent VALUES ($1)"),
                    Bind("", "add", &["10"]),
                    Execute(""),
                    Sync,
                    Bind("", "add", &["10"]),
                    Execute(""),
                    Sync,
                    Bind("", "add", &["11"]),
                    Execute(""),
                    Sync,
                    Ready,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "an error skips to its own Sync only",
                &[
                    Parse("", "SELECT 1/0"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("lost", "SELECT 1"),
                    Sync,
                    Parse("kept", "SELECT 2"),
                    Bind("", "kept", &[]),
                    Execute(""),
                    Sync,
                    Bind("", "lost", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "a transaction over many segments, sent in one piece",
                &[
                    Parse("b", "BEGIN"),
                    Bind("", "b", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "SELECT 1"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "ROLLBACK"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Parse("", "INSERT INTO parent VALUES (11)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Ready,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            ("Syncs alone", &[Sync, Sync, Sync]),
            (
                "simple queries between segments",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Ask("INSERT INTO parent VALUES (11); SELECT count(*) FROM parent"),
                    Parse("", "SELECT max(id) FROM parent"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                    Ask("SELECT 1/0"),
                    Ask("SELECT 'still here'"),
                ],
            ),
            (
                "a simple query without a Sync before it",
                &[
                    Parse("", "INSERT INTO parent VALUES (10)"),
                    Bind("", "", &[]),
                    Execute(""),
                    Query("SELECT count(*) FROM parent"),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "an error is told at once, without waiting for the Sync",
                &[Parse("", "SELECT 1/0"), Bind("", "", &[]), Execute(""), Until(b'E'), Parse("", "SELECT 1"), Sync],
            ),
        ],
    );
}
