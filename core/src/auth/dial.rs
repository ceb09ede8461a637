//! We log in to a node, as a client's role.
//!
//! ```text
//! start ─▶ Greeting ─┬─ Ok (trust) ────────────────────────────────────────────────────▶ Settling ─▶ Ready
//!                    ├─ Cleartext, MD5 ─▶ Answered ─ Ok ───────────────────────────────────▶ │
//!                    └─ SASL ─▶ Opened ─ Continue ─▶ Proved ─ Final, checked ─▶ Answered ─ Ok ─▶ │
//! ```
//!
//! Ok is believed in `Greeting` and `Answered` alone, so that once SCRAM has begun there is no way past the server's
//! signature. A fault ends the dial: every later message is one too.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::md5::Md5Digest;
use super::scram::client::{Opening, Proof};
use super::scram::{self, Keys, Nonce, ScramFault};
use super::{KeyCache, NodeKey};
use crate::limits;
use crate::wire::backend::{self, Authentication};
use crate::wire::notice::Fields;
use crate::wire::startup::{self, Version};
use crate::wire::{Frame, Malformed, frontend};

/// What a node has told us when it is ready for its first query.
pub struct Ready {
    /// What is spoken on this connection.
    pub version: Version,
    /// ParameterStatus, in the order in which they came.
    pub parameters: Vec<(Bytes, Bytes)>,
    /// 0 with an empty key: the node has given none, so nothing on this connection can be cancelled.
    pub pid: u32,
    pub cancel_key: Bytes,
    /// NoticeResponse messages, which belong to the client for whom this is.
    pub notices: Vec<Frame>,
}

/// The key lets anybody cancel what runs on the connection.
impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("pid", &self.pid).field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub enum DialStep {
    Continue,
    Ready(Ready),
}

#[derive(Debug, thiserror::Error)]
pub enum DialFault {
    /// The node's own error.
    #[error("{}", .0.message())]
    Node(Fields),
    #[error("the node asks for {wanted}, and the users file has {have}; {remedy}")]
    Key { wanted: &'static str, have: &'static str, remedy: &'static str },
    #[error(
        "the node asks for {0}, which is not known here; let its pg_hba.conf ask for scram-sha-256, md5, password or trust"
    )]
    Method(Method),
    #[error("the node offers no SASL mechanism that is known here; it must offer {}", scram::MECHANISM)]
    Mechanism,
    #[error("the node's SCRAM message is wrong: {0}")]
    Scram(#[from] ScramFault),
    #[error("the node was asked for protocol {asked} and answers with {answered}")]
    Version { asked: Version, answered: Version },
    #[error("the node sent a message of type {:?} where none may be", char::from(*.0))]
    Unexpected(u8),
    #[error("the node sent more than {} bytes before it was ready", limits::NODE_LOGIN)]
    TooMuch,
    #[error("the node sent a malformed message: {0}")]
    Malformed(#[from] Malformed),
}

/// The code of an authentication method, shown with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(pub i32);

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            2 => f.write_str("Kerberos V5"),
            7 => f.write_str("GSSAPI"),
            9 => f.write_str("SSPI"),
            code => write!(f, "authentication method {code}"),
        }
    }
}

enum State {
    Greeting,
    Opened(Opening),
    Proved(Proof),
    /// A password was sent, or the server's signature was right.
    Answered,
    Settling,
    /// It has become ready, or has failed.
    Over,
}

pub struct Dial {
    user: String,
    parameters: Vec<(Bytes, Bytes)>,
    key: NodeKey,
    nonce: Nonce,
    state: State,
    /// Bytes that the node has sent.
    heard: usize,
    ready: Ready,
}

impl Dial {
    /// `parameters`: those of the startup packet besides `user`. `nonce`: new random bytes for every login.
    pub fn new(user: &str, parameters: Vec<(Bytes, Bytes)>, key: NodeKey, nonce: Nonce) -> Self {
        let ready = Ready {
            version: Version::V3_0,
            parameters: Vec::new(),
            pid: 0,
            cancel_key: Bytes::new(),
            notices: Vec::new(),
        };
        Self { user: user.to_owned(), parameters, key, nonce, state: State::Greeting, heard: 0, ready }
    }

    /// Asks for another version than 3.0; the node may answer with an older one.
    pub fn speaking(mut self, version: Version) -> Self {
        self.ready.version = version;
        self
    }

    /// Writes the startup packet.
    pub fn start(&self, out: &mut BytesMut) {
        let user = (&b"user"[..], self.user.as_bytes());
        let others = self.parameters.iter().map(|(name, value)| (&name[..], &value[..]));
        startup::write_session(out, self.ready.version, std::iter::once(user).chain(others));
    }

    /// The node's next message; what it must be sent goes to `out`. May derive a key, unless `keys` has it.
    pub fn handle(&mut self, frame: &Frame, out: &mut BytesMut, keys: &mut KeyCache) -> Result<DialStep, DialFault> {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.heard += frame.raw.len();
        if self.heard > limits::NODE_LOGIN {
            return Err(DialFault::TooMuch);
        }
        self.state = match (frame.tag, state) {
            (tag, State::Over) => return Err(DialFault::Unexpected(tag)),
            (backend::ERROR_RESPONSE, _) => return Err(DialFault::Node(Fields::read(frame.body())?)),
            (backend::NOTICE_RESPONSE, state) => {
                self.ready.notices.push(frame.clone());
                state
            }
            (backend::NEGOTIATE_PROTOCOL_VERSION, State::Greeting) => self.negotiate(frame.body())?,
            (backend::AUTHENTICATION, state) => {
                self.authentication(state, Authentication::read(frame.body())?, out, keys)?
            }
            (backend::READY_FOR_QUERY, State::Settling) => return self.ready(frame.body()),
            (_, State::Settling) => self.settle(frame)?,
            (tag, _) => return Err(DialFault::Unexpected(tag)),
        };
        Ok(DialStep::Continue)
    }

