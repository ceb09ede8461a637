//! We log in to a node, as a client's role.
//!
//! ```text
//! start ─▶ Greeting ─┬─ Ok (trust) ────────────────────────────────────────────▶ Settling ─▶ Ready
//!                    ├─ Cleartext, MD5 ─▶ Answered ─ Ok ──────────────────────────▶ │
//!                    └─ SASL ─▶ Challenged ─ Continue ─▶ Proving ─ Final ─▶ Answered ┘
//! ```

use bytes::{Bytes, BytesMut};

use super::md5::Md5Digest;
use super::scram::{self, Keys, MAX_ITERATIONS};
use super::{KeyCache, NodeKey};
use crate::wire::backend::{self, Authentication, Status};
use crate::wire::notice::Fields;
use crate::wire::startup::{self, Version};
use crate::wire::{Frame, Malformed, frontend};

pub struct Ready {
    /// ParameterStatus, in the order in which they came.
    pub parameters: Vec<(Bytes, Bytes)>,
    pub pid: u32,
    pub cancel_key: Bytes,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    #[error("the node asks for an authentication method that is not known here ({0})")]
    Method(i32),
    #[error("the node's SCRAM message is wrong: {0}")]
    Scram(&'static str),
    #[error("the node sent a message of type {:?} where none may be", char::from(*.0))]
    Unexpected(u8),
    #[error("the node sent a malformed message: {0}")]
    Malformed(#[from] Malformed),
}

#[derive(Debug)]
enum State {
    Greeting,
    /// A password was sent, or the server's signature was right.
    Answered,
    Challenged {
        nonce: String,
        first_bare: String,
    },
    Proving {
        signature: [u8; 32],
    },
    Settling,
    /// A fault was found: nothing that follows is believed.
    Over,
}

pub struct Dial {
    user: String,
    parameters: Vec<(Bytes, Bytes)>,
    key: NodeKey,
    nonce: [u8; 18],
    state: State,
    told: Vec<(Bytes, Bytes)>,
    cancel: Option<(u32, Bytes)>,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("user", &self.user).field("state", &self.state).finish_non_exhaustive()
    }
}

/// ParameterStatus messages that a node may send at the login.
const MAX_PARAMETERS: usize = 1000;

impl Dial {
    /// `parameters`: those of the startup packet besides `user`.
    pub fn new(user: &str, parameters: Vec<(Bytes, Bytes)>, key: NodeKey, nonce: [u8; 18]) -> Self {
        Self { user: user.to_owned(), parameters, key, nonce, state: State::Greeting, told: Vec::new(), cancel: None }
    }

    pub fn start(&mut self, out: &mut BytesMut) {
        let user = (&b"user"[..], self.user.as_bytes());
        let others = self.parameters.iter().map(|(name, value)| (&name[..], &value[..]));
        startup::write_session(out, Version::V3_0, std::iter::once(user).chain(others));
    }

    pub fn handle(&mut self, frame: &Frame, out: &mut BytesMut, keys: &mut KeyCache) -> Result<DialStep, DialFault> {
        match frame.tag {
            backend::ERROR_RESPONSE => return Err(DialFault::Node(Fields::read(frame.body())?)),
            backend::NOTICE_RESPONSE | backend::NEGOTIATE_PROTOCOL_VERSION => {}
            backend::AUTHENTICATION => self.authentication(Authentication::read(frame.body())?, out, keys)?,
            _ if !matches!(self.state, State::Settling) => return Err(DialFault::Unexpected(frame.tag)),
            backend::PARAMETER_STATUS if self.told.len() < MAX_PARAMETERS => {
                self.told.push(backend::read_parameter_status(frame.body())?);
            }
            backend::BACKEND_KEY_DATA => self.cancel = Some(backend::read_key_data(frame.body())?),
            backend::READY_FOR_QUERY => {
                Status::read(frame.body())?;
                let (pid, cancel_key) = self.cancel.take().unwrap_or_default();
                return Ok(DialStep::Ready(Ready { parameters: std::mem::take(&mut self.told), pid, cancel_key }));
            }
            other => return Err(DialFault::Unexpected(other)),
        }
        Ok(DialStep::Continue)
    }

