//! Large objects: the same numbers, contents, owners and comments on every node.

use std::time::Duration;

use bytes::BufMut;
use lockstep_core::wire::{Cursor, backend, frontend};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

use super::Do::{Fails, Sql, With};
use super::{Case, refused, replicated};

const FILES: &str = "CREATE TABLE t (id int PRIMARY KEY, data oid);";

const CASES: &[Case] = &[
    Case {
        name: "made in an INSERT",
        given: FILES,
        when: &[
            With("INSERT INTO t VALUES (1, lo_from_bytea(0, $1))", &["\\x6162"]),
            Sql("INSERT INTO t VALUES (2, pg_catalog.lo_create(0)) RETURNING data"),
        ],
        then: (
            "SELECT convert_from(lo_get(data), 'UTF8') || (SELECT length(lo_get(data)) FROM t WHERE id = 2) FROM t WHERE id = 1",
            "ab0",
        ),
    },
    Case {
        name: "written by a descriptor",
        given: FILES,
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (1, lo_creat(-1))"),
            Sql("SELECT lo_open(data, 393216) FROM t"),
            With("SELECT lowrite(0, $1)", &["\\x616263646566"]),
            Sql("SELECT lo_lseek(0, 2, 0)"),
            Sql("SELECT lowrite(0, '\\x5858'), lo_close(0)"),
            Sql("COMMIT"),
        ],
        then: ("SELECT convert_from(lo_get(data), 'UTF8') FROM t", "abXXef"),
    },
    Case {
        name: "with holes, and truncated",
        given: FILES,
        when: &[
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'first'))"),
            Sql("SELECT lo_put(data, 100000, 'far') FROM t"),
            Sql("SELECT lo_put(data, 50000, 'between') FROM t"),
            Sql("BEGIN"),
            Sql("SELECT lo_open(data, 131072) FROM t"),
            Sql("SELECT lo_truncate64(0, 60000)"),
            Sql("COMMIT"),
        ],
        then: (
            "SELECT length(lo_get(data)) || ' ' || (SELECT count(*) FROM pg_largeobject WHERE loid = t.data) FROM t",
            "60000 3",
        ),
    },
    Case {
        name: "dropped over rows",
        given: "CREATE TABLE t (id int PRIMARY KEY, data oid); CREATE TABLE gone (data oid PRIMARY KEY);",
        when: &[
            Sql("INSERT INTO t SELECT n, lo_from_bytea(0, n::text::bytea) FROM generate_series(1, 50) n"),
            Sql("INSERT INTO gone SELECT data FROM t WHERE id > 1"),
            Sql("SELECT lo_unlink(data) FROM t WHERE id > 1"),
        ],
        then: (
            "SELECT count(*) || ' ' || (SELECT count(*) FROM pg_largeobject_metadata WHERE oid IN (SELECT data FROM gone)) FROM gone",
            "49 0",
        ),
    },
    Case {
        name: "rolled back to a savepoint",
        given: FILES,
        when: &[
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'kept'))"),
            Sql("BEGIN"),
            Sql("SAVEPOINT s"),
            Sql("SELECT lo_put(data, 0, 'lost') FROM t"),
            Sql("INSERT INTO t VALUES (2, lo_create(0))"),
            Sql("SELECT lo_unlink(data) FROM t"),
            Sql("ROLLBACK TO s"),
            Sql("SELECT lo_put(data, 4, ' on') FROM t"),
            Sql("COMMIT"),
        ],
        then: ("SELECT convert_from(lo_get(data), 'UTF8') FROM t", "kept on"),
    },
    Case {
        name: "rolled back",
        given: FILES,
        when: &[
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'kept'))"),
            Sql("BEGIN"),
            Sql("SELECT lo_unlink(data), lo_create(0) FROM t"),
            Sql("ROLLBACK"),
        ],
        then: ("SELECT convert_from(lo_get(data), 'UTF8') FROM t", "kept"),
    },
    Case {
        name: "dropped and made again with the same number",
        given: FILES,
        when: &[
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'long contents')), (2, lo_from_bytea(0, 'others'))"),
            Sql("BEGIN"),
            Sql("SELECT lo_unlink(data) FROM t"),
            Sql("SELECT lo_create(data) FROM t"),
            Sql("SELECT lo_put(data, 0, 'new') FROM t WHERE id = 2"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(convert_from(lo_get(data), 'UTF8'), '|' ORDER BY id) FROM t", "|new"),
    },
    Case {
        name: "made and dropped in one transaction",
        given: FILES,
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (1, lo_create(0))"),
            Sql("SELECT lo_unlink(data) FROM t"),
            Sql("COMMIT"),
        ],
        then: ("SELECT count(*) FROM t JOIN pg_largeobject_metadata m ON m.oid = data", "0"),
    },
    Case {
        name: "in a table whose rows are captured",
        given: "CREATE TABLE t (id int PRIMARY KEY, data oid, at timestamptz);
            CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.at := now(); RETURN NEW; END';
            CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();",
        when: &[
            With("INSERT INTO t VALUES ($1, lo_from_bytea(0, 'a')), (2, NULL)", &["1"]),
            Sql("UPDATE t SET data = lo_from_bytea(0, 'b') WHERE data IS NULL"),
        ],
        then: ("SELECT string_agg(convert_from(lo_get(data), 'UTF8'), '' ORDER BY id) FROM t", "ab"),
    },
    Case {
        name: "made under REPEATABLE READ and SERIALIZABLE",
        given: FILES,
        when: &[
            Sql("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'a'))"),
            Sql("SELECT lo_put(data, 1, 'b') FROM t"),
            Sql("COMMIT"),
            Sql("BEGIN ISOLATION LEVEL SERIALIZABLE"),
            Sql("INSERT INTO t VALUES (2, lo_from_bytea(0, 'c'))"),
            Sql("SELECT lo_unlink(data) FROM t WHERE id = 1"),
            Sql("COMMIT"),
        ],
        then: (
            "SELECT count(*) || ' ' || convert_from(lo_get(max(t.data)), 'UTF8') FROM t JOIN pg_largeobject_metadata m ON m.oid = data",
            "1 c",
        ),
    },
    Case {
        name: "only read",
        given: FILES,
        when: &[
            Sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'read'))"),
            Sql("BEGIN READ ONLY"),
            Sql("SELECT lo_open(data, 262144) FROM t"),
            Sql("SELECT loread(0, 100), lo_tell(0), lo_lseek64(0, 0, 2)"),
            Sql("COMMIT"),
            Sql("SELECT lo_get(data), lo_get(data, 1, 2) FROM t"),
        ],
        then: ("SELECT convert_from(lo_get(data), 'UTF8') FROM t", "read"),
    },
    Case {
        name: "that are not there",
        given: FILES,
        when: &[
            Fails("SELECT lo_unlink(1)", "42704"),
            Fails("SELECT lo_put(1, 0, 'a')", "42704"),
            Fails("SELECT lo_open(1, 131072)", "42704"),
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (1, lo_create(0))"),
            Fails("SELECT lo_unlink(1)", "42704"),
            Sql("COMMIT"),
        ],
        then: ("SELECT count(*) FROM t", "0"),
    },
];

