//! From the first byte of a connection to a session: the client logs in to us, then we log in as the client to the leader.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use lockstep_core::auth::NodeKey;
use lockstep_core::auth::login::{Login, LoginEntropy, LoginStep};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::id::NodeId;
use lockstep_core::limits;
use lockstep_core::wire::backend::{self, Authentication, Status};
use lockstep_core::wire::startup::{Startup, StartupFault, Version, take_startup};
use lockstep_core::wire::{Malformed, frontend, notice, take_frame};

use super::link::{self, Greeting, Link, LinkFault};
use super::local::Local;
use super::peer::{Peer, Read};
use crate::cluster::gathered;
use crate::entropy;
use crate::server::{Place, Server};

/// Who has logged in, and what is needed to log in as them again.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: String,
    pub database: String,
    pub key: NodeKey,
    /// The startup packet's parameters for nodes, without user.
    pub parameters: Vec<(Bytes, Bytes)>,
}

/// A client that is through.
pub struct LoggedIn {
    pub peer: Peer,
    pub identity: Identity,
    pub node: NodeId,
    pub link: Link,
    pub place: Place,
    /// What the client has sent after its login.
    pub rest: BytesMut,
}

/// What a connection turned out to be.
pub enum Arrival {
    Session(Box<LoggedIn>),
    Cancel {
        pid: u32,
        key: Bytes,
    },
    /// It has been told, or has gone.
    Over,
}

struct Arriving {
    peer: Peer,
    input: BytesMut,
    out: BytesMut,
}

/// Why a connection ends before it is a session.
enum Turned {
    Away(Fault),
    /// The node's own words.
    AwayByNode(Box<LinkFault>),
    Gone,
}

impl From<std::io::Error> for Turned {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

pub async fn arrive(peer: Peer, server: &Server, local: &Rc<Local>) -> Arrival {
    let mut arriving = Arriving { peer, input: BytesMut::new(), out: BytesMut::new() };
    let timeout = server.config().limits.now().authentication_timeout;
    let introduced = match tokio::time::timeout(timeout, arriving.introduce(server, local)).await {
        Ok(Ok(Introduced::Cancel { pid, key })) => return Arrival::Cancel { pid, key },
        Ok(Ok(Introduced::Client(identity))) => Ok(identity),
        Ok(Err(turned)) => Err(turned),
        Err(_) => {
            Err(Turned::Away(Fault::fatal(SqlState::PROTOCOL_VIOLATION, "canceling authentication due to timeout")))
        }
    };
    let entered = match introduced {
        Ok(identity) => arriving.enter(&identity, server, local).await.map(|entered| (identity, entered)),
        Err(turned) => Err(turned),
    };
    match entered {
        Ok((identity, Entered { node, link, place })) => {
            let Arriving { peer, input, .. } = arriving;
            Arrival::Session(Box::new(LoggedIn { peer, identity, node, link, place, rest: input }))
        }
        Err(Turned::Gone) => Arrival::Over,
        Err(Turned::Away(fault)) => {
            tracing::info!(reason = %fault, "a client was turned away");
            arriving.out.clear();
            notice::error(&mut arriving.out, &fault);
            arriving.last_words().await
        }
        Err(Turned::AwayByNode(fault)) => {
            tracing::info!(reason = %fault, "a client was turned away by its node");
            match *fault {
                LinkFault::Node(fields) => fields.write_error(&mut arriving.out),
                other => notice::error(&mut arriving.out, &login_fault(&other)),
            }
            arriving.last_words().await
        }
    }
}

fn login_fault(fault: &LinkFault) -> Fault {
    match fault {
        LinkFault::Login(why) => {
            Fault::fatal(SqlState::INVALID_AUTHORIZATION, format!("the login at the server failed: {why}"))
        }
        LinkFault::Local(why) => {
            Fault::fatal(SqlState::TOO_MANY_CONNECTIONS, format!("no connection can be made: {why}"))
        }
        other => Fault::fatal(SqlState::CANNOT_CONNECT_NOW, format!("no server can be reached: {other}")),
    }
}

/// Who somebody has shown to be.
enum Introduced {
    Client(Identity),
    Cancel { pid: u32, key: Bytes },
}

struct Entered {
    node: NodeId,
    link: Link,
    place: Place,
}

impl Arriving {
    async fn last_words(&mut self) -> Arrival {
        // A client that does not read must not keep us.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.peer.write_all(&mut self.out)).await;
        Arrival::Over
    }