    fn authentication(
        &mut self,
        asked: Authentication,
        out: &mut BytesMut,
        keys: &mut KeyCache,
    ) -> Result<(), DialFault> {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, asked) {
            (State::Greeting | State::Answered, Authentication::Ok) => State::Settling,
            (State::Greeting, Authentication::Cleartext) => {
                let NodeKey::Plain(password) = &self.key else { return Err(self.wants("a password in clear")) };
                send_password(out, password);
                State::Answered
            }
            (State::Greeting, Authentication::Md5 { salt }) => {
                let digest = match &self.key {
                    NodeKey::Plain(password) => Md5Digest::of(&self.user, password),
                    NodeKey::Md5(digest) => digest.clone(),
                    NodeKey::Scram { .. } => return Err(self.wants("md5")),
                };
                send_password(out, &digest.answer(salt));
                State::Answered
            }
            (State::Greeting, Authentication::Sasl { mechanisms }) => self.client_first(&mechanisms, out)?,
            (State::Challenged { nonce, first_bare }, Authentication::SaslContinue(data)) => {
                self.client_final(&nonce, &first_bare, &data, out, keys)?
            }
            (State::Proving { signature }, Authentication::SaslFinal(data)) => {
                check_signature(&data, &signature)?;
                State::Answered
            }
            (State::Greeting, Authentication::Other(method)) => return Err(DialFault::Method(method)),
            _ => return Err(DialFault::Unexpected(backend::AUTHENTICATION)),
        };
        Ok(())
    }

    fn client_first(&self, mechanisms: &[Bytes], out: &mut BytesMut) -> Result<State, DialFault> {
        if !mechanisms.iter().any(|m| m == scram::MECHANISM) {
            return Err(DialFault::Scram("it offers no mechanism that is known here"));
        }
        if matches!(self.key, NodeKey::Md5(_)) {
            return Err(self.wants("SCRAM-SHA-256"));
        }
        let nonce = scram::encode(&self.nonce);
        let first_bare = format!("n=,r={nonce}");
        let message = format!("n,,{first_bare}");
        let mut data = scram::MECHANISM.as_bytes().to_vec();
        data.push(0);
        data.extend((message.len() as u32).to_be_bytes());
        data.extend(message.as_bytes());
        frontend::password(out, &data);
        Ok(State::Challenged { nonce, first_bare })
    }

    fn client_final(
        &self,
        nonce: &str,
        first_bare: &str,
        data: &[u8],
        out: &mut BytesMut,
        keys: &mut KeyCache,
    ) -> Result<State, DialFault> {
        let first = std::str::from_utf8(data).map_err(|_| DialFault::Scram("it is not UTF-8"))?;
        let (theirs, rest) = scram::attribute(first, 'r').ok_or(DialFault::Scram("it has no nonce"))?;
        if theirs.len() <= nonce.len() || !theirs.starts_with(nonce) {
            return Err(DialFault::Scram("its nonce does not begin with ours"));
        }
        let (salt, rest) = scram::attribute(rest, 's').ok_or(DialFault::Scram("it has no salt"))?;
        let salt = scram::decode(salt).ok_or(DialFault::Scram("its salt is not base64"))?;
        let (iterations, _) = scram::attribute(rest, 'i').ok_or(DialFault::Scram("it has no number of iterations"))?;
        let iterations: u32 =
            iterations.parse().map_err(|_| DialFault::Scram("its number of iterations is not one"))?;
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(DialFault::Scram("its number of iterations is out of bounds"));
        }
        let keys = self.keys(&salt, iterations, keys)?;
        let without_proof = format!("c=biws,r={theirs}");
        let auth_message = format!("{first_bare},{first},{without_proof}");
        let proof = scram::encode(&scram::proof(&keys.client_key, &auth_message));
        frontend::password(out, format!("{without_proof},p={proof}").as_bytes());
        Ok(State::Proving { signature: scram::server_signature(&keys.server_key, &auth_message) })
    }

    fn keys(&self, salt: &[u8], iterations: u32, cache: &mut KeyCache) -> Result<Keys, DialFault> {
        match &self.key {
            NodeKey::Plain(password) => Ok(cache.derive(password, salt, iterations)),
            NodeKey::Scram { keys, salt: ours, iterations: rounds } if ours == salt && *rounds == iterations => {
                Ok(keys.clone())
            }
            NodeKey::Scram { .. } => Err(DialFault::Key {
                wanted: "SCRAM-SHA-256 with another salt or number of iterations",
                have: self.key.kind(),
                remedy: "give the role the same verifier on every node and in the users file, or write its password there",
            }),
            NodeKey::Md5(_) => Err(self.wants("SCRAM-SHA-256")),
        }
    }

    fn wants(&self, wanted: &'static str) -> DialFault {
        DialFault::Key {
            wanted,
            have: self.key.kind(),
            remedy: "write the password, or a verifier of that kind, into the users file",
        }
    }
}

fn check_signature(data: &[u8], signature: &[u8; 32]) -> Result<(), DialFault> {
    let text = std::str::from_utf8(data).ok().and_then(|text| scram::attribute(text, 'v'));
    let (theirs, _) = text.ok_or(DialFault::Scram("its last message has no signature"))?;
    if !scram::decode(theirs).is_some_and(|theirs| scram::same(&theirs, signature)) {
        return Err(DialFault::Scram("its signature shows that it does not know the password"));
    }
    Ok(())
}