#[test]
fn what_becomes_of_large_objects_becomes_of_them_everywhere() {
    replicated("objects", CASES);
}

const REFUSED: &[Case] = &[
    Case {
        name: "from a file of the server",
        given: "",
        when: &[Sql("SELECT lo_import('/etc/hostname')")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "in a function of the database",
        given: "CREATE FUNCTION f() RETURNS oid LANGUAGE sql AS 'SELECT lo_create(0)'",
        when: &[Sql("SELECT f()")],
        then: ("SELECT count(*) FROM pg_largeobject_metadata", "0"),
    },
    Case {
        name: "opened in a function of the database",
        given: "CREATE FUNCTION f(oid) RETURNS int LANGUAGE sql AS 'SELECT lo_open($1, 131072)'",
        when: &[Sql("SELECT f(1)")],
        then: ("SELECT count(*) FROM pg_largeobject_metadata", "0"),
    },
    Case {
        name: "in a cursor",
        given: "",
        when: &[Sql("BEGIN"), Sql("DECLARE c CURSOR FOR SELECT lo_create(0)")],
        then: ("SELECT count(*) FROM pg_largeobject_metadata", "0"),
    },
    Case {
        name: "where a function of the database has the name too",
        given: "CREATE FUNCTION lo_create(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        when: &[Sql("SELECT lo_create(0)")],
        then: ("SELECT count(*) FROM pg_largeobject_metadata", "0"),
    },
    Case {
        name: "as rows of a table of the system",
        given: "",
        when: &[Sql("DELETE FROM pg_catalog.pg_largeobject")],
        then: ("SELECT 1", "1"),
    },
];

#[test]
fn what_cannot_be_seen_of_large_objects_is_refused() {
    refused("objects_refused", REFUSED);
}

/// By the protocol's own message, as drivers do it.
fn call(client: &mut Client, oid: u32, arguments: &[&[u8]]) -> Result<Vec<u8>, String> {
    client
        .put(|out| {
            frontend::message(out, frontend::FUNCTION_CALL, |body| {
                body.put_u32(oid);
                body.put_slice(&[0, 1, 0, 1]);
                body.put_u16(arguments.len() as u16);
                arguments.iter().for_each(|value| backend::put_value(body, Some(value)));
                body.put_i16(1);
            });
        })
        .flush();
    let mut result = Err("it has no result".to_owned());
    for frame in client.until(backend::READY_FOR_QUERY) {
        match frame.tag {
            backend::FUNCTION_CALL_RESPONSE => {
                let value = Cursor::new(frame.body()).value().expect("a result");
                result = Ok(value.map(|value| value.to_vec()).unwrap_or_default());
            }
            backend::ERROR_RESPONSE => result = Err(format!("{:?}", frame.body())),
            _ => {}
        }
    }
    result
}

const WRITING: &[u8] = &[0, 2, 0, 0];
const ANY_NUMBER: &[u8] = &[0, 0, 0, 0];

#[test]
fn by_function_calls_in_and_outside_of_transactions() {
    let cluster = Cluster::start(2);
    cluster.create_database("called");
    let mut client = cluster.connect("called");
    let made = call(&mut client, 715, &[ANY_NUMBER]).expect("lo_create");
    let number = u32::from_be_bytes(made[..].try_into().expect("an OID"));
    assert_eq!(follower(&cluster, &format!("SELECT count(*) FROM pg_largeobject_metadata WHERE oid = {number}")), "1");

    client.query("BEGIN");
    let descriptor = call(&mut client, 952, &[&made, WRITING]).expect("lo_open");
    for _ in 0..30 {
        assert_eq!(call(&mut client, 955, &[&descriptor, &[b'x'; 1000]]).expect("lowrite"), [0, 0, 3, 232]);
    }
    call(&mut client, 1004, &[&descriptor, &[0, 0, 39, 16]]).expect("lo_truncate");
    client.query("COMMIT");
    assert_eq!(follower(&cluster, &format!("SELECT length(lo_get({number}))")), "10000");

    client.query("BEGIN; SAVEPOINT s");
    call(&mut client, 964, &[&made]).expect("lo_unlink");
    client.query("ROLLBACK TO s; COMMIT");
    assert_identical_database(&cluster.nodes, "called");
    assert!(call(&mut client, 964, &[&[0, 0, 0, 1]]).expect_err("there is none").contains("42704"));
    call(&mut client, 964, &[&made]).expect("lo_unlink");
    assert!(call(&mut client, 764, &[b"/etc/hostname"]).expect_err("refused").contains("0A000"));
    assert_eq!(follower(&cluster, "SELECT count(*) FROM pg_largeobject_metadata"), "0");
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical_database(&cluster.nodes, "called");
}

fn follower(cluster: &Cluster, question: &str) -> String {
    cluster.nodes[1].connect("called").value(question)
}

#[test]
fn a_function_call_does_not_commit_what_was_sent_before_it_on_the_leader_alone() {
    let cluster = Cluster::start(2);
    cluster.create_database("pipelined");
    let mut client = cluster.connect("pipelined");
    client.query("CREATE TABLE t (id int PRIMARY KEY)");
    client
        .put(|out| frontend::parse(out, b"", b"INSERT INTO t VALUES (1)", &[]))
        .put(|out| frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]))
        .put(|out| frontend::execute(out, b"", 0));
    // int4pl
    assert_eq!(call(&mut client, 177, &[&[0, 0, 0, 1], &[0, 0, 0, 1]]), Ok(vec![0, 0, 0, 2]));
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    assert_identical_database(&cluster.nodes, "pipelined");
}

