//! A client logs in to us.
//!
//! ```text
//! Md5 entry:            AuthenticationMD5Password ─▶ answer ─▶ Done | Refused
//! any other, or none:   AuthenticationSASL ─▶ client-first ─▶ Send(server-first) ─▶ client-final ─▶ Done | Refused
//! ```
//!
//! A user who is not in the users file goes through the same exchange as a wrong password: a salt that is the same at every
//! attempt, a refusal at the end with the same words and after the same work. Only md5 entries show, by their question;
//! PostgreSQL's do too.

use bytes::{Bytes, BytesMut};

use super::md5::Md5Digest;
use super::scram::{self, ITERATIONS, Key, Keys};
use super::{NodeKey, Secret};
use crate::fault::{Fault, SqlState};
use crate::wire::backend::Authentication;
use crate::wire::{Cursor, Malformed};

/// Random bytes for a login: two fresh ones, and a secret of the process.
#[derive(Clone, Copy)]
pub struct LoginEntropy {
    pub md5_salt: [u8; 4],
    pub nonce: [u8; 18],
    /// Of this and the user's name a salt is made where the users file has none. The same for all logins: a salt that
    /// changed from one attempt to the next would tell that there is no verifier.
    pub mock_salt: [u8; 16],
}

impl std::fmt::Debug for LoginEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginEntropy(..)")
    }
}

#[derive(Debug)]
pub enum LoginStep {
    /// A message for the client; its answer is awaited.
    Send(BytesMut),
    /// The client is who it says. `messages` goes out before AuthenticationOk.
    Done {
        messages: Bytes,
        key: NodeKey,
    },
    Refused(Fault),
}

#[derive(Debug)]
pub struct Login {
    user: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Md5 { digest: Md5Digest, salt: [u8; 4] },
    ClientFirst { account: Account, nonce: [u8; 18] },
    ClientFinal { account: Account, nonce: String, gs2: String, auth_message: String },
    Over,
}

/// Whom the exchange is about.
#[derive(Debug)]
struct Account {
    salt: Vec<u8>,
    iterations: u32,
    /// `None`: there is no such user, and every proof is wrong.
    secret: Option<Secret>,
}

impl Account {
    fn new(secret: Option<&Secret>, user: &str, mock_salt: [u8; 16]) -> Self {
        let (salt, iterations) = match secret {
            Some(Secret::Scram(verifier)) => (verifier.salt.clone(), verifier.iterations),
            _ => (scram::salt_for(user, mock_salt).to_vec(), ITERATIONS),
        };
        Self { salt, iterations, secret: secret.cloned() }
    }

    /// The server's key and what the nodes are shown, if `proof` is right.
    fn check(self, auth_message: &str, proof: &[u8]) -> Option<(Key, NodeKey)> {
        match self.secret {
            Some(Secret::Plain(password)) => {
                let keys = Keys::derive(&password, &self.salt, self.iterations);
                let verifier = keys.verifier(&self.salt, self.iterations);
                verifier.check_proof(auth_message, proof)?;
                Some((keys.server_key, NodeKey::Plain(password)))
            }
            Some(Secret::Scram(verifier)) => {
                let Some(client_key) = verifier.check_proof(auth_message, proof) else {
                    take_the_time_of_a_derivation(&self.salt);
                    return None;
                };
                let keys = Keys { client_key, server_key: verifier.server_key };
                Some((keys.server_key, NodeKey::Scram { keys, salt: self.salt, iterations: self.iterations }))
            }
            Some(Secret::Md5(_)) | None => {
                take_the_time_of_a_derivation(&self.salt);
                None
            }
        }
    }
}

/// A wrong password takes as long for a user with a verifier, and for one who does not exist, as for one whose keys have to
/// be derived: the time of a refusal does not tell who is there.
fn take_the_time_of_a_derivation(salt: &[u8]) {
    std::hint::black_box(Keys::derive("", salt, ITERATIONS));
}

impl Login {
    /// The login and its first message.
    pub fn new(secret: Option<&Secret>, user: &str, entropy: LoginEntropy) -> (Self, Authentication) {
        let user = user.to_owned();
        if let Some(Secret::Md5(digest)) = secret {
            let state = State::Md5 { digest: digest.clone(), salt: entropy.md5_salt };
            return (Self { user, state }, Authentication::Md5 { salt: entropy.md5_salt });
        }
        let account = Account::new(secret, &user, entropy.mock_salt);
        let state = State::ClientFirst { account, nonce: entropy.nonce };
        let mechanisms = vec![Bytes::from_static(scram::MECHANISM.as_bytes())];
        (Self { user, state }, Authentication::Sasl { mechanisms })
    }

