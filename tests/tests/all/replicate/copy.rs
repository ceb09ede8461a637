//! COPY FROM STDIN.

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;

use super::Do::{Copy, Sql};
use super::{Case, replicated};

/// Much more than all buffers on the way hold, from a client that is quicker than its server.
const ROWS: u32 = 400_000;

#[test]
fn more_of_it_than_buffers_hold_comes_to_its_end() {
    let cluster = Cluster::shared();
    cluster.create_database("long_copy");
    let mut client = cluster.connect("long_copy");
    client.query("CREATE TABLE t (id int PRIMARY KEY, v text)");
    client.put(|out| frontend::query(out, b"COPY t FROM STDIN")).flush();
    client.until(lockstep_core::wire::backend::COPY_IN_RESPONSE);
    for row in 0..ROWS {
        let line = format!("{row}\t{row:060}\n");
        client.put(|out| frontend::message(out, frontend::COPY_DATA, |body| body.extend_from_slice(line.as_bytes())));
        if row % 500 == 499 {
            client.flush();
        }
    }
    client.put(|out| frontend::message(out, frontend::COPY_DONE, |_| ())).flush();
    assert_eq!(client.answer().expect("the end of the COPY").tags, [format!("COPY {ROWS}")]);
    assert_identical_database(&cluster.nodes, "long_copy");
}

#[test]
fn from_the_client() {
    replicated("copied", CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "rows as they are",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text, d date);",
        when: &[
            Copy("COPY t FROM STDIN", "1\tone\t2024-01-01\n2\t\\N\t\\N\n3\tta\\tb\\\\\\nx\t2024-02-29\n"),
            Copy("COPY t (v, id) FROM STDIN (FORMAT csv, HEADER, NULL 'null')", "v,id\n\"a, \"\"b\"\"\",4\nnull,5\n"),
            Copy("COPY t FROM STDIN (DELIMITER '|')", "6|six|2024-01-01\n"),
        ],
        then: ("SELECT count(*) || ' ' || count(v) || ' ' || count(d) FROM t", "6 4 3"),
    },
    Case {
        name: "in a transaction with other writes, and rolled back to a savepoint",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int);",
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (1, 1)"),
            Copy("COPY t FROM STDIN", "2\t2\n3\t3\n"),
            Sql("UPDATE t SET v = v * 10"),
            Sql("SAVEPOINT s"),
            Copy("COPY t FROM STDIN", "4\t4\n"),
            Sql("ROLLBACK TO s"),
            Copy("COPY t FROM STDIN", "5\t5\n"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t", "10 20 30 5"),
    },
    Case {
        name: "into partitions",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
            CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);",
        when: &[Copy("COPY t FROM STDIN", "1\ta\n2\tb\n3\tc\n4\td\n"), Copy("COPY t0 (id) FROM STDIN", "")],
        then: ("SELECT count(*) FROM t", "4"),
    },
    Case {
        name: "into a table without a key",
        given: "CREATE TABLE t (v text);",
        when: &[Copy("COPY t FROM STDIN", "same\nsame\nother\n")],
        then: ("SELECT count(*) FROM t", "3"),
    },
];
