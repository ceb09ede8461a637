//! Processes: under which user, who lives in a directory, and signals to all of them.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use crate::wait;

/// A command under the user that servers run as: PostgreSQL refuses to run as root.
pub fn as_server_user(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir("/");
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

pub fn give_to_server_user(path: &Path) {
    if let Some(user) = server_user() {
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("give a file away");
    }
}

/// The same command, which may have so many files open at most.
pub fn with_open_files(command: &Command, files: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    command.get_current_dir().map(|directory| shell.current_dir(directory));
    shell
}

/// The user's name when it is not the one who runs the tests.
pub fn server_user_name() -> Option<&'static str> {
    server_user().map(|user| user.name.as_str())
}

fn server_user() -> Option<&'static User> {
    static USER: OnceLock<Option<User>> = OnceLock::new();
    USER.get_or_init(|| {
        if !geteuid().is_root() {
            return None;
        }
        let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        Some(found.expect("root needs an unprivileged user for servers"))
    })
    .as_ref()
}

/// Runs a command to its end and panics with all it said when it failed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    output
}

/// Both streams of a program that has ended.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// All processes whose working directory is `directory`: a server's postmaster and each of its children. A process that
/// has ended has none, so zombies do not count.
pub fn living_in(directory: &Path) -> Vec<Pid> {
    living_where(|home| home == directory)
}

/// All processes whose working directory is below `directory`, or was before it was removed.
pub fn living_below(directory: &Path) -> Vec<Pid> {
    living_where(|home| home.starts_with(directory))
}

fn living_where(is_meant: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let home = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            is_meant(&home).then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// A process that is already gone has got every signal there is.
pub fn signal(pid: Pid, signal: Signal) {
    let _ = kill(pid, signal);
}

pub fn signal_all(pids: &[Pid], which: Signal) {
    pids.iter().for_each(|pid| signal(*pid, which));
}

/// A child of this process that is killed when its owner goes.
#[derive(Debug)]
pub struct Process(std::process::Child);

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("ask for a child")
    }

    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait::until(limit, "a process ends", || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
