//! `lockstep takeover`: go on without what is gone, when a human says so.

use std::io::{self, BufRead, IsTerminal, Write};

use lockstep_runtime::cluster::takeover::{self, Prospect, TakeoverFault};
use lockstep_runtime::config::Config;

use super::run;
use crate::args::Takeover;
use crate::exit::{Exit, Stop};
use crate::server;
use crate::show::{self, Paint};

pub fn takeover(config: Config, wish: &Takeover) -> Result<Exit, Stop> {
    server::block_on(async {
        let prospect = takeover::look(&config, wish.node.as_deref()).await.map_err(stop)?;
        for line in story(&config, &prospect) {
            show::aside(&line);
        }
        if !prospect.takeover.losses.is_empty() && !wish.accept_loss {
            return Err(Stop::bad("acknowledged writes would be lost")
                .remedy("bring back the node that has them; if that cannot be, say --accept-loss"));
        }
        let name = &prospect.takeover.record.membership.member(prospect.takeover.chosen).name;
        if !wish.yes && !is_wanted(name)? {
            show::aside("Nothing was changed.");
            return Ok(Exit::Bad);
        }
        prospect.enter().map_err(|fault| Stop::bad(fault.to_string()))?;
        if wish.exit {
            show::aside("Written down. `lockstep run` serves with it.");
            return Ok(Exit::Good);
        }
        run::serve(config).await
    })
}

/// What is known, for somebody who was woken for it.
fn story(config: &Config, prospect: &Prospect) -> Vec<String> {
    let (takeover, paint) = (&prospect.takeover, Paint::for_stderr());
    let member = takeover.record.membership.member(takeover.chosen);
    let (name, lineage) = (&member.name, &takeover.lineage);
    let mut lines = vec![
        format!("{} ({}) would go on.", paint.bold(name), member.address),
        format!("  It was active in epoch {} with [{}].", lineage.epoch, lineage.active.join(", ")),
    ];
    if let Some(when) = &prospect.last_write {
        lines.push(format!("  It has last written anything at {when}."));
    }
    for unseen in &takeover.unseen {
        lines.push(format!("  {} does not answer: {}.", paint.bold(&unseen.name), unseen.why));
        lines.push(format!(
            "    If it, or a proxy beside it, has gone on without {name}, what was acknowledged then is not on {name}: make \
             sure that it is off, and stays off until `lockstep recover {}`.",
            unseen.name
        ));
    }
    for loss in &takeover.losses {
        lines.push(format!("  {} {loss}.", paint.red("Lost:")));
    }
    let others = config.nodes.iter().map(|node| &node.name).filter(|other| *other != name);
    let members = &takeover.record.membership;
    let out = others.filter(|other| members.find(other).is_some_and(|node| !members.member(node).state.is_current()));
    let out: Vec<_> = out.map(String::as_str).collect();
    if !out.is_empty() {
        lines.push(format!("  Left out until it is recovered: {}.", out.join(", ")));
    }
    lines
}

fn is_wanted(name: &str) -> Result<bool, Stop> {
    if !io::stdin().is_terminal() {
        return Err(Stop::usage("nobody is there to be asked").remedy("say --yes"));
    }
    let _ = write!(io::stderr(), "Serve with the data of {name}? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Stop::bad(format!("no answer can be read: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn stop(fault: TakeoverFault) -> Stop {
    let what = fault.to_string();
    match fault {
        TakeoverFault::Start(_) => Stop::bad(what).remedy("a proxy that serves has to be stopped first"),
        TakeoverFault::None(_) => Stop::bad(what),
    }
}
