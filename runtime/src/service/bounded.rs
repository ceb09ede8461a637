//! A stream that gives no more than so many bytes before somebody has logged in on it: what claims to be a server could
//! otherwise announce a message of 2 GiB, and send it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A server's part in a login: some hundred bytes, and its parameters.
const LOGIN: usize = 256 << 10;

#[derive(Debug)]
pub struct Bounded<S> {
    stream: S,
    left: Bound,
}

/// Holds until it is lifted.
#[derive(Debug, Clone)]
pub struct Bound(Arc<AtomicUsize>);

impl Bound {
    pub fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }
}

impl<S> Bounded<S> {
    pub fn new(stream: S) -> (Self, Bound) {
        let bound = Bound(Arc::new(AtomicUsize::new(LOGIN)));
        (Self { stream, left: bound.clone() }, bound)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.left.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("it answers what no PostgreSQL server does")));
        }
        let room = left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        // Unless it has been lifted meanwhile.
        let _ = self.left.0.compare_exchange(left, left - read, Ordering::Relaxed, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_server_that_never_ends_is_left_before_its_login_and_heard_out_after_it() {
        for lifted in [false, true] {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            let (mut bounded, bound) = Bounded::new(ours);
            if lifted {
                bound.lift();
            }
            tokio::spawn(async move {
                let _ = theirs.write_all(&vec![0; 2 * LOGIN]).await;
            });
            let mut read = Vec::new();
            assert_eq!(bounded.read_to_end(&mut read).await.is_ok(), lifted);
            assert!(read.len() <= if lifted { 2 * LOGIN } else { LOGIN }, "{}", read.len());
        }
    }
}
