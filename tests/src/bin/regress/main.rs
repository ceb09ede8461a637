//! PostgreSQL's own tests through the proxy: what they say there is held against what they say on a plain server.
//!
//! The tests run one after the other in the order of their schedules, as a superuser of a database of their own. What they
//! say differs where a statement is refused, where a row order is free, and where something is wrong: a list that people
//! have reviewed tells which, and everything else makes the run fail.
//!
//! | module | |
//! | --- | --- |
//! | `args` | what to run |
//! | `source` | PostgreSQL's source, and what must be built of it |
//! | `suite` | one test, with a limit |
//! | `stage` | servers and proxy, and what a test did to them |
//! | `diff` | two answers |
//! | `review` | the list `differences.txt` |
//! | `report` | lines and counts |

mod args;
mod diff;
mod report;
mod review;
mod source;
mod stage;
mod suite;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, SuiteName};
use report::{Outcome, Report};
use review::Review;
use source::{Ground, Source};
use stage::Stage;
use suite::{Said, Suite};

/// Ends with 1 when something differs that is not in the list. A Ctrl-C leaves nothing behind: the harness's janitor
/// outlives this process.
fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    let (source, review) = (Source::open(&args.source)?, Review::read()?);
    let suites: Vec<_> = SuiteName::ALL.into_iter().filter(|suite| args.wants(*suite)).collect();
    let direct = directly(args, &source, &suites)?;
    let mut stage = Stage::set();
    let mut outcomes = Vec::new();
    // Their libraries are there until the nodes have been compared, which calls functions in them.
    let grounds = suites.iter().map(|_| Ground::prepare(&source)).collect::<Result<Vec<_>, _>>()?;
    for (name, ground) in suites.iter().zip(&grounds) {
        let suite = Suite { name: *name, source: &source, ground, port: stage.port(), limit: args.limit() };
        outcomes.extend(through_the_proxy(args, &suite, &direct, &review, &mut stage)?);
    }
    keep(args.keep.as_deref(), "proxy.log", &stage.log());
    let report = Report { outcomes, differences: stage.differences(), review: &review };
    keep(args.keep.as_deref(), "report.txt", &report.to_string());
    println!("{report}");
    Ok(report.is_good())
}

/// What a plain server says to each test.
type Direct = BTreeMap<(&'static str, String), String>;

fn directly(args: &Args, source: &Source, suites: &[SuiteName]) -> Result<Direct, String> {
    let mut direct = Direct::new();
    let server = args.direct.is_none().then(stage::plain_server);
    for name in suites.iter().copied() {
        let ground = Ground::prepare(source)?;
        let port = server.as_ref().map_or(0, lockstep_tests::postgres::Server::port);
        let suite = Suite { name, source, ground: &ground, port, limit: args.limit() };
        if server.is_some() {
            suite.create_database()?;
        }
        for test in wanted(args, source, name) {
            let file = format!("direct/{}/{test}.out", name.text());
            let text = match &args.direct {
                Some(directory) => {
                    std::fs::read_to_string(directory.join(&file)).map_err(|e| format!("{file}: {e}"))?
                }
                None => suite.run(&test).text,
            };
            keep(args.keep.as_deref(), &file, &text);
            eprintln!("directly  {test}");
            direct.insert((name.text(), test), text);
        }
    }
    Ok(direct)
}

fn through_the_proxy(
    args: &Args,
    suite: &Suite<'_>,
    direct: &Direct,
    review: &Review,
    stage: &mut Stage,
) -> Result<Vec<Outcome>, String> {
    let (source, name) = (suite.source, suite.name);
    suite.create_database()?;
    let mut outcomes = Vec::new();
    let mut unequal = Vec::new();
    for test in wanted(args, source, name) {
        let Said { text, took, hung } = suite.run(&test);
        let mut troubles = stage.troubles();
        if hung {
            troubles.push(format!("it says nothing any more, {took:?} after its begin"));
            // Specs stand for themselves, and what this one has left is in the way of the next.
            if name == SuiteName::Isolation {
                suite.create_database()?;
            }
        }
        if args.compare_each && unequal.is_empty() {
            unequal = stage.differences_in(suite.database());
            troubles.extend(unequal.iter().cloned());
        }
        let directly = &direct[&(name.text(), test.clone())];
        let expected = source.expected(name, &test);
        let is_expected = |text: &str| expected.iter().any(|e| diff::is_same(e, text));
        let (direct_as_expected, as_expected) = (is_expected(directly), is_expected(&text));
        let diff = diff::between(directly, &text);
        keep(args.keep.as_deref(), &format!("proxy/{}/{test}.out", name.text()), &text);
        if !diff.is_empty() {
            keep(args.keep.as_deref(), &format!("diffs/{}/{test}.diff", name.text()), &diff);
        }
        let outcome = Outcome { suite: name, test, direct_as_expected, as_expected, diff, took, troubles };
        println!("{}", outcome.line(review));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn wanted(args: &Args, source: &Source, suite: SuiteName) -> Vec<String> {
    source.tests(suite).into_iter().filter(|test| args.wants_test(test)).collect()
}

fn keep(directory: Option<&Path>, file: &str, text: &str) {
    let Some(directory) = directory else { return };
    let path = directory.join(file);
    let folder = path.parent().expect("a file in a directory");
    std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
