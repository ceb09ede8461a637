//! What operators reach: the control socket of the command line, and HTTP.
//!
//! Both only ask and show. What they ask for is done by the cluster actor, whether or not the asker stays.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use crate::shared::Shared;

mod control;
mod http;
pub mod protocol;
pub mod reload;

#[derive(Debug, thiserror::Error)]
pub enum DoorFault {
    #[error("control.socket {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("control.http {address}: {source}")]
    Http { address: SocketAddr, source: io::Error },
}

/// Doors that nobody is answered at yet.
pub struct Doors {
    socket: UnixListener,
    http: Option<TcpListener>,
    shared: Arc<Shared>,
}

/// Opens the doors that are configured, before anything is done that would be in vain if that failed.
pub async fn open(shared: Arc<Shared>) -> Result<Doors, DoorFault> {
    let path = shared.config.control.socket.clone();
    let socket = control::bind(&path).map_err(|source| DoorFault::Socket { path, source })?;
    let http = match shared.config.control.http {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|source| DoorFault::Http { address, source })?),
        None => None,
    };
    Ok(Doors { socket, http, shared })
}

impl Doors {
    /// Answers, in tasks of the runtime that this is called in.
    pub fn serve(self) {
        if let Some(listener) = self.http {
            tokio::spawn(http::serve(listener, self.shared.clone()));
        }
        tokio::spawn(control::serve(self.socket, self.shared));
    }
}
