//! Parameters and results in text and binary, and values that do not fit.

use super::agree;
use super::script::Step::{Bind, BindAs, DescribePortal, DescribeStatement, Execute, Parse, ParseTyped, Query, Sync};
use super::script::Value::{Binary, Null, Text};

const INT4: u32 = 23;
const TEXT: u32 = 25;

#[test]
fn values_and_formats() {
    agree(
        "format",
        &[
            (
                "binary parameters and results",
                &[
                    ParseTyped("", "SELECT $1 + 1, $2 || '!'", &[INT4, TEXT]),
                    DescribeStatement(""),
                    BindAs("", "", &[Binary(&[0, 0, 1, 0]), Binary(b"text")], &[1]),
                    DescribePortal(""),
                    Execute(""),
                    BindAs("", "", &[Text("41"), Binary(b"mixed")], &[0, 1]),
                    DescribePortal(""),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "types that the client leaves to the server",
                &[
                    ParseTyped("", "SELECT $1::int8, $2, $3::mood", &[0, 0]),
                    DescribeStatement(""),
                    BindAs("", "", &[Text("5"), Text("t"), Text("happy")], &[1]),
                    DescribePortal(""),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "RETURNING in binary and in mixed formats",
                &[
                    Parse("", "INSERT INTO counted (v) VALUES ($1) RETURNING id, v, made"),
                    BindAs("", "", &[Text("7")], &[1]),
                    DescribePortal(""),
                    Execute(""),
                    BindAs("", "", &[Text("8")], &[0, 1, 0]),
                    DescribePortal(""),
                    Execute(""),
                    BindAs("", "", &[Null], &[0]),
                    Execute(""),
                    Sync,
                    Parse("", "UPDATE item SET price = $1 WHERE id = $2 RETURNING price, name"),
                    BindAs("", "", &[Text("9.99"), Text("1")], &[1]),
                    Execute(""),
                    Sync,
                    Parse("", "DELETE FROM item WHERE id = $1 RETURNING *"),
                    BindAs("", "", &[Binary(&[0, 0, 0, 2])], &[0, 1, 1, 0]),
                    DescribePortal(""),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "every kind of value in and out",
                &[
                    Parse("", "INSERT INTO person VALUES ($1, $2, $3, $4, $5, $6) RETURNING *"),
                    DescribeStatement(""),
                    BindAs(
                        "",
                        "",
                        &[
                            Text("ann"),
                            Text("happy"),
                            Text("{a,NULL,\"b \\\"c\"}"),
                            Text("2024-02-29 12:00:00.123456+02"),
                            Binary(&[0, 1, 255]),
                            Binary(&[1]),
                        ],
                        &[0, 0, 0, 1, 1, 1],
                    ),
                    Execute(""),
                    BindAs("", "", &[Text("nobody"), Null, Null, Text("infinity"), Null, Null], &[1]),
                    Execute(""),
                    Sync,
                    Query("SELECT * FROM person ORDER BY name"),
                ],
            ),
            (
                "NULL and the empty string",
                &[
                    Parse(
                        "",
                        "INSERT INTO item (id, name, note) VALUES ($1, $2, $3) RETURNING note IS NULL, name = ''",
                    ),
                    BindAs("", "", &[Text("10"), Text(""), Null], &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "wrong numbers of parameters and formats",
                &[
                    Parse("s", "SELECT $1::int, $2::int"),
                    Bind("", "s", &["1"]),
                    Sync,
                    Bind("", "s", &["1", "2", "3"]),
                    Sync,
                    BindAs("", "s", &[Text("1"), Text("2")], &[0, 0, 0]),
                    Execute(""),
                    Sync,
                    BindAs("", "s", &[Text("1"), Text("2")], &[7]),
                    Execute(""),
                    Sync,
                ],
            ),
            (
                "values that do not fit",
                &[
                    Parse("s", "INSERT INTO parent VALUES ($1)"),
                    Bind("", "s", &["ten"]),
                    Execute(""),
                    Sync,
                    BindAs("", "s", &[Binary(&[1, 2])], &[]),
                    Execute(""),
                    Sync,
                    Parse("", "SELECT $1::text"),
                    BindAs("", "", &[Binary(&[0xff, 0xfe])], &[]),
                    Sync,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
        ],
    );
}
