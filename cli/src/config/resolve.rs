//! The file as it is meant: defaults, paths relative to the file, and what must fit together. Gathers every problem
//! before it gives up, so that a file is put right in one go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_core::auth::Users;
use lockstep_core::journal::Outlives;
use lockstep_core::plan::policy::{Capturing, Inexact, Policy};
use lockstep_core::unit::stall::Strangers;
use lockstep_runtime::config::{
    Auth, Cluster, Config, Control, Guard, Health, Journal, Limits, Listen, LiveHealth, LiveLimits, Node, Recovery,
    Replication, Service,
};
use toml::Spanned;

use super::UsersFile;
use super::error::{Fault, Problem, Source};
use super::password::{Environment, Server};
use super::raw;
use super::time::Time;

/// As many as PostgreSQL's own connection table can be asked for.
const MOST_CLIENTS: i64 = 262_143;
const DEFAULT_CLIENTS: i64 = 1_000;
/// A server's restart, and that of most machines, takes less.
const DEFAULT_HOLD: Duration = Duration::from_secs(30);
/// For what may take as long as somebody likes.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
const DNS_PORT: u16 = 53;
const DEFAULT_WEIGHT: i64 = 1;
const MOST_RETRIES: i64 = 100;
/// `sun_path` of Linux, without the NUL.
const SOCKET_PATH: usize = 107;
/// In the state directory, unless control.socket says otherwise.
const SOCKET: &str = "control.sock";

pub fn resolve(
    raw: raw::File,
    source: &Source<'_>,
    environment: &Environment,
    users: UsersFile,
) -> Result<Config, Vec<Problem>> {
    let mut resolver = Resolver { source, problems: Vec::new() };
    let config = resolver.file(raw, environment, users);
    if resolver.problems.is_empty() { Ok(config) } else { Err(resolver.problems) }
}

/// `control.socket`, or where it is by default.
pub fn control_socket(way: raw::Way, source: &Source<'_>) -> Result<PathBuf, Vec<Problem>> {
    let mut resolver = Resolver { source, problems: Vec::new() };
    let socket = match way.parts() {
        (Some(written), _) => resolver.given_path("control.socket", &written),
        (None, Some(written)) => resolver.given_path("cluster.state_dir", &written).join(SOCKET),
        (None, None) => return Err(vec![source.problem(None, "cluster.state_dir", Fault::Missing)]),
    };
    if resolver.problems.is_empty() { Ok(socket) } else { Err(resolver.problems) }
}

struct Resolver<'a> {
    source: &'a Source<'a>,
    problems: Vec<Problem>,
}

