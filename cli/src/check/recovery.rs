//! Whether `lockstep recover` would work for a node, tried without changing anything: a short script runs where the
//! recovery would run its commands, and reports in lines `word=value`.
//!
//! The script travels on standard input, so it needs no quoting on the way through `ssh` and shows no password in `ps`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use lockstep_runtime::config::{Config, Node, Recovery};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::compare::Known;
use super::finding::Report;

const PATIENCE: Duration = Duration::from_secs(20);

/// `target` brought back from `source`.
pub async fn try_out(report: &mut Report, config: &Config, target: &Node, source: Option<Known<'_>>) {
    let Some(recovery) = &target.recovery else {
        let found = "has no [node.recovery]: `lockstep recover` cannot bring it back";
        report.advice(&target.name, found, "add one with data_directory; see `lockstep help recovery`");
        return;
    };
    match ask(recovery, &script(config, recovery, source)).await {
        Ok(answers) => judge(report, target, recovery, source, &answers),
        Err(error) => {
            let remedy = "try it by hand; node.recovery.shell must need no password, and run_as must be a user there";
            report.problem(&target.name, format!("recovery: `{}` {error}", command_line(recovery)), remedy);
        }
    }
}

fn words(recovery: &Recovery) -> Vec<String> {
    let mut words = recovery.shell.clone();
    if let Some(user) = &recovery.run_as {
        words.extend(["runuser", "-u", user, "--"].map(String::from));
    }
    words.extend(["sh", "-s"].map(String::from));
    words
}

fn command_line(recovery: &Recovery) -> String {
    words(recovery).join(" ")
}

fn script(config: &Config, recovery: &Recovery, source: Option<Known<'_>>) -> String {
    let data = recovery.data_directory.display().to_string();
    let bin = recovery.bin_directory.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let major = source.map_or(0, |(_, facts)| facts.version / 10_000);
    let mut script = format!(
        "data={}; bin={}; major={major}\n{}",
        quoted(&data),
        quoted(&bin),
        r#"echo "user=$(id -un)"
[ -d "$data" ] && echo "data=yes"
[ -w "$data" ] && echo "writable=yes"
[ -f "$data/PG_VERSION" ] && echo "version=$(cat "$data/PG_VERSION")"
if [ -z "$bin" ]; then
  for candidate in "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" "$(pg_config --bindir 2>/dev/null)" \
                   "$(dirname "$(command -v pg_basebackup || echo /nowhere/x)")"; do
    [ -x "$candidate/pg_basebackup" ] && bin=$candidate && break
  done
fi
[ -x "$bin/pg_basebackup" ] && echo "backup=$("$bin/pg_basebackup" --version | tr -dc '0-9. ' | tr -s ' ')"
[ -x "$bin/pg_ctl" ] && echo "ctl=yes"
"#
    );
    if let Some((node, _)) = source {
        let password = config.service.password.as_deref().unwrap_or_default();
        let target = format!(
            "host={} port={} user={} dbname=postgres replication=true connect_timeout=5",
            conninfo(&node.host),
            node.port,
            conninfo(&config.service.user)
        );
        let _ = write!(
            script,
            "export PGPASSWORD={}\npsql=psql; [ -x \"$bin/psql\" ] && psql=$bin/psql\n\
             if answer=$(\"$psql\" -X -w -A -t -d {} -c IDENTIFY_SYSTEM 2>&1); then echo \"system=${{answer%%|*}}\"\n\
             else echo \"refused=$(echo \"$answer\" | tr '\\n' ' ')\"; fi\n",
            quoted(password),
            quoted(&target)
        );
    }
    script
}

