//! The target's machine: what is done there.

use std::collections::BTreeMap;

use lockstep_core::cluster::recovery::{self, Before, Contents, Room, Source};

use super::shell::{Settings, Shell};
use super::{Failure, Recovery};

/// What belongs to a server and not to its data: the node keeps its own.
const OWN_FILES: &str = "postgresql.conf pg_hba.conf pg_ident.conf conf.d environment server.crt server.key root.crt";
/// Seconds for a server to stop, and for a standby to become consistent.
const PATIENCE: &str = "600";

pub struct Target<'a> {
    recovery: &'a Recovery<'a>,
    shell: Shell,
}

impl<'a> Target<'a> {
    pub async fn open(recovery: &'a Recovery<'a>) -> Result<Self, Failure> {
        let config = &recovery.cluster.shared.config;
        let (node, source) =
            (&config.nodes[usize::from(recovery.node.0)], &config.nodes[usize::from(recovery.source.0)]);
        let bin = recovery.settings.bin_directory.as_deref().map(|path| path.display().to_string());
        let settings = Settings::new()
            .set("DATA", &recovery.settings.data_directory.display().to_string())
            .set("PORT", &node.port.to_string())
            .set("LISTEN", &listen_addresses(&node.host))
            .set("BIN", &bin.unwrap_or_default())
            .set("MAJOR", &recovery.source_major().await?.to_string())
            .set("SOURCE_HOST", &source.host)
            .set("SOURCE_PORT", &source.port.to_string())
            .set("SERVICE", &config.service.user)
            .set("PGPASSWORD", config.service.password.as_deref().unwrap_or_default())
            .set("SLOT", &recovery.slot)
            .set("OWN_FILES", OWN_FILES)
            .set("PATIENCE", PATIENCE);
        Ok(Self { recovery, shell: Shell::open(recovery.settings, settings).await? })
    }

    /// Is the target fit to be replaced, and how is room made?
    pub async fn inspect(&self, source: &Source) -> Result<Before, Failure> {
        let output = self.shell.script("inspect", include_str!("inspect.sh"), |_| {}).await?;
        let facts: BTreeMap<_, _> = output.lines().filter_map(|line| line.split_once('=')).collect();
        let number = |key: &str| facts.get(key).and_then(|value| value.parse::<u64>().ok());
        let contents = match facts.get("contents").copied() {
            Some("missing") => Contents::Missing,
            Some("empty") => Contents::Empty,
            Some("data") => Contents::Data,
            _ => Contents::Foreign,
        };
        let target = recovery::Target {
            contents,
            running: number("running").and_then(|port| u16::try_from(port).ok()),
            movable: facts.contains_key("movable"),
            free_bytes: number("free_kb").unwrap_or(0) << 10,
            has_tablespaces: facts.contains_key("tablespaces"),
            programs: number("programs").and_then(|major| u32::try_from(major).ok()),
        };
        let port = self.recovery.cluster.shared.config.nodes[usize::from(self.recovery.node.0)].port;
        let own_backup = self.recovery.settings.backup.is_some();
        let room = recovery::fit(&target, *source, port, number("old_kb").unwrap_or(0) << 10, own_backup)?;
        Ok(Before { ran: target.running.is_some(), room })
    }

    /// With an own command for the copy, how that reaches its source is its own business.
    pub async fn prove(&self) -> Result<(), Failure> {
        if self.recovery.settings.backup.is_none() {
            self.script("reach the source", include_str!("prove.sh")).await?;
        }
        Ok(())
    }

    pub async fn stop(&self) -> Result<(), Failure> {
        self.own_or("stop", self.recovery.settings.stop.as_deref(), include_str!("stop.sh")).await
    }

    pub async fn clear(&self, room: Room) -> Result<(), Failure> {
        let room = match room {
            Room::SetAside => "ROOM=aside\n",
            Room::Delete => "ROOM=delete\n",
        };
        self.script("clear", &format!("{room}{}", include_str!("clear.sh"))).await
    }

    pub async fn backup(&self) -> Result<(), Failure> {
        let heard = |line: &str| {
            if let Some((done, total)) = recovery::progress(line) {
                let text = format!("{} of {} MB", done >> 20, total >> 20);
                self.recovery.report.measure(recovery::Step::Backup.name(), text, done, total.max(done));
            }
        };
        match &self.recovery.settings.backup {
            Some(line) => self.shell.own("backup", line, heard).await?,
            None => self.shell.script("backup", include_str!("backup.sh"), heard).await?,
        };
        self.script("settings", include_str!("settings.sh")).await
    }

    pub async fn start(&self) -> Result<(), Failure> {
        self.own_or("start", self.recovery.settings.start.as_deref(), include_str!("start.sh")).await
    }

    /// What could not even be stopped runs still.
    pub async fn start_again(&self) -> Result<(), Failure> {
        let script = r#"[ -z "$(running_pid)" ] || echo running"#;
        let output = self.shell.script("look for a server", script, |_| {}).await?;
        if output.trim() == "running" { Ok(()) } else { self.start().await }
    }

    pub async fn put_back(&self) -> Result<(), Failure> {
        self.script("put back", include_str!("put_back.sh")).await
    }

    pub async fn clean_up(&self) -> Result<(), Failure> {
        self.script("clean up", include_str!("clean_up.sh")).await
    }

    async fn own_or(&self, name: &str, own: Option<&str>, script: &str) -> Result<(), Failure> {
        match own {
            Some(line) => drop(self.shell.own(name, line, |_| {}).await?),
            None => self.script(name, script).await?,
        }
        Ok(())
    }

    async fn script(&self, name: &str, script: &str) -> Result<(), Failure> {
        self.shell.script(name, script, |_| {}).await?;
        Ok(())
    }
}

/// For a node that never had settings of its own. The address under which the proxy reaches it is one that it has.
fn listen_addresses(host: &str) -> String {
    match host {
        "localhost" | "127.0.0.1" | "::1" => host.to_owned(),
        path if path.starts_with('/') => "localhost".to_owned(),
        other => format!("localhost, {other}"),
    }
}
