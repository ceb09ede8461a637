//! `lockstep verify` while clients write: no false alarm, and every kind of difference is found and named.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::wait;

use lockstep_tests::chance::Chance;

const CLIENTS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

const SCHEMA: &str = "CREATE TABLE ledger (id int PRIMARY KEY, amount numeric NOT NULL, note text DEFAULT 'none');
    INSERT INTO ledger SELECT n, n / 7.0, 'entry ' || n FROM generate_series(1, 200000) n;
    CREATE INDEX ledger_amount ON ledger (amount);
    CREATE TABLE pair (a int, b bigint, v text, PRIMARY KEY (a, b));
    INSERT INTO pair SELECT n / 100, n, 'v' FROM generate_series(1, 9000) n;
    CREATE TABLE bag (word text);
    INSERT INTO bag SELECT 'word ' || n % 500 FROM generate_series(1, 20000) n;
    CREATE TABLE named (name text PRIMARY KEY, v int);
    INSERT INTO named SELECT 'n' || n, n FROM generate_series(1, 5000) n;
    CREATE SEQUENCE still; SELECT nextval('still');";

/// Runs clients that write for as long as `work` takes; each has committed something before it begins.
fn under_load(cluster: &Cluster, work: impl FnOnce() + Send) {
    let (done, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    /// Ends the load when `work` panics too.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (done, commits) = (&done, &commits);
            scope.spawn(move || write(cluster, number, done, commits));
        }
        let _end = End(&done);
        wait::until(PATIENCE, "clients write", || (commits.load(Ordering::Acquire) > 20).then_some(()));
        work();
    });
}

/// Rows that a test spoils are not among those that are written here: what is spoiled stays so.
fn write(cluster: &Cluster, number: u64, done: &AtomicBool, commits: &AtomicU64) {
    let (mut bank, mut drawn) = (cluster.connect("bank"), cluster.connect("drawn"));
    let mut chance = Chance::new(number);
    while !done.load(Ordering::Acquire) {
        let id = chance.below(500) + 1;
        match chance.below(5) {
            0 => drop(bank.query(&format!("UPDATE ledger SET amount = amount + random() WHERE id = {id}"))),
            1 => drop(bank.query(&format!("DELETE FROM pair WHERE a = 1 AND b = {id}"))),
            2 => drop(bank.query(&format!("INSERT INTO pair VALUES (1, {id}, 'new') ON CONFLICT DO NOTHING"))),
            3 => drop(bank.query(&format!("INSERT INTO bag VALUES ('more {id}')"))),
            _ => drop(drawn.query("INSERT INTO draw (v) VALUES ('drawn')")),
        }
        commits.fetch_add(1, Ordering::AcqRel);
    }
}

fn started() -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database("bank");
    cluster.create_database("drawn");
    cluster.connect("bank").query(SCHEMA);
    cluster.connect("drawn").query("CREATE TABLE draw (id serial PRIMARY KEY, v text)");
    cluster
}

