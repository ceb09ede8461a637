//! The program `lockstep`, as a library so that tests can start it in their own process.
//!
//! ```text
//! args → config (raw → resolve) → command::* → show
//!                                   ├ run, demo          → server    the proxy in this process
//!                                   ├ status, verify, …  → control   a proxy that runs, by its socket
//!                                   └ check, probe       → postgres  servers, or the proxy as a client sees it
//! ```
//!
//! Nothing here decides about replication; nothing here is needed to serve but `run` and what it calls.

pub mod args;
pub mod check;
pub mod command;
pub mod config;
pub mod control;
pub mod demo;
pub mod exit;
pub mod log;
pub mod postgres;
pub mod probe;
pub mod progress;
pub mod schema;
pub mod server;
pub mod show;
pub mod signals;

use std::ffi::OsString;

use clap::Parser;

use exit::{Exit, Stop};

/// What `main` does, without ending the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let args = match args::Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.exit_code() == 0 { Exit::Good } else { Exit::Usage };
        }
    };
    command::perform(args).unwrap_or_else(|stop| report(&stop))
}

fn report(stop: &Stop) -> Exit {
    show::aside(&format!("lockstep: {}", stop.what));
    if let Some(remedy) = &stop.remedy {
        show::aside(&format!("  → {remedy}"));
    }
    stop.exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(line: &str) -> Exit {
        run(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn help_and_version_are_good() {
        for line in
            ["lockstep --help", "lockstep --version", "lockstep help", "lockstep help recovery", "lockstep help check"]
        {
            assert_eq!(exit_of(line), Exit::Good, "{line}");
        }
    }

    #[test]
    fn wrong_usage_and_a_missing_configuration_are_2() {
        for line in [
            "lockstep",
            "lockstep dance",
            "lockstep recover",
            "lockstep help dancing",
            "lockstep status --config /none",
        ] {
            assert_eq!(exit_of(line), Exit::Usage, "{line}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_run_is_3() {
        let directory = std::env::temp_dir().join(format!("lockstep-exit-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("lockstep.toml");
        let text = r#"
            listen.address = "127.0.0.1:5433"
            cluster = { name = "main", state_dir = "state" }
            service.user = "postgres"
            auth.users_file = "users"
            node = [{ name = "midna", address = "midna:5432" }]
        "#;
        std::fs::write(&file, text).unwrap();
        std::fs::write(directory.join("users"), "app:secret\n").unwrap();
        let exits = ["status", "verify", "recover midna", "attach midna", "detach midna"]
            .map(|command| exit_of(&format!("lockstep {command} --config {}", file.display())));
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(exits, [Exit::Unreachable; 5]);
    }
}
