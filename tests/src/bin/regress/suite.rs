//! A test is one run of psql or of the isolation tester. One that says nothing for too long hangs: a finding, and not the
//! end. How long it takes says nothing of that: one with a hundred permutations of DDL takes minutes on a busy machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lockstep_tests::process::Process;
use lockstep_tests::users::SUPERUSER;
use lockstep_tests::{programs, wait};

use crate::args::SuiteName;
use crate::source::{self, Ground, Source};

/// A step of an isolation test that waits so long is cancelled.
const ISOLATION_STEP: &str = "60";

/// One suite's tests against one port.
#[derive(Debug)]
pub struct Suite<'a> {
    pub name: SuiteName,
    pub source: &'a Source,
    pub ground: &'a Ground,
    pub port: u16,
    pub limit: Duration,
}

/// What a test said.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    pub took: Duration,
    pub hung: bool,
}

impl Suite<'_> {
    /// Makes the suite's database, by the road that the tests take.
    pub fn create_database(&self) -> Result<(), String> {
        let name = self.database();
        let mut script =
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE);\nCREATE DATABASE {name} TEMPLATE = template0;");
        let settings = ["lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'"];
        for setting in settings.iter().chain(&["bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'"]) {
            script += &format!("\nALTER DATABASE {name} SET {setting};");
        }
        let mut psql = self.client(programs::postgres("psql"));
        let statements = script.lines().flat_map(|line| ["-c", line]);
        let output = psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).args(statements).arg("postgres").output();
        let output = output.map_err(|e| format!("psql: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    pub fn run(&self, test: &str) -> Said {
        let answer = self.answer(test);
        let input = File::open(self.source.input(self.name, test)).unwrap_or_else(|e| panic!("the test {test}: {e}"));
        let output = File::create(&answer).expect("make a file for a test's answer");
        let errors = output.try_clone().expect("a second handle of it");
        let begun = Instant::now();
        let mut process = Process::spawn(self.command(test).stdin(input).stdout(output).stderr(errors));
        let mut hung = false;
        while !hung && process.ended().is_none() {
            let said = length(&answer);
            let goes_on = || (process.ended().is_some() || length(&answer) > said).then_some(());
            hung = wait::within(self.limit, goes_on).is_none();
        }
        drop(process);
        let bytes = std::fs::read(&answer).expect("read a test's answer");
        let text = String::from_utf8_lossy(&bytes).replace(&format!("port {} ", self.port), "port PORT ");
        Said { text, took: begun.elapsed(), hung }
    }

    pub fn database(&self) -> &'static str {
        match self.name {
            SuiteName::Sql => "regression",
            SuiteName::Isolation => "isolation_regression",
        }
    }

    fn answer(&self, test: &str) -> PathBuf {
        self.ground.path().join("results").join(format!("{test}.out"))
    }

    fn command(&self, test: &str) -> Command {
        match self.name {
            SuiteName::Sql => self.psql(test),
            SuiteName::Isolation => {
                let mut command = self.client(source::isolation_tester());
                command.arg(format!("dbname={}", self.database()));
                command.env("PGAPPNAME", format!("isolation/{test}")).env("PGISOLATIONTIMEOUT", ISOLATION_STEP);
                command
            }
        }
    }

    fn psql(&self, test: &str) -> Command {
        let mut command = self.client(programs::postgres("psql"));
        command.args(["-X", "-a", "-q", "-d", self.database()]);
        command.args(["-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]);
        command.env("PGAPPNAME", format!("pg_regress/{test}"));
        command.env("PG_ABS_SRCDIR", self.ground.path()).env("PG_ABS_BUILDDIR", self.ground.path());
        command.env("PG_LIBDIR", self.ground.modules()).env("PG_DLSUFFIX", ".so");
        command
    }

    /// With the environment that the tests' answers were written in.
    fn client(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_str().is_some_and(|n| n.starts_with("PG") || n.starts_with("LC_")))
        {
            command.env_remove(name);
        }
        command.current_dir(self.ground.path()).env_remove("LANGUAGE").env("LANG", "C.UTF-8").env("LC_MESSAGES", "C");
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER.name).env("PGPASSWORD", SUPERUSER.password);
        command.env("PGTZ", "America/Los_Angeles").env("PGDATESTYLE", "Postgres, MDY");
        command.env("PGOPTIONS", "-c intervalstyle=postgres_verbose");
        command
    }
}

fn length(answer: &Path) -> u64 {
    answer.metadata().map_or(0, |of| of.len())
}
