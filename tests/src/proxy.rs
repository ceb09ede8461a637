//! The program `lockstep` as a process of its own, with a configuration of the harness.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{self, Process};
use crate::raw::Client;
use crate::scratch::Scratch;
use crate::users::{self, SUPERUSER, User};
use crate::{port, postgres, wait};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);

/// A node as the configuration names it.
#[derive(Debug, Clone)]
pub struct NodeEntry {
    pub name: String,
    pub address: String,
    pub data_directory: PathBuf,
}

/// What the proxy is to be told besides its nodes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Lines under a heading, such as `("health", "interval = \"100ms\"")`.
    pub lines: Vec<(String, String)>,
    /// Lines of the users file.
    pub users: Vec<String>,
    pub log_level: String,
    /// So many files it may have open, if not as many as the tests.
    pub open_files: Option<u32>,
}

impl Default for Settings {
    /// Health that finds a dead node soon, and everybody's password.
    fn default() -> Self {
        let health = ["interval = \"200ms\"", "timeout = \"1s\"", "retries = 2"];
        Self {
            lines: health.iter().map(|line| ("health".into(), (*line).into())).collect(),
            users: users::ALL.iter().map(|user| format!("{}:{}", user.name, user.password)).collect(),
            log_level: "info".into(),
            open_files: None,
        }
    }
}

/// The proxy, killed and removed on drop.
#[derive(Debug)]
pub struct Proxy {
    scratch: Scratch,
    settings: Settings,
    nodes: Vec<NodeEntry>,
    port: u16,
    http_port: u16,
    process: Option<Process>,
}

impl Proxy {
    /// Starts it and waits until it lets somebody in.
    pub fn start(nodes: Vec<NodeEntry>, settings: Settings) -> Self {
        let mut proxy = Self::new(nodes, settings);
        proxy.launch();
        proxy.wait_until_it_serves();
        proxy
    }

    /// Writes its files only, for commands that need no running proxy.
    pub fn new(nodes: Vec<NodeEntry>, settings: Settings) -> Self {
        let scratch = Scratch::new("proxy");
        let proxy = Self { scratch, settings, nodes, port: port::free(), http_port: port::free(), process: None };
        proxy.write_users(&proxy.settings.users);
        proxy.write_config();
        proxy
    }

