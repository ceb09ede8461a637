//! Eight workers that take jobs with FOR UPDATE SKIP LOCKED, against the same on one server.

use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;

use crate::args::Args;
use crate::contest::Contest;
use crate::load::{Load, Work};
use crate::stage::{DIRECT, REPLICATED, Stage};
use crate::table::Table;

const SCHEMA: &str = "CREATE TABLE job (id int PRIMARY KEY, state int NOT NULL, worker int);
    CREATE INDEX waiting ON job (id) WHERE state = 0";

/// More than are taken in any round.
const FILL: &str = "INSERT INTO job SELECT n, 0 FROM generate_series(1, 200000) n";

const TAKE: &str = "BEGIN;
SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED \\gset
UPDATE job SET state = 1, worker = :client_id WHERE id = :id;
COMMIT;
";

const TARGET: f64 = 0.5;

pub fn measure(stage: &Stage, args: &Args, table: &mut Table) {
    let node = &stage.cluster.nodes[0];
    let mut ours = stage.cluster.connect(REPLICATED);
    let mut theirs = Client::connect(&node.address(), &APP, DIRECT);
    ours.query(SCHEMA);
    theirs.query(SCHEMA);
    let load = Load { protocol: "prepared", clients: 8, work: Work::Script(TAKE), seconds: args.seconds };
    let run = |client: &mut Client, port, database| {
        client.query("TRUNCATE job");
        client.query(FILL);
        client.query("VACUUM ANALYZE job");
        load.run(port, database).tps
    };
    let mut contest = Contest::default();
    for round in 1..=args.rounds {
        eprint!("\r\x1b[Kround {round} of {}: queue", args.rounds);
        contest
            .round(|| run(&mut ours, stage.cluster.proxy.port(), REPLICATED), || run(&mut theirs, node.port(), DIRECT));
    }
    eprint!("\r\x1b[K");
    table.heading("Jobs a second, 8 workers, SKIP LOCKED", "  Lockstep  one server    ratio");
    let (ratio, rates) = (contest.ratio(), (contest.ours(), contest.theirs()));
    let details = format!("{:>10.0}{:>12.0}{ratio:>9.3}", rates.0, rates.1);
    table.line("taken and done", &details, &format!(">= {TARGET:.1}"), ratio >= TARGET);
}
