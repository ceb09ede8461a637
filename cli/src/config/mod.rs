//! The configuration file, in two stages: as written ([`raw`]: spelling and shape), then as meant ([`resolve`]:
//! defaults, paths relative to the file, what must fit together). What comes out is the runtime's own typed `Config`.
//!
//! Invariant: nothing in the file is ever passed over. A key that is not known, not in this version, or of a bad value
//! ends the program with exit code 2 and names file, line, key and remedy (`error.rs` holds every message).

mod error;
mod password;
mod raw;
mod resolve;
mod time;
mod words;

use std::path::{Path, PathBuf};

use lockstep_runtime::config::Config;

pub use error::{Fault, Problem};
pub use password::{Environment, Server};
pub use time::parse as parse_time;

use crate::exit::{Exit, Stop};
use error::Source;

/// Where the file is looked for when nobody names it.
const PLACES: [&str; 2] = ["lockstep.toml", "/etc/lockstep/lockstep.toml"];

/// Whether whoever reads the configuration lets anybody log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsersFile {
    /// It must be there, and right.
    Needed,
    /// It may be somebody else's, broken or absent.
    NotNeeded,
}

/// Reads and resolves the file that the operator means.
pub fn load(named: Option<&Path>, users: UsersFile) -> Result<Config, Vec<Problem>> {
    let (file, text) = read(named)?;
    parse(&file, &text, &Environment::of_process(), users)
}

/// [`load`] for commands that have nothing to say about a bad configuration but the problems themselves.
pub fn load_or_stop(named: Option<&Path>, users: UsersFile) -> Result<Config, Stop> {
    load(named, users).map_err(stop)
}

/// Where the running proxy is asked. Nothing else in the file has to be right for that: who must take a node out has no
/// time for a setting that somebody has just got wrong.
pub fn control_socket(named: Option<&Path>) -> Result<PathBuf, Stop> {
    let (file, text) = read(named).map_err(stop)?;
    parse_way(&file, &text).map_err(stop)
}

fn parse_way(file: &Path, text: &str) -> Result<PathBuf, Vec<Problem>> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let source = Source { file: &file, text };
    let way = toml::from_str(text).map_err(|error| vec![source.explain(&error)])?;
    resolve::control_socket(way, &source)
}

fn stop(problems: Vec<Problem>) -> Stop {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    Stop::new(Exit::Usage, lines.join("\n"))
}

fn read(named: Option<&Path>) -> Result<(PathBuf, String), Vec<Problem>> {
    let file = find(named, |path| path.exists())?;
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok((file, text)),
        Err(error) => {
            let fault = match error.kind() {
                std::io::ErrorKind::InvalidData => Fault::NotUtf8,
                _ => Fault::Unreadable(error.to_string()),
            };
            Err(vec![Problem { file, line: None, key: String::new(), fault }])
        }
    }
}

/// The text of a file; what it says and what the environment adds.
pub fn parse(file: &Path, text: &str, environment: &Environment, users: UsersFile) -> Result<Config, Vec<Problem>> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let source = Source { file: &file, text };
    let raw = toml::from_str(text).map_err(|error| vec![source.explain(&error)])?;
    resolve::resolve(raw, &source, environment, users)
}

fn find(named: Option<&Path>, exists: impl Fn(&Path) -> bool) -> Result<PathBuf, Vec<Problem>> {
    let found = match named {
        Some(path) => Some(path).filter(|path| exists(path)),
        None => PLACES.iter().map(Path::new).find(|path| exists(path)),
    };
    found.map(PathBuf::from).ok_or_else(|| {
        let tried = named.map_or_else(|| PLACES.join(" or "), |path| path.display().to_string());
        vec![Problem { file: tried.into(), line: None, key: String::new(), fault: Fault::Absent }]
    })
}

#[cfg(test)]
mod tests;
