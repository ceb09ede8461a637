//! One statement that changes many rows, against the same on one server.

use std::time::Instant;

use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;

use crate::args::Args;
use crate::contest::Contest;
use crate::stage::{DIRECT, REPLICATED, Stage};
use crate::table::Table;

const ROWS: u32 = 100_000;

/// Of the proxy, however many rows it passes on.
const MEMORY: usize = 64 * 1024 * 1024;

/// The second table has a trigger, so that its rows are captured.
const SCHEMA: &str = "CREATE TABLE plain (id int PRIMARY KEY, v int, filler text);
    INSERT INTO plain SELECT n, 0, repeat('x', 50) FROM generate_series(1, 100000) n;
    CREATE TABLE watched (LIKE plain INCLUDING ALL);
    INSERT INTO watched SELECT * FROM plain;
    CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.filler := repeat(''y'', 50); RETURN NEW; END';
    CREATE TRIGGER bumps BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION bump()";

pub fn measure(stage: &Stage, args: &Args, table: &mut Table) {
    let node = &stage.cluster.nodes[0];
    let mut ours = stage.cluster.connect(REPLICATED);
    let mut theirs = Client::connect(&node.address(), &APP, DIRECT);
    ours.query(SCHEMA);
    theirs.query(SCHEMA);
    table.heading("One UPDATE of 100,000 rows", "  Lockstep  one server    ratio");
    let before = stage.cluster.proxy.memory();
    for (name, updated, target) in [("by condition", "plain", 2.5), ("captured", "watched", 6.0)] {
        let mut contest = Contest::default();
        for round in 1..=args.rounds {
            eprint!("\r\x1b[Kround {round} of {}: {name}", args.rounds);
            contest.round(|| update(&mut ours, updated), || update(&mut theirs, updated));
        }
        eprint!("\r\x1b[K");
        let (ratio, times) = (contest.ratio(), (contest.ours(), contest.theirs()));
        let details = format!("{:>8.2} s{:>10.2} s{ratio:>9.2}", times.0, times.1);
        table.line(name, &details, &format!("<= {target:.1}"), ratio <= target);
    }
    let more = stage.cluster.proxy.memory().saturating_sub(before);
    let mebibytes = |bytes: usize| bytes as f64 / 1024.0 / 1024.0;
    let target = format!("<= {:.0} MiB", mebibytes(MEMORY));
    table.line("more memory of the proxy", &format!("{:>8.1} MiB", mebibytes(more)), &target, more <= MEMORY);
}

/// Seconds.
fn update(client: &mut Client, table: &str) -> f64 {
    let start = Instant::now();
    let answer = client.query(&format!("UPDATE {table} SET v = v + 1 WHERE id > 0"));
    let taken = start.elapsed().as_secs_f64();
    assert_eq!(answer.tags, [format!("UPDATE {ROWS}")]);
    // The next round does not begin with the dead rows of this one.
    client.query(&format!("VACUUM {table}"));
    taken
}
