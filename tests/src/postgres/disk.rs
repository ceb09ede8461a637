//! A disk that can be made to stand still: whoever forces something to it waits, and nobody else does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::process;
use crate::scratch::Scratch;

/// Put before the C library in every process of a server.
const SOURCE: &str = include_str!("disk.c");

#[derive(Debug, Clone)]
pub struct Disk(Arc<Scratch>);

impl Disk {
    pub fn new() -> Self {
        let scratch = Scratch::new("disk");
        let source = scratch.path().join("disk.c");
        std::fs::write(&source, SOURCE).expect("write a file");
        let disk = Self(Arc::new(scratch));
        process::run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(disk.shim()).arg(source));
        disk
    }

    pub fn stands_still(&self) {
        std::fs::write(self.mark(), "").expect("write a file");
    }

    pub(super) fn put_under(&self, server: &mut Command) {
        server.env("LD_PRELOAD", self.shim()).env("STANDS_STILL", self.mark());
    }

    fn shim(&self) -> PathBuf {
        self.path().join("disk.so")
    }

    fn mark(&self) -> PathBuf {
        self.path().join("stands-still")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}
