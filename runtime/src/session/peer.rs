//! One socket, TCP or Unix, read and written without waiting; the driver decides when to wait.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::net::{TcpStream, UnixStream};

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
    pub fn read(&self, buffer: &mut BytesMut) -> io::Result<Read> {
        buffer.reserve(limits::READ_CHUNK);
        let result = match self {
            Self::Tcp(socket) => socket.try_read_buf(buffer),
            Self::Unix(socket) => socket.try_read_buf(buffer),
        };
        match result {
            Ok(0) => Ok(Read::End),
            Ok(_) => Ok(Read::Some),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Read::Nothing),
            Err(error) => Err(error),
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
    pub async fn read_some(&self, buffer: &mut BytesMut) -> io::Result<Read> {
        loop {
            self.readable().await?;
            match self.read(buffer)? {
                Read::Nothing => {}
                found => return Ok(found),
            }
        }
    }
}
