//! `lockstep verify`: are the active nodes equal?

use std::path::Path;

use lockstep_runtime::door::protocol::{Reply, Request, Verified, VerifyScope};

use crate::args::Verify;
use crate::control;
use crate::exit::{Exit, Stop};
use crate::progress::Display;
use crate::show::{self, Paint};

pub async fn verify(socket: &Path, args: Verify) -> Result<Exit, Stop> {
    let Verify { database, tables, rate, json } = args;
    let request = Request::Verify(VerifyScope { database, tables, rate });
    let mut display = Display::new();
    let reply = control::ask(socket, &request, |progress| display.show(&progress)).await;
    drop(display);
    let verified = match reply? {
        Reply::Verified(verified) => verified,
        other => return Err(control::unexpected(other)),
    };
    if json.json {
        show::json(&verified);
    } else {
        show::line(&text(&verified, Paint::for_stdout()));
    }
    Ok(if verified.is_equal() { Exit::Good } else { Exit::Bad })
}

fn text(verified: &Verified, paint: Paint) -> String {
    let compared = format!(
        "{}: {} databases, {} tables, {} rows",
        verified.nodes.join(" and "),
        show::count(verified.databases as u64),
        show::count(verified.tables as u64),
        show::count(verified.rows),
    );
    if verified.is_equal() {
        let alone = if verified.nodes.len() < 2 { "; nothing to compare it with" } else { ": equal" };
        return format!("{} {compared}{alone}", paint.mark(true));
    }
    let unread = verified.unread.iter().map(|what| format!("not compared: {what}"));
    let found = verified.differences.iter().cloned().chain(unread);
    let mut lines: Vec<_> = found.map(|found| format!("{} {found}", paint.mark(false))).collect();
    let unread = match verified.unread.len() {
        0 => String::new(),
        n => format!(", {n} not compared"),
    };
    lines.push(format!("{} {compared}: {} differences{unread}", paint.mark(false), verified.differences.len()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(nodes: &[&str], differences: &[&str]) -> Verified {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let (nodes, differences) = (strings(nodes), strings(differences));
        Verified { databases: 2, tables: 7, rows: 12_345, nodes, differences, ..Verified::default() }
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

    #[test]
    fn what_could_not_be_compared_is_not_called_equal() {
        let unread = Verified { unread: vec!["table t: locked".into()], ..verified(&["midna", "alp"], &[]) };
        let text = text(&unread, Paint::none());
        assert!(text.contains("x not compared: table t: locked") && !text.contains("equal"), "{text}");
    }
}
