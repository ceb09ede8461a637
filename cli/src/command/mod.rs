//! One file for each command. A command asks, prints through `show`, and gives an exit code.
//!
//! To add one: its name, help and example in `args.rs`, a file here, an arm below, its paragraph in `docs/operations.md`.

mod check;
mod explain;
mod help;
mod node;
mod order;
mod probe;
mod reload;
mod run;
mod status;
mod takeover;
mod verify;

use std::future::Future;

use lockstep_runtime::door::protocol::Request;

use crate::args::{Args, Command, Pause};
use crate::config::{self, UsersFile};
use crate::demo;
use crate::exit::{Exit, Stop};
use crate::log;

pub fn perform(args: Args) -> Result<Exit, Stop> {
    let common = args.common;
    let file = common.config.as_deref();
    let load = |users| config::load_or_stop(file, users);
    let socket = || config::control_socket(file);
    // The demo's terminal belongs to its story: it sets up a log of its own.
    if !matches!(args.command, Command::Demo(_)) {
        log::start(common.log.as_deref(), log::To::Stderr)?;
    }
    match args.command {
        Command::Demo(demo) => demo::demo(common.log.as_deref(), &demo),
        Command::Help(help) => help::help(help.topic.as_deref()),
        Command::Run(run) => run::run(load(UsersFile::Needed)?, run.standby),
        Command::Takeover(takeover) => takeover::takeover(load(UsersFile::Needed)?, &takeover),
        Command::Check(check) => block_on(check::check(load(UsersFile::Needed)?, check)),
        Command::Explain(explain) => block_on(explain::explain(load(UsersFile::NotNeeded)?, explain)),
        Command::Probe(probe) => block_on(probe::probe(load(UsersFile::NotNeeded)?, probe)),
        Command::Status(json) => block_on(status::status(&socket()?, json.json)),
        Command::Reload(json) => block_on(reload::reload(&load(UsersFile::Needed)?, json.json)),
        Command::Verify(verify) => block_on(verify::verify(&socket()?, verify)),
        Command::Pause(Pause { wait }) => block_on(order::give(&socket()?, Request::Pause { patience: wait })),
        Command::Resume => block_on(order::give(&socket()?, Request::Resume)),
        Command::Recover(node) => block_on(node::change(&socket()?, node.name, |node| Request::Recover { node })),
        Command::Attach(node) => block_on(node::change(&socket()?, node.name, |node| Request::Attach { node })),
        Command::Detach(node) => block_on(node::change(&socket()?, node.name, |node| Request::Detach { node })),
    }
}

/// Commands that only ask need one thread and no actors.
fn block_on(command: impl Future<Output = Result<Exit, Stop>>) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Stop::bad(format!("this process cannot be set up: {error}")))?.block_on(command)
}