/// What stands in for an address that was found bad; never leaves this file, for the problem is on the list.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Resolver<'_> {
    fn file(&mut self, raw: raw::File, environment: &Environment, users: UsersFile) -> Config {
        let (listen, limits) = self.listen(raw.listen);
        let nodes = self.nodes(raw.node, listen.address);
        let state_dir = self.given_path("cluster.state_dir", &raw.cluster.state_dir);
        Config {
            file: self.source.file.into(),
            standby: false,
            control: self.control(raw.control, &state_dir, listen.address),
            cluster: Cluster { name: self.name("cluster.name", raw.cluster.name), state_dir },
            service: self.service(raw.service, nodes.first(), environment),
            auth: self.auth(raw.auth, users),
            health: LiveHealth::new(self.health(raw.health)),
            replication: self.replication(raw.replication),
            journal: journal(raw.journal),
            guard: raw.guard.map(|guard| self.guard(guard)),
            listen,
            limits: LiveLimits::new(limits),
            nodes: nodes.into_iter().collect(),
        }
    }

    fn listen(&mut self, raw: raw::Listen) -> (Listen, Limits) {
        let address = self.address("listen.address", &raw.address);
        if let Some(directory) = &raw.unix_socket {
            let socket = self.given_path("listen.unix_socket", directory).join(format!(".s.PGSQL.{}", address.port()));
            self.socket_path("listen.unix_socket", directory, &socket);
        }
        let limits = Limits {
            max_clients: self.number("listen.max_clients", raw.max_clients, DEFAULT_CLIENTS, 1..=MOST_CLIENTS) as usize,
            authentication_timeout: self.time(
                "listen.authentication_timeout",
                raw.authentication_timeout,
                Duration::from_secs(60),
                Duration::from_secs(1)..=Duration::from_secs(600),
            ),
            hold_timeout: self.time("listen.hold_timeout", raw.hold_timeout, DEFAULT_HOLD, Duration::ZERO..=LONGEST),
            idle_in_transaction_timeout: raw.idle_in_transaction_timeout.map(|written| {
                let (key, least) = ("listen.idle_in_transaction_timeout", Duration::from_millis(10));
                self.time(key, Some(written), least, least..=LONGEST)
            }),
        };
        let unix_directory = raw.unix_socket.map(|directory| self.path(directory.into_inner()));
        (Listen { address, unix_directory }, limits)
    }

    fn control(&mut self, raw: raw::Control, state_dir: &Path, listen: SocketAddr) -> Control {
        let socket = match raw.socket {
            Some(written) => {
                let socket = self.given_path("control.socket", &written);
                self.socket_path("control.socket", &written, &socket);
                socket
            }
            None => state_dir.join(SOCKET),
        };
        let http = raw.http.map(|written| {
            let address = self.address("control.http", &written);
            if address != NOWHERE && address == listen {
                self.blame("control.http", &written, Fault::HttpIsListen(address.to_string()));
            }
            address
        });
        Control { socket, http }
    }

    fn service(&mut self, raw: raw::Service, node: Option<&Node>, environment: &Environment) -> Service {
        let user = self.text("service.user", raw.user);
        let database = raw.database.unwrap_or_else(|| "postgres".into());
        let password = raw.password.or_else(|| {
            let Node { host, port, .. } = node?;
            environment.password_for(Server { host, port: *port, database: &database, user: &user })
        });
        Service { user, password, database }
    }

    fn auth(&mut self, raw: raw::Auth, users: UsersFile) -> Auth {
        let users_file = self.given_path("auth.users_file", &raw.users_file);
        if raw.users_file.get_ref().as_os_str().is_empty() || users == UsersFile::NotNeeded {
            return Auth { users_file };
        }
        let path = users_file.display().to_string();
        match std::fs::read_to_string(&users_file).map(|text| Users::parse(&text)) {
            Ok(Ok(_)) => (),
            Ok(Err(fault)) => self.blame("auth.users_file", &raw.users_file, Fault::Users { path, fault }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.blame("auth.users_file", &raw.users_file, Fault::UsersAbsent(path));
            }
            Err(error) => {
                let fault = Fault::UsersUnreadable { path, cause: error.to_string() };
                self.blame("auth.users_file", &raw.users_file, fault);
            }
        }
        Auth { users_file }
    }

    fn health(&mut self, raw: raw::Health) -> Health {
        let bounds = || Duration::from_millis(10)..=Duration::from_secs(600);
        Health {
            interval: self.time("health.interval", raw.interval, Duration::from_millis(500), bounds()),
            timeout: self.time("health.timeout", raw.timeout, Duration::from_secs(1), bounds()),
            retries: self.number("health.retries", raw.retries, 2, 0..=MOST_RETRIES) as u32,
            disk_timeout: self.time("health.disk_timeout", raw.disk_timeout, Duration::from_secs(10), bounds()),
            lock_timeout: self.time("health.lock_timeout", raw.lock_timeout, Duration::from_secs(5), bounds()),
            strangers: match raw.strangers {
                Some(raw::Strangers::Degrade) => Strangers::Degrade,
                Some(raw::Strangers::End) | None => Strangers::End,
            },
        }
    }

    fn replication(&mut self, raw: raw::Replication) -> Replication {
        let least = Duration::from_secs(1);
        let scrub = raw.scrub.map(|written| self.time("replication.scrub", Some(written), least, least..=LONGEST));
        let inexact = match raw.r#unsafe {
            Some(raw::Inexact::Reject) | None => Inexact::Reject,
            Some(raw::Inexact::Warn) => Inexact::Warn,
            Some(raw::Inexact::Allow) => Inexact::Allow,
        };
        let capture = match raw.capture {
            Some(raw::Capturing::Auto) | None => Capturing::Auto,
            Some(raw::Capturing::Off) => Capturing::Off,
            Some(raw::Capturing::All) => Capturing::All,
        };
        Replication { scrub, policy: Policy { inexact, capture } }
    }

    fn guard(&mut self, raw: raw::Guard) -> Guard {
        let name = raw.name.get_ref();
        if !is_host_name(name) {
            self.blame("guard.name", &raw.name, Fault::HostName(name.clone()));
        }
        let (most, least) = (Duration::from_secs(3600), Duration::from_millis(100));
        Guard {
            interval: self.time("guard.interval", raw.interval, Duration::from_secs(10), least..=most),
            failures: self.number("guard.failures", raw.failures, 3, 1..=1_000) as u32,
            addresses: self.each("guard.addresses", &raw.addresses, Fault::IpAddress, |text| text.parse().ok()),
            servers: self.each("guard.servers", &raw.servers, Fault::NameServer, |text| {
                let alone = || text.parse().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
                text.parse().ok().or_else(alone)
            }),
            name: raw.name.into_inner(),
        }
    }

    fn each<T>(
        &mut self,
        key: &str,
        written: &[Spanned<String>],
        fault: fn(String) -> Fault,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(written.len());
        for text in written {
            match read(text.get_ref()) {
                Some(value) => values.push(value),
                None => self.blame(key, text, fault(text.get_ref().clone())),
            }
        }
        values
    }

    fn nodes(&mut self, raw: Vec<raw::Node>, listen: SocketAddr) -> Vec<Node> {
        if raw.is_empty() {
            self.problems.push(self.source.problem(None, "node", Fault::NoNode));
        }
        let mut nodes: Vec<(Node, usize)> = Vec::with_capacity(raw.len());
        for written in raw {
            let line = self.source.line(&written.name.span());
            let node = self.node(written, listen, &nodes);
            nodes.push((node, line));
        }
        nodes.into_iter().map(|(node, _)| node).collect()
    }

    fn node(&mut self, raw: raw::Node, listen: SocketAddr, before: &[(Node, usize)]) -> Node {
        let place = raw.address.span();
        let (host, port) = parse_node_address(raw.address.get_ref()).unwrap_or_else(|| {
            self.blame("node.address", &raw.address, Fault::NodeAddress(raw.address.get_ref().clone()));
            (String::new(), 0)
        });
        if reaches(&host, port, listen) {
            self.blame("node.address", &raw.address, Fault::NodeIsProxy(raw.address.get_ref().clone()));
        }
        if let Some((_, line)) =
            before.iter().find(|(node, _)| !host.is_empty() && node.host == host && node.port == port)
        {
            let fault = Fault::SameAddress { address: raw.address.into_inner(), line: *line };
            self.problems.push(self.source.problem(Some(place), "node.address", fault));
        }
        if let Some((node, line)) = before.iter().find(|(node, _)| node.name == *raw.name.get_ref()) {
            let fault = Fault::SameName { name: node.name.clone(), line: *line };
            self.blame("node.name", &raw.name, fault);
        }
        Node {
            name: self.name("node.name", raw.name),
            host,
            port,
            weight: self.number("node.weight", raw.weight, DEFAULT_WEIGHT, 0..=i64::from(u32::MAX)) as u32,
            recovery: raw.recovery.map(|recovery| self.recovery(recovery, before)),
        }
    }

    fn recovery(&mut self, raw: raw::Recovery, before: &[(Node, usize)]) -> Recovery {
        let data_directory = self.machine_path("node.recovery.data_directory", &raw.data_directory, &raw.shell);
        let twin = before.iter().find(|(node, _)| {
            node.recovery
                .as_ref()
                .is_some_and(|other| other.shell == raw.shell && other.data_directory == data_directory)
        });
        if let Some((_, line)) = twin {
            let fault = Fault::SameData { path: data_directory.display().to_string(), line: *line };
            self.blame("node.recovery.data_directory", &raw.data_directory, fault);
        }
        let bin_directory =
            raw.bin_directory.map(|path| self.machine_path("node.recovery.bin_directory", &path, &raw.shell));
        Recovery {
            shell: raw.shell,
            run_as: raw.run_as.map(|user| self.text("node.recovery.run_as", user)),
            data_directory,
            bin_directory,
            stop: raw.stop,
            backup: raw.backup,
            start: raw.start,
        }
    }

    fn given_path(&mut self, key: &str, written: &Spanned<PathBuf>) -> PathBuf {
        if written.get_ref().as_os_str().is_empty() {
            self.blame(key, written, Fault::Empty);
        }
        self.path(written.get_ref().clone())
    }

    fn text(&mut self, key: &str, written: Spanned<String>) -> String {
        if written.get_ref().is_empty() {
            self.blame(key, &written, Fault::Empty);
        }
        written.into_inner()
    }

    fn path(&self, written: PathBuf) -> PathBuf {
        self.source.file.parent().map_or_else(|| written.clone(), |directory| directory.join(&written))
    }

    /// A path on the node's machine: relative to our file only if that is this machine.
    fn machine_path(&mut self, key: &str, written: &Spanned<PathBuf>, shell: &[String]) -> PathBuf {
        let path = written.get_ref().clone();
        if shell.is_empty() {
            return self.given_path(key, written);
        }
        if path.is_relative() {
            self.blame(key, written, Fault::Remote(path.display().to_string()));
        }
        path
    }

    fn socket_path(&mut self, key: &str, written: &Spanned<PathBuf>, socket: &Path) {
        if socket.as_os_str().len() > SOCKET_PATH {
            self.blame(key, written, Fault::SocketPath(socket.display().to_string()));
        }
    }

    fn address(&mut self, key: &str, written: &Spanned<String>) -> SocketAddr {
        let parsed = written.get_ref().parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        parsed.unwrap_or_else(|| {
            self.blame(key, written, Fault::ListenAddress(written.get_ref().clone()));
            NOWHERE
        })
    }

    fn name(&mut self, key: &str, written: Spanned<String>) -> String {
        let name = written.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
            self.blame(key, &written, Fault::Name(name.clone()));
        }
        written.into_inner()
    }

    fn number(
        &mut self,
        key: &str,
        written: Option<Spanned<i64>>,
        default: i64,
        bounds: std::ops::RangeInclusive<i64>,
    ) -> i64 {
        let Some(written) = written else { return default };
        let value = *written.get_ref();
        if !bounds.contains(&value) {
            self.blame(key, &written, Fault::Range { value, least: *bounds.start(), most: *bounds.end() });
        }
        value.clamp(*bounds.start(), *bounds.end())
    }

    fn time(
        &mut self,
        key: &str,
        written: Option<Spanned<Time>>,
        default: Duration,
        bounds: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(written) = written else { return default };
        let value = written.get_ref().0;
        if !bounds.contains(&value) {
            self.blame(key, &written, Fault::TimeRange { value, least: *bounds.start(), most: *bounds.end() });
        }
        value
    }

    fn blame<T>(&mut self, key: &str, written: &Spanned<T>, fault: Fault) {
        self.problems.push(self.source.problem(Some(written.span()), key, fault));
    }
}

