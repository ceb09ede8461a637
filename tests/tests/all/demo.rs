//! The demo tells the truth, and leaves nothing behind.

use std::process::{Command, Output};

use lockstep_tests::process::{self, living_below};
use lockstep_tests::proxy;
use lockstep_tests::scratch::Scratch;

/// Everything that a demo makes is below this test's own directory for temporary files.
struct Shown {
    output: Output,
    said: String,
    scratch: Scratch,
}

fn show(switches: &[&str]) -> Shown {
    let scratch = Scratch::new("demo");
    process::give_to_server_user(scratch.path());
    let mut demo = Command::new(proxy::program());
    demo.arg("demo").args(switches).env("TMPDIR", scratch.path());
    let output = demo.output().expect("run the demo");
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
