//! Real PostgreSQL servers for tests.
//!
//! `initdb` runs once; every server starts from a copy of what it made. A server is known by the processes that live in
//! its data directory and not by a child of ours, for a recovery under test starts it anew behind our back.

mod disk;
mod template;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{self, Process};
use crate::raw::Client;
use crate::scratch::Scratch;
use crate::users::{SUPERUSER, User};
use crate::{port, programs, wait};

pub use disk::Disk;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);

/// What a server is to be like.
#[derive(Debug, Clone)]
pub struct Builder {
    settings: Vec<(String, String)>,
    next_oid: Option<u32>,
    disk: Option<Disk>,
}

impl Builder {
    /// Its disk can be made to stand still.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disk = Some(disk);
        self.durable()
    }

    /// A line of `postgresql.conf`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// With fsync, as in production; tests do without, because nobody cuts the power.
    pub fn durable(self) -> Self {
        self.setting("fsync", "on").setting("full_page_writes", "on").setting("synchronous_commit", "on")
    }

    /// The OID that the next table, type or function gets. Two nodes count from different numbers in real life.
    pub fn next_oid(mut self, oid: u32) -> Self {
        self.next_oid = Some(oid);
        self
    }

    pub fn start(&self) -> Server {
        let scratch = Scratch::new("server");
        let data = scratch.path().join("data");
        process::run(
            process::as_server_user("/bin/cp").args(["-a", "--reflink=auto"]).arg(template::directory()).arg(&data),
        );
        if let Some(oid) = self.next_oid {
            let mut reset = process::as_server_user(programs::postgres("pg_resetwal"));
            process::run(reset.args(["-o", &oid.to_string()]).arg(&data));
        }
        let mut server = Server { scratch, data, port: 0, process: None, disk: self.disk.clone() };
        server.configure(&self.settings);
        server.start_on_a_free_port();
        server
    }
}

/// A server of its own on 127.0.0.1, ended and removed on drop.
#[derive(Debug)]
pub struct Server {
    scratch: Scratch,
    data: PathBuf,
    port: u16,
    process: Option<Process>,
    disk: Option<Disk>,
}

impl Server {
    pub fn builder() -> Builder {
        Builder { settings: Vec::new(), next_oid: None, disk: None }
    }

    pub fn start_new() -> Self {
        Self::builder().start()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The directory of its Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// For libpq and tokio-postgres alike.
    pub fn conninfo(&self, user: &User, database: &str) -> String {
        conninfo(self.port, user, database)
    }

    /// A superuser's connection.
    pub fn connect(&self, database: &str) -> Client {
        self.connect_as(&SUPERUSER, database)
    }

    pub fn connect_as(&self, user: &User, database: &str) -> Client {
        Client::connect(&self.address(), user, database)
    }

    pub fn is_running(&self) -> bool {
        !process::living_in(&self.data).is_empty()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Every process of the server dies at once, as if the machine had.
    pub fn kill9(&mut self) {
        // A stopped postmaster starts no further child while we look for them.
        self.pause();
        wait::until(STOP, "every process of a killed server is gone", || {
            // The postmaster last: its children would say that it is gone.
            let mut alive = process::living_in(&self.data);
            alive.sort_by_key(|pid| std::cmp::Reverse(*pid));
            process::signal_all(&alive, Signal::SIGKILL);
            self.reap();
            (alive.is_empty() && self.process.is_none()).then_some(())
        });
        self.free_shared_memory();
    }

    /// A fast shutdown: sessions are ended, everything is written.
    pub fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Stops every process: connections stay open and nothing is answered.
    pub fn pause(&self) {
        let mut stopped = 0;
        loop {
            let processes = process::living_in(&self.data);
            process::signal_all(&processes, Signal::SIGSTOP);
            if processes.len() == stopped {
                return;
            }
            stopped = processes.len();
        }
    }

    /// Stops the process that lets clients in: connections that are open live on, and nobody gets a new one.
    pub fn pause_postmaster(&self) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).expect("the pid file of a running server");
        process::signal(self.postmaster(&file).expect("its first line"), Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        process::signal_all(&process::living_in(&self.data), Signal::SIGCONT);
    }

    /// Starts a stopped or killed server on its own port.
    pub fn start(&mut self) {
        assert!(self.try_start(), "the port {} of a stopped server was taken:\n{}", self.port, self.log());
    }

    fn start_on_a_free_port(&mut self) {
        for _ in 0..20 {
            self.port = port::free();
            self.configure(&[("port".into(), self.port.to_string())]);
            if self.try_start() {
                return;
            }
        }
        panic!("no server could listen:\n{}", self.log());
    }

    /// Waits until connections are accepted; false when the port belongs to somebody else.
    fn try_start(&mut self) -> bool {
        let seen = self.log().len();
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("open a server's log");
        let mut postgres = process::as_server_user(programs::postgres("postgres"));
        postgres.arg("-D").arg(&self.data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(disk) = &self.disk {
            disk.put_under(&mut postgres);
        }
        let mut child = Process::spawn(&mut postgres);
        let ready = wait::until(START, "a server accepts connections", || match child.ended() {
            Some(status) => Some(Err(status)),
            None => self.is_ready().then_some(Ok(())),
        });
        let Err(status) = ready else {
            self.process = Some(child);
            return true;
        };
        let log = self.log().split_off(seen);
        assert!(log.contains("could not bind"), "a server ended with {status}:\n{log}");
        false
    }

    /// The last line of `postmaster.pid` says so; pg_ctl looks at the same.
    fn is_ready(&self) -> bool {
        let Ok(file) = std::fs::read_to_string(self.data.join("postmaster.pid")) else { return false };
        let alive = self.postmaster(&file).is_some_and(|pid| process::living_in(&self.data).contains(&pid));
        alive && file.lines().last().is_some_and(|status| status.trim() == "ready")
    }

    fn postmaster(&self, pid_file: &str) -> Option<nix::unistd::Pid> {
        Some(nix::unistd::Pid::from_raw(pid_file.lines().next()?.trim().parse().ok()?))
    }

    fn end(&mut self, how: Signal) {
        self.resume();
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = self.postmaster(&file).filter(|pid| process::living_in(&self.data).contains(pid)) {
            process::signal(pid, how);
        }
        wait::until(STOP, "a server has ended", || {
            self.reap();
            process::living_in(&self.data).is_empty().then_some(())
        });
    }

    /// Lets go of a postmaster that has ended behind our back: until then it looks alive to pg_ctl.
    pub fn reap(&mut self) {
        if self.process.as_mut().is_some_and(|child| child.ended().is_some()) {
            self.process = None;
        }
    }

    /// A killed server leaves its System V segment, which only its own next start would remove.
    fn free_shared_memory(&self) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let _ = process::as_server_user("/usr/bin/ipcrm").args(["-m", id]).output();
        }
    }

    fn configure(&self, settings: &[(String, String)]) {
        let path = self.data.join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("open postgresql.conf");
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("write postgresql.conf");
        }
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            eprintln!("--- log of the server on port {} (its end)", self.port);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        self.kill9();
    }
}

/// A connection string for libpq and tokio-postgres alike.
pub fn conninfo(port: u16, user: &User, database: &str) -> String {
    format!("host=127.0.0.1 port={port} user={} password={} dbname={database}", user.name, user.password)
}
