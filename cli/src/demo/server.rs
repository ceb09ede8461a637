//! One throw-away PostgreSQL server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::place::Place;
use super::process;
use super::programs::Programs;
use crate::exit::Stop;
use crate::postgres::{Failure, Login, Rows};

const PATIENCE: Duration = Duration::from_secs(30);
pub const SUPERUSER: &str = "postgres";

/// The same on both, and copied by a base backup; what differs (the port) is on the command line.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
";

#[derive(Debug, Clone)]
pub struct Server {
    pub name: &'static str,
    pub port: u16,
    pub data: PathBuf,
    pub password: String,
}

impl Server {
    /// An empty one, not started.
    pub async fn make(&self, place: &Place, programs: &Programs) -> Result<(), Stop> {
        let password = place.write("password", &self.password)?;
        own(place, &password)?;
        let mut initdb = place.owner.command(&programs.directory.join("initdb"), &place.path);
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", SUPERUSER]);
        initdb.arg("--pwfile").arg(&password).arg("--pgdata").arg(&self.data);
        perform(initdb, "initdb").await?;
        let conf = self.data.join("postgresql.conf");
        let appended = std::fs::OpenOptions::new().append(true).open(&conf);
        appended
            .and_then(|mut file| std::io::Write::write_all(&mut file, SETTINGS.as_bytes()))
            .map_err(|error| Stop::bad(format!("{}: {error}", conf.display())))
    }

    /// The files of another server, which must not run.
    pub async fn copy(&self, place: &Place, from: &Self) -> Result<(), Stop> {
        let mut copy = place.owner.command(Path::new("cp"), &place.path);
        copy.arg("-a").arg(&from.data).arg(&self.data);
        perform(copy, "cp").await
    }

    /// The command that starts it, as a line for a shell.
    pub fn start_line(&self, programs: &Programs) -> String {
        let pg_ctl = programs.directory.join("pg_ctl");
        let (pg_ctl, data, log) = (pg_ctl.display(), self.data.display(), self.log());
        format!("'{pg_ctl}' -D '{data}' -o '-p {}' -l '{}' -w -t 60 start", self.port, log.display())
    }

    pub async fn start(&self, place: &Place, programs: &Programs) -> Result<(), Stop> {
        let mut shell = place.owner.command(Path::new("sh"), &place.path);
        shell.args(["-c", &self.start_line(programs)]);
        let started = perform(shell, "pg_ctl start").await;
        started.map_err(|stop| {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            Stop { what: format!("{}\n{}", stop.what, last_lines(&log, 5)), ..stop }
        })
    }

    pub async fn stop(&self, place: &Place, programs: &Programs) -> Result<(), Stop> {
        let mut pg_ctl = place.owner.command(&programs.directory.join("pg_ctl"), &place.path);
        pg_ctl.arg("-D").arg(&self.data).args(["-m", "fast", "-w", "stop"]);
        perform(pg_ctl, "pg_ctl stop").await
    }

    /// `kill -9` of the server and all its sessions at once, as a power cut would. Gives whether it was running.
    pub fn kill(&self) -> bool {
        let Some(postmaster) = process::postmaster(&self.data) else { return false };
        let family = process::family(postmaster);
        process::send(Signal::SIGKILL, &family);
        process::gone(&family, PATIENCE)
    }

    /// Past the proxy, to see for ourselves.
    pub async fn ask(&self, database: &str, sql: &str) -> Result<Rows, Failure> {
        let login = Login {
            host: "127.0.0.1".into(),
            port: self.port,
            user: SUPERUSER.into(),
            password: Some(self.password.clone()),
            database: database.into(),
            timeout: PATIENCE,
        };
        login.connect().await?.query(sql).await
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

fn own(place: &Place, path: &Path) -> Result<(), Stop> {
    place.owner.give(path).map_err(|error| Stop::bad(format!("{}: {error}", path.display())))
}

/// Waits for the program alone and not for the end of its output: a server that it has started may hold the pipe open.
async fn perform(mut command: Command, name: &str) -> Result<(), Stop> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Stop::bad(format!("{name} cannot be started: {error}")))?;
    let stderr = child.stderr.take();
    let status = child.wait().await.map_err(|error| Stop::bad(format!("{name}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = stderr {
        let _ = tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await;
    }
    Err(Stop::bad(format!("{name} failed ({status}): {}", last_lines(&said, 5))))
}

fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<_> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

/// Ports that are free now and that the system gives to nobody by itself: a server that comes back finds its own free.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Stop> {
    let start = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let held: Vec<_> = (start..32_000).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(N).collect();
    let ports: Vec<_> = held.iter().filter_map(|listener| Some(listener.local_addr().ok()?.port())).collect();
    ports.try_into().map_err(|_| Stop::bad("there are no free ports on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports::<3>().unwrap();
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn the_last_lines_are_the_telling_ones() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
