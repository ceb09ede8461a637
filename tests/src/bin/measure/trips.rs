//! Round trips in sequence behind slow wires, and what a text seen before costs.

use std::time::{Duration, Instant};

use lockstep_tests::raw::Client;
use lockstep_tests::wires::{Protocol, UPDATE, Wires};

use crate::contest::median;
use crate::table::Table;

/// Each way, before every node.
const DELAY: Duration = Duration::from_millis(10);

const STATEMENTS: [usize; 2] = [1, 5];
const TIMED: usize = 5;

pub fn measure(table: &mut Table) {
    table.heading("Round trips in sequence, 10 ms each way", "   counted      time");
    for followers in [1, 2] {
        let wires = Wires::start(followers, DELAY);
        let mut client = wires.connect();
        line(table, &wires, &format!("autocommit write, {}", plural(followers, "follower")), 3, || {
            Protocol::Simple.run(&mut client, UPDATE);
        });
        for statements in STATEMENTS {
            let name = format!("transaction of {}, {}", plural(statements, "statement"), plural(followers, "follower"));
            line(table, &wires, &name, statements + 2, || Protocol::Simple.transaction(&mut client, statements));
        }
        if followers == 1 {
            seen_before(table, &wires);
        }
    }
}

fn line(table: &mut Table, wires: &Wires, name: &str, target: usize, mut action: impl FnMut()) {
    let counted = wires.cost(&mut action).round_trips;
    let times = (0..TIMED).map(|_| {
        let start = Instant::now();
        action();
        start.elapsed().as_secs_f64() * 1e3
    });
    let details = format!("{counted:>10}{:>7.0} ms", median(times.collect()));
    table.line(name, &details, &format!("<= {target}"), counted <= target);
}

/// The same statements with other literals, in the session that has used them and in a new one.
fn seen_before(table: &mut Table, wires: &Wires) {
    let texts = |n: usize| [format!("SELECT v FROM t WHERE id = {n}"), format!("UPDATE t SET v = {n} WHERE id = 1")];
    let run = |client: &mut Client, n| texts(n).iter().for_each(|sql| drop(client.query(sql)));
    // Sessions go to the arbiters in turn, and each keeps its own plans.
    let mut sessions: Vec<Client> = (0..16).map(|_| wires.connect()).collect();
    sessions.iter_mut().enumerate().for_each(|(n, client)| run(client, n));
    let mut check = |name: &str, client: &mut Client| {
        let parses = wires.parses();
        let heard = wires.hear(|| run(client, 1000));
        let parses = wires.parses() - parses;
        let foreign =
            heard.texts(0).iter().filter(|sql| sql.contains("pg_catalog.pg_") || sql.contains("current_")).count();
        let extra = heard.round_trips.saturating_sub(1 + 3);
        let details = format!("{parses} parses, {foreign} catalog queries, {extra} extra round trips");
        table.line(name, &details, "0", parses + foreign + extra == 0);
    };
    check("texts seen before, same session", &mut sessions[0]);
    check("texts seen before, new session", &mut wires.connect());
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
