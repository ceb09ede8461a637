//! PostgreSQL's source, and what its tests need besides: a library in C, the isolation tester.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_tests::scratch::Scratch;
use lockstep_tests::{process, programs};

use crate::args::SuiteName;

#[derive(Debug)]
pub struct Source(PathBuf);

impl Source {
    /// Looks whether all is there that the suites need.
    pub fn open(root: &Path) -> Result<Self, String> {
        let source = Self(root.join("src/test"));
        let schedules = SuiteName::ALL.map(|suite| source.schedule(suite));
        if let Some(missing) = schedules.iter().find(|schedule| !schedule.is_file()) {
            return Err(format!(
                "{} is not there: name PostgreSQL's source; --help says how to get it",
                missing.display()
            ));
        }
        if !isolation_tester().is_file() || !includes().is_some_and(|includes| includes.is_dir()) {
            return Err("the isolation tester and the server's headers are missing: \
                        apt-get install postgresql-server-dev-15"
                .into());
        }
        Ok(source)
    }

    fn schedule(&self, suite: SuiteName) -> PathBuf {
        match suite {
            SuiteName::Sql => self.0.join("regress/parallel_schedule"),
            SuiteName::Isolation => self.0.join("isolation/isolation_schedule"),
        }
    }

    /// The tests in the order in which they stand there: each finds what those before it have left.
    pub fn tests(&self, suite: SuiteName) -> Vec<String> {
        let schedule = std::fs::read_to_string(self.schedule(suite)).expect("read a schedule");
        let groups = schedule.lines().filter_map(|line| line.strip_prefix("test:"));
        groups.flat_map(str::split_whitespace).map(str::to_owned).collect()
    }

    pub fn input(&self, suite: SuiteName, test: &str) -> PathBuf {
        match suite {
            SuiteName::Sql => self.0.join(format!("regress/sql/{test}.sql")),
            SuiteName::Isolation => self.0.join(format!("isolation/specs/{test}.spec")),
        }
    }

    /// What is expected; some tests have several answers, numbered.
    pub fn expected(&self, suite: SuiteName, test: &str) -> Vec<String> {
        let folder = match suite {
            SuiteName::Sql => self.0.join("regress/expected"),
            SuiteName::Isolation => self.0.join("isolation/expected"),
        };
        let names = (0..10).map(|n| if n == 0 { format!("{test}.out") } else { format!("{test}_{n}.out") });
        names
            .filter_map(|name| std::fs::read(folder.join(name)).ok())
            .map(|b| String::from_utf8_lossy(&b).into())
            .collect()
    }
}

/// A directory in which servers read and write what the regression tests copy from and to, and load their library.
#[derive(Debug)]
pub struct Ground(Scratch);

impl Ground {
    pub fn prepare(source: &Source) -> Result<Self, String> {
        let ground = Self(Scratch::new("regress"));
        let mut copy = Command::new("/bin/cp");
        process::run(copy.arg("-r").arg(source.0.join("regress/data")).arg(ground.0.path()));
        for folder in ["lib", "results"] {
            let path = ground.0.path().join(folder);
            std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            process::give_to_server_user(&path);
        }
        ground.build_library(source)?;
        Ok(ground)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn modules(&self) -> PathBuf {
        self.path().join("lib")
    }

    /// Two more that the tests want beside it are installed with the server.
    fn build_library(&self, source: &Source) -> Result<(), String> {
        let includes = includes().ok_or("no pg_config")?;
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-w", "-fPIC", "-shared", "-DDLSUFFIX=\".so\"", "-I"]).arg(includes);
        cc.arg("-o").arg(self.modules().join("regress.so")).arg(source.0.join("regress/regress.c"));
        let output = cc.output().map_err(|e| format!("cc: {e}: apt-get install gcc libc6-dev"))?;
        if !output.status.success() {
            return Err(format!("regress.c does not compile:\n{}", process::said(&output)));
        }
        let installed = pg_config("--pkglibdir").ok_or("no pg_config")?;
        for name in ["autoinc.so", "refint.so"] {
            std::os::unix::fs::symlink(installed.join(name), self.modules().join(name))
                .map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }
}

pub fn isolation_tester() -> PathBuf {
    pg_config("--pkglibdir").unwrap_or_default().join("pgxs/src/test/isolation/isolationtester")
}

fn includes() -> Option<PathBuf> {
    pg_config("--includedir-server")
}

fn pg_config(what: &str) -> Option<PathBuf> {
    let output = Command::new(programs::postgres("pg_config")).arg(what).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}
