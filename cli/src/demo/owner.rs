//! Who runs the throw-away servers: PostgreSQL refuses to run as root.

use std::path::Path;

use nix::unistd::{Gid, Uid, User};
use tokio::process::Command;

use crate::exit::Stop;

/// In this order: the first that exists.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, Clone)]
pub struct Owner {
    /// `None`: whoever runs the demo.
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    name: String,
    user: Uid,
    group: Gid,
}

impl Owner {
    pub fn choose() -> Result<Self, Stop> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let known = UNPRIVILEGED.iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = known.ok_or_else(|| {
            Stop::usage("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")
                .remedy("run the demo as an ordinary user")
        })?;
        Ok(Self { other: Some(Other { name: user.name, user: user.uid, group: user.gid }) })
    }

    /// A shell line that does `line` as this user.
    pub fn line(&self, line: &str) -> String {
        match self.name() {
            Some(name) => format!("runuser -u {name} -- {line}"),
            None => line.to_owned(),
        }
    }

    /// The name to put into `run_as`.
    pub fn name(&self) -> Option<&str> {
        self.other.as_ref().map(|other| other.name.as_str())
    }

    /// A command of this user. The caller's environment stays outside: `PGPORT` or `PGDATA` there is about other servers.
    pub fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        command.current_dir(directory).kill_on_drop(true);
        if let Some(other) = &self.other {
            command.uid(other.user.as_raw()).gid(other.group.as_raw());
        }
        command
    }

    pub fn give(&self, path: &Path) -> std::io::Result<()> {
        match &self.other {
            Some(other) => nix::unistd::chown(path, Some(other.user), Some(other.group)).map_err(Into::into),
            None => Ok(()),
        }
    }
}