/// Exit code and everything that was printed.
pub fn verify(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let output = cluster.proxy.run(&[&["verify"], arguments].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// What is done to a follower, how it is undone, and what must be said of it.
const SPOILED: &[(&str, &str, &str)] = &[
    (
        "UPDATE ledger SET amount = amount + 1 WHERE id = 150000",
        "UPDATE ledger SET amount = amount - 1 WHERE id = 150000",
        "table public.ledger differs: id = 150000 differs",
    ),
    (
        "CREATE TABLE kept AS SELECT * FROM ledger WHERE id = 777; DELETE FROM ledger WHERE id = 777",
        "INSERT INTO ledger SELECT * FROM kept; DROP TABLE kept",
        "id = 777 only on node0",
    ),
    (
        "INSERT INTO ledger VALUES (300000, 1, 'stray')",
        "DELETE FROM ledger WHERE id = 300000",
        "id = 300000 only on node1",
    ),
    (
        "INSERT INTO pair VALUES (7, 999999, 'stray')",
        "DELETE FROM pair WHERE a = 7 AND b = 999999",
        "table public.pair differs: (a, b) = (7, 999999) only on node1",
    ),
    (
        "INSERT INTO bag VALUES ('word 7')",
        "DELETE FROM bag WHERE ctid = (SELECT max(ctid) FROM bag WHERE word = 'word 7')",
        "(\"word 7\") 40 times on node0, 41 times on node1",
    ),
    (
        "UPDATE named SET v = 0 WHERE name = 'n17'",
        "UPDATE named SET v = 17 WHERE name = 'n17'",
        "table public.named differs",
    ),
    ("SELECT nextval('still')", "SELECT setval('still', 1)", "sequence public.still is at 1 on node0, at 2 on node1"),
    (
        "ALTER TABLE pair DROP CONSTRAINT pair_pkey",
        "ALTER TABLE pair ADD PRIMARY KEY (a, b)",
        "constraint pair_pkey on public.pair is on node0, not on node1",
    ),
    (
        "DROP INDEX ledger_amount",
        "CREATE INDEX ledger_amount ON ledger (amount)",
        "index public.ledger_amount is on node0, not on node1",
    ),
    (
        "GRANT SELECT ON pair TO app_md5",
        "REVOKE SELECT ON pair FROM app_md5; GRANT ALL ON pair TO app",
        "table public.pair differs",
    ),
    ("ALTER DATABASE bank SET work_mem = '5MB'", "ALTER DATABASE bank RESET work_mem", "settings in database bank"),
];

#[test]
fn under_load_equal_nodes_are_equal_and_whatever_is_spoiled_is_found() {
    let cluster = started();
    under_load(&cluster, || {
        for _ in 0..2 {
            let (code, text) = verify(&cluster, &[]);
            assert_eq!(code, 0, "{text}");
        }
        let mut follower = cluster.nodes[1].connect("bank");
        // A grant leaves privileges written out that were implied: on both nodes they are.
        cluster.connect("bank").query("GRANT ALL ON pair TO app");
        for (spoil, undo, sentence) in SPOILED {
            follower.query(spoil);
            let (code, text) = verify(&cluster, &["--rate", "none"]);
            assert_eq!(code, 1, "{spoil}: {text}");
            assert!(text.contains(sentence), "{spoil}: {text}");
            follower.query(undo);
        }
        let (code, text) = verify(&cluster, &["--rate", "none"]);
        assert_eq!(code, 0, "after everything was undone: {text}");
    });
    let log = cluster.proxy.log();
    let held: Vec<&str> = log.lines().filter(|line| line.contains("commits were held to compare nodes")).collect();
    assert!(!held.is_empty() && held.iter().all(|line| line.contains("held_ms")), "{held:?}");
    held.iter().for_each(|line| eprintln!("{line}"));
    assert_identical(&cluster.nodes);
}

#[test]
fn what_is_compared_can_be_narrowed_and_programs_can_read_the_answer() {
    let cluster = started();
    let (code, text) = verify(&cluster, &["--database", "bank", "--table", "public.bag", "--table", "pair", "--json"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"tables\": 2") && text.contains("\"rows\": 29000"), "{text}");
    cluster.nodes[1].connect("bank").query("DELETE FROM ledger WHERE id <= 100000");
    assert_eq!(verify(&cluster, &["--table", "pair"]).0, 0);
    let (code, text) = verify(&cluster, &["--table", "ledger", "--json"]);
    assert!(code == 1 && text.contains("more rows or ranges") && text.contains("node1"), "{text}");
    for nothing in [["--table", "nothing"], ["--database", "nowhere"]] {
        let (code, text) = verify(&cluster, &nothing);
        assert!(code == 1 && text.contains(nothing[1]), "{text}");
    }
    let mut cluster = cluster;
    cluster.proxy.kill9();
    assert_eq!(verify(&cluster, &[]).0, 3);
}

/// Tables that come, go, grow, are rewritten and emptied under the reading.
#[test]
fn definitions_that_change_meanwhile_are_no_difference() {
    let cluster = started();
    under_load(&cluster, || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = cluster.connect("bank");
                while !done.load(Ordering::Acquire) {
                    client.query("CREATE TABLE churn (id int PRIMARY KEY, v text)");
                    client.query("INSERT INTO churn SELECT n, 'x' FROM generate_series(1, 3000) n");
                    client.query("ALTER TABLE churn ADD COLUMN w int DEFAULT 5");
                    client.query("CREATE INDEX churn_v ON churn (v)");
                    client.query("GRANT SELECT ON churn TO app_md5");
                    client.query("TRUNCATE churn");
                    client.query("DROP TABLE churn");
                }
            });
            let answers: Vec<_> = (0..4).map(|_| verify(&cluster, &["--database", "bank"])).collect();
            done.store(true, Ordering::Release);
            answers.iter().for_each(|(code, text)| assert_eq!(*code, 0, "{text}"));
        });
    });
    assert_identical(&cluster.nodes);
}