    /// The body of the client's next password message.
    pub fn handle(&mut self, body: Bytes) -> LoginStep {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::Md5 { digest, salt } => self.md5(&digest, salt, body),
            State::ClientFirst { account, nonce } => self.client_first(account, nonce, body),
            State::ClientFinal { account, nonce, gs2, auth_message } => {
                self.client_final(account, &nonce, &gs2, &auth_message, &body)
            }
            State::Over => Err(Fault::protocol("a password message came after the end of the login")),
        };
        step.unwrap_or_else(LoginStep::Refused)
    }

    fn md5(&self, digest: &Md5Digest, salt: [u8; 4], body: Bytes) -> Result<LoginStep, Fault> {
        let mut cursor = Cursor::new(body);
        let answer = cursor.cstr().map_err(malformed)?;
        cursor.finish().map_err(malformed)?;
        if !scram::same(&answer, digest.answer(salt).as_bytes()) {
            return Err(self.wrong_password());
        }
        Ok(LoginStep::Done { messages: Bytes::new(), key: NodeKey::Md5(digest.clone()) })
    }

    fn client_first(&mut self, account: Account, nonce: [u8; 18], body: Bytes) -> Result<LoginStep, Fault> {
        let mut cursor = Cursor::new(body);
        let mechanism = cursor.cstr().map_err(malformed)?;
        if mechanism != scram::MECHANISM {
            return Err(Fault::protocol("client selected an invalid SASL authentication mechanism"));
        }
        let message = cursor.value().map_err(malformed)?.ok_or_else(|| sasl_fault("the first message is missing"))?;
        cursor.finish().map_err(malformed)?;
        let message = std::str::from_utf8(&message).map_err(|_| sasl_fault("the first message is not UTF-8"))?;
        // gs2-header: n or y (no channel binding), then an authorization identity, which PostgreSQL does not support.
        let bare = message
            .strip_prefix("n,,")
            .or_else(|| message.strip_prefix("y,,"))
            .ok_or_else(|| sasl_fault("it asks for channel binding or an authorization identity"))?;
        let gs2 = &message[..3];
        let (_, rest) = scram::attribute(bare, 'n').ok_or_else(|| sasl_fault("it has no user attribute"))?;
        let (client_nonce, _) = scram::attribute(rest, 'r').ok_or_else(|| sasl_fault("it has no nonce"))?;
        let printable = !client_nonce.is_empty() && client_nonce.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if !printable {
            return Err(sasl_fault("its nonce has characters that are not printable"));
        }
        let nonce = format!("{client_nonce}{}", scram::encode(&nonce));
        let server_first = format!("r={nonce},s={},i={}", scram::encode(&account.salt), account.iterations);
        let mut out = BytesMut::new();
        Authentication::SaslContinue(Bytes::copy_from_slice(server_first.as_bytes())).write(&mut out);
        let auth_message = format!("{bare},{server_first}");
        self.state = State::ClientFinal { account, nonce, gs2: gs2.to_owned(), auth_message };
        Ok(LoginStep::Send(out))
    }

    fn client_final(
        &self,
        account: Account,
        nonce: &str,
        gs2: &str,
        auth_message: &str,
        body: &[u8],
    ) -> Result<LoginStep, Fault> {
        let message = std::str::from_utf8(body).map_err(|_| sasl_fault("the final message is not UTF-8"))?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or_else(|| sasl_fault("it has no proof"))?;
        let (binding, rest) =
            scram::attribute(without_proof, 'c').ok_or_else(|| sasl_fault("it has no channel binding"))?;
        if binding != scram::encode(gs2.as_bytes()) {
            return Err(sasl_fault("its channel binding is not what was agreed"));
        }
        if scram::attribute(rest, 'r').is_none_or(|(theirs, _)| theirs != nonce) {
            return Err(sasl_fault("its nonce is not the one of this login"));
        }
        let proof = scram::decode(proof).ok_or_else(|| sasl_fault("its proof is not base64"))?;
        let auth_message = format!("{auth_message},{without_proof}");
        let (server_key, key) = account.check(&auth_message, &proof).ok_or_else(|| self.wrong_password())?;
        let signature = scram::server_signature(&server_key, &auth_message);
        let mut messages = BytesMut::new();
        Authentication::SaslFinal(format!("v={}", scram::encode(&signature)).into()).write(&mut messages);
        Ok(LoginStep::Done { messages: messages.freeze(), key })
    }

    fn wrong_password(&self) -> Fault {
        Fault::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{}\"", self.user))
    }
}

