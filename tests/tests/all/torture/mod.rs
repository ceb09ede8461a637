//! Random transactions of every kind by many clients at once, and the same load on a plain server beside it.
//!
//! One seed gives each client its own course; how they meet is the machines' doing. Afterwards the nodes must be equal, no
//! session may be left in a transaction, and the errors must be of the kinds that a plain server gives.
//!
//! `TORTURE_SECONDS` and `TORTURE_SEED` choose a longer run and another course.

mod statements;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_tests::chance::Chance;
use lockstep_tests::cluster::{Cluster, create_database};
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::{Client, Failure};
use lockstep_tests::users::APP;

use statements::{SCHEMA, Step};

const CLIENTS: u64 = 8;
const DATABASE: &str = "torture";

/// What a plain server may answer to this load: conflicts, deadlocks, violated constraints, its own time-outs, a failed
/// transaction, a division by zero that was asked for, and an object that another client has just dropped or made. And
/// refusals: MERGE, a key that changes and a write within another statement are among the load so that none slips through.
const EXPECTED: [&str; 15] = [
    "40001", "40P01", "23502", "23503", "23505", "23514", "55P03", "25P02", "22012", "42P01", "42P07", "42701",
    "42703", "42704", "0A000",
];

#[test]
fn random_transactions_leave_equal_nodes_and_only_the_errors_of_a_plain_server() {
    let seed = number("TORTURE_SEED", 1);
    let time = Duration::from_secs(number("TORTURE_SECONDS", 8));

    let plain = Server::builder().start();
    create_database(&plain, DATABASE);
    let alone = torture(&|| Client::connect(&plain.address(), &APP, DATABASE), seed, time / 4);

    let cluster = Cluster::builder(3).relayed().start();
    cluster.create_database(DATABASE);
    for relay in &cluster.relays[1..] {
        relay.set_delays(Duration::ZERO..=Duration::from_millis(2), Duration::ZERO..=Duration::from_millis(2));
    }
    let replicated = torture(&|| cluster.connect(DATABASE), seed, time);

    println!("seed {seed}\na plain server, a quarter of the time: {alone}\nthree nodes: {replicated}");
    assert_eq!(cluster.proxy.node_states(), ["active"; 3], "{:?}", cluster.proxy.degradations());
    assert_identical(&cluster.nodes);
    assert_eq!(replicated.unexpected, Vec::<String>::new(), "errors that a plain server does not give");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'torture' AND state LIKE 'idle in%'";
    for node in &cluster.nodes {
        assert_eq!(node.connect(DATABASE).value(open), "0", "sessions left in a transaction");
    }
    assert!(replicated.units > 100, "{} transactions", replicated.units);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// How a load went.
#[derive(Debug, Default)]
struct Tally {
    units: u64,
    errors: BTreeMap<String, u64>,
    unexpected: Vec<String>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} transactions, {:?}", self.units, self.errors)
    }
}

impl Tally {
    fn note(&mut self, what: &str, failure: &Failure) {
        *self.errors.entry(failure.state().to_owned()).or_default() += 1;
        if !EXPECTED.contains(&failure.state()) {
            self.unexpected.push(format!("{what}: {failure}"));
        }
    }

    fn add(mut self, other: Tally) -> Tally {
        self.units += other.units;
        for (state, count) in other.errors {
            *self.errors.entry(state).or_default() += count;
        }
        self.unexpected.extend(other.unexpected);
        self
    }
}

fn torture(connect: &(impl Fn() -> Client + Sync), seed: u64, time: Duration) -> Tally {
    connect().query(SCHEMA);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || course(connect, &mut Chance::new(seed * CLIENTS + client), end)))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).fold(Tally::default(), Tally::add)
    })
}

/// One client's transactions, until the time is over.
fn course(connect: &impl Fn() -> Client, chance: &mut Chance, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut client = connect();
    while Instant::now() < end {
        tally.units += 1;
        let vanishes = chance.one_in(60);
        let outcome = match chance.below(3) {
            0 => step(&mut client, &Step::any(chance)),
            _ => block(&mut client, chance, vanishes),
        };
        match outcome {
            Err((_, Failure::Lost(_))) if vanishes => client = connect(),
            Err((what, failure)) => {
                tally.note(&what, &failure);
                // A deadlock's other side is let go by the end of this one's transaction.
                if let Err(failure) = client.try_query("ROLLBACK") {
                    tally.note("ROLLBACK", &failure);
                    client = connect();
                }
            }
            Ok(()) => {}
        }
    }
    tally
}

type Outcome = Result<(), (String, Failure)>;

fn step(client: &mut Client, step: &Step) -> Outcome {
    let answer = match step {
        Step::Simple(sql) => client.try_query(sql),
        Step::Extended(sql, parameters) => {
            let parameters: Vec<Option<&str>> = parameters.iter().map(|p| Some(p.as_str())).collect();
            client.try_execute(sql, &parameters)
        }
    };
    answer.map(drop).map_err(|failure| (step.to_string(), failure))
}

fn ask(client: &mut Client, sql: &str) -> Outcome {
    step(client, &Step::Simple(sql.to_owned()))
}

fn block(client: &mut Client, chance: &mut Chance, vanishes: bool) -> Outcome {
    let level = chance.of(&["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
    ask(client, &format!("BEGIN ISOLATION LEVEL {level}"))?;
    for _ in 0..=chance.below(4) {
        if chance.one_in(5) {
            savepoint(client, chance)?;
        } else {
            step(client, &Step::any(chance))?;
        }
    }
    if vanishes {
        client.vanish(chance.one_in(2).then_some("COMMIT"));
        return Err(("vanished".into(), Failure::Lost("by itself".into())));
    }
    ask(client, if chance.one_in(6) { "ROLLBACK" } else { "COMMIT" })
}

/// Something within a savepoint that is kept, or rolled back, or fails.
fn savepoint(client: &mut Client, chance: &mut Chance) -> Outcome {
    ask(client, "SAVEPOINT s")?;
    let failed = match chance.below(3) {
        0 => ask(client, "INSERT INTO hits (page, count) SELECT 'none', 1 / (n - 2) FROM generate_series(1, 3) n")
            .is_err(),
        _ => step(client, &Step::any(chance)).is_err(),
    };
    ask(client, if failed || chance.one_in(3) { "ROLLBACK TO s" } else { "RELEASE s" })
}
