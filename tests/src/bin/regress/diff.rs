//! Two answers to one test.

use std::io::Write as _;
use std::process::{Command, Stdio};

use lockstep_tests::scratch::Scratch;

/// As PostgreSQL's own tests compare: white space is free.
pub fn is_same(a: &str, b: &str) -> bool {
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    squeezed(a) == squeezed(b)
}

/// What `diff` says of them; empty when they are the same.
pub fn between(a: &str, b: &str) -> String {
    if is_same(a, b) {
        return String::new();
    }
    let scratch = Scratch::new("diff");
    let file = scratch.path().join("a");
    std::fs::write(&file, a).expect("write an answer");
    let mut diff = Command::new("diff");
    diff.args(["-a", "-w", "-U3"]).arg(&file).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = diff.spawn().expect("start diff");
    let mut input = child.stdin.take().expect("its input");
    let second = b.to_owned();
    let writer = std::thread::spawn(move || input.write_all(second.as_bytes()));
    let output = child.wait_with_output().expect("wait for diff");
    let _ = writer.join().expect("hand it the second answer");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lines that one answer has and the other has not.
pub fn lines(diff: &str) -> usize {
    diff.lines().skip(2).filter(|line| line.starts_with(['+', '-'])).count()
}