fn malformed(fault: Malformed) -> Fault {
    Fault::protocol(format!("invalid password message: {fault}"))
}

fn sasl_fault(what: &'static str) -> Fault {
    Fault::protocol("malformed SCRAM message").with_detail(what)
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;
    use crate::wire::take_frame;

    const ENTROPY: LoginEntropy = LoginEntropy { md5_salt: [1, 2, 3, 4], nonce: [7; 18], mock_salt: [9; 16] };

    fn sasl(login: &mut Login, password: &str) -> LoginStep {
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut first = BytesMut::new();
        first.put_slice(b"SCRAM-SHA-256\0");
        first.put_i32(client.message().len() as i32);
        first.put_slice(client.message());
        let LoginStep::Send(mut answer) = login.handle(first.freeze()) else { panic!("a first message is answered") };
        let body = take_frame(&mut answer, 1000).unwrap().unwrap().body();
        client.update(&body[4..]).unwrap();
        let step = login.handle(Bytes::copy_from_slice(client.message()));
        if let LoginStep::Done { messages, .. } = &step {
            let body = take_frame(&mut BytesMut::from(&messages[..]), 1000).unwrap().unwrap().body();
            client.finish(&body[4..]).expect("the server's signature is right");
        }
        step
    }

    fn refused_with_28p01(step: &LoginStep) -> bool {
        matches!(step, LoginStep::Refused(fault) if fault.state == SqlState::INVALID_PASSWORD)
    }

    #[test]
    fn a_client_with_the_right_password_is_in_and_gives_its_key() {
        let verifier = Keys::derive("secret", b"salt", 4096).verifier(b"salt", 4096);
        let expected = Keys::derive("secret", b"salt", 4096);
        let (mut login, _) = Login::new(Some(&Secret::Scram(verifier)), "ann", ENTROPY);
        let LoginStep::Done { key: NodeKey::Scram { keys, .. }, .. } = sasl(&mut login, "secret") else { panic!() };
        assert_eq!(keys, expected);

        let (mut login, _) = Login::new(Some(&Secret::Plain("secret".into())), "ann", ENTROPY);
        assert!(matches!(sasl(&mut login, "secret"), LoginStep::Done { key: NodeKey::Plain(_), .. }));
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_end_alike() {
        let (mut login, wrong) = Login::new(Some(&Secret::Plain("secret".into())), "ann", ENTROPY);
        let (mut mock, unknown) = Login::new(None, "ann", ENTROPY);
        assert_eq!(wrong, unknown);
        assert!(refused_with_28p01(&sasl(&mut login, "geheim")));
        assert!(refused_with_28p01(&sasl(&mut mock, "geheim")));
    }

    #[test]
    fn md5_takes_the_right_answer_only() {
        let secret = Secret::Md5(Md5Digest::of("ann", "secret"));
        let answer = |password: &str| {
            let (mut login, _) = Login::new(Some(&secret), "ann", ENTROPY);
            let mut text = Md5Digest::of("ann", password).answer(ENTROPY.md5_salt).into_bytes();
            text.push(0);
            login.handle(text.into())
        };
        assert!(matches!(answer("secret"), LoginStep::Done { .. }));
        assert!(refused_with_28p01(&answer("geheim")));
    }

    #[test]
    fn malformed_messages_are_protocol_violations() {
        for body in [
            &b"SCRAM-SHA-256-PLUS\0\0\0\0\0"[..],
            b"SCRAM-SHA-256\0\0\0\0\x09short",
            b"",
            b"SCRAM-SHA-256\0\xff\xff\xff\xff",
        ] {
            let (mut login, _) = Login::new(None, "ann", ENTROPY);
            let step = login.handle(Bytes::copy_from_slice(body));
            assert!(matches!(step, LoginStep::Refused(f) if f.state == SqlState::PROTOCOL_VIOLATION), "{body:?}");
        }
    }
}