/// No name has so many letters.
const LONG: &str =
    "a comment that is much longer than sixty-three letters, which is what fits into the name of an object";

#[test]
fn owner_privileges_and_comment_are_the_same_everywhere() {
    let cluster = Cluster::start(2);
    cluster.create_database("belongings");
    for node in &cluster.nodes {
        node.connect("postgres").query("ALTER ROLE app CREATEROLE; CREATE ROLE clerk; GRANT clerk TO app");
    }
    let mut client = cluster.connect("belongings");
    let state = "SELECT m.lomowner::regrole || ' ' || coalesce(m.lomacl::text, '-') || ' ' || coalesce(obj_description(5, 'pg_largeobject'), '-')
        || ' ' || (SELECT count(*) FROM pg_shdepend WHERE classid = 'pg_largeobject'::regclass AND objid = 5) FROM pg_largeobject_metadata m WHERE oid = 5";
    for (sql, expected) in [
        ("SELECT lo_from_bytea(5, 'five')", "app - - 1"),
        ("GRANT SELECT ON LARGE OBJECT 5 TO clerk", "app {app=rw/app,clerk=r/app} - 2"),
        ("COMMENT ON LARGE OBJECT 5 IS 'fünf, it''s'", "app {app=rw/app,clerk=r/app} fünf, it's 2"),
        (&format!("COMMENT ON LARGE OBJECT 5 IS '{LONG}'"), &format!("app {{app=rw/app,clerk=r/app}} {LONG} 2")),
        ("COMMENT ON LARGE OBJECT 5 IS 'fünf, it''s'", "app {app=rw/app,clerk=r/app} fünf, it's 2"),
        ("ALTER LARGE OBJECT 5 OWNER TO clerk", "clerk {clerk=rw/clerk} fünf, it's 1"),
        ("REVOKE ALL ON LARGE OBJECT 5 FROM clerk; COMMENT ON LARGE OBJECT 5 IS NULL", "clerk {} - 1"),
        (
            "BEGIN; SELECT lo_unlink(5); SELECT lo_create(5); GRANT UPDATE ON LARGE OBJECT 5 TO clerk, PUBLIC; COMMIT",
            "app {app=rw/app,clerk=w/app,=w/app} - 2",
        ),
    ] {
        client.query(sql);
        for node in &cluster.nodes {
            assert_eq!(node.connect("belongings").value(state), expected, "{sql}");
        }
    }
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical_database(&cluster.nodes, "belongings");
}

