//! The state file: what the proxy remembers of the cluster over its own death.
//!
//! Invariant: the file is whole and on disk (written aside, synced, renamed, directory synced) before anybody acts on
//! what it says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lockstep_core::cluster::{ClusterId, Member, MemberState, Membership, Record};
use lockstep_core::id::Epoch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::entropy;

const FORMAT: u32 = 1;
const NAME: &str = "membership.json";
/// The file as it was before a takeover.
const BEFORE: &str = "membership.before-takeover.json";
const LOCK: &str = "lock";
const SECRET: &str = "login_secret";

#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: {why}; put back a good copy, or move the file away to start from what the nodes themselves say",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{}: another lockstep is using this directory", path.display())]
    InUse { path: PathBuf },
}

/// The state directory, locked against a second proxy on the same machine for as long as this lives.
#[derive(Debug)]
pub struct StateDirectory {
    directory: PathBuf,
    lock: Mutex<nix::fcntl::Flock<File>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: u32,
    /// Of `body` as compact JSON with sorted keys.
    sha256: String,
    body: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    cluster: String,
    clean: bool,
    epoch: u64,
    /// Who led last: another one that leads next must not give out what this one gave out.
    leading: Option<String>,
    nodes: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    address: String,
    state: String,
    reason: String,
    since: u64,
    /// The newest epoch known to be in the node's lineage.
    written: u64,
}

impl StateDirectory {
    /// Makes the directory if there is none.
    pub fn open(directory: &Path) -> Result<Self, StateFault> {
        fs::create_dir_all(directory).map_err(|source| StateFault::Io { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), lock: Mutex::new(lock(directory)?) })
    }

    /// Whether nobody has removed what outlives the proxy.
    pub fn is_there(&self) -> bool {
        [NAME, LOCK].iter().all(|name| self.directory.join(name).exists())
    }

    /// The file that was locked may not be in the directory any more.
    pub fn lock_again(&self) -> Result<(), StateFault> {
        if !self.directory.join(LOCK).exists() {
            *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock(&self.directory)?;
        }
        Ok(())
    }

    /// `fresh` has the nodes as configured, all new; what the file knows of them is put in. `None`: there is no file.
    pub fn load(&self, fresh: &Membership) -> Result<Option<Record>, StateFault> {
        let path = self.directory.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateFault::Io { path, source }),
        };
        parse(&text, fresh).map(Some).map_err(|why| StateFault::Damaged { path, why })
    }

    /// Returns when the record is on disk.
    pub fn save(&self, record: &Record) -> Result<(), StateFault> {
        let path = self.directory.join(NAME);
        self.replace(&path, &render(record)).map_err(|source| StateFault::Io { path, source })
    }

    /// Keeps a copy of the file, which another one is about to replace.
    pub fn set_aside(&self) -> Result<(), StateFault> {
        let (path, aside) = (self.directory.join(NAME), self.directory.join(BEFORE));
        match fs::copy(&path, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateFault::Io { path: aside, source: error }),
            _ => Ok(()),
        }
    }

    /// What the salts are made of that users without a stored one are shown. It outlives a restart: whose salt was another
    /// afterwards would be known for nobody.
    pub fn login_secret(&self) -> Result<[u8; 32], StateFault> {
        let path = self.directory.join(SECRET);
        let fault = |source| StateFault::Io { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                let why = "it does not hold the 32 bytes that were written; remove it";
                fault(io::Error::new(io::ErrorKind::InvalidData, why))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = entropy::bytes();
                self.replace(&path, &secret).map_err(fault)?;
                Ok(secret)
            }
            Err(source) => Err(fault(source)),
        }
    }

    fn replace(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let aside = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(&self.directory)?.sync_all()
    }
}

fn lock(directory: &Path) -> Result<nix::fcntl::Flock<File>, StateFault> {
    let fault = |source| StateFault::Io { path: directory.to_owned(), source };
    let path = directory.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(fault)?;
    match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StateFault::InUse { path: directory.to_owned() }),
        Err((_, errno)) => Err(fault(errno.into())),
    }
}

fn render(record: &Record) -> Vec<u8> {
    let entry = |(member, written): (&Member, &Epoch)| Entry {
        name: member.name.clone(),
        address: member.address.clone(),
        state: member.state.name().to_owned(),
        reason: member.reason.clone(),
        since: member.since,
        written: written.0,
    };
    let is_known = |(member, _): &(&Member, &Epoch)| member.state != MemberState::Removed;
    let body = Body {
        cluster: record.cluster.0.clone(),
        clean: record.clean,
        epoch: record.membership.epoch.0,
        leading: record.membership.leading.map(|leader| record.membership.member(leader).name.clone()),
        nodes: record.membership.members.iter().zip(&record.written).filter(is_known).map(entry).collect(),
    };
    let body = serde_json::to_value(body).expect("strings, numbers and lists are JSON");
    let envelope = Envelope { format: FORMAT, sha256: checksum(&body), body };
    let mut text = serde_json::to_vec_pretty(&envelope).expect("strings, numbers and lists are JSON");
    text.push(b'\n');
    text
}

