//! Accepts clients and places them on arbiters, one per core.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::clock::Seldom;
use crate::config::Listen;
use crate::server::Server;
use crate::session::{SessionActor, StdPeer};

/// How long those who are told that there is no room may take to leave before the next one is turned away unheard.
const TURNING_AWAY: Duration = Duration::from_millis(500);

/// The doors that clients come through.
pub struct Doors {
    tcp: TcpListener,
    unix: Option<(UnixListener, PathBuf)>,
}

impl Doors {
    pub async fn open(listen: &Listen) -> io::Result<Self> {
        let tcp = TcpListener::bind(listen.address).await?;
        let port = tcp.local_addr()?.port();
        let unix = match &listen.unix_directory {
            None => None,
            Some(directory) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                // A socket that a killed proxy has left; one that lives holds the TCP port, and we would not be here.
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let listener = UnixListener::bind(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
                Some((listener, path))
            }
        };
        Ok(Self { tcp, unix })
    }

    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.tcp.local_addr()
    }

    /// Lets clients in until it is dropped.
    pub async fn serve(self, server: Arc<Server>, arbiters: Vec<ArbiterHandle>, most: usize) {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let mut next = 0;
        let mut seldom = Seldom::default();
        loop {
            match self.accept().await {
                Ok(socket) => match tokio::time::timeout(TURNING_AWAY, places.clone().acquire_owned()).await {
                    Ok(Ok(place)) => {
                        let actor = SessionActor::new(socket, server.clone(), place);
                        SessionActor::start_in_arbiter(&arbiters[next % arbiters.len()], |_| actor);
                        next += 1;
                    }
                    // Unheard, for before its startup packet nothing can be said that every client understands.
                    _ if seldom.is_due() => {
                        tracing::warn!(most, "clients are turned away: more connections than open files allow");
                    }
                    _ => {}
                },
                Err(error) => {
                    if seldom.is_due() {
                        tracing::warn!(%error, "a client could not be let in; the proxy is short of resources");
                    }
                    // Out of file descriptors or memory: trying again at once would only burn the processor.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<StdPeer> {
        let unix = async {
            match &self.unix {
                Some((listener, _)) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => Ok(StdPeer::Tcp(accepted?.0.into_std()?)),
            accepted = unix => Ok(StdPeer::Unix(accepted?.0.into_std()?)),
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.unix {
            let _ = std::fs::remove_file(path);
        }
    }
}
