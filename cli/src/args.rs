//! The command line, and the help that teaches it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};
use lockstep_core::cluster::pace::Rate;

#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    about = "A PostgreSQL proxy that keeps two or more servers identical",
    long_about = "A PostgreSQL proxy that keeps two or more servers identical.\n\n\
        Applications connect to Lockstep as if it were one server. Every write is on every server before the client is \
        told that it is done; reads are answered by one. A server that dies costs the clients nothing, and \
        `lockstep recover` brings it back while they work.",
    after_long_help = EXAMPLES,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lockstep demo                        see it work: two throw-away servers, a crash, a recovery
  lockstep check                       is this configuration, and are these servers, fit to run?
  lockstep run                         serve
  lockstep status                      who is active, who is not, and why
  lockstep recover alp                 bring the node `alp` back while applications go on
  lockstep help getting-started        from nothing to two servers

Exit codes:
  0  good
  1  the answer is bad: a node is down, nodes differ, something must be put right
  2  wrong usage or configuration
  3  the proxy cannot be reached";

#[derive(Debug, Clone, Group)]
pub struct Common {
    /// The configuration [default: lockstep.toml here, then /etc/lockstep/lockstep.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or a list such as `info,lockstep_core=debug`
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", hide_env_values = true, global = true)]
    pub log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve in the foreground; SIGTERM lets clients finish, a second one does not
    #[command(after_help = "\
Logs to stderr, as text on a terminal and as JSON elsewhere, and tells systemd when it is ready.

Example:
  lockstep run --config /etc/lockstep/lockstep.toml --log info
  lockstep run --standby                     on the other machine: serve when the first proxy is gone")]
    Run(Run),
    /// Serve without the machine that is gone: only with the nodes that answer, and only when you say so
    #[command(after_help = "\
Shows which node would go on and what may be missing on it, asks, gives the sequences values that nobody can have been \
given, and serves like `run`. A node that is left out comes back through `lockstep recover` alone. Where acknowledged \
writes are known to be missing it wants --accept-loss. See `lockstep help two-machines`.

Examples:
  lockstep takeover
  lockstep takeover --yes --exit && systemctl start lockstep")]
    Takeover(Takeover),
    /// Look at configuration and servers before they serve, and name each remedy
    #[command(after_help = "\
Needs no running proxy. Changes nothing. Ends with 1 when something must be put right.

Examples:
  lockstep check
  lockstep check --json | jq '.findings[] | select(.mark == \"problem\")'
  lockstep check --schema                    what becomes of writes to each table, before an application finds out
  lockstep check --schema --database shop")]
    Check(Check),
    /// Say what a statement is for replication: kind of effect, what followers get, and why
    #[command(after_help = "\
Asks the planner itself, on the catalog of the database, which it reads from the leader (or, when no proxy runs, from the \
heaviest node that answers). Runs nothing. Give --user, or --search-path, where names depend on it. Ends with 1 when the \
statement would be refused.

Examples:
  lockstep explain 'UPDATE orders SET paid = now() WHERE id = 7' --database shop
  lockstep explain 'REFRESH MATERIALIZED VIEW sales' --database shop --user app
  lockstep explain 'INSERT INTO invoice SELECT * FROM draft' -d shop --search-path 'billing, public'")]
    Explain(Explain),
    /// See it work: two throw-away servers, an application, a crash, a recovery
    #[command(after_help = "\
Needs PostgreSQL's programs (Debian: apt-get install postgresql) and nothing else: no configuration, no root. It stays \
until Ctrl-C so that you can try it with psql, and leaves nothing behind; what is left of one that was killed is cleared \
away by the next.

Examples:
  lockstep demo
  lockstep demo --exit    tell the story and end; 0 only if every claim in it was checked")]
    Demo(Demo),
    /// Show each node: who leads, who follows, who is out and why
    #[command(after_help = "\
Ends with 1 when a node is not active.

Examples:
  lockstep status
  lockstep status --json | jq -r '.nodes[] | select(.state != \"active\") | .name'")]
    Status(Json),
    /// Let the running proxy take on what has changed in its configuration; nobody is disturbed
    #[command(after_help = "\
The same as SIGHUP, with an answer: takes on all that has changed, or nothing, and says why not. Ends with 1 when \
something has changed that needs a restart, and with 2 when the file is wrong.

Examples:
  lockstep reload
  lockstep reload --json")]
    Reload(Json),
    /// Compare all active nodes, exactly and in full, while clients write
    #[command(after_help = "\
Compares every row, sequence and definition, roles and grants and settings, in snapshots of the same moment on every \
node: commits are held for some milliseconds to take them. Names the rows that differ, by key. Ends with 1 when nodes \
differ or something could not be compared; Ctrl-C ends the comparison. Changes nothing.

With --table only the rows of those tables are compared; with --database also that database's definitions and sequences, \
but not what all databases share.

Examples:
  lockstep verify
  lockstep verify --database shop --rate none      as fast as the servers can
  lockstep verify --table orders --table billing.invoice --rate 5000
  lockstep verify --json | jq -r '.differences[]'")]
    Verify(Verify),
    /// Bring a node back with a fresh copy of an active one, while clients go on
    #[command(after_help = "\
What the node's data directory holds is set aside, and put back if the copy fails; it is gone when the node is active \
again. Where there is no room for both it is erased first. Needs [node.recovery] in the configuration: see `lockstep help recovery`. Ctrl-C ends the waiting, not the recovery.

Example:
  lockstep recover alp")]
    Recover(Node),
    /// Let a node back in without a copy, if it can be shown to be equal
    #[command(after_help = "\
Compares the node with an active one in full. Where it is not equal the answer is `recover`.

Example:
  lockstep detach alp && ssh alp reboot; lockstep attach alp")]
    Attach(Node),
    /// Take a node out for maintenance; the others go on
    #[command(after_help = "\
Example:
  lockstep detach alp")]
    Detach(Node),
    /// Hold clients without disconnecting them: open transactions finish, and nothing else begins
    #[command(after_help = "\
Statements outside an open transaction, reads too, wait where they are, and so do new connections; nobody is told an error. \
Ends when nothing is under way any more. If that has not come about after --wait, or at Ctrl-C, clients go on as before \
and the command ends with 1. A restart of the proxy ends a pause.

Examples:
  lockstep pause && ssh router reboot; lockstep resume
  lockstep pause --wait 5m")]
    Pause(Pause),
    /// Let clients go on that `lockstep pause` has held
    #[command(after_help = "\
Example:
  lockstep resume")]
    Resume,
    /// Ask and write four times a second through the proxy and count what fails
    #[command(after_help = "\
Each client keeps one connection and reconnects when it breaks. Writes go to a table of its own, lockstep_probe, which \
is made if it is not there. Ctrl-C ends it with a summary. Ends with 1 when anything failed.

Examples:
  PGPASSWORD=secret lockstep probe --user app --database shop
  lockstep probe --user app --clients 8 --interval 100ms --rounds 600")]
    Probe(Probe),
    /// Explain a topic, or a command
    #[command(after_help = "\
Examples:
  lockstep help            the list of topics
  lockstep help recovery
  lockstep help check")]
    Help(Help),
}

