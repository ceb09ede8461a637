//! Every message that a bad configuration can give. Each names the file, the line, the key and the remedy.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lockstep_core::auth::UsersFault;

use super::time::spell;
use super::words;

/// Settings that a later version brings, and what holds until then. They are an error and never ignored: who writes
/// `tls = true` must not serve in clear text. A name covers all that stands below it.
const LATER: &[(&str, &str)] = &[
    ("control.pcp", "pgpool's pcp_* tools cannot be answered"),
    ("auth.hba_file", "everybody in users_file may log in, with SCRAM or md5, from wherever listen.address is reached"),
    ("listen.tls", "clients connect without TLS"),
    ("service.tls", "nodes are reached without TLS"),
    ("node.tls", "nodes are reached without TLS"),
    ("replication.load_balance", "reads go to the leader"),
];

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    pub file: PathBuf,
    pub line: Option<usize>,
    /// Dotted, as in `health.interval`; empty where no key is to blame.
    pub key: String,
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.fault)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("cannot be read: {0}; check the path and who may read it")]
    Unreadable(String),
    #[error("is not text in UTF-8; save it as UTF-8")]
    NotUtf8,
    #[error(
        "there is no such file; give one with --config FILE, see a whole one with `lockstep help configuration`, or try \
         `lockstep demo`, which needs none"
    )]
    Absent,
    #[error("this is not TOML: {0}")]
    Syntax(String),
    #[error("there is no such setting; {0}")]
    Unknown(String),
    #[error("not in this version; take the line out. Until then {0}")]
    Later(&'static str),
    #[error("is missing; `lockstep help configuration` shows a whole file")]
    Missing,
    #[error("{0}")]
    Type(String),
    #[error("is empty; give it a value")]
    Empty,
    #[error("`{0}` is not an address to listen on; write \"127.0.0.1:5433\", or \"0.0.0.0:5433\" for all addresses")]
    ListenAddress(String),
    #[error("`{0}` is not a server's address; write \"host:5432\", \"[::1]:5432\" or \"/var/run/postgresql:5432\"")]
    NodeAddress(String),
    #[error("`{0}` is not a host's name; write it in full, such as \"db.example.com\"")]
    HostName(String),
    #[error("`{0}` is not an IP address; write one such as \"192.0.2.1\" or \"2001:db8::1\"")]
    IpAddress(String),
    #[error("`{0}` is not a name server's address; write \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"")]
    NameServer(String),
    #[error("`{0}` is also listen.address; the proxy cannot be its own node: one of them needs another port")]
    NodeIsProxy(String),
    #[error("`{0}` is also listen.address; give one of them another port")]
    HttpIsListen(String),
    #[error("`{name}` is also the name of the node in line {line}; every node needs a name of its own")]
    SameName { name: String, line: usize },
    #[error("`{address}` is also the address of the node in line {line}; one server cannot be two nodes")]
    SameAddress { address: String, line: usize },
    #[error(
        "`{path}` is also the data directory of the node in line {line}, on the same machine; a recovery of one would \
         erase the other"
    )]
    SameData { path: String, line: usize },
    #[error("`{0}` is not a name; use letters, digits, `-`, `_` and `.`, at most 63 of them")]
    Name(String),
    #[error("there is no node; add one with [[node]], a name and an address")]
    NoNode,
    #[error("{value} is not between {least} and {most}")]
    Range { value: i64, least: i64, most: i64 },
    #[error("{} is not between {} and {}", spell(*value), spell(*least), spell(*most))]
    TimeRange { value: std::time::Duration, least: std::time::Duration, most: std::time::Duration },
    #[error("`{0}` is too long for a Unix socket (107 bytes); choose a shorter path")]
    SocketPath(String),
    #[error("`{0}` must be an absolute path, for it is on the machine that `shell` reaches")]
    Remote(String),
    #[error("there is no file `{0}`; create it with a line `user:password` for each user, mode 0600")]
    UsersAbsent(String),
    #[error("`{path}` cannot be read: {cause}; it must be a file in UTF-8 that whoever runs the proxy may read")]
    UsersUnreadable { path: String, cause: String },
    #[error("`{path}`, {fault}")]
    Users { path: String, fault: UsersFault },
}

