//! What operators reach: the control socket of the command line, and HTTP.
//!
//! Both only ask and show. What they ask for is done by the cluster actor, whether or not the asker stays.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

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

/// Opens the doors that are configured; they are served by tasks of the runtime that this is called in.
pub async fn open(shared: Arc<Shared>) -> Result<(), DoorFault> {
    let path = shared.config.control.socket.clone();
    let socket = control::bind(&path).map_err(|source| DoorFault::Socket { path, source })?;
    if let Some(address) = shared.config.control.http {
        let listener = TcpListener::bind(address).await.map_err(|source| DoorFault::Http { address, source })?;
        tokio::spawn(http::serve(listener, shared.clone()));
    }
    tokio::spawn(control::serve(socket, shared));
    Ok(())
}
