//! The demo tells the truth, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lockstep_tests::process::{self, Process, living_below};
use lockstep_tests::proxy;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::wait;

/// Everything that a demo makes is below this test's own directory for temporary files.
struct Shown {
    output: Output,
    said: String,
    scratch: Scratch,
}

fn show(switches: &[&str]) -> Shown {
    show_below(stage(), switches)
}

fn stage() -> Scratch {
    let scratch = Scratch::new("demo");
    process::give_to_server_user(scratch.path());
    scratch
}

fn demo(scratch: &Scratch, switches: &[&str]) -> Command {
    let mut demo = Command::new(proxy::program());
    demo.arg("demo").args(switches).env("TMPDIR", scratch.path());
    demo
}

fn show_below(scratch: Scratch, switches: &[&str]) -> Shown {
    let output = demo(&scratch, switches).output().expect("run the demo");
    Shown { said: process::said(&output), output, scratch }
}

impl Shown {
    #[track_caller]
    fn ended(&self, code: i32) {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.said);
        let left: Vec<_> = std::fs::read_dir(self.scratch.path()).expect("the directory").collect();
        assert!(left.is_empty(), "{left:?}\n{}", self.said);
        assert!(living_below(self.scratch.path()).is_empty());
    }
}

#[test]
fn a_story_that_is_true_ends_well() {
    show(&["--exit"]).ended(0);
}

#[test]
fn it_survives_the_death_of_the_leader_too() {
    show(&["--exit", "--kill", "leader"]).ended(0);
}

#[test]
fn one_row_changed_behind_the_proxys_back_is_seen_and_told() {
    let shown = show(&["--exit", "--spoil"]);
    shown.ended(1);
    assert!(shown.said.contains("NOT equal") && shown.said.contains("public.orders"), "{}", shown.said);
}

#[test]
fn what_a_killed_demo_leaves_is_cleared_away_by_the_next_and_a_living_one_is_left_alone() {
    let scratch = stage();
    let (killed, left) = begin(&scratch, None);
    drop(killed);
    assert!(left.exists() && !living_below(&left).is_empty(), "who is killed can clear nothing away");
    let (_living, place) = begin(&scratch, Some(&left));
    assert!(!left.exists() && living_below(&left).is_empty(), "the next one has");
    let another = show_below(scratch, &["--exit"]);
    assert_eq!(another.output.status.code(), Some(0), "{}", another.said);
    assert!(place.exists() && !living_below(&place).is_empty() && !another.said.contains("killed had left"));
}

/// A demo with both its servers up, and its directory, which is not `other`.
fn begin(scratch: &Scratch, other: Option<&Path>) -> (Process, PathBuf) {
    let mut command = demo(scratch, &[]);
    let process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let place = wait::until(Duration::from_secs(180), "both servers run", || {
        let entries = std::fs::read_dir(scratch.path()).ok()?.flatten();
        let mut places = entries.map(|entry| entry.path()).filter(|place| Some(place.as_path()) != other);
        places.find(|place| place.join("beta/postmaster.pid").exists())
    });
    (process, place)
}