async fn ask(recovery: &Recovery, script: &str) -> Result<BTreeMap<String, String>, String> {
    let words = words(recovery);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).kill_on_drop(true);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let talk = async {
        if let Some(mut input) = child.stdin.take() {
            // A shell that ends early (no such user) closes its end; its exit status tells more than the write error.
            let _ = input.write_all(script.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| String::from("does not come back"))?;
    let output = output.map_err(|error| error.to_string())?;
    let answers: BTreeMap<_, _> = String::from_utf8_lossy(&output.stdout).lines().filter_map(answer).collect();
    if answers.contains_key("user") {
        return Ok(answers);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(format!("failed ({}): {said}", output.status))
}

fn answer(line: &str) -> Option<(String, String)> {
    line.split_once('=').map(|(word, value)| (word.into(), value.trim().into()))
}

fn judge(
    report: &mut Report,
    target: &Node,
    recovery: &Recovery,
    source: Option<Known<'_>>,
    answers: &BTreeMap<String, String>,
) {
    let name = target.name.as_str();
    let before = report.findings.len();
    let says = |word: &str| answers.get(word).map(String::as_str);
    let (data, user) = (recovery.data_directory.display(), says("user").unwrap_or_default());
    if says("data").is_none() {
        report.problem(
            name,
            format!("recovery: there is no directory {data}"),
            "set node.recovery.data_directory right",
        );
    } else if says("writable").is_none() {
        let remedy =
            "set node.recovery.run_as to the owner (SHOW data_directory tells the directory, ls -ld the owner)";
        report.problem(name, format!("recovery: {user} may not write to {data}"), remedy);
    }
    if (says("backup").is_none() && recovery.backup.is_none()) || (says("ctl").is_none() && recovery.start.is_none()) {
        let remedy = "install the server package of the same version there, or set node.recovery.bin_directory";
        report.problem(name, "recovery: pg_basebackup and pg_ctl are not found there", remedy);
    }
    if let Some((source, facts)) = source {
        can_copy(report, target, source, facts, &says);
    }
    if report.findings.len() == before {
        report.good(name, format!("can be recovered: {user} may write to {data}, programs and replication work"));
    }
}

fn can_copy<'a>(
    report: &mut Report,
    target: &Node,
    source: &Node,
    facts: &super::facts::Facts,
    says: &impl Fn(&str) -> Option<&'a str>,
) {
    let name = target.name.as_str();
    let major = (facts.version / 10_000).to_string();
    let backup = says("backup").filter(|version| version.trim().split('.').next() != Some(major.as_str()));
    if let Some(version) = backup {
        let found =
            format!("recovery: pg_basebackup there is of version {}, {} is of {major}", version.trim(), source.name);
        report.problem(name, found, "set node.recovery.bin_directory to the programs of the same version");
    }
    let wal: u32 = facts.settings.get("max_wal_senders").and_then(|value| value.parse().ok()).unwrap_or(0);
    if facts.settings.get("wal_level").is_some_and(|level| level == "minimal") || wal < 3 {
        let found = format!("cannot be copied from: wal_level must be replica, and max_wal_senders ({wal}) at least 3");
        let remedy = "ALTER SYSTEM SET wal_level = 'replica'; ALTER SYSTEM SET max_wal_senders = 10; restart it";
        report.problem(&source.name, found, remedy);
    }
    if let Some(refusal) = says("refused") {
        let found = format!("recovery: {} does not let it copy: {}", source.name, refusal.trim());
        let remedy =
            format!("in pg_hba.conf on {}: `host replication USER ADDRESS/32 scram-sha-256`, then reload", source.name);
        report.problem(name, found, remedy);
    }
    let other =
        says("system").filter(|system| !facts.system_identifier.is_empty() && *system != facts.system_identifier);
    if other.is_some() {
        let found = format!("recovery: {} leads to another server there than here", source.address());
        report.problem(name, found, "write an address for the nodes that means the same on every machine");
    }
}

/// For `sh`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// For a connection string.
fn conninfo(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Mark;
    use crate::check::tests::{facts, node};

    fn recovery() -> Recovery {
        Recovery {
            shell: Vec::new(),
            run_as: None,
            data_directory: "/var/lib/it's here".into(),
            bin_directory: None,
            stop: None,
            backup: None,
            start: None,
        }
    }

    fn judged(lines: &str) -> Report {
        let answers = lines.lines().filter_map(answer).collect();
        let mut report = Report::default();
        let facts = facts();
        judge(&mut report, &node("alp", 5502), &recovery(), Some((&node("midna", 5501), &facts)), &answers);
        report
    }

    const GOOD: &str = "user=postgres\ndata=yes\nwritable=yes\nbackup=15.6\nctl=yes\nsystem=42\n";

    #[test]
    fn what_works_is_said_so() {
        let report = judged(GOOD);
        assert_eq!(report.count(Mark::Problem), 0, "{report:?}");
        assert!(report.findings[0].found.starts_with("can be recovered: postgres may write"));
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        for (line, instead, found) in [
            ("data=yes\n", "", "there is no directory"),
            ("writable=yes\n", "", "postgres may not write"),
            ("backup=15.6\n", "", "pg_basebackup and pg_ctl are not found"),
            ("backup=15.6", "backup=16.2", "is of version 16.2, midna is of 15"),
            ("system=42", "refused=no pg_hba.conf entry", "midna does not let it copy: no pg_hba.conf entry"),
            ("system=42", "system=43", "leads to another server there than here"),
        ] {
            let report = judged(&GOOD.replace(line, instead));
            assert!(report.findings[0].found.contains(found), "{report:?}");
        }
    }

    #[tokio::test]
    async fn a_shell_that_fails_says_what_it_said() {
        let broken =
            Recovery { shell: vec!["sh".into(), "-c".into(), "echo no route >&2; exit 255".into()], ..recovery() };
        let error = ask(&broken, "").await.unwrap_err();
        assert!(error.contains("exit status: 255") && error.contains("no route"), "{error}");
        let absent = Recovery { shell: vec!["/no/such/shell".into()], ..recovery() };
        assert!(ask(&absent, "").await.unwrap_err().contains("cannot be started"));
    }

    #[tokio::test]
    async fn the_script_runs_in_any_shell_and_survives_quotes() {
        let config = crate::check::tests::config();
        let answers = ask(&recovery(), &script(&config, &recovery(), None)).await.unwrap();
        assert!(answers.contains_key("user") && !answers.contains_key("data"), "{answers:?}");
    }
}
