//! Whether a server makes a process for a new connection: the least that a postmaster does, and much less work than a
//! login.
//!
//! The request for encryption is answered before anything is known of who asks (PostgreSQL documentation, "Message Flow",
//! "SSL Session Encryption"); a server writes nothing into its log of a connection that ends then.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{ServiceFault, connect, socket_path};
use crate::config::Node;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Returns when `node` has answered in any way.
pub async fn knock(node: &Node) -> Result<(), ServiceFault> {
    if node.host.starts_with('/') {
        let path = socket_path(node);
        let stream = UnixStream::connect(&path).await;
        return ask(stream.map_err(|source| ServiceFault::Connect { address: path, source })?, node).await;
    }
    ask(connect(node).await?, node).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, node: &Node) -> Result<(), ServiceFault> {
    let asked: io::Result<usize> = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read(&mut [0]).await
    }
    .await;
    let address = format!("{}:{}", node.host, node.port);
    asked.map(drop).map_err(|source| ServiceFault::Connect { address, source })
}