fn parse(text: &[u8], fresh: &Membership) -> Result<Record, String> {
    let envelope: Envelope = serde_json::from_slice(text).map_err(|error| format!("not a state file: {error}"))?;
    if envelope.format != FORMAT {
        return Err(format!("format {} is not known to this version, which writes {FORMAT}", envelope.format));
    }
    if checksum(&envelope.body) != envelope.sha256 {
        return Err("the checksum is wrong".into());
    }
    let body: Body = serde_json::from_value(envelope.body).map_err(|error| error.to_string())?;
    let leading = body.leading.and_then(|name| fresh.find(&name));
    let mut membership = Membership { epoch: Epoch(body.epoch), members: fresh.members.clone(), leading };
    let mut written = vec![Epoch(0); membership.members.len()];
    let mut somebody_current = false;
    for entry in body.nodes {
        let state = MemberState::from_name(&entry.state).ok_or_else(|| format!("{} is no state", entry.state))?;
        let Some(node) = fresh.find(&entry.name) else { continue };
        somebody_current |= state.is_current();
        let member = &mut membership.members[usize::from(node.0)];
        (member.state, member.reason) = interrupted(state, entry.reason);
        member.since = entry.since;
        written[usize::from(node.0)] = Epoch(entry.written);
    }
    if !somebody_current {
        return Err("no node that it names as current is in the configuration".into());
    }
    Ok(Record { cluster: ClusterId(body.cluster), clean: body.clean, membership, written })
}

/// A recovery does not outlive the proxy that runs it.
fn interrupted(state: MemberState, reason: String) -> (MemberState, String) {
    match state {
        MemberState::Recovering => (MemberState::Degraded, "its recovery was cut short".into()),
        state => (state, reason),
    }
}

fn checksum(body: &serde_json::Value) -> String {
    Sha256::digest(body.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(names: &[&str]) -> Membership {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            address: format!("{name}:5432"),
            weight: 1,
            state: MemberState::New,
            reason: String::new(),
            since: 0,
        };
        Membership { epoch: Epoch(0), members: names.iter().map(member).collect(), leading: None }
    }

    fn record() -> Record {
        let mut membership = fresh(&["a", "b", "c"]);
        membership.epoch = Epoch(7);
        membership.leading = Some(lockstep_core::id::NodeId(1));
        let states = [MemberState::Degraded, MemberState::Active, MemberState::Recovering];
        membership.members.iter_mut().zip(states).for_each(|(member, state)| member.state = state);
        let written = [3, 7, 0].map(Epoch).to_vec();
        Record { cluster: ClusterId("c".into()), clean: true, membership, written }
    }

    #[test]
    fn what_was_written_is_read_but_a_recovery_was_cut_short() {
        let mut read = parse(&render(&record()), &fresh(&["a", "b", "c"])).unwrap();
        let third = &mut read.membership.members[2];
        assert_eq!((third.state, third.reason.as_str()), (MemberState::Degraded, "its recovery was cut short"));
        (third.state, third.reason) = (MemberState::Recovering, String::new());
        assert_eq!(read, record());
    }

    #[test]
    fn the_secret_of_logins_stays_and_is_nobody_elses_to_read() {
        let directory = std::env::temp_dir().join(format!("lockstep-secret-{}", std::process::id()));
        let secret = || StateDirectory::open(&directory).unwrap().login_secret();
        assert_eq!(secret().unwrap(), secret().unwrap());
        let path = directory.join(SECRET);
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o077, 0);
        fs::write(&path, "short").unwrap();
        assert!(secret().unwrap_err().to_string().contains("remove it"));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn nodes_are_known_by_name_whatever_their_order() {
        let read = parse(&render(&record()), &fresh(&["new", "b"])).unwrap();
        let states: Vec<_> = read.membership.members.iter().map(|member| member.state).collect();
        assert_eq!(states, [MemberState::New, MemberState::Active]);
        assert_eq!(read.written, [Epoch(0), Epoch(7)]);
    }

    #[test]
    fn a_node_that_was_taken_out_of_the_configuration_is_forgotten() {
        let mut record = record();
        record.membership.members[0].state = MemberState::Removed;
        let read = parse(&render(&record), &fresh(&["a", "b", "c"])).unwrap();
        assert_eq!((read.membership.members[0].state, read.written[0]), (MemberState::New, Epoch(0)));
    }

    #[test]
    fn a_configuration_without_the_current_node_is_refused() {
        assert!(parse(&render(&record()), &fresh(&["a", "c"])).unwrap_err().contains("no node"));
    }

    #[test]
    fn damage_is_found() {
        let whole = render(&record());
        for broken in [&whole[..whole.len() / 2], b"", b"{}"] {
            assert!(parse(broken, &fresh(&["b"])).is_err());
        }
        let changed = String::from_utf8(whole).unwrap().replace("\"degraded\"", "\"active\"");
        assert_eq!(parse(changed.as_bytes(), &fresh(&["b"])).unwrap_err(), "the checksum is wrong");
    }
}
