//! PostgreSQL's server programs, wherever this system keeps them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::Stop;

const NEEDED: [&str; 4] = ["initdb", "postgres", "pg_ctl", "pg_basebackup"];

/// Where Debian puts what is not on the PATH: a directory for each version, with `bin` in it.
const SHELF: &str = "/usr/lib/postgresql";

#[derive(Debug, Clone)]
pub struct Programs {
    pub directory: PathBuf,
    /// As `postgres --version` has it: `15.6`.
    pub version: String,
}

pub fn find() -> Result<Programs, Stop> {
    let candidates = on_path().into_iter().chain(by_pg_config()).chain(on_the_shelf());
    for directory in candidates.filter(|directory| complete(directory)) {
        if let Some(version) = version(&directory) {
            return Ok(Programs { directory, version });
        }
    }
    Err(Stop::usage(format!("PostgreSQL's server programs ({}) are not found", NEEDED.join(", ")))
        .remedy("install them (Debian: apt-get install postgresql), or put their directory on the PATH"))
}

fn complete(directory: &Path) -> bool {
    NEEDED.iter().all(|program| directory.join(program).is_file())
}

fn on_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn by_pg_config() -> Option<PathBuf> {
    Some(said_by(Command::new("pg_config").arg("--bindir"))?.into())
}

/// Newest version first.
fn on_the_shelf() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(SHELF).into_iter().flatten().flatten();
    let mut versions: Vec<_> =
        entries.map(|entry| (major(&entry.file_name().to_string_lossy()), entry.path().join("bin"))).collect();
    versions.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

fn major(directory: &str) -> u32 {
    directory.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// `postgres (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)`.
fn version(directory: &Path) -> Option<String> {
    let said = said_by(Command::new(directory.join("postgres")).arg("--version"))?;
    said.split_whitespace().nth(2).map(String::from)
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(major("9.6") < major("13") && major("13") < major("17"));
        assert_eq!(major("common"), 0);
    }

    #[test]
    fn a_directory_with_a_part_of_the_programs_is_not_enough() {
        assert!(!complete(Path::new("/bin")));
    }
}
