//! Where the demo lives: one directory with everything in it. Invariant: when a [`Place`] is gone, so are its servers and
//! its files, however the demo ended; a panic too drops it. What a demo leaves that is killed, the next one clears away: a
//! living one holds a lock on a file of its directory, which ends with its process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::Signal;

use super::owner::Owner;
use super::process;
use crate::exit::Stop;

/// For servers to end when asked, before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

const PREFIX: &str = "lockstep-demo-";
const LOCK: &str = "lock";

pub struct Place {
    pub path: PathBuf,
    pub owner: Owner,
    cleared: bool,
    _alive: Flock<File>,
}

impl Place {
    pub fn make() -> Result<Self, Stop> {
        let owner = Owner::choose()?;
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", secret(4)?));
        let failed = |error| {
            Stop::bad(format!("{}: {error}", path.display())).remedy("set TMPDIR to a directory that may be written")
        };
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let alive = sign_of_life(&path).map_err(failed)?;
        let place = Self { path: path.clone(), owner, cleared: false, _alive: alive };
        place.owner.give(&path).map_err(failed)?;
        Ok(place)
    }

    /// A file that only whoever runs the demo may read.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Stop> {
        let path = self.path.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Stop::bad(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// Ends what runs here and removes the directory. Gives what could not be done.
    pub fn clear(mut self) -> Result<(), Stop> {
        self.cleared = true;
        clear(&self.path)
    }
}

/// Locked before it has its name, so that nobody ever finds the lock of a living demo free.
fn sign_of_life(place: &Path) -> std::io::Result<Flock<File>> {
    let aside = place.join("lock.new");
    let file = File::options().write(true).create_new(true).mode(0o600).open(&aside)?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    std::fs::rename(&aside, place.join(LOCK))?;
    Ok(lock)
}

/// Clears away what demos have left that were killed. Gives their directories.
pub fn clear_after_the_dead() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let named = entries.filter(|entry| is_name(&entry.file_name().to_string_lossy()));
    named.map(|entry| entry.path()).filter(|path| clear_if_dead(path)).collect()
}

fn is_name(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Only with a lock file of this user's, which nobody holds: anybody may make a directory of such a name.
fn clear_if_dead(path: &Path) -> bool {
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let no_link = OFlag::O_NOFOLLOW.bits();
    let Ok(file) = File::options().write(true).custom_flags(no_link).open(path.join(LOCK)) else { return false };
    let us = nix::unistd::geteuid().as_raw();
    let ours = file.metadata().is_ok_and(|found| found.is_file() && found.uid() == us && found.nlink() == 1);
    if !is_directory || !ours {
        return false;
    }
    let Ok(_free) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return false };
    match clear(path) {
        Ok(()) => true,
        Err(stop) => {
            crate::show::aside(&format!("of a demo that was killed: {}", stop.what));
            false
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.cleared {
            return;
        }
        if let Err(stop) = clear(&self.path) {
            crate::show::aside(&stop.what);
        }
    }
}

fn clear(path: &Path) -> Result<(), Stop> {
    // First the programs that could start a server, or write to the directory, while it goes away.
    let helpers = process::helpers(path);
    process::send(Signal::SIGKILL, &helpers);
    let mut gone = process::gone(&helpers, PATIENCE);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let servers: Vec<_> = entries.filter_map(|entry| process::postmaster(&entry.path())).collect();
    let families: Vec<_> = servers.iter().flat_map(|server| process::family(*server)).collect();
    process::send(Signal::SIGQUIT, &servers);
    if !process::gone(&families, PATIENCE) {
        process::send(Signal::SIGKILL, &families);
        gone &= process::gone(&families, PATIENCE);
    }
    remove(path)?;
    if gone { Ok(()) } else { Err(Stop::bad(format!("a server of {} could not be stopped", path.display()))) }
}

/// A server's last file may appear while its directory is being removed: again, then.
fn remove(path: &Path) -> Result<(), Stop> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(Stop::bad(format!("{} could not be removed: {error}", path.display())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Random hexadecimal digits, two for each byte.
pub fn secret(bytes: usize) -> Result<String, Stop> {
    let mut random = vec![0; bytes];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| Stop::bad(format!("/dev/urandom: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_private_and_leaves_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::make().unwrap();
        let path = place.path.clone();
        let file = place.write("users", "app:secret\n").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn only_what_a_dead_demo_of_ours_has_left_is_cleared() {
        let alive = Place::make().unwrap();
        assert!(!clear_if_dead(&alive.path), "its lock is held");
        let lock = alive.path.join(LOCK);
        std::fs::remove_file(&lock).unwrap();
        assert!(!clear_if_dead(&alive.path), "a directory without a lock may be anybody's");
        std::os::unix::fs::symlink("/etc/hostname", &lock).unwrap();
        assert!(!clear_if_dead(&alive.path), "a link is nobody's lock");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(&lock, "").unwrap();
        assert!(clear_if_dead(&alive.path) && !alive.path.exists());
        assert!(is_name("lockstep-demo-0123abcd") && !is_name("lockstep-demo-mine") && !is_name("lockstep-demo-"));
    }

    #[test]
    fn a_panic_leaves_nothing_either() {
        let (tell, told) = std::sync::mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let place = Place::make().unwrap();
            tell.send(place.path.clone()).unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(!told.recv().unwrap().exists());
    }
}