fn send_password(out: &mut BytesMut, password: &str) {
    let mut data = password.as_bytes().to_vec();
    data.push(0);
    frontend::password(out, &data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::login::{Login, LoginEntropy, LoginStep};
    use crate::auth::{Secret, scram};
    use crate::wire::take_frame;

    fn frames(bytes: &mut BytesMut) -> Vec<Frame> {
        std::iter::from_fn(|| take_frame(bytes, 100_000).unwrap()).collect()
    }

    fn dial(key: NodeKey) -> Dial {
        Dial::new("ann", vec![], key, [3; 18])
    }

    /// Our two roles against each other; postgres-protocol vouches for the server side in `login`.
    fn converse(secret: &Secret, key: NodeKey) -> Result<DialStep, DialFault> {
        let entropy = LoginEntropy { md5_salt: [1; 4], nonce: [2; 18], mock_salt: [4; 16] };
        let (mut login, question) = Login::new(Some(secret), "ann", entropy);
        let mut to_client = BytesMut::new();
        question.write(&mut to_client);
        let (mut dial, mut cache) = (dial(key), KeyCache::default());
        loop {
            let mut to_server = BytesMut::new();
            for frame in frames(&mut to_client) {
                if let DialStep::Ready(ready) = dial.handle(&frame, &mut to_server, &mut cache)? {
                    return Ok(DialStep::Ready(ready));
                }
            }
            for frame in frames(&mut to_server) {
                match login.handle(frame.body()) {
                    LoginStep::Send(bytes) => to_client.extend_from_slice(&bytes),
                    LoginStep::Done { messages, .. } => {
                        to_client.extend_from_slice(&messages);
                        Authentication::Ok.write(&mut to_client);
                        backend::parameter_status(&mut to_client, b"a", b"b");
                        backend::key_data(&mut to_client, 77, b"1234");
                        backend::ready_for_query(&mut to_client, Status::Idle);
                    }
                    LoginStep::Refused(fault) => crate::wire::notice::error(&mut to_client, &fault),
                }
            }
        }
    }

    #[test]
    fn each_kind_of_key_opens_what_it_can_open() {
        let plain = || NodeKey::Plain("secret".into());
        let keys = Keys::derive("secret", b"salt", 10);
        let verifier = Secret::Scram(keys.verifier(b"salt", 10));
        let md5 = || Md5Digest::of("ann", "secret");
        for (secret, key) in [
            (Secret::Plain("secret".into()), plain()),
            (verifier.clone(), plain()),
            (verifier.clone(), NodeKey::Scram { keys: keys.clone(), salt: b"salt".to_vec(), iterations: 10 }),
            (Secret::Md5(md5()), plain()),
            (Secret::Md5(md5()), NodeKey::Md5(md5())),
        ] {
            let Ok(DialStep::Ready(ready)) = converse(&secret, key) else { panic!("{secret:?}") };
            assert_eq!((ready.pid, &ready.cancel_key[..], ready.parameters.len()), (77, &b"1234"[..], 1));
        }
        let other_salt = NodeKey::Scram { keys, salt: b"tlas".to_vec(), iterations: 10 };
        assert!(matches!(converse(&verifier, other_salt), Err(DialFault::Key { .. })));
        assert!(matches!(converse(&verifier, NodeKey::Md5(md5())), Err(DialFault::Key { .. })));
        assert!(matches!(converse(&verifier, NodeKey::Plain("geheim".into())), Err(DialFault::Node(_))));
    }

    #[test]
    fn a_server_that_cannot_prove_that_it_knows_the_password_is_not_believed() {
        let mut cache = KeyCache::default();
        let mut dial = dial(NodeKey::Plain("secret".into()));
        let mut out = BytesMut::new();
        let mut say = |dial: &mut Dial, message: Authentication| {
            let mut bytes = BytesMut::new();
            message.write(&mut bytes);
            dial.handle(&frames(&mut bytes)[0], &mut out, &mut cache)
        };
        say(&mut dial, Authentication::Sasl { mechanisms: vec!["SCRAM-SHA-256".into()] }).unwrap();
        let first = format!("r={}xyz,s=c2FsdA==,i=10", scram::encode(&[3; 18]));
        say(&mut dial, Authentication::SaslContinue(first.into())).unwrap();
        assert!(matches!(say(&mut dial, Authentication::Ok), Err(DialFault::Unexpected(_))));
        assert!(matches!(say(&mut dial, Authentication::Ok), Err(DialFault::Unexpected(_))), "nor the second time");
    }

    #[test]
    fn a_node_that_answers_nonsense_is_a_fault() {
        let mut cache = KeyCache::default();
        for bytes in [&b"D\0\0\0\x04"[..], b"R\0\0\0\x06\0\0", b"Z\0\0\0\x05I", b"R\0\0\0\x08\0\0\0\x0b"] {
            let frame = frames(&mut BytesMut::from(bytes)).remove(0);
            let result = dial(NodeKey::Plain("x".into())).handle(&frame, &mut BytesMut::new(), &mut cache);
            assert!(result.is_err(), "{bytes:?}");
        }
    }
}
