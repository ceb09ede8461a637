//! One socket, TCP or Unix, read and written without waiting; the driver decides when to wait.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_util::io::poll_read_buf;

use lockstep_core::limits;

use super::look::Lookout;

/// The half that is written may be kept by others, who only look.
#[derive(Debug)]
pub enum Peer {
    Tcp(tcp::OwnedReadHalf, Arc<tcp::OwnedWriteHalf>),
    Unix(unix::OwnedReadHalf, Arc<unix::OwnedWriteHalf>),
}

impl From<TcpStream> for Peer {
    fn from(socket: TcpStream) -> Self {
        let (read, write) = socket.into_split();
        Self::Tcp(read, Arc::new(write))
    }
}

impl From<UnixStream> for Peer {
    fn from(socket: UnixStream) -> Self {
        let (read, write) = socket.into_split();
        Self::Unix(read, Arc::new(write))
    }
}

/// A socket of the standard library, which may move to another thread before it is registered there.
#[derive(Debug)]
pub enum StdPeer {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl StdPeer {
    /// Registers the socket with the runtime of this thread.
    pub fn register(self) -> io::Result<Peer> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                // As PostgreSQL does: a client whose machine has gone leaves its place some day.
                socket2::SockRef::from(&socket).set_keepalive(true)?;
                Ok(TcpStream::from_std(socket)?.into())
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(UnixStream::from_std(socket)?.into())
            }
        }
    }
}

/// What became of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Some,
    End,
}

impl Peer {
    /// Reads what has arrived, [`limits::READ_CHUNK`] bytes at most. A buffer is made only for what is there.
    ///
    /// By `poll_read` and not by `try_read`: a read that does not fill the buffer then tells the runtime that nothing is
    /// left, where the other would ask the kernel again.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Read>> {
        if buffer.capacity() - buffer.len() < limits::READ_LEAST {
            ready!(self.poll_readable(context))?;
            buffer.reserve(limits::READ_CHUNK);
        }
        let read = ready!(match self {
            Self::Tcp(half, _) => poll_read_buf(Pin::new(half), context, buffer),
            Self::Unix(half, _) => poll_read_buf(Pin::new(half), context, buffer),
        });
        match read {
            Ok(0) => Poll::Ready(Ok(Read::End)),
            Ok(_) => Poll::Ready(Ok(Read::Some)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half, _) => AsRef::<TcpStream>::as_ref(half).poll_read_ready(context),
            Self::Unix(half, _) => AsRef::<UnixStream>::as_ref(half).poll_read_ready(context),
        }
    }

    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half, _) => AsRef::<TcpStream>::as_ref(half).poll_write_ready(context),
            Self::Unix(half, _) => AsRef::<UnixStream>::as_ref(half).poll_write_ready(context),
        }
    }

    pub fn lookout(&self) -> Lookout {
        match self {
            Self::Tcp(_, half) => Lookout::Tcp(half.clone()),
            Self::Unix(_, half) => Lookout::Unix(half.clone()),
        }
    }

    /// Whether the other side has said nothing, not even that it goes.
    pub fn is_quiet(&mut self, said: &mut BytesMut) -> bool {
        self.poll_read(&mut Context::from_waker(Waker::noop()), said).is_pending()
    }

    /// Writes as much as the socket takes.
    pub fn write(&self, buffer: &mut BytesMut) -> io::Result<()> {
        while !buffer.is_empty() {
            let result = match self {
                Self::Tcp(_, half) => half.try_write(buffer),
                Self::Unix(_, half) => half.try_write(buffer),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => buffer.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of it, waiting as long as it takes.
    pub async fn write_all(&self, buffer: &mut BytesMut) -> io::Result<()> {
        loop {
            self.write(buffer)?;
            if buffer.is_empty() {
                return Ok(());
            }
            poll_fn(|context| self.poll_writable(context)).await?;
        }
    }

    /// Says that nothing more comes, and listens until the other side has closed, too.
    pub async fn hear_out(self) {
        // An error is an end like any other.
        let _ = match self {
            Self::Tcp(mut read, write) => {
                drop(write);
                tokio::io::copy(&mut read, &mut tokio::io::sink()).await
            }
            Self::Unix(mut read, write) => {
                drop(write);
                tokio::io::copy(&mut read, &mut tokio::io::sink()).await
            }
        };
    }

    /// Waits for bytes. `Read::End` when the other side has closed.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<Read> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }
}
