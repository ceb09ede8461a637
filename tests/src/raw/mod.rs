//! A client that sees every byte: it sends messages of any kind in any order and reads frames with a deadline.
//!
//! Framing and message layouts are those of `lockstep_core::wire`; the login is that of the crate `postgres-protocol`,
//! so that nothing of ours judges our own cryptography.

mod ask;
mod login;
pub mod transcript;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lockstep_core::wire::frame::take_frame;
use lockstep_core::wire::startup::{self, Version};
use lockstep_core::wire::{Frame, backend};

pub use ask::{Answer, Failure, Row};

use crate::users::User;

/// No answer of a test takes longer, on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Frames of a server may be as long as they like here; tests of limits look at the proxy's.
const LIMIT: usize = i32::MAX as usize;

/// One connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: TcpStream,
    inbox: BytesMut,
    outbox: BytesMut,
    /// What came between AuthenticationOk and the first ReadyForQuery.
    pub greeting: Vec<Frame>,
    pub pid: u32,
    pub key: Bytes,
}

impl Client {
    /// A TCP connection on which nothing has been said yet.
    pub fn dial(address: &str) -> io::Result<Self> {
        let address: SocketAddr = address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let (inbox, outbox) = (BytesMut::new(), BytesMut::new());
        Ok(Self { address, stream, inbox, outbox, greeting: Vec::new(), pid: 0, key: Bytes::new() })
    }

    /// A session that is ready for its first query; panics when it is refused.
    pub fn connect(address: &str, user: &User, database: &str) -> Self {
        Self::try_connect(address, user, database, &[]).unwrap_or_else(|e| panic!("{} at {address}: {e}", user.name))
    }

    /// A session with further startup parameters.
    pub fn try_connect(
        address: &str,
        user: &User,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut client = Self::dial(address)?;
        client.start(Version::V3_0, user.name, database, parameters);
        client.log_in(user)?;
        Ok(client)
    }

    /// Writes the startup packet; the server's answers are for the caller or for [`Client::log_in`].
    pub fn start(&mut self, version: Version, user: &str, database: &str, parameters: &[(&str, &str)]) {
        let own = [("user", user), ("database", database)];
        let all = own.iter().chain(parameters).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        startup::write_session(&mut self.outbox, version, all);
        self.flush();
    }

    /// Puts a message into the buffer of what is to be sent.
    pub fn put(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Self {
        write(&mut self.outbox);
        self
    }

    /// Sends what was put, in one write where the kernel lets it.
    pub fn flush(&mut self) {
        self.try_flush().expect("send to the server");
    }

    pub fn try_flush(&mut self) -> io::Result<()> {
        let bytes = self.outbox.split();
        self.stream.write_all(&bytes)
    }

    /// How long a read may take before it fails.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.stream.set_read_timeout(Some(deadline)).expect("set a time-out");
    }

    /// The next message; `None` when the server has closed the connection.
    pub fn try_read(&mut self) -> io::Result<Option<Frame>> {
        loop {
            match take_frame(&mut self.inbox, LIMIT) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk)? {
                0 => return Ok(None),
                count => self.inbox.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// One byte that is no frame: the answer to SSLRequest and GSSENCRequest.
    pub fn read_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    pub fn read(&mut self) -> Frame {
        self.try_read().expect("a message before the deadline").expect("a message, not the end of the connection")
    }

    /// Reads up to and with the first message of this kind.
    pub fn until(&mut self, tag: u8) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.read();
            let found = frame.tag == tag;
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    /// The next message with one of these tags; others are passed over.
    pub fn until_any(&mut self, tags: &[u8]) -> Result<Frame, Failure> {
        loop {
            let frame = self.try_read()?.ok_or_else(Failure::closed)?;
            if tags.contains(&frame.tag) {
                return Ok(frame);
            }
        }
    }

    /// Reads to the end of the connection; a reset is an end too.
    pub fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = self.try_read() {
            frames.push(frame);
        }
        frames
    }

    /// Whether nothing arrives for so long.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.set_deadline(time);
        let read = self.try_read();
        self.set_deadline(DEADLINE);
        matches!(read, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Asks on a connection of its own to cancel what this session does, and waits until the server has taken it.
    pub fn cancel(&self) {
        cancel(self.address, self.pid, &self.key).expect("send a CancelRequest");
    }

    /// What [`Client::cancel`] needs, for another thread.
    pub fn canceller(&self) -> impl Fn() + Send + 'static {
        let (address, pid, key) = (self.address, self.pid, self.key.clone());
        move || cancel(address, pid, &key).expect("send a CancelRequest")
    }

    fn take_key_data(&mut self, frame: &Frame) {
        if frame.tag == backend::BACKEND_KEY_DATA {
            (self.pid, self.key) = backend::read_key_data(frame.body()).expect("BackendKeyData");
        }
    }
}

fn cancel(address: SocketAddr, pid: u32, key: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    let mut packet = BytesMut::new();
    startup::write_cancel(&mut packet, pid, key);
    stream.write_all(&packet)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // The server closes when it has passed the signal on. It may do so with a reset.
    let _ = stream.read(&mut [0]);
    Ok(())
}
