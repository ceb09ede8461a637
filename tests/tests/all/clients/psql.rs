//! psql: what its backslash commands show, `\copy`, and Ctrl-C.

use std::process::{Command, Stdio};
use std::time::Duration;

use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::process;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::wait;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{output, stage, tool};

const SCHEMA: &str =
    "CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL UNIQUE, price numeric CHECK (price > 0));
    CREATE INDEX ON item (price) WHERE price > 5; CREATE VIEW cheap AS SELECT * FROM item WHERE price < 5;
    CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'; GRANT SELECT ON item TO app_md5;
    INSERT INTO item (name, price) SELECT 'item ' || n, n FROM generate_series(1, 20) n;";

const COMMANDS: &[&str] = &[
    "\\d",
    "\\d item",
    "\\d+ item",
    "\\d+ cheap",
    "\\dt+ public.*",
    "\\di",
    "\\ds",
    "\\df",
    "\\sf twice",
    "\\du",
    "\\dp item",
    "\\dn+",
    "\\dT",
    "\\l",
    "\\conninfo",
    "\\encoding",
    "\\gset",
    "\\dx",
    "\\sv cheap",
    "\\dconfig work_mem",
];

fn psql(port: u16, database: &str, arguments: &[&str]) -> Command {
    let mut command = tool("psql", port, database);
    command.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1"]).args(arguments);
    command
}

#[test]
fn shows_the_same_as_on_the_leader_itself() {
    let cluster = stage("psql_shows");
    process::run(&mut psql(cluster.proxy.port(), "psql_shows", &["-qc", SCHEMA]));
    for command in COMMANDS {
        let shown = |port: u16| {
            let text = output(&mut psql(port, "psql_shows", &["-c", command]));
            text.replace(&port.to_string(), "PORT")
        };
        assert_eq!(shown(cluster.proxy.port()), shown(cluster.nodes[0].port()), "{command}");
    }
    assert_identical_database(&cluster.nodes, "psql_shows");
}

#[test]
fn copies_from_a_file_and_into_one() {
    let cluster = stage("psql_copies");
    let scratch = Scratch::new("psql");
    let (given, taken) = (scratch.path().join("given.csv"), scratch.path().join("taken.csv"));
    let rows: String = (1..=5000).map(|n| format!("{n},\"row {n}\"\n")).collect();
    std::fs::write(&given, &rows).expect("write a file");
    let copy_in = format!("\\copy t FROM '{}' CSV", given.display());
    let copy_out = format!(
        "\\copy (SELECT id, name FROM t ORDER BY id) TO '{}' (FORMAT csv, FORCE_QUOTE (name))",
        taken.display()
    );
    let create = "CREATE TABLE t (id int PRIMARY KEY, name text, made timestamptz DEFAULT now())";
    let copy_in = copy_in.replace("t FROM", "t (id, name) FROM");
    process::run(&mut psql(cluster.proxy.port(), "psql_copies", &["-c", create, "-c", &copy_in, "-c", &copy_out]));
    assert_eq!(std::fs::read_to_string(&taken).expect("read a file"), rows);
    assert_identical_database(&cluster.nodes, "psql_copies");
}

#[test]
fn takes_large_objects_from_files_and_back() {
    let cluster = stage("psql_objects");
    let scratch = Scratch::new("psql");
    let (given, taken) = (scratch.path().join("given"), scratch.path().join("taken"));
    let contents: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&given, &contents).expect("write a file");
    let import = format!("\\lo_import '{}' 'from a file'", given.display());
    let export = format!("\\lo_export :LASTOID '{}'", taken.display());
    let script =
        [&import, &export, "\\lo_list", "SELECT lo_create(0) AS spare \\gset", "\\lo_unlink :spare"].join("\n");
    let file = scratch.path().join("script.sql");
    std::fs::write(&file, script).expect("write a script");
    let path = file.to_str().expect("a path that is text");
    let said = output(&mut psql(cluster.proxy.port(), "psql_objects", &["-f", path]));
    assert!(said.contains("from a file") && said.contains("lo_unlink"), "{said}");
    assert_eq!(std::fs::read(&taken).expect("read a file"), contents);
    let mut follower = cluster.nodes[1].connect("psql_objects");
    assert_eq!(
        follower.value("SELECT count(*) || ' ' || sum(length(lo_get(oid))) FROM pg_largeobject_metadata"),
        "1 100000"
    );
    assert_identical_database(&cluster.nodes, "psql_objects");
}

#[test]
fn is_interrupted_by_ctrl_c() {
    let cluster = stage("psql_cancel");
    let mut command = psql(cluster.proxy.port(), "psql_cancel", &["-c", "SELECT pg_sleep(60)"]);
    let psql = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start psql");
    let mut observer = cluster.nodes[0].connect("postgres");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'psql_cancel' AND wait_event = 'PgSleep'";
    wait::until(Duration::from_secs(20), "psql's statement sleeps", || (observer.value(busy) == "1").then_some(()));
    process::signal(Pid::from_raw(psql.id().cast_signed()), Signal::SIGINT);
    let said = process::said(&psql.wait_with_output().expect("wait for psql"));
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

#[test]
fn runs_a_script_in_a_single_transaction() {
    let cluster = stage("psql_script");
    let scratch = Scratch::new("psql");
    let file = scratch.path().join("script.sql");
    let script = format!(
        "{SCHEMA}\nINSERT INTO item (name, price) VALUES ('last', 1) RETURNING id \\gset\n\
        UPDATE item SET price = :id WHERE id = :id;\n\\if false\nSELECT 1/0;\n\\endif\n"
    );
    std::fs::write(&file, script).expect("write a script");
    let path = file.to_str().expect("a path that is text");
    process::run(&mut psql(cluster.proxy.port(), "psql_script", &["-q", "--single-transaction", "-f", path]));
    let mut follower = cluster.nodes[1].connect("psql_script");
    assert_eq!(follower.value("SELECT price FROM item WHERE name = 'last'"), "21");
    assert_identical_database(&cluster.nodes, "psql_script");
}
