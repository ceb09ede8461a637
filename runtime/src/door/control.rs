//! The control socket: a line with a request in, lines with replies out.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::protocol::{Reply, Request};
use crate::clock::Seldom;
use crate::shared::Shared;

/// Longest request, in bytes.
const LINE: u64 = 16 << 10;
/// Operators at the same time; more wait.
const OPERATORS: usize = 32;
/// Progress that an operator has not read yet; beyond it lines are left out.
const REPLIES: usize = 64;
/// How long an operator may take to say what it wants: a program that has come to ask does so at once.
const ASKING: Duration = Duration::from_secs(3);
/// How long an operator may take to read a line.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failed accept (out of descriptors, say) there is no hurry.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// From one look at whether the socket is still in its place to the next.
const LOOK: Duration = Duration::from_secs(2);

/// Only the proxy's own user and root get in. A socket that a dead proxy has left is replaced.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and is not a socket"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another proxy answers on it"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

pub async fn serve(mut listener: UnixListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(OPERATORS));
    let (mut crowded, mut seldom) = (Seldom::default(), Seldom::default());
    loop {
        if places.available_permits() == 0 && crowded.is_due() {
            tracing::warn!(operators = OPERATORS, "the control socket is crowded; more operators wait");
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tokio::time::sleep(LOOK) => {
                if let Some(anew) = bind_again(&shared.config.control.socket) {
                    listener = anew;
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &shared).await {
                        tracing::debug!(%error, "an operator's connection broke");
                    }
                    drop(place);
                });
            }
            Ok(_) => tracing::warn!("a stranger was refused at the control socket"),
            Err(error) => {
                if seldom.is_due() {
                    tracing::warn!(%error, "the control socket cannot accept");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Nobody finds a socket that has been removed.
fn bind_again(path: &Path) -> Option<UnixListener> {
    if path.exists() {
        return None;
    }
    let bound = bind(path);
    match &bound {
        Ok(_) => tracing::error!(path = %path.display(), "the control socket had been removed; it is there again"),
        Err(error) => tracing::debug!(%error, "the control socket has been removed and cannot be made anew"),
    }
    bound.ok()
}

/// Between bind and chmod the socket's mode is the umask's: the peer's user is what counts.
fn is_ours(stream: &UnixStream) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == us || peer.uid() == 0)
}

async fn converse(stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LINE));
    tokio::time::timeout(ASKING, reader.read_line(&mut line)).await??;
    let (replies, mut answers) = mpsc::channel(REPLIES);
    let mut watched = false;
    match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            watched = matches!(request, Request::Verify(_) | Request::Pause { .. });
            shared.cluster.operate(request, replies).await;
        }
        Err(error) => {
            let message = format!("not a request that this version knows: {error}");
            let hint = Some("use the lockstep program of the same version as the running proxy".to_owned());
            let _ = replies.send(Reply::Failed { message, hint }).await;
            drop(replies);
        }
    }
    // An operator who hangs up in a comparison or a pause drops `answers`, by which it ends; other commands go on.
    loop {
        let reply = tokio::select! {
            biased;
            reply = answers.recv() => reply,
            () = hung_up(&mut reader), if watched => None,
        };
        let Some(reply) = reply else { break };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        tokio::time::timeout(PATIENCE, writer.write_all(&line)).await??;
    }
    writer.shutdown().await
}

async fn hung_up(reader: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut more = [0; 64];
    while reader.read(&mut more).await.is_ok_and(|read| read > 0) {}
}