#[test]
fn what_the_trigger_of_the_extension_drops_is_gone_everywhere() {
    let cluster = Cluster::start(2);
    cluster.create_database("managed");
    let mut client = cluster.connect("managed");
    for sql in [
        "CREATE EXTENSION lo",
        "CREATE TABLE t (id int PRIMARY KEY, data lo)",
        "CREATE TABLE item (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE, picture lo)",
        "CREATE TRIGGER manage BEFORE UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION lo_manage(data)",
        "CREATE TRIGGER manage BEFORE UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION lo_manage(picture)",
        "INSERT INTO t SELECT n, lo_from_bytea(0, 'data') FROM generate_series(1, 5) n",
        "INSERT INTO item SELECT n, 1 + n / 2, lo_from_bytea(0, 'picture') FROM generate_series(1, 5) n",
        "UPDATE t SET data = lo_from_bytea(0, 'new') WHERE id = 5",
        "DELETE FROM t WHERE id = 1",
        "BEGIN; DELETE FROM item; ROLLBACK",
    ] {
        client.query(sql);
    }
    assert_eq!(cluster.nodes[1].connect("managed").value("SELECT count(*) FROM pg_largeobject_metadata"), "8");
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical_database(&cluster.nodes, "managed");
}

#[test]
fn two_transactions_write_to_one_object_and_neither_waits() {
    let cluster = Cluster::start(2);
    cluster.create_database("two_writers");
    let (mut ann, mut bob) = (cluster.connect("two_writers"), cluster.connect("two_writers"));
    ann.query("SELECT lo_from_bytea(5, 'five')");
    ann.query("BEGIN; SELECT lo_put(5, 10000, 'ann')");
    bob.query("BEGIN; SELECT lo_put(5, 20000, 'bob')");
    bob.query("COMMIT");
    ann.query("SELECT lo_put(5, 12000, 'ann'); COMMIT");
    assert_eq!(ann.value("SELECT length(lo_get(5))"), "20003");
    assert_identical_database(&cluster.nodes, "two_writers");
}

/// PostgreSQL does not keep a writer from an object that another transaction drops.
#[test]
fn what_is_written_to_an_object_that_another_transaction_drops_is_gone_everywhere() {
    let cluster = Cluster::start(2);
    cluster.create_database("written_and_dropped");
    let (mut ann, mut bob) = (cluster.connect("written_and_dropped"), cluster.connect("written_and_dropped"));
    for level in ["READ COMMITTED", "REPEATABLE READ"] {
        ann.query("SELECT lo_from_bytea(5, 'five')");
        ann.query("BEGIN; SELECT lo_put(5, 10000, 'ann')");
        bob.query(&format!("BEGIN ISOLATION LEVEL {level}; SELECT lo_unlink(5); COMMIT"));
        ann.query("COMMIT");
        assert_identical_database(&cluster.nodes, "written_and_dropped");

        ann.query("SELECT lo_from_bytea(5, 'five')");
        bob.query(&format!("BEGIN ISOLATION LEVEL {level}; SELECT lo_unlink(5)"));
        ann.query("SELECT lo_put(5, 10000, 'ann')");
        bob.query("COMMIT");
        for node in &cluster.nodes {
            assert_eq!(
                node.connect("written_and_dropped").value("SELECT count(*) FROM pg_largeobject"),
                "0",
                "{level}"
            );
        }
        assert_identical_database(&cluster.nodes, "written_and_dropped");
    }
    assert!(cluster.proxy.degradations().is_empty());
}

