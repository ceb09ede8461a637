//! Processes as Linux shows them, to end a server as a power cut would and to leave none behind.
//!
//! Only what is world-readable in `/proc` is used: root in a container may be refused the rest.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The server that runs on a data directory, if one does.
pub fn postmaster(data: &Path) -> Option<Pid> {
    let file = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = file.lines().next()?.trim().parse().ok().map(Pid::from_raw)?;
    // The file may be older than the process that has its number now.
    mentions(pid, data).then_some(pid)
}

/// A process and its children. A server's children are all there is: they have none of their own.
pub fn family(head: Pid) -> Vec<Pid> {
    let children = all().into_iter().filter(|pid| parent(*pid) == Some(head));
    [head].into_iter().chain(children).collect()
}

/// Processes of PostgreSQL's programs (but servers) whose command line names the directory.
pub fn helpers(directory: &Path) -> Vec<Pid> {
    let ours = |pid: &Pid| {
        let program =
            command_line(*pid).first().and_then(|path| PathBuf::from(path).file_name()?.to_str().map(String::from));
        program.is_some_and(|program| program.starts_with("pg_") || program == "initdb") && mentions(*pid, directory)
    };
    all().into_iter().filter(ours).collect()
}

/// Sends a signal to each; one that is gone already is what is wanted.
pub fn send(signal: Signal, pids: &[Pid]) {
    for pid in pids {
        let _ = kill(*pid, signal);
    }
}

/// Until none of them is there, or the deadline. Blocks: it is also called where nothing else runs any more.
pub fn gone(pids: &[Pid], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while pids.iter().any(|pid| alive(*pid)) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}

/// A zombie has ended; that nobody has asked for its status yet is no concern of ours.
fn alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z" && state != "X"))
}

fn parent(pid: Pid) -> Option<Pid> {
    stat(pid)?.get(1)?.parse().ok().map(Pid::from_raw)
}

/// `/proc/PID/stat` after the name in parentheses, which may hold anything.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(String::from).collect())
}

fn mentions(pid: Pid, directory: &Path) -> bool {
    let directory = directory.to_string_lossy();
    command_line(pid).iter().any(|argument| argument.contains(&*directory))
}

fn command_line(pid: Pid) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

fn all() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_belongs_to_the_family_until_it_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        assert!(family(Pid::this()).contains(&pid));
        send(Signal::SIGKILL, &[pid]);
        assert!(gone(&[pid], Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(!family(Pid::this()).contains(&pid));
    }

    #[test]
    fn a_stale_pid_file_names_nobody() {
        let directory = std::env::temp_dir().join(format!("lockstep-stale-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        let found = postmaster(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, None);
    }
}
