//! `lockstep demo`: two throw-away servers, an application, a crash, a recovery, a comparison, on one machine, in a minute.
//!
//! [`place`] owns everything that must not outlive the demo; `stage` builds servers and proxy; `load` is the application;
//! `chapters` tells; `story` prints, and knows whether all that was printed held.

mod chapters;
mod load;
mod owner;
mod place;
mod process;
mod programs;
mod server;
mod stage;
mod story;

use std::path::Path;
use std::time::Duration;

use crate::args::{self, Victim};
use crate::exit::{Exit, Stop};
use crate::log;
use crate::server::block_on;
use crate::show::{self, Paint};
use crate::signals::Signals;

use load::Load;
use place::Place;
use programs::Programs;
use stage::{APPLICATION, DATABASE, Stage};
use story::{Story, Waiting};

/// How long whoever tries it with psql may take to finish a transaction.
const DRAIN: Duration = Duration::from_secs(30);

pub fn demo(filter: Option<&str>, args: &args::Demo) -> Result<Exit, Stop> {
    let programs = programs::find()?;
    for left in place::clear_after_the_dead() {
        show::line(&format!(
            "A demo that was killed had left {}: its servers are stopped and its files are gone.",
            left.display()
        ));
    }
    let place = Place::make()?;
    let log = place.write("lockstep.log", "")?;
    start_log(filter, &log)?;
    let told = block_on(until_told_or_stopped(&place, programs, args));
    if told.as_ref().map_or(true, Story::has_broken) {
        last_words(&log);
    }
    place.clear()?;
    show::line("\nThe servers are stopped and their files are gone.");
    told.map(|story| if story.is_true() { Exit::Good } else { Exit::Bad })
}

/// The terminal belongs to the story, unless somebody asks for the log.
fn start_log(filter: Option<&str>, log: &Path) -> Result<(), Stop> {
    if filter.is_some() {
        return log::start(filter, log::To::Stderr);
    }
    let file = std::fs::OpenOptions::new().append(true).open(log);
    let file = file.map_err(|error| Stop::bad(format!("{}: {error}", log.display())))?;
    log::start(None, log::To::File(file))
}

async fn until_told_or_stopped(place: &Place, programs: Programs, args: &args::Demo) -> Result<Story, Stop> {
    let mut signals = Signals::listen()?;
    let mut story = Story::begin(Paint::for_stdout());
    tokio::select! {
        told = tell(place, programs, args, &mut story) => told?,
        () = signals.any() => show::line("\nStopping."),
    }
    Ok(story)
}

async fn tell(place: &Place, programs: Programs, args: &args::Demo, story: &mut Story) -> Result<(), Stop> {
    story.title(&format!("Lockstep: two PostgreSQL {} servers, one address", programs.version));
    let waiting = Waiting::for_("making two throw-away servers");
    let stage = Stage::build(place, &programs).await?;
    drop(waiting);
    let [alpha, beta] = &stage.servers;
    story.say(&format!(
        "{} on 127.0.0.1:{} leads, {} on 127.0.0.1:{} follows",
        alpha.name, alpha.port, beta.name, beta.port
    ));
    story.say(&format!("Lockstep serves on 127.0.0.1:{}; everything is in {}", stage.login.port, place.path.display()));
    let running = stage.serve().await?;
    chapters::both_active(&stage, story).await?;
    stage.make_tables().await?;
    let load = Load::start(&stage.login, chapters::CLIENTS);
    let victim = match args.kill {
        Victim::Leader => alpha,
        Victim::Follower => beta,
    };
    chapters::writes_arrive_on_both(&stage, story, &load).await?;
    chapters::crash(&stage, story, &load, victim).await?;
    chapters::recovery(&stage, story, &load, victim).await?;
    if args.spoil {
        chapters::spoil(beta).await?;
    }
    chapters::comparison(&stage, story, &load).await?;
    story.claim(load.stop().await, "every client of the application worked to the end");
    story.end();
    if !args.exit {
        invite(&stage);
        std::future::pending::<()>().await;
    }
    running.drain(DRAIN).await;
    Ok(())
}

fn invite(stage: &Stage) {
    let login = &stage.login;
    let password = login.password.as_deref().unwrap_or_default();
    let paint = Paint::for_stdout();
    let config = stage.config.file.display();
    show::line("\nTry it:");
    let psql = format!("psql postgresql://{APPLICATION}:{password}@{}:{}/{DATABASE}", login.host, login.port);
    for line in [psql, format!("lockstep status --config {config}")] {
        show::line(&format!("   {}", paint.bold(&line)));
    }
    show::line("\nCtrl-C ends it and leaves nothing behind.");
}

/// What the proxy had to complain about, before its log goes away.
fn last_words(log: &Path) {
    const MOST: usize = 20;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let loud = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let lines: Vec<_> = text.lines().filter(loud).collect();
    for line in &lines[lines.len().saturating_sub(MOST)..] {
        show::aside(line);
    }
}