#[test]
fn an_older_view_of_an_object_is_not_written_to() {
    let cluster = Cluster::start(2);
    cluster.create_database("old_view");
    let (mut ann, mut bob) = (cluster.connect("old_view"), cluster.connect("old_view"));
    ann.query("SELECT lo_from_bytea(5, 'five')");
    ann.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT lo_put(5, 10000, 'ann')");
    bob.query("SELECT lo_put(5, 20000, 'bob')");
    let refused = ann.try_query("COMMIT").expect_err("it cannot be told");
    assert_eq!(refused.state(), "0A000", "{refused}");
    assert_eq!(bob.value("SELECT length(lo_get(5))"), "20003");
    assert_identical_database(&cluster.nodes, "old_view");
}

/// It would show the comment of the object that there was before.
#[test]
fn an_older_view_of_an_object_tells_no_comment() {
    let cluster = Cluster::start(2);
    cluster.create_database("old_comment");
    let (mut ann, mut bob) = (cluster.connect("old_comment"), cluster.connect("old_comment"));
    bob.query("SELECT lo_create(5); COMMENT ON LARGE OBJECT 5 IS 'before'");
    ann.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    bob.query("SELECT lo_unlink(5); SELECT lo_create(5); COMMENT ON LARGE OBJECT 5 IS 'bob'");
    ann.query("COMMENT ON LARGE OBJECT 5 IS 'ann'");
    let refused = ann.try_query("COMMIT").err().map(|refused| refused.state().to_owned());
    assert_identical_database(&cluster.nodes, "old_comment");
    assert_eq!(refused.as_deref(), Some("0A000"));
}

#[test]
fn a_large_one_goes_over_in_pieces() {
    let cluster = Cluster::start(2);
    cluster.create_database("pieces");
    let mut client = cluster.connect("pieces");
    client.query(
        "SELECT lo_from_bytea(5, convert_to(string_agg(md5(n::text), ''), 'UTF8')) FROM generate_series(1, 80000) n",
    );
    assert_identical_database(&cluster.nodes, "pieces");
    client.query("SELECT lo_put(5, 1280000, 'middle')");
    client.query("BEGIN; SELECT lo_open(5, 131072); SELECT lo_truncate(0, 1300000); COMMIT");
    assert_identical_database(&cluster.nodes, "pieces");
    assert_eq!(cluster.nodes[1].connect("pieces").value("SELECT length(lo_get(5))"), "1300000");
    assert!(cluster.proxy.degradations().is_empty());
}

/// Of the locks that a server has room for, no more are needed than PostgreSQL itself takes.
#[test]
fn thousands_are_dropped_at_once() {
    let cluster = Cluster::start(2);
    cluster.create_database("thousands");
    let mut client = cluster.connect("thousands");
    client.query("SELECT count(lo_create(0)) FROM generate_series(1, 6000)");
    assert_eq!(client.rows("SELECT lo_unlink(oid) FROM pg_largeobject_metadata").len(), 6000);
    assert_eq!(cluster.nodes[1].connect("thousands").value("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical_database(&cluster.nodes, "thousands");
}

/// A commit that waits for another's lock on the same object ends with it.
#[test]
fn commits_about_the_same_objects_follow_each_other() {
    let cluster = Cluster::start(2);
    cluster.create_database("many_writers");
    cluster.connect("many_writers").query("SELECT lo_create(n) FROM generate_series(1, 5) n");
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut client = cluster.connect("many_writers");
                for round in 0..20 {
                    let sql =
                        format!("SELECT lo_put(n, {}, 'x') FROM generate_series(1, 5) n", 10_000 * writer + round);
                    client.query(&sql);
                }
            });
        }
    });
    assert!(cluster.proxy.degradations().is_empty());
    assert_identical_database(&cluster.nodes, "many_writers");
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database <> 0 AND objid BETWEEN 1 AND 5";
    let mut observer = cluster.nodes[0].connect("many_writers");
    wait::until(Duration::from_secs(10), "all locks are let go", || (observer.value(waits) == "0").then_some(()));
}
