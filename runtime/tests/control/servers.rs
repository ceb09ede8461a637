//! Throw-away PostgreSQL servers, equal at birth, and a configuration for them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lockstep_core::cluster::MemberState;
use lockstep_core::unit::stall::Strangers;
use lockstep_runtime::cluster::{self, Running};
use lockstep_runtime::config::{
    Auth, Cluster, Config, Control, Health, Limits, Listen, LiveHealth, LiveLimits, Node, Recovery, Service,
};
use lockstep_runtime::door::protocol::{Reply, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::{Client, NoTls};

const BIN: &str = "/usr/lib/postgresql/15/bin";
pub const PASSWORD: &str = "secret";

/// A data directory that all servers are copies of, made once and kept with the build.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql-15");
        if !template.join("lockstep-complete").exists() {
            let _ = fs::remove_dir_all(&template);
            make_template(&template);
        }
        template
    })
}

fn make_template(template: &Path) {
    let scratch = Scratch::new();
    let data = scratch.0.join("data");
    let secret = scratch.0.join("password");
    fs::write(&secret, PASSWORD).expect("write the password file");
    let flags = ["--auth=scram-sha-256", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C"];
    as_postgres("initdb").arg("-D").arg(&data).args(flags).arg(format!("--pwfile={}", secret.display())).succeed();
    let conf = "fsync = off\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 40\n";
    append(&data.join("postgresql.conf"), conf);
    Command::new("cp").arg("-a").arg(&data).arg(template).succeed();
    fs::write(template.join("lockstep-complete"), "").expect("mark the template as complete");
}

/// A directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/lockstep-control-{}-{n}", std::process::id()));
        fs::create_dir(&path).expect("make a scratch directory");
        give_away(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two servers with the same roles and verifiers, as a copy of a data directory gives them.
pub struct Pair {
    pub servers: Vec<Server>,
    scratch: Scratch,
}

pub struct Server {
    pub data: PathBuf,
    pub port: u16,
}

impl Pair {
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let first = scratch.0.join("a");
        Command::new("cp").arg("-a").arg(template()).arg(&first).succeed();
        let second = scratch.0.join("b");
        Command::new("cp").arg("-a").arg(&first).arg(&second).succeed();
        let servers = [first, second].into_iter().map(|data| Server { data, port: free_port() }).collect::<Vec<_>>();
        for server in &servers {
            append(&server.data.join("postgresql.conf"), &format!("port = {}\n", server.port));
            server.start();
        }
        Self { servers, scratch }
    }

    /// Node `a` is preferred.
    pub fn config(&self) -> Config {
        let node = |(n, server): (usize, &Server)| Node {
            name: ["a", "b"][n].into(),
            host: "127.0.0.1".into(),
            port: server.port,
            weight: 2 - n as u32,
            recovery: Some(Recovery {
                shell: Vec::new(),
                run_as: Some("postgres".into()),
                data_directory: server.data.clone(),
                bin_directory: None,
                stop: None,
                backup: None,
                start: None,
            }),
        };
        Config {
            file: self.scratch.0.join("lockstep.toml"),
            standby: false,
            listen: Listen { address: "127.0.0.1:0".parse().expect("an address"), unix_directory: None },
            limits: LiveLimits::new(Limits {
                max_clients: 10,
                authentication_timeout: Duration::from_secs(5),
                hold_timeout: Duration::from_secs(10),
                idle_in_transaction_timeout: None,
            }),
            control: Control { socket: self.scratch.0.join("control.sock"), http: None },
            cluster: Cluster { name: "test".into(), state_dir: self.scratch.0.join("state") },
            service: Service { user: "postgres".into(), password: Some(PASSWORD.into()), database: "postgres".into() },
            auth: Auth { users_file: self.scratch.0.join("users") },
            health: LiveHealth::new(Health {
                interval: Duration::from_millis(100),
                timeout: Duration::from_secs(2),
                retries: 2,
                disk_timeout: Duration::from_secs(10),
                lock_timeout: Duration::from_secs(5),
                strangers: Strangers::End,
            }),
            replication: Default::default(),
            journal: Default::default(),
            guard: None,
            nodes: self.servers.iter().enumerate().map(node).collect(),
        }
    }

    /// The same statements on both servers.
    pub async fn on_both(&self, sql: &str) {
        for server in &self.servers {
            server.run(sql).await;
        }
    }
}

impl Server {
    pub fn start(&self) {
        let log = self.data.join("log.txt");
        as_postgres("pg_ctl").arg("-D").arg(&self.data).arg("-l").arg(log).args(["-w", "start"]).succeed();
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        as_postgres("pg_ctl").arg("-D").arg(&self.data).args(["-m", "immediate", "stop"]).succeed();
    }

    /// A backup, as a snapshot of the disk would give one.
    pub fn copy_aside(&self) {
        Command::new("cp").arg("-a").arg(&self.data).arg(self.copy()).succeed();
        fs::remove_file(self.copy().join("postmaster.pid")).expect("the server runs");
    }

    /// In the place of what the server, which is stopped, has now.
    pub fn put_copy_back(&self) {
        fs::remove_dir_all(&self.data).expect("remove the data");
        fs::rename(self.copy(), &self.data).expect("put the copy in its place");
    }

    fn copy(&self) -> PathBuf {
        self.data.with_extension("copy")
    }

    /// Hangs, as on a network that is gone.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// To the postmaster and all its children.
    fn signal(&self, signal: Signal) {
        let file = fs::read_to_string(self.data.join("postmaster.pid")).expect("the server runs");
        let postmaster: i32 = file.lines().next().and_then(|line| line.parse().ok()).expect("a process id");
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = fs::read_to_string(children).expect("list the children");
        let pids = children.split_whitespace().map(|pid| pid.parse().expect("a process id"));
        for pid in std::iter::once(postmaster).chain(pids) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    pub async fn connect(&self) -> Client {
        connect(self.port).await
    }

    pub async fn run(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.expect(sql);
    }

    pub async fn text(&self, sql: &str) -> String {
        self.connect().await.query_one(sql, &[]).await.expect(sql).get(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.data.join("lockstep-start.log")).unwrap_or_default();
            eprintln!("{}: {log}", self.data.display());
        }
        let _ = as_postgres("pg_ctl")
            .arg("-D")
            .arg(&self.data)
            .args(["-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Waits until `condition` holds; panics with `what` when it does not in time.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

trait Succeed {
    fn succeed(&mut self);
}

impl Succeed for Command {
    #[track_caller]
    fn succeed(&mut self) {
        let done = self.stdin(Stdio::null()).output().expect("run a program");
        assert!(done.status.success(), "{self:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A server program as a user under whom it runs: `postgres` when the tests are run by root.
fn as_postgres(program: &str) -> Command {
    let program = Path::new(BIN).join(program);
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command.current_dir("/tmp");
    command
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn give_away(path: &Path) {
    static POSTGRES: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let user = POSTGRES.get_or_init(|| {
        let user = nix::unistd::User::from_name("postgres").ok().flatten().filter(|_| is_root());
        user.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
    });
    if let Some((uid, gid)) = user {
        chown(path, Some(*uid), Some(*gid)).expect("give the directory to postgres");
    }
}

fn append(path: &Path, text: &str) {
    let old = fs::read_to_string(path).expect("read a file");
    fs::write(path, old + text).expect("write a file");
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("find a free port").port()
}

pub async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=postgres password={PASSWORD} dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("connect to the server");
    tokio::spawn(connection);
    client
}

pub async fn start(pair: &Pair) -> Running {
    start_with(pair.config()).await
}

/// Returns when clients would be let in.
pub async fn start_with(config: Config) -> Running {
    let running = cluster::start(config).await.unwrap_or_else(|fault| panic!("{fault}"));
    running.shared().admission.open_to_clients().await;
    running
}

pub fn states(running: &Running) -> Vec<MemberState> {
    running.shared().membership.load().members.iter().map(|member| member.state).collect()
}

/// The last reply to an operator's command.
pub async fn ask(running: &Running, request: Request) -> Reply {
    let (replies, mut answers) = tokio::sync::mpsc::channel(64);
    running.shared().cluster.operate(request, replies).await;
    let mut last = None;
    while let Some(reply) = answers.recv().await {
        last = Some(reply);
    }
    last.expect("a reply")
}
