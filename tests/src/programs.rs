//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of one of PostgreSQL's own programs, past any wrapper that a distribution puts into PATH.
pub fn postgres(program: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY
        .get_or_init(|| find().expect("PostgreSQL's server programs are not installed: apt-get install postgresql"))
        .join(program)
}

/// A program in PATH, with the Debian package that brings it for the message of the test that misses it.
pub fn in_path(program: &str, package: &str) -> PathBuf {
    path_directories()
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed: apt-get install {package}"))
}

fn find() -> Option<PathBuf> {
    from_path().or_else(from_pg_config).or_else(newest_of_debian)
}

fn from_path() -> Option<PathBuf> {
    let initdb = path_directories().map(|d| d.join("initdb")).find(|p| p.is_file())?;
    servers(initdb.canonicalize().ok()?.parent()?)
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    servers(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, servers(&path.join("bin"))?))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, directory)| directory)
}

fn servers(directory: &Path) -> Option<PathBuf> {
    directory.join("postgres").is_file().then(|| directory.to_owned())
}

fn path_directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