    async fn introduce(&mut self, server: &Server, local: &Rc<Local>) -> Result<Introduced, Turned> {
        let (version, parameters) = match self.startup().await? {
            Startup::Session { version, parameters } => (version, parameters),
            Startup::Cancel { pid, key } => return Ok(Introduced::Cancel { pid, key }),
            Startup::Ssl | Startup::GssEnc => return Err(Turned::Gone),
        };
        server.admit().map_err(Turned::Away)?;
        let asked = read_parameters(&parameters)?;
        if version > Version::V3_2 || !asked.unknown.is_empty() {
            backend::negotiate_protocol_version(&mut self.out, version.minor.min(Version::V3_2.minor), &asked.unknown);
        }
        let key = self.authenticate(&asked.user, server, local).await?;
        let Asked { user, database, parameters, .. } = asked;
        Ok(Introduced::Client(Identity { user, database, key, parameters }))
    }

    /// Waits for a leader, and while clients are held, for as long as the client does.
    async fn enter(&mut self, identity: &Identity, server: &Server, local: &Rc<Local>) -> Result<Entered, Turned> {
        let place = server.take_place().map_err(Turned::Away)?;
        let intake = &server.shared().intake;
        let led = async {
            intake.opened().await;
            lead(identity, server, local).await
        };
        let (node, link) = tokio::select! {
            led = led => led?,
            fault = intake.refused() => return Err(Turned::Away(fault)),
            () = hung_up(&mut self.peer, &mut self.input) => return Err(Turned::Gone),
        };
        Authentication::Ok.write(&mut self.out);
        for (name, value) in &link.parameters {
            backend::parameter_status(&mut self.out, name, value);
        }
        link.notices.iter().for_each(|notice| self.out.extend_from_slice(&notice.raw));
        backend::key_data(&mut self.out, link.pid, &link.cancel_key);
        backend::ready_for_query(&mut self.out, Status::Idle);
        let greeted = self.peer.write_all(&mut self.out);
        let timeout = server.config().limits.now().authentication_timeout;
        tokio::time::timeout(timeout, greeted).await.map_err(|_| Turned::Gone)??;
        Ok(Entered { node, link, place })
    }

    /// The startup packet; requests for encryption before it are declined, each once at most.
    async fn startup(&mut self) -> Result<Startup, Turned> {
        let (mut ssl, mut gss) = (false, false);
        loop {
            let asked = match take_startup(&mut self.input) {
                Ok(Some(Startup::Ssl)) => &mut ssl,
                Ok(Some(Startup::GssEnc)) => &mut gss,
                Ok(Some(startup)) => return Ok(startup),
                Ok(None) => {
                    if self.peer.read(&mut self.input).await? == Read::End {
                        return Err(Turned::Gone);
                    }
                    continue;
                }
                Err(fault @ StartupFault::Version(_)) => {
                    return Err(Turned::Away(Fault::fatal(SqlState::FEATURE_NOT_SUPPORTED, fault.to_string())));
                }
                // Nobody waits for an answer to a cancel request.
                Err(StartupFault::Layout(Malformed::Field(_))) => return Err(Turned::Gone),
                Err(fault) => return Err(Turned::Away(Fault::protocol(fault.to_string()))),
            };
            if std::mem::replace(asked, true) {
                return Err(Turned::Away(Fault::protocol("encryption was declined and asked for again")));
            }
            // Bytes that came with the request were meant to be encrypted (CVE-2021-23222).
            if !self.input.is_empty() {
                return Err(Turned::Away(Fault::protocol("received unencrypted data after an encryption request")));
            }
            self.out.extend_from_slice(b"N");
            self.peer.write_all(&mut self.out).await?;
        }
    }

