//! Logging, and the rules for levels:
//!
//! | level | what | example |
//! | --- | --- | --- |
//! | ERROR | wake somebody: the service is worse and stays so until a human acts | a node has diverged; no node is left |
//! | WARN | somebody should look today: the service is as good, its reserve is not | a node is out; a password file is ignored |
//! | INFO | a change that an operator would write into a diary, one line each: who, why, what follows | a node is active again |
//! | DEBUG | a deviation that Lockstep dealt with | a broken connection was dialled again |
//! | TRACE | per message, per query | |
//!
//! Nothing per query at INFO or above. What a line is about (node, session, database) stands in fields or spans, never
//! only in the text. A log line at ERROR fails a test.
//!
//! Lines go to stderr: as text when that is a terminal, as JSON otherwise. `--log` or `RUST_LOG` chooses the level.

use std::fs::File;
use std::io::IsTerminal;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::exit::Stop;

const DEFAULT: &str = "info";

/// Where the lines go.
pub enum To {
    Stderr,
    /// For the demo, whose terminal belongs to its story.
    File(File),
}

/// Sets up logging for the whole process. A second call (tests, which share one process) keeps the first one's set-up.
pub fn start(filter: Option<&str>, to: To) -> Result<(), Stop> {
    let text = filter.unwrap_or(DEFAULT);
    let refused = |why: String| {
        Stop::usage(format!("`{text}` is no log level: {why}"))
            .remedy("use error, warn, info, debug or trace, or a list such as `info,lockstep_core=debug`")
    };
    // A word alone would be taken for a module, and everything else be silent.
    let is_level = |word: &str| word.is_empty() || word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = text.split(',').map(str::trim).find(|word| !is_level(word)) {
        return Err(refused(format!("nobody knows `{word}`")));
    }
    let filter = EnvFilter::try_new(text).map_err(|error| refused(error.to_string()))?;
    let builder: SubscriberBuilder<_, _, EnvFilter> =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let _first = match to {
        To::File(file) => builder.with_ansi(false).with_writer(Mutex::new(file)).try_init(),
        To::Stderr if std::io::stderr().is_terminal() => builder.with_writer(std::io::stderr).try_init(),
        To::Stderr => builder.json().flatten_event(true).with_writer(std::io::stderr).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_level_that_does_not_exist_is_wrong_usage_and_names_those_that_do() {
        for wrong in ["lockstep=loud", "nonsense", "info,lockstep_core"] {
            let stop = start(Some(wrong), To::Stderr).unwrap_err();
            assert_eq!(stop.exit, Exit::Usage, "{wrong}");
            assert!(stop.remedy.unwrap().contains("error, warn, info, debug or trace"));
        }
    }
}
