//! Clients that are connected and do nothing.

use std::time::{Duration, Instant};

use lockstep_tests::raw::Client;

use crate::stage::{REPLICATED, Stage};
use crate::table::Table;

/// How many connect at the same time.
const AT_ONCE: u16 = 8;

const TIME: Duration = Duration::from_secs(10);
const BYTES: f64 = 64.0 * 1024.0;

pub fn measure(stage: &Stage, clients: u16, table: &mut Table) {
    let proxy = &stage.cluster.proxy;
    let before = proxy.memory();
    let start = Instant::now();
    let mut connected = connect(stage, clients);
    let taken = start.elapsed();
    let after_login = proxy.memory();
    // A client that has worked and rests is idle, too.
    connected.iter_mut().for_each(|client| drop(client.query("SELECT bid FROM pgbench_branches WHERE bid = 1")));
    let after_work = proxy.memory();
    let each = |now: usize| now.saturating_sub(before) as f64 / f64::from(clients);
    table.heading(&format!("{clients} idle clients"), "");
    let seconds = format!("{:>10.1} s", taken.as_secs_f64());
    table.line("connect", &seconds, &format!("<= {} s", TIME.as_secs()), taken <= TIME);
    for (name, bytes) in
        [("memory of each, just connected", each(after_login)), ("memory of each, after a query", each(after_work))]
    {
        table.line(
            name,
            &format!("{:>10.1} KiB", bytes / 1024.0),
            &format!("< {:.0} KiB", BYTES / 1024.0),
            bytes < BYTES,
        );
    }
}

fn connect(stage: &Stage, clients: u16) -> Vec<Client> {
    let each = |worker: u16| clients / AT_ONCE + u16::from(worker < clients % AT_ONCE);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| scope.spawn(move || (0..each(worker)).map(|_| stage.cluster.connect(REPLICATED)).collect()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| -> Vec<Client> { worker.join().expect("every client connects") })
            .collect()
    })
}