/// The text of a file, to tell a place in it.
pub struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    pub fn line(&self, place: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..place.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub fn problem(&self, place: Option<Range<usize>>, key: impl Into<String>, fault: Fault) -> Problem {
        Problem { file: self.file.into(), line: place.map(|place| self.line(&place)), key: key.into(), fault }
    }

    /// What the parser or serde has to say, with the key that it is about.
    pub fn explain(&self, error: &toml::de::Error) -> Problem {
        let Ok(table) = toml::de::DeTable::parse(self.text) else {
            return self.problem(error.span(), "", self.syntax(error));
        };
        // A section that is missing has no place: the parser points at the whole file.
        let place = error.span().filter(|place| *place != table.span());
        let key = place.as_ref().and_then(|place| key_at(table.get_ref(), place.start)).unwrap_or_default();
        if let Some(field) = quoted(error.message(), "missing field `") {
            let key = if key.is_empty() { field.into() } else { format!("{key}.{field}") };
            return self.problem(place, key, Fault::Missing);
        }
        if quoted(error.message(), "unknown field `").is_some() {
            let fault = later(&key).unwrap_or_else(|| Fault::Unknown(known(error.message())));
            return self.problem(place, key, fault);
        }
        let doubled = place.as_ref().is_some_and(|place| self.text[place.start..].starts_with("[["));
        let fault = match (key.as_str(), doubled) {
            ("node", _) => "write [[node]], in double brackets, above the lines of each node".into(),
            (section, true) => format!("is there as a list; write [{section}], in single brackets"),
            _ => words::plainly(error.message()),
        };
        self.problem(place, key, Fault::Type(fault))
    }

    fn syntax(&self, error: &toml::de::Error) -> Fault {
        let message = error.message().trim().replace('\n', ", ");
        let there = error.span().and_then(|place| self.text.get(place)).unwrap_or_default();
        match message.as_str() {
            "duplicate key" if there == "node" => {
                Fault::Type("write [[node]], in double brackets, above the lines of each node".into())
            }
            "duplicate key" => Fault::Type(format!("`{there}` is there twice; take one of them out")),
            _ => Fault::Syntax(message),
        }
    }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.split('`').next()
}

/// serde ends its message about an unknown field with `expected …`: what there is instead.
fn known(message: &str) -> String {
    let names = message.split_once(", expected ").map_or("", |(_, names)| names);
    format!("there is {}", names.trim_start_matches("one of "))
}

fn later(key: &str) -> Option<Fault> {
    let covers = |name: &str| {
        key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_'])) || key == name
    };
    LATER.iter().find(|(name, _)| covers(name)).map(|(_, meanwhile)| Fault::Later(meanwhile))
}

/// The dotted name of what stands at a place.
fn key_at(table: &toml::de::DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        let below = inside(value.get_ref(), at).map(|below| format!("{name}.{below}"));
        below.or_else(|| (key.span().contains(&at) || covers(value, at)).then(|| name.to_string()))
    })
}

fn inside(value: &toml::de::DeValue<'_>, at: usize) -> Option<String> {
    match value {
        toml::de::DeValue::Table(table) => key_at(table, at),
        toml::de::DeValue::Array(items) => items.iter().find_map(|item| inside(item.get_ref(), at)),
        _ => None,
    }
}

/// An array of tables has no span of its own, but each of its tables does: the header.
fn covers(value: &toml::Spanned<toml::de::DeValue<'_>>, at: usize) -> bool {
    value.span().contains(&at)
        || value.get_ref().as_array().is_some_and(|items| items.iter().any(|item| covers(item, at)))
}