#[derive(Debug, Clone, Group)]
pub struct Json {
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, Group)]
pub struct Run {
    /// Wait for as long as another proxy serves the nodes, and serve when it is gone
    #[arg(long)]
    pub standby: bool,
}

#[derive(Debug, Clone, Group)]
pub struct Takeover {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Go on although acknowledged writes are known to be missing
    #[arg(long)]
    pub accept_loss: bool,
    /// Whose data counts, where nodes contradict each other
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Write the decision down and end: `lockstep run` serves then
    #[arg(long)]
    pub exit: bool,
}

#[derive(Debug, Clone, Group)]
pub struct Check {
    /// Look at the tables and functions of the databases instead: what is replicated, what is refused, and why
    #[arg(long)]
    pub schema: bool,
    /// Look at this database alone
    #[arg(long, short = 'd', value_name = "NAME", requires = "schema")]
    pub database: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Clone, Group)]
pub struct Explain {
    /// One statement, or several with semicolons between them
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// The database whose tables it names [default: the service's]
    #[arg(long, short = 'd', value_name = "NAME")]
    pub database: Option<String>,
    /// Who would run it: decides where names are looked for
    #[arg(long, short = 'U', value_name = "NAME")]
    pub user: Option<String>,
    /// Where names are looked for, as in SET search_path [default: as is set for the user and the database]
    #[arg(long, value_name = "SCHEMAS")]
    pub search_path: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Clone, Group)]