    /// Another one for the same nodes, as on another machine: with files and a state of its own. Not started.
    pub fn twin(&self) -> Self {
        Self::new(self.nodes.clone(), self.settings.clone())
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// The same with more to its command line.
    pub fn launch_with(&mut self, more: &[&str]) {
        let log = OpenOptions::new().create(true).append(true).open(self.path("log")).expect("open the proxy's log");
        let mut run = self.command(&["run", "--log", &self.settings.log_level]);
        run.args(more);
        if let Some(files) = self.settings.open_files {
            run = process::with_open_files(&run, files);
        }
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(Process::spawn(&mut run));
    }

    pub fn wait_until_it_serves(&mut self) {
        let address = self.address();
        let look = || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("the proxy ended with {status}");
            }
            Client::try_connect(&address, &SUPERUSER, "postgres", &[]).ok()
        };
        drop(wait::until(START, "the proxy lets somebody in", look));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The whole answer by HTTP, status line and all.
    pub fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http_address()).expect("connect by HTTP");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    pub fn conninfo(&self, user: &User, database: &str) -> String {
        postgres::conninfo(self.port, user, database)
    }

    pub fn connect_as(&self, user: &User, database: &str) -> Client {
        Client::connect(&self.address(), user, database)
    }

    pub fn pid(&self) -> u32 {
        self.running().pid().as_raw().unsigned_abs()
    }

    /// Memory that belongs to the process alone or is its share, in bytes (PSS).
    pub fn memory(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("the proxy's memory");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line for PSS");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kibibytes << 10
    }

    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Asks it to drain and stop, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.running().signal(Signal::SIGTERM);
        self.wait_for_end()
    }

    pub fn signal(&self, which: Signal) {
        self.running().signal(which);
    }

    pub fn wait_for_end(&mut self) -> ExitStatus {
        let status = self.process.as_mut().expect("a running proxy").wait(STOP);
        self.process = None;
        status
    }

    /// Starts it again on the same port with the same state.
    pub fn restart(&mut self) {
        self.launch();
        self.wait_until_it_serves();
    }

    /// Runs a command of the program against this proxy, such as `["status", "--json"]`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.scratch.path()).args(arguments).arg("--config").arg(self.config_path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("run lockstep")
    }

    /// What `status --json` says; `None` while the proxy cannot be asked.
    pub fn status(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).ok()
    }

    /// The states of the nodes, in the order of the configuration.
    pub fn node_states(&self) -> Vec<String> {
        let status = self.status().unwrap_or_default();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| node["state"].as_str().unwrap_or("").to_owned()).collect()
    }

    pub fn wait_for_states(&self, wanted: &[&str], limit: Duration) {
        let seen = wait::within(limit, || (self.node_states() == wanted).then_some(()));
        assert!(seen.is_some(), "after {limit:?} the nodes are {:?} and not {wanted:?}", self.node_states());
    }

    /// What the proxy has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What it has logged about nodes that it gave up, a line each.
    pub fn degradations(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("\"to\":\"degraded\"")).map(str::to_owned).collect()
    }

    /// Who may log in, in place of those so far; to be reloaded.
    pub fn write_users(&self, lines: &[String]) {
        std::fs::write(self.path("users"), lines.join("\n") + "\n").expect("write the users file");
    }

    pub fn config_path(&self) -> PathBuf {
        self.path("lockstep.toml")
    }

    /// Writes other nodes into the configuration, to be reloaded.
    pub fn configure(&mut self, nodes: Vec<NodeEntry>) {
        self.nodes = nodes;
        self.write_config();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("a running proxy")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write_config(&self) {
        let mut toml = String::new();
        let mut section = |heading: &str, own: &[String]| {
            let _ = writeln!(toml, "[{heading}]\n{}", own.join("\n"));
            for (_, line) in self.settings.lines.iter().filter(|(of, _)| of == heading) {
                let _ = writeln!(toml, "{line}");
            }
        };
        section("listen", &[format!("address = \"{}\"", self.address())]);
        section("control", &["socket = \"state/control.sock\"".into(), format!("http = \"{}\"", self.http_address())]);
        section("cluster", &["name = \"test\"".into(), "state_dir = \"state\"".into()]);
        section("service", &[format!("user = \"{}\"\npassword = \"{}\"", SUPERUSER.name, SUPERUSER.password)]);
        section("auth", &["users_file = \"users\"".into()]);
        section("health", &[]);
        section("replication", &[]);
        if self.settings.lines.iter().any(|(of, _)| of == "guard") {
            section("guard", &[]);
        }
        for (position, node) in self.nodes.iter().enumerate() {
            let weight = self.nodes.len() - position;
            let lines = format!("name = \"{}\"\naddress = \"{}\"\nweight = {weight}", node.name, node.address);
            section("[node]", &[lines]);
            section("node.recovery", &recovery(&node.data_directory));
        }
        std::fs::write(self.config_path(), toml).expect("write the configuration");
    }
}

fn recovery(data_directory: &Path) -> Vec<String> {
    let mut lines = vec!["shell = []".into(), format!("data_directory = \"{}\"", data_directory.display())];
    lines.extend(process::server_user_name().map(|name| format!("run_as = \"{name}\"")));
    lines
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the proxy on port {}\n{}", self.port, self.log());
        }
    }
}

/// The program: the one that `LOCKSTEP_PROGRAM` names, for holding two builds against each other, or built once in the
/// profile of the tests, for Cargo tells its path only to the package that owns it.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("LOCKSTEP_PROGRAM").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let tests = std::env::current_exe().expect("the path of the test binary");
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let directory = tests.ancestors().skip(1).find(|d| !d.ends_with("deps")).expect("a directory of the build");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Without `-p`, so that features are those of the whole workspace and nothing is compiled a second time.
    cargo.current_dir(workspace).args(["build", "--quiet", "--bin", "lockstep", "--target-dir"]);
    cargo.arg(directory.parent().expect("the target directory"));
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    process::run(&mut cargo);
    directory.join("lockstep")
}
