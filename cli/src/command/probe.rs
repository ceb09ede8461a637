//! `lockstep probe`: a line a round, and a summary. The measuring is in [`crate::probe`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lockstep_runtime::config::Config;

use crate::args;
use crate::config::{Environment, Server};
use crate::exit::{Exit, Stop};
use crate::postgres::{Failure, Login};
use crate::probe::{self, Outcome, Plan, Round, Summary, Tally};
use crate::show::{self, Paint};
use crate::signals::Signals;

pub async fn probe(config: Config, args: args::Probe) -> Result<Exit, Stop> {
    let plan = plan(&config, &args, &Environment::of_process())?;
    let mut signals = Signals::listen()?;
    tokio::select! {
        prepared = probe::prepare(&plan.login) => prepared.map_err(|failure| refused(&plan.login, failure))?,
        () = signals.any() => return Ok(Exit::Good),
    }
    let paint = Paint::for_stdout();
    let each = |round: &Round| {
        if !args.json.json {
            show::line(&line(round, paint));
        }
    };
    let summary = probe::probe(&plan, signals.any(), each).await;
    if args.json.json {
        show::json(&summary);
    } else {
        show::line(&text(&summary, paint));
    }
    Ok(if summary.is_good() { Exit::Good } else { Exit::Bad })
}

fn plan(config: &Config, args: &args::Probe, environment: &Environment) -> Result<Plan, Stop> {
    let user = args.user.clone().filter(|user| !user.is_empty()).or_else(session_user).ok_or_else(|| {
        Stop::usage("nobody to log in as").remedy("name a user of the users file with --user or PGUSER")
    })?;
    let database = args.database.clone().filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
    let address = reachable(config.listen.address);
    let host = address.ip().to_string();
    let server = Server { host: &host, port: address.port(), database: &database, user: &user };
    let password = environment.password_for(server);
    let login = Login { port: address.port(), password, timeout: args.timeout, host, user, database };
    Ok(Plan {
        login,
        http: config.control.http.map(reachable),
        interval: args.interval,
        clients: args.clients,
        rounds: args.rounds,
    })
}

/// As libpq does it.
fn session_user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
}

/// Who listens on all addresses is reached on the loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn refused(login: &Login, failure: Failure) -> Stop {
    let what = format!("{login:?}: {failure}");
    match failure {
        Failure::Answer { state, .. } if state.starts_with("28") => Stop::usage(what)
            .remedy("name a user of the users file with --user, and its password in PGPASSWORD or ~/.pgpass"),
        Failure::Answer { state, .. } if state == "3D000" => {
            Stop::usage(what).remedy("name a database with --database")
        }
        Failure::Answer { .. } => Stop::bad(what),
        _ if login.password.is_none() => Stop::unreachable(what).remedy(format!(
            "start the proxy with `lockstep run`, and give the password of {} in PGPASSWORD or ~/.pgpass",
            login.user
        )),
        _ => Stop::unreachable(what).remedy("start the proxy with `lockstep run`, or name its --config FILE"),
    }
}

fn line(round: &Round, paint: Paint) -> String {
    let seconds = format!("{:>9.3} s", round.at.as_secs_f64());
    let health = round.health.as_ref().map(|health| column("health", std::slice::from_ref(health), paint));
    let columns = [Some(column("write", &round.writes, paint)), Some(column("read", &round.reads, paint))];
    let columns: Vec<_> = [health].into_iter().chain(columns).flatten().collect();
    format!("{}  {}", paint.dim(&seconds), columns.join("  "))
}

fn column(name: &str, outcomes: &[Outcome], paint: Paint) -> String {
    let good: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    let share = if outcomes.len() > 1 { format!(" {}/{}", good.len(), outcomes.len()) } else { String::new() };
    match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
        Some(failure) => format!("{name} {}{share} {failure}", paint.mark(false)),
        None => {
            let slowest = good.into_iter().max().copied().unwrap_or_default();
            format!("{name} {}{share} {:>8}", paint.mark(true), show::time(slowest))
        }
    }
}

fn text(summary: &Summary, paint: Paint) -> String {
    let mut lines = vec![String::new(), format!("{} rounds", show::count(summary.rounds))];
    for (name, tally) in [("health", &summary.health), ("writes", &summary.writes), ("reads", &summary.reads)] {
        if tally.operations() > 0 {
            lines.push(format!("{} {name}: {}", paint.mark(tally.failed() == 0), counts(tally)));
            let kinds = tally.failures.iter().map(|(kind, times)| format!("    {} × {kind}", show::count(*times)));
            lines.extend(kinds);
        }
    }
    let reconnects = summary.writes.reconnects;
    lines.push(format!("{} {} reconnects", paint.mark(reconnects == 0), show::count(reconnects)));
    lines.join("\n")
}

fn counts(tally: &Tally) -> String {
    format!(
        "{} good, {} failed, slowest {}, longest gap {}",
        show::count(tally.succeeded),
        show::count(tally.failed()),
        show::time(tally.slowest),
        show::time(tally.longest_gap)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn round(write: Outcome) -> Round {
        Round {
            at: Duration::from_millis(1_250),
            health: None,
            reads: vec![Ok(Duration::from_micros(800))],
            writes: vec![write],
        }
    }

    #[test]
    fn a_round_is_a_line_with_marks_and_milliseconds() {
        let text = line(&round(Ok(Duration::from_micros(2_100))), Paint::none());
        assert_eq!(text, "    1.250 s  write ✓   2.1 ms  read ✓   0.8 ms");
    }

    #[test]
    fn a_failure_shows_why_in_its_round_and_is_counted_at_the_end() {
        let failure = Failure::Answer { state: "57P01".into(), message: "going down".into(), fatal: true };
        let round = round(Err(failure));
        assert!(line(&round, Paint::none()).contains("write x 57P01 going down  read ✓"));
        let mut summary = Summary { rounds: 1, ..Summary::default() };
        summary.writes.add(&round.writes[0]);
        let text = text(&summary, Paint::none());
        assert!(text.contains("x writes: 0 good, 1 failed"), "{text}");
        assert!(text.contains("1 × 57P01 going down"), "{text}");
    }

    #[test]
    fn a_connection_that_broke_is_not_good_even_if_no_operation_failed() {
        let mut summary = Summary::default();
        assert!(summary.is_good());
        summary.writes.reconnects = 1;
        assert!(!summary.is_good());
        assert!(text(&summary, Paint::none()).ends_with("x 1 reconnects"));
    }

    #[test]
    fn many_clients_share_a_line() {
        let outcomes = [Ok(Duration::from_millis(1)), Ok(Duration::from_millis(3))];
        assert_eq!(column("read", &outcomes, Paint::none()), "read ✓ 2/2   3.0 ms");
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0:5433".parse().unwrap()).to_string(), "127.0.0.1:5433");
        assert_eq!(reachable("[::]:5433".parse().unwrap()).to_string(), "[::1]:5433");
        assert_eq!(reachable("10.0.0.1:5433".parse().unwrap()).to_string(), "10.0.0.1:5433");
    }

    #[test]
    fn a_wrong_password_is_wrong_usage_and_nobody_there_is_unreachable() {
        let login = Login {
            host: "127.0.0.1".into(),
            port: 1,
            user: "app".into(),
            password: None,
            database: "shop".into(),
            timeout: Duration::from_secs(1),
        };
        let denied = Failure::Answer { state: "28P01".into(), message: "no".into(), fatal: true };
        assert_eq!(refused(&login, denied).exit, Exit::Usage);
        assert_eq!(refused(&login, Failure::Broken("refused".into())).exit, Exit::Unreachable);
    }
}