fn journal(raw: raw::Journal) -> Journal {
    let outlives = match raw.sync {
        Some(raw::Sync::Os) | None => Outlives::Process,
        Some(raw::Sync::Commit) => Outlives::Machine,
    };
    Journal { outlives }
}

/// `host:port`, `[v6]:port` or `/directory:port`.
fn parse_node_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let bare_v6 = !text.starts_with('[') && !host.starts_with('/') && host.contains(':');
    let bad = host.is_empty() || bare_v6 || host.contains(char::is_whitespace);
    (!bad).then(|| (host.to_owned(), port))
}

/// Whether a node's address leads to where the proxy itself listens, as far as that shows without asking DNS.
fn reaches(host: &str, port: u16, listen: SocketAddr) -> bool {
    if listen == NOWHERE || port != listen.port() {
        return false;
    }
    let loopback = |ip: std::net::IpAddr| listen.ip() == ip || (listen.ip().is_unspecified() && ip.is_loopback());
    match host.parse() {
        Ok(ip) => loopback(ip),
        Err(_) => host == "localhost" && (listen.ip().is_loopback() || listen.ip().is_unspecified()),
    }
}

/// One that can be asked for in DNS, and that nobody takes for an address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains(|c: char| c.is_ascii_alphabetic()) && name.split('.').all(label)
}
