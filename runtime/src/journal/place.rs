//! Where the file is, and how one takes the place of another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lockstep_core::journal::Outlives;
use lockstep_core::limits;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) outlives: Outlives,
}

impl Place {
    pub(super) fn write_aside(&self, first: &[u8]) -> io::Result<File> {
        if first.len() > limits::JOURNAL {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(self.aside())?;
        nix::fcntl::posix_fallocate(&file, 0, limits::JOURNAL as i64)?;
        file.write_all_at(first, 0)?;
        self.sync(&file)?;
        Ok(file)
    }

    pub(super) fn put_in_place(&self) -> io::Result<()> {
        fs::rename(self.aside(), &self.path)?;
        self.sync_directory()
    }

    /// A file without contents is as little believed as one that is not there.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let emptied = File::options().write(true).truncate(true).open(&self.path).map_err(|_| error)?;
                self.sync(&emptied)
            }
            _ => self.sync_directory(),
        }
    }

    fn aside(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.outlives {
            Outlives::Process => Ok(()),
            Outlives::Machine => file.sync_all(),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.outlives {
            Outlives::Process => Ok(()),
            Outlives::Machine => File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all(),
        }
    }
}
