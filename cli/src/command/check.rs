//! `lockstep check`: see [`crate::check`], and [`crate::schema`] for `--schema`.

use lockstep_runtime::config::Config;

use crate::args::Check;
use crate::check::{self, Mark};
use crate::exit::{Exit, Stop};
use crate::schema;
use crate::show::{self, Paint};

pub async fn check(config: Config, args: Check) -> Result<Exit, Stop> {
    if args.schema {
        return schema(&config, args).await;
    }
    let report = check::check(&config).await;
    if args.json.json {
        show::json(&report);
    } else {
        show::line(&report.text(Paint::for_stdout()));
    }
    Ok(if report.count(Mark::Problem) == 0 { Exit::Good } else { Exit::Bad })
}

async fn schema(config: &Config, args: Check) -> Result<Exit, Stop> {
    let databases = match args.database {
        Some(database) => vec![database],
        None => schema::databases(config).await?,
    };
    let mut reports = Vec::new();
    for database in &databases {
        let reader = schema::open(config, database).await?;
        reports.push(schema::judge(database, &reader.catalog().await?));
    }
    if args.json.json {
        show::json(&reports);
    } else {
        let paint = Paint::for_stdout();
        let texts: Vec<_> = reports.iter().map(|report| report.text(paint)).collect();
        show::line(&texts.join("\n\n"));
    }
    Ok(if reports.iter().all(schema::Report::is_good) { Exit::Good } else { Exit::Bad })
}
