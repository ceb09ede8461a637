//! The proxy's own word on its health: `GET /healthz` on its HTTP address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tally::Outcome;
use crate::postgres::Failure;

/// `HTTP/1.1 200 OK` and what may follow on that line.
const STATUS_LINE: u64 = 256;

pub async fn ask(address: SocketAddr, timeout: Duration) -> Outcome {
    let begun = Instant::now();
    let status = tokio::time::timeout(timeout, status(address)).await;
    match status.map_err(|_| Failure::Late(timeout))?.map_err(|error| Failure::Broken(error.to_string()))? {
        200 => Ok(begun.elapsed()),
        other => Err(Failure::Broken(format!("/healthz answers {other}"))),
    }
}

async fn status(address: SocketAddr) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(STATUS_LINE).read_to_end(&mut answer).await?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|code| code.parse().ok());
    status.ok_or_else(|| std::io::Error::other("this is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &'static str) -> Outcome {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /healthz "));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::join!(serve, ask(address, Duration::from_secs(5))).1
    }

    #[tokio::test]
    async fn two_hundred_is_health() {
        assert!(answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_ok());
    }

    #[tokio::test]
    async fn anything_else_is_not() {
        let unwell = answered("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap_err();
        assert_eq!(unwell.kind(), "/healthz answers 503");
        assert_eq!(answered("hello").await.unwrap_err().kind(), "this is not HTTP");
    }
}
