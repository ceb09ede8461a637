//! `lockstep verify` of a large database: against a query that looks at each row on one server, and what it costs those
//! who work meanwhile.

use std::process::{Child, Stdio};
use std::time::Instant;

use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;

use crate::args::Args;
use crate::contest::Contest;
use crate::load::{self, Load, Work};
use crate::stage::{REPLICATED, Stage};
use crate::table::Table;

const DATABASE: &str = "large";

/// pgbench's scale that makes a GB, with its index.
const SCALE: u16 = 68;

const TABLES: [&str; 4] = ["pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"];

/// How much longer than the query.
const LONGER: f64 = 3.0;

/// Of its rate, a load beside it keeps.
const KEPT: f64 = 0.8;

pub fn measure(stage: &Stage, args: &Args, table: &mut Table) {
    let cluster = &stage.cluster;
    cluster.create_database(DATABASE);
    eprintln!("filling {} GB …", args.gigabytes);
    load::initialize(cluster.proxy.port(), DATABASE, SCALE * args.gigabytes);
    let mut direct = Client::connect(&cluster.nodes[0].address(), &APP, DATABASE);
    let size = direct.value("SELECT pg_size_pretty(pg_database_size(current_database()))");
    table.heading(&format!("lockstep verify, {size}"), "  Lockstep       query    ratio");
    let mut contest = Contest::default();
    for round in 1..=args.rounds {
        eprint!("\r\x1b[Kround {round} of {}: verify", args.rounds);
        contest.round(|| seconds(|| verified(stage)), || seconds(|| query(&mut direct)));
    }
    eprint!("\r\x1b[K");
    let (ratio, times) = (contest.ratio(), (contest.ours(), contest.theirs()));
    let details = format!("{:>8.2} s{:>10.2} s{ratio:>9.2}", times.0, times.1);
    table.line("--rate none", &details, &format!("<= {LONGER:.0}"), ratio <= LONGER);
    beside_a_load(stage, args, table);
}

fn verified(stage: &Stage) {
    let output = stage.cluster.proxy.run(&["verify", "--database", DATABASE, "--rate", "none"]);
    assert!(output.status.success(), "{}", lockstep_tests::process::said(&output));
}

fn query(client: &mut Client) {
    for name in TABLES {
        client.query(&format!("SELECT sum(hashtext(t::text)) FROM {name} t"));
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// At the rate that it has by default it outlasts each round, and is ended after it.
fn beside_a_load(stage: &Stage, args: &Args, table: &mut Table) {
    let proxy = &stage.cluster.proxy;
    let load = Load { protocol: "prepared", clients: 8, work: Work::Transactions, seconds: args.seconds };
    let run = || load.run(proxy.port(), REPLICATED).tps;
    let mut contest = Contest::default();
    for round in 1..=args.rounds {
        eprint!("\r\x1b[Kround {round} of {}: pgbench beside verify", args.rounds);
        contest.round(
            || {
                let mut verify = begin(stage);
                let rate = run();
                end(&mut verify);
                rate
            },
            run,
        );
    }
    eprint!("\r\x1b[K");
    let (ratio, rates) = (contest.ratio(), (contest.ours(), contest.theirs()));
    let details = format!("{:>10.0}{:>12.0}{ratio:>9.3}", rates.0, rates.1);
    table.heading("pgbench TPC-B beside verify", "      with     without    ratio");
    table.line("transactions a second", &details, &format!(">= {KEPT:.1}"), ratio >= KEPT);
}

fn begin(stage: &Stage) -> Child {
    let mut command = stage.cluster.proxy.command(&["verify", "--database", DATABASE]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start verify")
}

fn end(verify: &mut Child) {
    verify.kill().expect("end verify");
    verify.wait().expect("verify has ended");
}