#[test]
fn a_long_comparison_is_in_nobodys_way_and_ends_with_who_asked_for_it() {
    let cluster = started();
    let mut asked = cluster.proxy.command(&["verify", "--rate", "1000"]);
    let mut asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run lockstep verify");
    let mut activity = cluster.nodes[0].connect("postgres");
    let mut looking = |database: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lockstep%' \
             AND state = 'idle in transaction' AND datname = '{database}'"
        );
        activity.value(&sql) != "0"
    };
    wait::until(PATIENCE, "the comparison looks at the database", || looking("bank").then_some(()));
    let begun = Instant::now();
    let mut client = cluster.connect("bank");
    client.query("ALTER TABLE ledger ADD COLUMN later int");
    client.query("UPDATE ledger SET later = 1 WHERE id = 1");
    client.query("TRUNCATE bag");
    assert!(begun.elapsed() < Duration::from_secs(5), "DDL waits for a piece at most: {:?}", begun.elapsed());
    assert!(looking("bank"), "the comparison goes on");
    drop(client);
    cluster.connect("drawn").query("DROP DATABASE bank");
    cluster.create_database("bank");
    cluster.connect("bank").query(SCHEMA);

    let mut asked_again = cluster.proxy.command(&["verify", "--database", "bank", "--rate", "1000"]);
    asked.wait().expect("what is left is compared");
    let mut asked = asked_again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run lockstep verify");
    wait::until(PATIENCE, "the comparison looks at the database", || looking("bank").then_some(()));
    // Not SIGINT: whoever runs the tests in the background may have had it ignored.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(asked.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .expect("end it");
    asked.wait().expect("it ends");
    wait::until(PATIENCE, "nobody looks any more", || (!looking("bank")).then_some(()));
    let (code, text) = verify(&cluster, &["--table", "pair"]);
    assert_eq!(code, 0, "another comparison begins: {text}");
}

#[test]
fn in_the_background_a_follower_that_differs_twice_is_taken_out() {
    let cluster = Cluster::builder(2).proxy_setting("replication", "scrub = \"1s\"").start();
    cluster.create_database("bank");
    cluster.connect("bank").query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    let result = |wanted: &'static str| {
        let status = cluster.proxy.status().unwrap_or_default();
        (status["scrub"]["result"] == wanted).then_some(status)
    };
    wait::until(PATIENCE, "a comparison in the background", || result("equal"));
    cluster.nodes[1].connect("bank").query("UPDATE t SET v = 2");
    let status = wait::until(PATIENCE, "the difference is found", || result("differs"));
    assert!(status["scrub"]["found"][0].as_str().unwrap_or("").contains("id = 1 differs"), "{status}");
    cluster.proxy.wait_for_states(&["active", "degraded"], PATIENCE);
    let reason = cluster.proxy.status().unwrap_or_default()["nodes"][1]["reason"].to_string();
    assert!(reason.contains("twice") && reason.contains("id = 1 differs"), "{reason}");
}
