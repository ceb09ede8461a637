//! Random transactions of every kind by many clients at once, and the same load on a plain server beside it.
//!
//! One seed gives each client its own course; how they meet is the machines' doing. Afterwards the nodes must be equal, no
//! session may be left in a transaction, and the errors must be of the kinds that a plain server gives.
//!
//! `TORTURE_SECONDS`, `TORTURE_SEED` and `TORTURE_THEMES` choose a longer run, another course, and some themes of it.

mod step;
mod tally;
mod themes;

use std::time::{Duration, Instant};

use lockstep_tests::chance::Chance;
use lockstep_tests::cluster::{Cluster, create_database};
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::{Client, Failure};
use lockstep_tests::users::APP;

use step::{Outcome, ask};
use tally::Tally;
use themes::Themes;

const CLIENTS: u64 = 8;
const DATABASE: &str = "torture";

#[test]
fn random_transactions_leave_equal_nodes_and_only_the_errors_of_a_plain_server() {
    let seed = number("TORTURE_SEED", 1);
    let time = Duration::from_secs(number("TORTURE_SECONDS", 20));
    let themes = Themes::chosen();

    let plain = Server::builder().setting("deadlock_timeout", "200ms").start();
    create_database(&plain, DATABASE);
    let alone = torture(&|| Client::connect(&plain.address(), &APP, DATABASE), &themes, seed, time / 4);

    let cluster = Cluster::builder(3).server_setting("deadlock_timeout", "200ms").relayed().start();
    cluster.create_database(DATABASE);
    for relay in &cluster.relays[1..] {
        relay.set_delays(Duration::ZERO..=Duration::from_millis(2), Duration::ZERO..=Duration::from_millis(2));
    }
    let replicated = torture(&|| cluster.connect(DATABASE), &themes, seed, time);

    println!("seed {seed}\na plain server, a quarter of the time: {alone}\nthree nodes: {replicated}");
    println!("unexpected there: {:#?}\nunexpected here: {:#?}", alone.unexpected(), replicated.unexpected());
    assert_eq!(cluster.proxy.node_states(), ["active"; 3], "{:?}", cluster.proxy.degradations());
    assert_identical(&cluster.nodes);
    assert_eq!(alone.unexpected(), Vec::<&String>::new(), "errors of a plain server that are not among those expected");
    assert_eq!(replicated.unexpected(), Vec::<&String>::new(), "errors that a plain server does not give");
    let (there, here) = (alone.conflicts(), replicated.conflicts());
    assert!(
        here < 10 * there.max(2),
        "{here} % of the transactions are to be repeated, and {there} % on a plain server"
    );
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'torture' AND state LIKE 'idle in%'";
    for node in &cluster.nodes {
        assert_eq!(node.connect(DATABASE).value(open), "0", "sessions left in a transaction");
    }
    assert!(replicated.units > 50, "{} transactions", replicated.units);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn torture(connect: &(impl Fn() -> Client + Sync), themes: &Themes, seed: u64, time: Duration) -> Tally {
    let mut first = connect();
    first.query("CREATE TABLE spare (n int PRIMARY KEY)");
    themes.given().for_each(|given| drop(first.query(given)));
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || course(connect, themes, &mut Chance::new(seed * CLIENTS + client), end)))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).fold(Tally::default(), Tally::add)
    })
}

/// One client's transactions, until the time is over.
fn course(connect: &impl Fn() -> Client, themes: &Themes, chance: &mut Chance, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut client = connect();
    while Instant::now() < end {
        tally.units += 1;
        let vanishes = chance.one_in(60);
        let outcome = match chance.below(3) {
            0 => themes.step(chance).run_alone(&mut client),
            _ => block(&mut client, themes, chance, vanishes),
        };
        match outcome {
            Err((_, Failure::Lost(_))) if vanishes => client = connect(),
            Err((what, failure)) => {
                tally.note(&what, &failure);
                // A deadlock's other side is let go by the end of this one's transaction.
                if let Err(failure) = client.try_query("ROLLBACK") {
                    if failure.state() != "08006" {
                        tally.note("ROLLBACK", &failure);
                    }
                    client = connect();
                }
            }
            Ok(()) => {}
        }
    }
    tally
}

fn block(client: &mut Client, themes: &Themes, chance: &mut Chance, vanishes: bool) -> Outcome {
    let level = chance.of(&["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
    ask(client, &format!("BEGIN ISOLATION LEVEL {level}"))?;
    for _ in 0..=chance.below(4) {
        if chance.one_in(5) {
            savepoint(client, themes, chance)?;
        } else {
            themes.step(chance).run(client)?;
        }
    }
    if vanishes {
        client.vanish(chance.one_in(2).then_some("COMMIT"));
        return Err(("vanished".into(), Failure::Lost("by itself".into())));
    }
    ask(client, if chance.one_in(6) { "ROLLBACK" } else { "COMMIT" })
}

/// Something within a savepoint that is kept, or rolled back, or fails.
fn savepoint(client: &mut Client, themes: &Themes, chance: &mut Chance) -> Outcome {
    ask(client, "SAVEPOINT s")?;
    let failed = match chance.below(3) {
        0 => ask(client, "INSERT INTO spare SELECT 1 / (n - 2) FROM generate_series(1, 3) n").is_err(),
        _ => themes.step(chance).run(client).is_err(),
    };
    ask(client, if failed || chance.one_in(3) { "ROLLBACK TO s" } else { "RELEASE s" })
}
