//! `lockstep check`: see [`crate::check`].

use lockstep_runtime::config::Config;

use crate::check::{self, Mark};
use crate::exit::{Exit, Stop};
use crate::show::{self, Paint};

pub async fn check(config: Config, json: bool) -> Result<Exit, Stop> {
    let report = check::check(&config).await;
    if json {
        show::json(&report);
    } else {
        show::line(&report.text(Paint::for_stdout()));
    }
    Ok(if report.count(Mark::Problem) == 0 { Exit::Good } else { Exit::Bad })
}