pub struct Verify {
    /// Compare this database alone
    #[arg(long, short = 'd', value_name = "NAME")]
    pub database: Option<String>,
    /// Compare the rows of this table alone, in every database that has it; may be given several times
    #[arg(long = "table", short = 't', value_name = "[SCHEMA.]NAME")]
    pub tables: Vec<String>,
    /// Read no more in a second from each node: rows (5000) or bytes of their text (20MB); none: no limit [default: none,
    /// but it rests for most of the time while clients work]
    #[arg(long, value_parser = rate, value_name = "RATE")]
    pub rate: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Clone, Group)]
pub struct Node {
    /// The node's name, as in the configuration
    #[arg(value_name = "NODE")]
    pub name: String,
}

#[derive(Debug, Clone, Group)]
pub struct Pause {
    /// How long transactions that are open may take to finish
    #[arg(long, default_value = "30s", value_parser = time, value_name = "TIME")]
    pub wait: Duration,
}

#[derive(Debug, Clone, Group)]
pub struct Demo {
    /// End after the story, with 0 only if every claim that it printed was checked
    #[arg(long)]
    pub exit: bool,
    /// Change one row on one server behind the proxy's back before the comparison: the demo must notice, and end with 1
    #[arg(long, hide = true)]
    pub spoil: bool,
    /// Whom the story kills
    #[arg(long, hide = true, value_enum, default_value_t = Victim::Follower)]
    pub kill: Victim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Victim {
    Follower,
    Leader,
}

#[derive(Debug, Clone, Group)]
pub struct Probe {
    /// Who connects [default: the user name of this session]; the password comes from PGPASSWORD or ~/.pgpass
    #[arg(long, short = 'U', env = "PGUSER", value_name = "NAME")]
    pub user: Option<String>,
    /// The database to write to [default: the user's name]
    #[arg(long, short = 'd', env = "PGDATABASE", value_name = "NAME")]
    pub database: Option<String>,
    /// From one round to the next
    #[arg(long, default_value = "250ms", value_parser = time, value_name = "TIME")]
    pub interval: Duration,
    /// How long an answer may take before it counts as failed
    #[arg(long, default_value = "10s", value_parser = time, value_name = "TIME")]
    pub timeout: Duration,
    /// How many connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    pub clients: u16,
    /// End after so many rounds [default: at Ctrl-C]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub rounds: Option<u64>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Clone, Group)]
pub struct Help {
    /// A topic or a command
    pub topic: Option<String>,
}

fn time(text: &str) -> Result<Duration, String> {
    crate::config::parse_time(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "write a time such as 250ms, 1s or 2m".into())
}

/// Checked here, meant there: the proxy reads it once more.
fn rate(text: &str) -> Result<String, String> {
    match Rate::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write rows in a second such as 5000, bytes such as 512kB or 20MB, or none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_takes_a_configuration() {
        for command in [
            "run",
            "takeover",
            "check",
            "demo",
            "status",
            "reload",
            "verify",
            "pause",
            "resume",
            "recover alp",
            "attach alp",
            "detach alp",
            "probe",
            "help",
        ] {
            let args = parse(&format!("lockstep {command} --config mine.toml")).unwrap();
            assert_eq!(args.common.config.as_deref(), Some(std::path::Path::new("mine.toml")), "{command}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Args::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("lockstep ") || command.get_name() == "run", "{}", command.get_name());
        }
    }

    #[test]
    fn the_switch_that_spoils_the_demo_is_not_shown_but_works() {
        let demo = Args::command().find_subcommand_mut("demo").unwrap().render_long_help().to_string();
        assert!(demo.contains("--exit") && !demo.contains("--spoil"));
        assert!(matches!(
            parse("lockstep demo --exit --spoil").unwrap().command,
            Command::Demo(Demo { exit: true, spoil: true, .. })
        ));
    }

    #[test]
    fn a_time_needs_a_unit_and_a_length() {
        assert!(parse("lockstep probe --interval 100ms").is_ok());
        for bad in ["100", "0s", "soon"] {
            let error = parse(&format!("lockstep probe --interval {bad}")).unwrap_err().to_string();
            assert!(error.contains("250ms, 1s or 2m"), "{error}");
        }
    }

    #[test]
    fn a_comparison_is_narrowed_and_slowed_down() {
        let line = "lockstep verify --database shop --table a --table s.b --rate 20MB --json";
        let Command::Verify(verify) = parse(line).unwrap().command else { panic!("{line}") };
        assert_eq!((verify.database.as_deref(), verify.tables.len()), (Some("shop"), 2));
        assert!(parse("lockstep verify --rate fast").unwrap_err().to_string().contains("20MB"));
    }
}
