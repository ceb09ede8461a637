//! The command line's end of the control socket: one request out, progress in, one final answer.
//!
//! The other end is `lockstep_runtime::door`; the words are in its `protocol`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_runtime::door::protocol::{Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::exit::Stop;

/// A proxy's answer in bytes, at most: room for some 100,000 differences, and an end to nonsense.
const LONGEST_REPLY: u64 = 16 << 20;

/// A proxy that lives says how it is at once, whatever else it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the proxy says before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub phase: String,
    pub text: String,
    /// Done and total, where there is a measure.
    pub bytes: Option<(u64, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    #[error("no proxy runs here: there is no {}", .0.display())]
    Absent(PathBuf),
    #[error("no proxy runs here: nobody listens on {}", .0.display())]
    Refused(PathBuf),
    #[error("{} may not be opened by this user", .0.display())]
    Forbidden(PathBuf),
    #[error("{}: {error}", socket.display())]
    Other { socket: PathBuf, error: std::io::Error },
    #[error("the proxy does not answer on {} within {patience:?}", socket.display())]
    Silent { socket: PathBuf, patience: Duration },
    #[error("the proxy went away before it had answered: {0}")]
    Broken(std::io::Error),
    #[error("the proxy answered something that is not in the protocol of this version: {0}")]
    Nonsense(String),
}

impl Unreachable {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Absent(_) | Self::Refused(_) => {
                "start it with `lockstep run`; if it runs, give this command the same --config FILE"
            }
            Self::Forbidden(_) => "run this command as the user who runs the proxy, or as root",
            Self::Other { .. } => "see control.socket in the configuration",
            Self::Silent { .. } => "it has been asked for nothing yet: see its log, and whether its process is stopped",
            Self::Broken(_) => "see its log, and `lockstep status` for what became of it",
            Self::Nonsense(_) => "the proxy and this program must be of the same version: restart the proxy",
        }
    }

    fn of_connecting(socket: &Path, error: std::io::Error) -> Self {
        let socket = socket.to_owned();
        match error.kind() {
            ErrorKind::NotFound => Self::Absent(socket),
            ErrorKind::ConnectionRefused => Self::Refused(socket),
            ErrorKind::PermissionDenied => Self::Forbidden(socket),
            _ => Self::Other { socket, error },
        }
    }
}

impl From<Unreachable> for Stop {
    fn from(error: Unreachable) -> Self {
        let remedy = error.remedy();
        Self::unreachable(error.to_string()).remedy(remedy)
    }
}

/// Asks, shows progress as it comes, and gives the final answer (never [`Reply::Progress`]). What may take long is asked
/// only of a proxy that lives: a request to one that hangs would be carried out when nobody expects it any more.
pub async fn ask(socket: &Path, request: &Request, progress: impl FnMut(Progress)) -> Result<Reply, Unreachable> {
    let status = status(socket, PATIENCE).await?;
    match request {
        Request::Status => Ok(status),
        request => converse(socket, request, progress).await,
    }
}

async fn status(socket: &Path, patience: Duration) -> Result<Reply, Unreachable> {
    let asked = tokio::time::timeout(patience, converse(socket, &Request::Status, |_| ())).await;
    asked.unwrap_or_else(|_| Err(Unreachable::Silent { socket: socket.to_owned(), patience }))
}

async fn converse(socket: &Path, request: &Request, mut progress: impl FnMut(Progress)) -> Result<Reply, Unreachable> {
    let stream = UnixStream::connect(socket).await.map_err(|error| Unreachable::of_connecting(socket, error))?;
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request).map_err(|error| Unreachable::Nonsense(error.to_string()))?;
    line.push(b'\n');
    write.write_all(&line).await.map_err(Unreachable::Broken)?;
    let mut read = BufReader::new(read);
    loop {
        match next(&mut read).await? {
            Reply::Progress { phase, text, done, total } => progress(Progress { phase, text, bytes: done.zip(total) }),
            last => return Ok(last),
        }
    }
}

