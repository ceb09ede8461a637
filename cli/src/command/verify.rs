//! `lockstep verify`: are the active nodes equal?

use lockstep_runtime::config::Config;
use lockstep_runtime::door::protocol::{Reply, Request, Verified};

use crate::control;
use crate::exit::{Exit, Stop};
use crate::progress::Display;
use crate::show::{self, Paint};

pub async fn verify(config: Config, json: bool) -> Result<Exit, Stop> {
    let mut display = Display::new();
    let reply = control::ask(&config.control.socket, &Request::Verify, |progress| display.show(&progress)).await;
    drop(display);
    let verified = match reply? {
        Reply::Verified(verified) => verified,
        other => return Err(control::unexpected(other)),
    };
    if json {
        show::json(&verified);
    } else {
        show::line(&text(&verified, Paint::for_stdout()));
    }
    Ok(if verified.differences.is_empty() { Exit::Good } else { Exit::Bad })
}

fn text(verified: &Verified, paint: Paint) -> String {
    let compared = format!(
        "{}: {} databases, {} tables, {} rows",
        verified.nodes.join(" and "),
        show::count(verified.databases as u64),
        show::count(verified.tables as u64),
        show::count(verified.rows),
    );
    if verified.differences.is_empty() {
        let alone = if verified.nodes.len() < 2 { "; nothing to compare it with" } else { ": equal" };
        return format!("{} {compared}{alone}", paint.mark(true));
    }
    let differences = verified.differences.iter().map(|difference| format!("{} {difference}", paint.mark(false)));
    let mut lines: Vec<_> = differences.collect();
    lines.push(format!("{} {compared}: {} differences", paint.mark(false), verified.differences.len()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(nodes: &[&str], differences: &[&str]) -> Verified {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Verified { databases: 2, tables: 7, rows: 12_345, nodes: strings(nodes), differences: strings(differences) }
    }

    #[test]
    fn equal_nodes_say_what_was_compared() {
        let text = text(&verified(&["midna", "alp"], &[]), Paint::none());
        assert_eq!(text, "✓ midna and alp: 2 databases, 7 tables, 12,345 rows: equal");
    }

    #[test]
    fn one_node_alone_is_not_called_equal() {
        assert!(text(&verified(&["midna"], &[]), Paint::none()).ends_with("nothing to compare it with"));
    }

    #[test]
    fn every_difference_has_its_line() {
        let text = text(&verified(&["midna", "alp"], &["shop.public.orders: 1 row", "sequence s"]), Paint::none());
        assert_eq!(text.lines().filter(|line| line.starts_with("x ")).count(), 3, "{text}");
    }
}
