//! Where the demo lives: one directory with everything in it. Invariant: when a [`Place`] is gone, so are its servers and
//! its files, however the demo ended; a panic too drops it.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::owner::Owner;
use super::process;
use crate::exit::Stop;

/// For servers to end when asked, before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Place {
    pub path: PathBuf,
    pub owner: Owner,
    cleared: bool,
}

impl Place {
    pub fn make() -> Result<Self, Stop> {
        let owner = Owner::choose()?;
        let path = std::env::temp_dir().join(format!("lockstep-demo-{}", secret(4)?));
        let failed = |error| {
            Stop::bad(format!("{}: {error}", path.display())).remedy("set TMPDIR to a directory that may be written")
        };
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let place = Self { path: path.clone(), owner, cleared: false };
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
