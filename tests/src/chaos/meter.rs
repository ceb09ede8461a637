//! `lockstep probe` as a process beside the load: what an application notices while something happens.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::DATABASE;
use super::stage::Stage;
use crate::users::APP;
use crate::{process, wait};

const BEGUN: Duration = Duration::from_secs(20);

/// Four clients, each of which writes and reads every 10 ms.
const OPTIONS: [&str; 8] = ["probe", "--json", "--interval", "10ms", "--clients", "4", "--timeout", "30s"];

pub struct Meter {
    probe: Child,
}

/// What the probe's clients saw.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// By kind.
    pub failures: BTreeMap<String, u64>,
    pub reconnects: u64,
    /// From one success of a client to its next.
    pub longest_stall: Duration,
}

impl Meter {
    /// Returns when all its clients are at work.
    pub fn start(stage: &mut Stage) -> Self {
        let leader = stage.who_is(super::event::Role::Leader);
        let mut observer = stage.cluster.nodes[leader].connect(DATABASE);
        let marks = "SELECT coalesce(sum(mark), 0) FROM lockstep_probe";
        let before = observer.try_query(marks).map(|answer| answer.rows).unwrap_or_default();
        let mut command = stage.cluster.proxy.command(&OPTIONS);
        command.args(["--user", APP.name, "--database", DATABASE]).env("PGPASSWORD", APP.password);
        let probe = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("probe");
        wait::until(BEGUN, "the probe's clients are at work", || {
            let now = observer.try_query(marks).map(|answer| answer.rows).unwrap_or_default();
            (now != before && !now.is_empty()).then_some(())
        });
        Self { probe }
    }

    pub fn stop(self) -> Reading {
        process::signal(nix::unistd::Pid::from_raw(self.probe.id().cast_signed()), Signal::SIGINT);
        let output = self.probe.wait_with_output().expect("the probe ends");
        let summary: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", process::said(&output)));
        let mut reading = Reading::default();
        for tally in ["reads", "writes"].map(|what| &summary[what]) {
            for (kind, count) in tally["failures"].as_object().into_iter().flatten() {
                *reading.failures.entry(kind.clone()).or_default() += count.as_u64().unwrap_or_default();
            }
            reading.reconnects += tally["reconnects"].as_u64().unwrap_or_default();
            let stall = Duration::from_secs_f64(tally["longest_gap"].as_f64().unwrap_or_default() / 1e3);
            reading.longest_stall = reading.longest_stall.max(stall);
        }
        reading
    }
}
