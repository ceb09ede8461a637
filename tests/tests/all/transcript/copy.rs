//! COPY of whole tables both ways, in text and binary, by both protocols, with all that can go wrong.

use lockstep_core::wire::backend::{COPY_IN_RESPONSE, ERROR_RESPONSE};

use super::agree;
use super::script::Step::{
    self, Ask, Bind, CopyData, CopyDone, CopyFail, Execute, Flush, Parse, Query, Ready, Sync, Until,
};

/// PGCOPY header, one row (77, NULL), trailer: for a table of two int4 columns.
const BINARY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x4d\xff\xff\xff\xff\xff\xff";

pub(super) const STARTED: Step = Until(COPY_IN_RESPONSE);

#[test]
fn into_a_table() {
    agree(
        "copyin",
        &[
            (
                "text, in pieces that do not end at lines",
                &[
                    Ask("COPY item (id, name, price) FROM STDIN"),
                    STARTED,
                    CopyData(b"10\tten\t1.5\n11\tele"),
                    CopyData(b"ven\t\\N\n"),
                    CopyData(b""),
                    CopyData(b"12\ttw\\telve\\n\t3"),
                    CopyDone,
                    Ready,
                    Query("SELECT * FROM item ORDER BY id"),
                ],
            ),
            (
                "CSV with a header and quotes",
                &[
                    Ask("COPY item (id, name) FROM STDIN WITH (FORMAT csv, HEADER true)"),
                    STARTED,
                    CopyData(b"id,name\n20,\"a, \"\"b\"\"\"\n21,\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT id, name FROM item WHERE id >= 20 ORDER BY id"),
                ],
            ),
            (
                "binary",
                &[
                    Ask("COPY counted (id, v) FROM STDIN (FORMAT binary)"),
                    STARTED,
                    CopyData(BINARY),
                    CopyDone,
                    Ready,
                    Query("SELECT * FROM counted"),
                ],
            ),
            (
                "the old end marker",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"10\n\\.\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            ("nothing at all", &[Ask("COPY parent FROM STDIN"), STARTED, CopyDone, Ready]),
            (
                "the client gives up",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"10\n11\n"),
                    CopyFail("changed my mind"),
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "bad data",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"10\nten\n"),
                    CopyData(b"11\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                    Ask("COPY item FROM STDIN"),
                    STARTED,
                    CopyData(b"10\ttoo few\n"),
                    CopyDone,
                    Ready,
                    Ask("COPY parent FROM STDIN (FORMAT binary)"),
                    STARTED,
                    CopyData(b"no signature here"),
                    CopyDone,
                    Ready,
                ],
            ),
            (
                "a duplicate key",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"10\n1\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "data that goes on after the error",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"ten\n"),
                    Until(ERROR_RESPONSE),
                    CopyData(b"11\n"),
                    CopyData(b"12\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "errors before it begins",
                &[
                    Query("COPY missing FROM STDIN"),
                    Query("COPY item (nme) FROM STDIN"),
                    Query("COPY item FROM STDIN (FORMAT nonsense)"),
                ],
            ),
            (
                "in a transaction, and after a savepoint",
                &[
                    Query("BEGIN"),
                    Query("INSERT INTO parent VALUES (10)"),
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"11\n"),
                    CopyDone,
                    Ready,
                    Query("SAVEPOINT s"),
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"11\n"),
                    CopyDone,
                    Ready,
                    Query("ROLLBACK TO s"),
                    Query("COMMIT"),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "between other statements of a string",
                &[
                    Ask("INSERT INTO parent VALUES (10); COPY parent FROM STDIN; SELECT count(*) FROM parent"),
                    STARTED,
                    CopyData(b"11\n"),
                    CopyDone,
                    Ready,
                    Ask("INSERT INTO parent VALUES (12); COPY parent FROM STDIN; INSERT INTO parent VALUES (13)"),
                    STARTED,
                    CopyFail("no"),
                    Ready,
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "Flush and Sync are ignored while it lasts",
                &[
                    Ask("COPY parent FROM STDIN"),
                    STARTED,
                    CopyData(b"10\n"),
                    Flush,
                    CopyData(b"11\n"),
                    CopyDone,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
            (
                "by the extended protocol",
                &[
                    Parse("", "COPY parent FROM STDIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Flush,
                    STARTED,
                    CopyData(b"10\n"),
                    CopyDone,
                    Sync,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                    Parse("", "COPY parent FROM STDIN"),
                    Bind("", "", &[]),
                    Execute(""),
                    Flush,
                    STARTED,
                    CopyFail("no"),
                    Sync,
                    Ready,
                    Query("SELECT count(*) FROM parent"),
                ],
            ),
        ],
    );
}

#[test]
fn out_of_a_table() {
    agree(
        "copyout",
        &[
            (
                "text, CSV, binary",
                &[
                    Query("COPY item TO STDOUT"),
                    Query("COPY (SELECT id, name FROM item ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)"),
                    Query("COPY (SELECT id, price FROM item WHERE id < 3 ORDER BY id) TO STDOUT (FORMAT binary)"),
                    Query("COPY (SELECT WHERE false) TO STDOUT"),
                ],
            ),
            (
                "errors before and in the middle",
                &[
                    Query("COPY missing TO STDOUT"),
                    Query("COPY (SELECT 1/(3 - n) FROM generate_series(1, 5) n) TO STDOUT"),
                    Query("SELECT 'still here'"),
                ],
            ),
            (
                "between other statements",
                &[
                    Query("SELECT 1; COPY parent TO STDOUT; SELECT 2; COPY child TO STDOUT"),
                    Query(
                        "BEGIN; DELETE FROM parent WHERE id = 1; COPY child TO STDOUT; ROLLBACK; COPY child TO STDOUT",
                    ),
                ],
            ),
            (
                "by the extended protocol",
                &[
                    Parse("", "COPY item TO STDOUT"),
                    Bind("", "", &[]),
                    Execute(""),
                    Parse("", "SELECT 1"),
                    Bind("", "", &[]),
                    Execute(""),
                    Sync,
                ],
            ),
            ("a large one", &[Query("COPY (SELECT n, repeat('x', 50) FROM generate_series(1, 30000) n) TO STDOUT")]),
        ],
    );
}
