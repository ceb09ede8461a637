//! The file of a unit's effects beyond what is held in memory. It has no name, so nothing of it outlives the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;

#[derive(Debug)]
pub struct Spill {
    file: File,
    length: AtomicU64,
}

impl Spill {
    pub fn create(directory: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("unit-{}-{number}.spill", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file, length: AtomicU64::new(0) })
    }

    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let at = self.length.load(Ordering::Relaxed);
        self.file.write_all_at(bytes, at)?;
        self.length.store(at + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub fn cut(&self, length: u64) -> io::Result<()> {
        self.length.store(length, Ordering::Relaxed);
        self.file.set_len(length)
    }

    pub fn read(&self, at: u64, length: usize, out: &mut BytesMut) -> io::Result<()> {
        let start = out.len();
        out.resize(start + length, 0);
        self.file.read_exact_at(&mut out[start..], at)
    }
}
