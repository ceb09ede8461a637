//! Reads against PgBouncer, writes against the servers themselves.

use lockstep_tests::cluster::Cluster;

use crate::args::Args;
use crate::contest::{Contest, median};
use crate::load::{Load, Rate, Work};
use crate::stage::{DIRECT, REPLICATED, Stage};
use crate::table::Table;

/// The clock ticks in which the kernel counts a process's time, in a second (`USER_HZ`, 100 on every Linux).
const TICKS: f64 = 100.0;

/// What is measured in every round.
struct Entry {
    name: String,
    load: Load,
    target: f64,
    contest: Contest,
    /// Microseconds of a processor that the proxy takes for one transaction.
    costs: Vec<f64>,
}

impl Entry {
    fn new(load: Load, target: f64) -> Self {
        let plural = if load.clients == 1 { "" } else { "s" };
        let name = format!("{}, {} client{plural}", load.protocol, load.clients);
        Self { name, load, target, contest: Contest::default(), costs: Vec::new() }
    }

    fn round(&mut self, cluster: &Cluster, theirs: impl FnOnce(Load) -> f64) {
        let (load, costs) = (self.load, &mut self.costs);
        self.contest.round(
            || {
                let (rate, cost) = through_the_proxy(cluster, load);
                costs.push(cost);
                rate.tps
            },
            || theirs(load),
        );
    }

    fn print(&self, table: &mut Table) {
        let (ours, theirs, ratio) = (self.contest.ours(), self.contest.theirs(), self.contest.ratio());
        let details = format!("{ours:>10.0}{theirs:>12.0}{ratio:>9.3}{:>12.0}", median(self.costs.clone()));
        table.line(&self.name, &details, &format!(">= {:.2}", self.target), ratio >= self.target);
    }
}

fn through_the_proxy(cluster: &Cluster, load: Load) -> (Rate, f64) {
    let before = busy(&cluster.proxy);
    let rate = load.run(cluster.proxy.port(), REPLICATED);
    let given_up = cluster.proxy.degradations();
    assert!(given_up.is_empty(), "a rate of fewer nodes would say nothing: {}", given_up.join("\n"));
    let cost = (busy(&cluster.proxy) - before) * 1e6 / rate.transactions as f64;
    (rate, cost)
}

/// Seconds for which the proxy has kept a processor busy.
fn busy(proxy: &lockstep_tests::proxy::Proxy) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).expect("the proxy's times");
    // The second field, the program's name in brackets, may hold blanks; utime and stime are the 14th and 15th.
    let after_name = text.rsplit_once(')').expect("a name in brackets").1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / TICKS
}

pub fn reads(stage: &Stage, args: &Args, table: &mut Table) {
    let load = |protocol| Load { protocol, clients: 8, work: Work::Reads, seconds: args.seconds };
    let mut entries = ["simple", "prepared"].map(|protocol| Entry::new(load(protocol), 0.95));
    run(args, &mut entries, &stage.cluster, |load| load.run(stage.bouncer_port(), REPLICATED).tps);
    table.heading("Reads a second, pgbench -S", "  Lockstep   PgBouncer    ratio  proxy µs/tx");
    entries.iter().for_each(|entry| entry.print(table));
}

pub fn writes(stage: &Stage, args: &Args, table: &mut Table) {
    let kinds = [(8, 0.85), (1, 0.8)];
    let all = kinds.iter().flat_map(|(clients, target)| {
        ["simple", "extended", "prepared"].map(|protocol| {
            let load = Load { protocol, clients: *clients, work: Work::Transactions, seconds: args.seconds };
            Entry::new(load, *target)
        })
    });
    let mut entries: Vec<Entry> = all.collect();
    let ports: Vec<u16> = stage.cluster.nodes.iter().map(|node| node.port()).collect();
    run(args, &mut entries, &stage.cluster, |load| {
        let rates = load.run_at_once(&ports, DIRECT);
        rates.iter().map(|rate| rate.tps).fold(f64::INFINITY, f64::min)
    });
    table.heading("Transactions a second, pgbench TPC-B", "  Lockstep     ceiling    ratio  proxy µs/tx");
    entries.iter().for_each(|entry| entry.print(table));
    table.note("", "ceiling: pgbench at both servers directly and at once; the slower of the two");
}

fn run(args: &Args, entries: &mut [Entry], cluster: &Cluster, theirs: impl Fn(Load) -> f64) {
    for round in 1..=args.rounds {
        for entry in &mut *entries {
            eprint!("\r\x1b[Kround {round} of {}: {}", args.rounds, entry.name);
            entry.round(cluster, &theirs);
        }
    }
    eprint!("\r\x1b[K");
}
