//! Names of statements and portals that clash or are unknown, and plans that have grown old.

use super::agree;
use super::script::Step::{Bind, DescribePortal, DescribeStatement, Execute, Parse, ParseTyped, Query, Sync};

#[test]
fn names_that_clash_or_are_unknown() {
    agree(
        "name",
        &[
            (
                "an unknown statement is 26000",
                &[
                    Bind("", "missing", &[]),
                    Execute(""),
                    Sync,
                    DescribeStatement("missing"),
                    Sync,
                    DescribeStatement(""),
                    Sync,
                    Bind("", "", &[]),
                    Sync,
                ],
            ),
            (
                "an unknown portal is 34000",
                &[Execute("missing"), Sync, DescribePortal("missing"), Sync, Execute(""), Sync],
            ),
            (
                "a name that is taken",
                &[
                    Parse("s", "SELECT 1"),
                    Parse("s", "SELECT 2"),
                    Sync,
                    Bind("", "s", &[]),
                    Execute(""),
                    Sync,
                    Query("BEGIN"),
                    Bind("p", "s", &[]),
                    Bind("p", "s", &[]),
                    Sync,
                    Query("ROLLBACK"),
                ],
            ),
            (
                "the unnamed ones are replaced",
                &[
                    Parse("", "SELECT 1"),
                    Parse("", "SELECT 2"),
                    Bind("", "", &[]),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "a failed Parse leaves the unnamed statement undefined",
                &[Parse("", "SELECT 1"), Sync, Parse("", "SELEC"), Sync, Bind("", "", &[]), Execute(""), Sync],
            ),
            (
                "a portal ends with its transaction, a statement does not",
                &[
                    Parse("s", "SELECT 1"),
                    Bind("p", "s", &[]),
                    Sync,
                    Execute("p"),
                    Sync,
                    Bind("p", "s", &[]),
                    Execute("p"),
                    Sync,
                ],
            ),
            (
                "a statement prepared in a failed transaction stays",
                &[
                    Query("BEGIN"),
                    Parse("s", "SELECT 7"),
                    Sync,
                    Query("SELECT 1/0"),
                    Parse("t", "SELECT 8"),
                    Sync,
                    Bind("", "s", &[]),
                    Sync,
                    Query("ROLLBACK"),
                    Bind("", "s", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "a plan whose table has changed",
                &[
                    Parse("s", "SELECT * FROM item WHERE id = 1"),
                    Bind("", "s", &[]),
                    Execute(""),
                    Sync,
                    Query("ALTER TABLE item ADD COLUMN extra int"),
                    Bind("", "s", &[]),
                    Execute(""),
                    Sync,
                    Parse("w", "INSERT INTO item (id, name) VALUES ($1, 'x')"),
                    Sync,
                    Query("ALTER TABLE item ALTER COLUMN price SET DEFAULT 9"),
                    Bind("", "w", &["10"]),
                    Execute(""),
                    Sync,
                    Query("SELECT * FROM item WHERE id = 10"),
                ],
            ),
            (
                "errors when a statement is parsed",
                &[
                    Parse("", "SELECT * FROM missing"),
                    Sync,
                    Parse("", "INSERT INTO item (nme) VALUES ($1)"),
                    Sync,
                    Parse("", "SELECT $1"),
                    DescribeStatement(""),
                    Sync,
                    Parse("", "SELECT $3::int"),
                    DescribeStatement(""),
                    Sync,
                    ParseTyped("", "SELECT $1", &[999_999]),
                    Sync,
                ],
            ),
        ],
    );
}