async fn next(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Result<Reply, Unreachable> {
    let mut line = Vec::new();
    read.take(LONGEST_REPLY).read_until(b'\n', &mut line).await.map_err(Unreachable::Broken)?;
    if line.is_empty() {
        return Err(Unreachable::Broken(ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&line).map_err(|error| Unreachable::Nonsense(error.to_string()))
}

/// What a command makes of an answer that is not the one that it waits for.
pub fn unexpected(reply: Reply) -> Stop {
    match reply {
        Reply::Failed { message, hint } => Stop { remedy: hint, ..Stop::bad(message) },
        other => Unreachable::Nonsense(format!("{other:?}")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use tokio::net::UnixListener;

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lockstep-control-{}-{name}", std::process::id()))
    }

    /// A proxy that answers one request with these lines, and gives the request.
    async fn proxy(listener: UnixListener, answer: &'static str) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        stream.read_line(&mut request).await.unwrap();
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        request
    }

    async fn conversation(name: &str, answer: &'static str) -> (String, Vec<Progress>, Result<Reply, Unreachable>) {
        let path = socket(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let mut seen = Vec::new();
        let request = Request::Recover { node: "alp".into() };
        let (asked, reply) =
            tokio::join!(proxy(listener, answer), converse(&path, &request, |progress| seen.push(progress)));
        std::fs::remove_file(&path).unwrap();
        (asked, seen, reply)
    }

    #[tokio::test]
    async fn progress_is_shown_as_it_comes_and_the_last_answer_is_given() {
        let answer = concat!(
            r#"{"reply":"progress","phase":"base backup","text":"from midna","done":5,"total":10}"#,
            "\n",
            r#"{"reply":"done","text":"alp is active"}"#,
            "\n"
        );
        let (asked, seen, reply) = conversation("progress", answer).await;
        assert_eq!(asked, "{\"command\":\"recover\",\"node\":\"alp\"}\n");
        let progress = Progress { phase: "base backup".into(), text: "from midna".into(), bytes: Some((5, 10)) };
        assert_eq!(seen, [progress]);
        assert_eq!(reply.unwrap(), Reply::Done { text: "alp is active".into() });
    }

    #[tokio::test]
    async fn a_proxy_that_goes_away_has_not_answered() {
        let (_, _, reply) = conversation("gone", "").await;
        let stop = Stop::from(reply.unwrap_err());
        assert_eq!(stop.exit, Exit::Unreachable);
        assert!(stop.what.contains("went away before it had answered"), "{}", stop.what);
    }

    #[tokio::test]
    async fn a_proxy_that_hangs_is_not_waited_for_and_not_asked_to_change_anything() {
        let path = socket("silent");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let stop = Stop::from(status(&path, Duration::from_millis(50)).await.unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(stop.exit, Exit::Unreachable);
        assert!(stop.what.contains("does not answer"), "{}", stop.what);
        assert!(stop.remedy.unwrap().contains("asked for nothing"));
        drop(listener);
    }

    #[tokio::test]
    async fn an_answer_of_another_version_is_named_so() {
        let (_, _, reply) = conversation("nonsense", "{\"reply\":\"maybe\"}\n").await;
        let stop = Stop::from(reply.unwrap_err());
        assert!(stop.remedy.unwrap().contains("same version"));
    }

    #[tokio::test]
    async fn no_socket_and_nobody_behind_it_both_say_how_to_start_the_proxy() {
        let absent = Stop::from(ask(&socket("absent"), &Request::Status, |_| ()).await.unwrap_err());
        let path = socket("refused");
        drop(UnixListener::bind(&path).unwrap());
        let refused = Stop::from(ask(&path, &Request::Status, |_| ()).await.unwrap_err());
        std::fs::remove_file(&path).unwrap();
        for stop in [absent, refused] {
            assert_eq!(stop.exit, Exit::Unreachable);
            assert!(stop.what.starts_with("no proxy runs here"), "{}", stop.what);
            assert!(stop.remedy.unwrap().contains("lockstep run"));
        }
    }

    #[test]
    fn a_failure_is_a_bad_answer_with_its_hint() {
        let stop = unexpected(Reply::Failed { message: "alp differs".into(), hint: Some("recover it".into()) });
        assert_eq!(
            (stop.exit, stop.what.as_str(), stop.remedy.as_deref()),
            (Exit::Bad, "alp differs", Some("recover it"))
        );
    }
}
