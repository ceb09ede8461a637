//! A connection to a node, logged in as a client's role: dialled here, driven by the core's `Dial`.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lockstep_core::auth::dial::{Dial, DialFault, DialStep, Ready};
use lockstep_core::auth::{KeyCache, NodeKey};
use lockstep_core::limits;
use lockstep_core::wire::notice::Fields;
use lockstep_core::wire::{Frame, FrameFault, startup, take_frame};
use tokio::net::{TcpStream, UnixStream};

use super::peer::{Peer, Read};
use crate::config;
use crate::entropy;

/// Longer than this, and the node counts as not reachable.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// So that a node misses the machine of the proxy within seconds, as the proxy misses a node: its transactions, and their
/// locks, do not stay for the two hours that are the kernel's default (documentation, "TCP Settings").
///
/// No `tcp_user_timeout` (tcp(7)) beside it, here or there: it also ends a connection whose other side does not read for that
/// long, as a client does that takes its time with a large result, or a server that is at a statement with more behind it.
pub const KEEPALIVES: [(&[u8], &[u8]); 3] =
    [(b"tcp_keepalives_idle", b"5"), (b"tcp_keepalives_interval", b"2"), (b"tcp_keepalives_count", b"3")];

/// A connection that is ready for its first query.
#[derive(Debug)]
pub struct Link {
    pub peer: Peer,
    pub parameters: Vec<(Bytes, Bytes)>,
    pub pid: u32,
    pub cancel_key: Bytes,
    /// What the node has warned of at the login.
    pub notices: Vec<Frame>,
    /// What has arrived after the login.
    pub rest: BytesMut,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkFault {
    /// The proxy itself is short of something: nothing is wrong with the node.
    #[error("this machine is short of resources: {0}")]
    Local(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout,
    #[error("it closed the connection during the login")]
    Closed,
    #[error("its messages cannot be followed: {0}")]
    Frame(#[from] FrameFault),
    /// The node says no: the client is told in the node's own words.
    #[error("{}", .0.message())]
    Node(Fields),
    #[error("{0}")]
    Login(DialFault),
}

impl LinkFault {
    /// Whether the node itself, rather than the one who logs in or this machine, may be at fault.
    pub fn suspects_node(&self) -> bool {
        match self {
            Self::Local(_) | Self::Login(_) => false,
            Self::Io(_) | Self::Timeout | Self::Closed | Self::Frame(_) => true,
            Self::Node(fields) => matches!(fields.state(), b"57P03" | b"57P01" | b"57P02"),
        }
    }

    /// The node's connections, or the machine's resources, are used up.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Node(fields) => fields.state().starts_with(b"53"),
            _ => false,
        }
    }
}

fn classify(error: io::Error) -> LinkFault {
    match error.raw_os_error() {
        // EMFILE, ENFILE, ENOMEM, EADDRNOTAVAIL, ENOBUFS
        Some(24 | 23 | 12 | 99 | 105) => LinkFault::Local(error),
        _ => LinkFault::Io(error),
    }
}

/// What to say at the login.
pub struct Greeting<'a> {
    pub user: &'a str,
    pub key: &'a NodeKey,
    /// Parameters of the startup packet besides the user.
    pub parameters: Vec<(Bytes, Bytes)>,
}

pub async fn dial(node: &config::Node, greeting: Greeting<'_>, keys: &RefCell<KeyCache>) -> Result<Link, LinkFault> {
    tokio::time::timeout(DIAL_TIMEOUT, login(node, greeting, keys)).await.map_err(|_| LinkFault::Timeout)?
}

pub async fn connect(node: &config::Node) -> io::Result<Peer> {
    if node.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", node.host, node.port);
        return Ok(UnixStream::connect(path).await?.into());
    }
    let socket = TcpStream::connect((node.host.as_str(), node.port)).await?;
    watch(&socket)?;
    Ok(socket.into())
}

/// The same on our side.
pub fn watch(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    let (idle, interval) = (Duration::from_secs(5), Duration::from_secs(2));
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3))
}

async fn login(node: &config::Node, greeting: Greeting<'_>, keys: &RefCell<KeyCache>) -> Result<Link, LinkFault> {
    let mut peer = connect(node).await.map_err(classify)?;
    // Before the client's, so that its own word counts.
    let mut parameters = Vec::with_capacity(greeting.parameters.len() + KEEPALIVES.len());
    parameters.extend(KEEPALIVES.map(|(name, value)| (Bytes::from_static(name), Bytes::from_static(value))));
    parameters.extend(greeting.parameters);
    let mut dial = Dial::new(greeting.user, parameters, greeting.key.clone(), entropy::bytes());
    let mut out = BytesMut::new();
    let mut input = BytesMut::new();
    dial.start(&mut out);
    loop {
        peer.write_all(&mut out).await?;
        while let Some(frame) = take_frame(&mut input, limits::NODE_LOGIN)? {
            match dial.handle(&frame, &mut out, &mut keys.borrow_mut()) {
                Ok(DialStep::Continue) => {}
                Ok(DialStep::Ready(ready)) => {
                    let Ready { parameters, pid, cancel_key, notices, .. } = ready;
                    return Ok(Link { peer, parameters, pid, cancel_key, notices, rest: input });
                }
                Err(DialFault::Node(fields)) => return Err(LinkFault::Node(fields)),
                Err(fault) => return Err(LinkFault::Login(fault)),
            }
        }
        if !out.is_empty() {
            continue;
        }
        if peer.read(&mut input).await? == Read::End {
            return Err(LinkFault::Closed);
        }
    }
}

/// Asks a node to cancel what the backend with this key is doing. No answer is given (documentation, "Canceling Requests
/// in Progress").
pub async fn cancel(node: &config::Node, pid: u32, key: &[u8]) -> io::Result<()> {
    let mut peer = connect(node).await?;
    let mut out = BytesMut::new();
    startup::write_cancel(&mut out, pid, key);
    peer.write_all(&mut out).await?;
    let mut rest = BytesMut::new();
    peer.read(&mut rest).await.map(|_| ())
}