    /// We ask for no protocol options, so only the version can be in question.
    fn negotiate(&mut self, body: Bytes) -> Result<State, DialFault> {
        let (answered, _) = backend::read_negotiate_protocol_version(body)?;
        let asked = self.ready.version;
        if answered < Version::V3_0 || answered > asked {
            return Err(DialFault::Version { asked, answered });
        }
        self.ready.version = answered;
        Ok(State::Greeting)
    }

    fn authentication(
        &self,
        state: State,
        asked: Authentication,
        out: &mut BytesMut,
        keys: &mut KeyCache,
    ) -> Result<State, DialFault> {
        match (state, asked) {
            (State::Greeting | State::Answered, Authentication::Ok) => Ok(State::Settling),
            (State::Greeting, Authentication::Cleartext) => {
                send_password(out, self.cleartext()?);
                Ok(State::Answered)
            }
            (State::Greeting, Authentication::Md5 { salt }) => {
                send_password(out, &self.digest()?.answer(salt));
                Ok(State::Answered)
            }
            (State::Greeting, Authentication::Sasl { mechanisms }) => {
                if !mechanisms.iter().any(|m| m == scram::MECHANISM) {
                    return Err(DialFault::Mechanism);
                }
                let opening = self.open()?;
                frontend::password(out, &opening.initial_response());
                Ok(State::Opened(opening))
            }
            (State::Opened(opening), Authentication::SaslContinue(data)) => {
                let demand = opening.read(&data)?;
                let proof = demand.prove(&self.keys(&demand.salt, demand.iterations, keys)?);
                frontend::password(out, proof.message().as_bytes());
                Ok(State::Proved(proof))
            }
            (State::Proved(proof), Authentication::SaslFinal(data)) => {
                proof.check(&data)?;
                Ok(State::Answered)
            }
            (State::Greeting, Authentication::Other(method)) => Err(DialFault::Method(Method(method))),
            _ => Err(DialFault::Unexpected(backend::AUTHENTICATION)),
        }
    }

    /// What a node says between its Ok and its ReadyForQuery.
    fn settle(&mut self, frame: &Frame) -> Result<State, DialFault> {
        match frame.tag {
            backend::PARAMETER_STATUS => self.ready.parameters.push(backend::read_parameter_status(frame.body())?),
            backend::BACKEND_KEY_DATA => {
                (self.ready.pid, self.ready.cancel_key) = backend::read_key_data(frame.body())?;
            }
            tag => return Err(DialFault::Unexpected(tag)),
        }
        Ok(State::Settling)
    }

    fn ready(&mut self, body: Bytes) -> Result<DialStep, DialFault> {
        match backend::Status::read(body)? {
            backend::Status::Idle => {}
            _ => return Err(Malformed::Field("transaction status").into()),
        }
        Ok(DialStep::Ready(Ready {
            version: self.ready.version,
            parameters: std::mem::take(&mut self.ready.parameters),
            pid: self.ready.pid,
            cancel_key: std::mem::take(&mut self.ready.cancel_key),
            notices: std::mem::take(&mut self.ready.notices),
        }))
    }

    fn cleartext(&self) -> Result<&str, DialFault> {
        match &self.key {
            NodeKey::Plain(password) => Ok(password),
            NodeKey::Md5(_) | NodeKey::Scram { .. } => Err(self.wants(
                "a password in clear",
                "write the role's password into the users file, or let the node's pg_hba.conf ask for scram-sha-256",
            )),
        }
    }

    fn digest(&self) -> Result<Md5Digest, DialFault> {
        match &self.key {
            NodeKey::Plain(password) => Ok(Md5Digest::of(&self.user, password)),
            NodeKey::Md5(digest) => Ok(digest.clone()),
            NodeKey::Scram { .. } => Err(self.wants(
                "an md5 answer",
                "write the role's md5 verifier or its password into the users file, or give the role on this node the \
                 verifier of the users file",
            )),
        }
    }

    fn open(&self) -> Result<Opening, DialFault> {
        match &self.key {
            NodeKey::Plain(_) | NodeKey::Scram { .. } => Ok(Opening::new(self.nonce)),
            NodeKey::Md5(_) => Err(self.wants(
                "SCRAM-SHA-256",
                "write the role's SCRAM-SHA-256 verifier, as in pg_authid, or its password into the users file",
            )),
        }
    }

    fn keys(&self, salt: &[u8], iterations: u32, cache: &mut KeyCache) -> Result<Keys, DialFault> {
        match &self.key {
            NodeKey::Plain(password) => Ok(cache.derive(password, salt, iterations)),
            NodeKey::Scram { keys, salt: ours, iterations: rounds } if ours == salt && *rounds == iterations => {
                Ok(keys.clone())
            }
            NodeKey::Scram { .. } | NodeKey::Md5(_) => Err(self.wants(
                "SCRAM-SHA-256 with another salt or number of iterations",
                "give the role the same verifier on every node and in the users file (ALTER ROLE … PASSWORD takes one), \
                 or write its password there",
            )),
        }
    }

    fn wants(&self, wanted: &'static str, remedy: &'static str) -> DialFault {
        DialFault::Key { wanted, have: self.key.kind(), remedy }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("user", &self.user).finish_non_exhaustive()
    }
}

fn send_password(out: &mut BytesMut, password: &str) {
    frontend::password(out, &[password.as_bytes(), b"\0"].concat());
}

#[cfg(test)]
mod tests;
