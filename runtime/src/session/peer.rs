//! One socket, TCP or Unix, read and written without waiting; the driver decides when to wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

use lockstep_core::limits;

#[derive(Debug)]
pub enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
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
                Ok(Peer::Tcp(TcpStream::from_std(socket)?))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Peer::Unix(UnixStream::from_std(socket)?))
            }
        }
    }
}

/// What became of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Some,
    Nothing,
    End,
}

impl Peer {
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.writable().await,
            Self::Unix(socket) => socket.writable().await,
        }
    }

    /// Reads what has arrived, [`limits::READ_CHUNK`] bytes at most.
    ///
    /// By `poll_read` and not by `try_read`: a read that does not fill the buffer then tells the runtime that nothing is
    /// left, where the other would ask the kernel again. Nobody is woken by it; [`Peer::readable`] is for that.
    pub fn read(&mut self, buffer: &mut BytesMut) -> io::Result<Read> {
        let context = &mut Context::from_waker(Waker::noop());
        let ready = match self {
            Self::Tcp(socket) => socket.poll_read_ready(context),
            Self::Unix(socket) => socket.poll_read_ready(context),
        };
        if ready.is_pending() {
            return Ok(Read::Nothing);
        }
        if buffer.capacity() - buffer.len() < limits::READ_LEAST {
            buffer.reserve(limits::READ_CHUNK);
        }
        let result = match self {
            Self::Tcp(socket) => poll_read_buf(Pin::new(socket), context, buffer),
            Self::Unix(socket) => poll_read_buf(Pin::new(socket), context, buffer),
        };
        match result {
            Poll::Ready(Ok(0)) => Ok(Read::End),
            Poll::Ready(Ok(_)) => Ok(Read::Some),
            Poll::Pending => Ok(Read::Nothing),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(Read::Nothing),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Writes as much as the socket takes.
    pub fn write(&self, buffer: &mut BytesMut) -> io::Result<()> {
        while !buffer.is_empty() {
            let result = match self {
                Self::Tcp(socket) => socket.try_write(buffer),
                Self::Unix(socket) => socket.try_write(buffer),
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
            self.writable().await?;
        }
    }

    /// Waits for bytes. `Read::End` when the other side has closed.
    pub async fn read_some(&mut self, buffer: &mut BytesMut) -> io::Result<Read> {
        loop {
            self.readable().await?;
            match self.read(buffer)? {
                Read::Nothing => {}
                found => return Ok(found),
            }
        }
    }
}
