//! Commands on the target's machine, through the node's `shell` prefix.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStderr, Command};

use crate::config;

/// A command that says nothing for so long is taken to hang.
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// What is kept of a command's output, in bytes.
const OUTPUT: u64 = 64 << 10;
/// Last lines of complaint that are kept.
const COMPLAINTS: usize = 8;

/// Why a command did not do what it should; `complaint` is what it said.
#[derive(Debug, thiserror::Error)]
pub enum ShellFault {
    #[error("{command} cannot be run: {source}")]
    Run { command: String, source: std::io::Error },
    #[error("{complaint}")]
    Failed { status: ExitStatus, complaint: String },
    #[error("nothing was heard for {} minutes", SILENCE.as_secs() / 60)]
    Silent,
}

/// A shell on the target's machine. What it runs travels on its input: no word of it is on a command line.
#[derive(Debug)]
pub struct Shell {
    prefix: Vec<String>,
    /// Becomes the data directory's owner, when the shell is root.
    owner: Vec<String>,
    settings: String,
}

/// Variables of the scripts.
pub struct Settings(String);

impl Settings {
    pub fn new() -> Self {
        Self(String::new())
    }

    /// Quoted so that the shell takes the value as it is.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.0 += &format!("{name}='{}'\n", value.replace('\'', r"'\''"));
        self
    }
}

impl Shell {
    /// Finds out who the shell is.
    pub async fn open(recovery: &config::Recovery, settings: Settings) -> Result<Self, ShellFault> {
        let mut shell = Self { prefix: recovery.shell.clone(), owner: Vec::new(), settings: settings.0 };
        let is_root = shell.own("id -u", "id -u", |_| {}).await?.trim() == "0";
        if let Some(user) = recovery.run_as.as_ref().filter(|_| is_root) {
            shell.owner = ["runuser", "-u", user, "--"].map(str::to_owned).to_vec();
        }
        Ok(shell)
    }

    /// Runs one of our scripts as the owner of the data directory, and gives its output.
    pub async fn script(&self, name: &str, script: &str, heard: impl FnMut(&str)) -> Result<String, ShellFault> {
        let text = format!("{}{}\n{script}", self.settings, include_str!("common.sh"));
        self.run(name, [&self.prefix[..], &self.owner].concat(), &text, heard).await
    }

    /// Runs an operator's own line as the shell's own user, with the settings in its environment.
    pub async fn own(&self, name: &str, line: &str, heard: impl FnMut(&str)) -> Result<String, ShellFault> {
        let text = format!("set -a\n{}set +a\n{line}\n", self.settings);
        self.run(name, self.prefix.clone(), &text, heard).await
    }

    async fn run(
        &self,
        name: &str,
        mut words: Vec<String>,
        text: &str,
        heard: impl FnMut(&str),
    ) -> Result<String, ShellFault> {
        words.extend(["sh".to_owned(), "-s".to_owned()]);
        let fault = |source| ShellFault::Run { command: words.join(" "), source };
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(fault)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut output = String::new();
        let feed = async {
            // A shell that cannot even be entered is judged by its exit status.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            Ok(())
        };
        let read = async {
            if let Some(stdout) = stdout {
                let _ = stdout.take(OUTPUT).read_to_string(&mut output).await;
            }
            Ok(())
        };
        let listen = async {
            match stderr {
                Some(stderr) => listen(BufReader::new(stderr).lines(), heard).await,
                None => Ok(Vec::new()),
            }
        };
        let ((), (), complaints) = tokio::try_join!(feed, read, listen)?;
        let complaint = complaints.join("; ");
        let status = child.wait().await.map_err(fault)?;
        tracing::info!(command = name, shell = words.join(" "), %status, stderr = complaint, "ran a command for a recovery");
        if status.success() {
            Ok(output)
        } else {
            Err(ShellFault::Failed { status, complaint: said(complaint, status) })
        }
    }
}

fn said(complaint: String, status: ExitStatus) -> String {
    if complaint.is_empty() { format!("it said nothing ({status})") } else { complaint }
}

/// Passes every line on; keeps the last ones.
async fn listen(
    mut lines: Lines<BufReader<ChildStderr>>,
    mut heard: impl FnMut(&str),
) -> Result<Vec<String>, ShellFault> {
    let mut kept = Vec::new();
    loop {
        match tokio::time::timeout(SILENCE, lines.next_line()).await {
            Err(_) => return Err(ShellFault::Silent),
            Ok(Ok(Some(line))) => {
                heard(&line);
                if lockstep_core::cluster::recovery::progress(&line).is_none() {
                    kept.push(line);
                    kept.drain(..kept.len().saturating_sub(COMPLAINTS));
                }
            }
            Ok(Ok(None) | Err(_)) => return Ok(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> config::Recovery {
        config::Recovery {
            shell: Vec::new(),
            run_as: None,
            data_directory: "/nowhere".into(),
            bin_directory: None,
            stop: None,
            backup: None,
            start: None,
        }
    }

    async fn open(recovery: &config::Recovery) -> Shell {
        let settings =
            Settings::new().set("ODD", "it's $HOME `x` \"y\"\n").set("BIN", "").set("MAJOR", "").set("DATA", "");
        Shell::open(recovery, settings.set("PGPASSWORD", "")).await.expect("open a shell")
    }

    #[tokio::test]
    async fn settings_arrive_as_they_are() {
        let shell = open(&here()).await;
        assert_eq!(shell.script("test", "printf %s \"$ODD\"", |_| {}).await.unwrap(), "it's $HOME `x` \"y\"\n");
        assert_eq!(shell.own("test", "sh -c 'printf %s \"$ODD\"'", |_| {}).await.unwrap(), "it's $HOME `x` \"y\"\n");
    }

    #[tokio::test]
    async fn a_prefix_that_joins_words_again_does_no_harm() {
        let prefix = ["sh", "-c", "exec sh -c \"$*\"", "ssh"].map(str::to_owned).to_vec();
        let shell = open(&config::Recovery { shell: prefix, ..here() }).await;
        assert_eq!(shell.script("test", "printf %s \"$ODD\"", |_| {}).await.unwrap(), "it's $HOME `x` \"y\"\n");
    }

    #[tokio::test]
    async fn a_failure_says_what_the_command_said() {
        let mut lines = Vec::new();
        let script = "echo one >&2; echo '  1/2 kB (50%)' >&2; fail 'no room'";
        let failed = open(&here()).await.script("test", script, |line| lines.push(line.to_owned())).await;
        assert_eq!(failed.unwrap_err().to_string(), "one; no room");
        assert_eq!(lines, ["one", "  1/2 kB (50%)", "no room"]);
    }

    #[tokio::test]
    async fn a_shell_that_is_not_there_is_named() {
        let recovery = config::Recovery { shell: vec!["/nowhere/ssh".into()], ..here() };
        let fault = Shell::open(&recovery, Settings::new()).await.unwrap_err();
        assert!(fault.to_string().starts_with("/nowhere/ssh sh -s cannot be run"), "{fault}");
    }
}