    async fn authenticate(&mut self, user: &str, server: &Server, local: &Local) -> Result<NodeKey, Turned> {
        let users = server.users();
        let mock_secret = server.shared().login_secret;
        let entropy = LoginEntropy { md5_salt: entropy::bytes(), nonce: entropy::bytes(), mock_secret };
        let (mut login, question) = Login::new(users.get(user), user, entropy);
        question.write(&mut self.out);
        loop {
            self.peer.write_all(&mut self.out).await?;
            let frame = loop {
                match take_frame(&mut self.input, limits::AUTH_MESSAGE) {
                    Ok(Some(frame)) => break frame,
                    Ok(None) => {}
                    Err(fault) => return Err(Turned::Away(Fault::protocol(fault.to_string()))),
                }
                if self.peer.read(&mut self.input).await? == Read::End {
                    return Err(Turned::Gone);
                }
            };
            if frame.tag != frontend::PASSWORD {
                return Err(Turned::Away(Fault::protocol(format!(
                    "expected password response, got message type {}",
                    frame.tag
                ))));
            }
            match login.handle(frame.body(), &mut local.keys().borrow_mut()) {
                LoginStep::Send(bytes) => self.out.extend_from_slice(&bytes),
                LoginStep::Done { messages, key } => {
                    self.out.extend_from_slice(&messages);
                    return Ok(key);
                }
                LoginStep::Refused(fault) => return Err(Turned::Away(fault)),
            }
        }
    }
}

/// The client has closed its end. What it says meanwhile is kept, as much as a session would.
async fn hung_up(peer: &mut Peer, said: &mut BytesMut) {
    while said.len() < limits::OUT_HIGH_WATER {
        if !matches!(peer.read(said).await, Ok(Read::Some)) {
            return;
        }
    }
    std::future::pending().await
}

struct Asked {
    user: String,
    database: String,
    parameters: Vec<(Bytes, Bytes)>,
    /// Protocol options that are not known here.
    unknown: Vec<Bytes>,
}

fn read_parameters(parameters: &[(Bytes, Bytes)]) -> Result<Asked, Turned> {
    let mut asked = Asked { user: String::new(), database: String::new(), parameters: Vec::new(), unknown: Vec::new() };
    let text = |value: &Bytes, what: &str| {
        String::from_utf8(value.to_vec())
            .map_err(|_| Turned::Away(Fault::protocol(format!("the {what} is not valid UTF-8"))))
    };
    for (name, value) in parameters {
        match &name[..] {
            b"user" => asked.user = text(value, "user name")?,
            b"database" => asked.database = text(value, "database name")?,
            b"replication" if matches!(&value[..], b"false" | b"off" | b"no" | b"0") => {}
            b"replication" => {
                return Err(Turned::Away(
                    Fault::fatal(SqlState::FEATURE_NOT_SUPPORTED, "replication connections do not go through Lockstep")
                        .with_hint("Connect to a server directly."),
                ));
            }
            _ if name.starts_with(b"_pq_.") => asked.unknown.push(name.clone()),
            _ => asked.parameters.push((name.clone(), value.clone())),
        }
    }
    if asked.user.is_empty() {
        return Err(Turned::Away(Fault::fatal(
            SqlState::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        )));
    }
    if asked.database.is_empty() {
        asked.database.clone_from(&asked.user);
    }
    asked.parameters.push((Bytes::from_static(b"database"), asked.database.clone().into()));
    Ok(asked)
}

/// Logs in at the leader of the moment. When it cannot be reached the cluster is asked, and its successor is tried.
async fn lead(identity: &Identity, server: &Server, local: &Rc<Local>) -> Result<(NodeId, Link), Turned> {
    let (node, link) = dial_leader(identity, server, local).await.map_err(|fault| match fault {
        DialLeaderFault::Link(fault) => Turned::AwayByNode(Box::new(fault)),
        DialLeaderFault::NoLeader(fault) => Turned::Away(fault),
    })?;
    gathered(node, server.shared(), server.config().health.now().patience()).await;
    Ok((node, link))
}

pub enum DialLeaderFault {
    Link(LinkFault),
    NoLeader(Fault),
}

impl DialLeaderFault {
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Link(fault) => login_fault(&fault),
            Self::NoLeader(fault) => fault,
        }
    }
}

/// Attempts at a node that the cluster holds for healthy.
const ATTEMPTS: usize = 3;

pub async fn dial_leader(
    identity: &Identity,
    server: &Server,
    local: &Rc<Local>,
) -> Result<(NodeId, Link), DialLeaderFault> {
    let mut attempts = 0;
    loop {
        let node = server.wait_for_leader().await.map_err(DialLeaderFault::NoLeader)?;
        let greeting = Greeting { user: &identity.user, key: &identity.key, parameters: identity.parameters.clone() };
        let dialled = tokio::select! {
            dialled = link::dial(server.node(node), greeting, local.keys()) => dialled,
            // A node that hangs would be waited for longer than it takes to find that out.
            () = led_by_another(server, node) => continue,
        };
        let fault = match dialled {
            Ok(link) => {
                let shared = server.shared();
                shared.succession.settled(node, &shared.commit_lock).await;
                if shared.membership.load().leader() == Some(node) {
                    return Ok((node, link));
                }
                continue;
            }
            Err(fault) => fault,
        };
        attempts += 1;
        if !fault.suspects_node() || attempts > ATTEMPTS {
            return Err(DialLeaderFault::Link(fault));
        }
        server.cluster().suspect(node, format!("a client's connection could not be made: {fault}")).await;
    }
}

/// Returns when `node` does not lead any more.
async fn led_by_another(server: &Server, node: NodeId) {
    loop {
        let membership = server.shared().membership.load_full();
        if membership.leader() != Some(node) {
            return;
        }
        server.cluster().changed(&membership).await;
    }
}
