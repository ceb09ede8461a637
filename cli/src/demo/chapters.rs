//! The story: writes on both servers, a crash, a recovery, a comparison. Operates the proxy as anybody would, through its
//! control socket, and looks at the servers past it to check what it says.

use std::time::{Duration, Instant};

use lockstep_runtime::door::protocol::{Reply, Request, Status, VerifyScope};

use super::load::Load;
use super::server::Server;
use super::stage::{DATABASE, Stage};
use super::story::{Story, Waiting};
use crate::control;
use crate::exit::Stop;
use crate::postgres::Failure;
use crate::progress::Display;
use crate::show;

pub const CLIENTS: u16 = 8;

/// How long the application works before and after each event.
const A_WHILE: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

/// How many orders, and a digest of every row of the shop.
const CONTENTS: &str = "
SELECT (SELECT count(*) FROM orders),
       (SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM orders AS o),
       (SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM products AS p)";

pub async fn both_active(stage: &Stage, story: &mut Story) -> Result<(), Stop> {
    let waited = until(stage, |status| status.nodes.iter().all(|node| node.state == "active")).await?;
    let [alpha, beta] = &stage.servers;
    let text = format!("{} and {} were compared and found equal: both are active", alpha.name, beta.name);
    story.claim(waited.is_some(), &text);
    Ok(())
}

pub async fn writes_arrive_on_both(stage: &Stage, story: &mut Story, load: &Load) -> Result<(), Stop> {
    story.chapter(&format!("An application works: {CLIENTS} clients place, pay and read orders"));
    work(load, "orders come in").await;
    story.claim_unharmed(&load.take(), A_WHILE);
    let _quiet = load.pause().await;
    let mut contents = Vec::new();
    for server in &stage.servers {
        contents.push(claim_held(story, load, server).await);
    }
    story.claim(contents[0].is_some() && contents[0] == contents[1], "row by row, they are the same");
    Ok(())
}

pub async fn crash(stage: &Stage, story: &mut Story, load: &Load, victim: &Server) -> Result<(), Stop> {
    let role = if victim.name == stage.servers[0].name { "the leader" } else { "the follower" };
    story.chapter(&format!("kill -9 of {}, {role}, while they work", victim.name));
    load.take();
    let killed = victim.kill();
    let begun = Instant::now();
    let out = until(stage, |status| status.nodes.iter().any(|node| node.name == victim.name && node.state != "active"));
    let text = match out.await? {
        Some(time) if killed => format!("{} is dead, and out of the cluster after {}", victim.name, show::time(time)),
        _ => format!("{} should be dead and out of the cluster", victim.name),
    };
    story.claim(killed && is_out(stage, victim).await?, &text);
    work(load, "the application has not noticed").await;
    story.claim_unharmed(&load.take(), begun.elapsed());
    let survivor = if victim.name == stage.servers[0].name { &stage.servers[1] } else { &stage.servers[0] };
    let _quiet = load.pause().await;
    claim_held(story, load, survivor).await;
    Ok(())
}

pub async fn recovery(stage: &Stage, story: &mut Story, load: &Load, victim: &Server) -> Result<(), Stop> {
    story.chapter(&format!("lockstep recover {}, while they work", victim.name));
    load.take();
    let begun = Instant::now();
    let mut display = Display::indented("   ");
    let request = Request::Recover { node: victim.name.into() };
    let reply = control::ask(&stage.config.control.socket, &request, |progress| display.show(&progress)).await;
    drop(display);
    let recovered = match reply? {
        Reply::Done { .. } => true,
        Reply::Failed { message, hint } => {
            story.say(&message);
            hint.iter().for_each(|hint| story.say(hint));
            false
        }
        other => return Err(control::unexpected(other)),
    };
    let took = begun.elapsed();
    let active = recovered && !is_out(stage, victim).await?;
    story.claim(active, &format!("{} is active again after {}", victim.name, show::time(took)));
    story.claim_unharmed(&load.take(), took);
    work(load, "the application works on both again").await;
    story.claim_unharmed(&load.take(), A_WHILE);
    Ok(())
}

pub async fn comparison(stage: &Stage, story: &mut Story, load: &Load) -> Result<(), Stop> {
    story.chapter("lockstep verify");
    let _quiet = load.pause().await;
    let reply = control::ask(&stage.config.control.socket, &Request::Verify(VerifyScope::default()), |_| ()).await?;
    let Reply::Verified(verified) = reply else { return Err(control::unexpected(reply)) };
    let compared = format!(
        "{}: {} databases, {} tables, {} rows",
        verified.nodes.join(" and "),
        verified.databases,
        count(verified.tables as u64),
        count(verified.rows)
    );
    let equal = verified.differences.is_empty() && verified.nodes.len() == stage.servers.len();
    story.claim(equal, &format!("{compared}: {}", if equal { "equal" } else { "NOT equal" }));
    verified.differences.iter().take(10).for_each(|difference| story.say(difference));
    for server in &stage.servers {
        claim_held(story, load, server).await;
    }
    Ok(())
}

/// One row, on one server, behind the proxy's back: a comparison that does not see this is worth nothing.
pub async fn spoil(server: &Server) -> Result<(), Stop> {
    let sql = "UPDATE orders SET quantity = quantity + 1 WHERE id = (SELECT min(id) FROM orders)";
    server.ask(DATABASE, sql).await.map(drop).map_err(|failure| Stop::bad(format!("{}: {failure}", server.name)))
}

async fn work(load: &Load, text: &str) {
    let _waiting = Waiting::for_(text);
    tokio::time::sleep(A_WHILE).await;
    // What is counted must not end in the middle of an operation.
    drop(load.pause().await);
}

/// No confirmed order is lost on this server, and none is invented. Gives what it holds. For quiet moments.
async fn claim_held(story: &mut Story, load: &Load, server: &Server) -> Option<Contents> {
    let confirmed = count(load.orders().confirmed);
    match contents(server).await {
        Ok(contents) => {
            let text = format!("{confirmed} orders were confirmed; {} holds {}", server.name, count(contents.orders));
            story.claim(load.orders().fit(contents.orders), &text);
            Some(contents)
        }
        Err(failure) => {
            let text =
                format!("{confirmed} orders were confirmed; {} cannot say what it holds: {failure}", server.name);
            story.claim(false, &text);
            None
        }
    }
}

/// The shop on one server.
#[derive(PartialEq, Eq)]
struct Contents {
    orders: u64,
    /// Of every row.
    digests: Vec<String>,
}

async fn contents(server: &Server) -> Result<Contents, Failure> {
    let rows = server.ask(DATABASE, CONTENTS).await?;
    let mut cells = rows.into_iter().flatten().map(Option::unwrap_or_default);
    let orders = cells.next().and_then(|count| count.parse().ok()).unwrap_or(0);
    Ok(Contents { orders, digests: cells.collect() })
}

async fn is_out(stage: &Stage, server: &Server) -> Result<bool, Stop> {
    let status = status(stage).await?;
    Ok(!status.nodes.iter().any(|node| node.name == server.name && node.state == "active"))
}

async fn status(stage: &Stage) -> Result<Status, Stop> {
    match control::ask(&stage.config.control.socket, &Request::Status, |_| ()).await? {
        Reply::Status(status) => Ok(*status),
        other => Err(control::unexpected(other)),
    }
}

/// How long it took until the cluster was as wanted; `None`: it never was.
async fn until(stage: &Stage, wanted: impl Fn(&Status) -> bool) -> Result<Option<Duration>, Stop> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if wanted(&status(stage).await?) {
            return Ok(Some(begun.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(None)
}

fn count(number: u64) -> String {
    show::count(number)
}
