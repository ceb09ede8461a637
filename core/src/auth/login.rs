//! A client logs in to us.
//!
//! ```text
//! Md5 entry:            AuthenticationMD5Password ─▶ answer ─▶ Done | Refused
//! any other, or none:   AuthenticationSASL ─▶ client-first ─▶ Send(server-first) ─▶ client-final ─▶ Done | Refused
//! ```
//!
//! A user who is not in the users file goes through the same SCRAM exchange as a wrong password: the same salt at every
//! attempt, the same words at the end, and after the same work. (An md5 entry shows itself by the first message, as in
//! PostgreSQL.) An exchange is over with its first refusal.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::md5::Md5Digest;
use super::scram::server::Challenge;
use super::scram::{self, ITERATIONS, Key, Keys, Nonce, ScramFault, Verifier};
use super::{KeyCache, NodeKey, Secret};
use crate::fault::{Fault, SqlState};
use crate::wire::backend::Authentication;
use crate::wire::{Cursor, Malformed};

/// Random bytes for a login.
#[derive(Clone, Copy)]
pub struct LoginEntropy {
    /// New for every login.
    pub md5_salt: [u8; 4],
    /// New for every login.
    pub nonce: Nonce,
    /// The same for every login: salts are made of it, and one that changed would betray that there is no stored one.
    pub mock_secret: Key,
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

pub struct Login {
    user: String,
    state: State,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

enum State {
    Md5 { digest: Md5Digest, salt: [u8; 4] },
    ClientFirst { account: Account, nonce: Nonce },
    ClientFinal { account: Account, challenge: Challenge },
    Over,
}

/// Whom a SCRAM exchange is about.
enum Account {
    Stored(Verifier),
    Password { password: String, salt: [u8; 16] },
    Nobody { salt: [u8; 16] },
}

impl Account {
    fn salt(&self) -> &[u8] {
        match self {
            Self::Stored(verifier) => &verifier.salt,
            Self::Password { salt, .. } | Self::Nobody { salt } => salt,
        }
    }

    fn iterations(&self) -> u32 {
        match self {
            Self::Stored(verifier) => verifier.iterations,
            Self::Password { .. } | Self::Nobody { .. } => ITERATIONS,
        }
    }

    fn verifier(&self, keys: &mut KeyCache) -> Verifier {
        match self {
            Self::Stored(verifier) => verifier.clone(),
            Self::Password { password, salt } => keys.derive(password, salt, ITERATIONS).verifier(salt, ITERATIONS),
            Self::Nobody { salt } => Verifier::of_nobody(salt, ITERATIONS),
        }
    }

    /// The verifier is made, not found.
    fn costs_a_derivation(&self, keys: &KeyCache) -> bool {
        matches!(self, Self::Password { password, salt } if !keys.knows(password, salt, ITERATIONS))
    }
}

/// What a refusal takes when nothing had to be derived for it, so that its time does not tell who is there.
fn take_the_time_of_a_derivation(salt: &[u8]) {
    std::hint::black_box(Keys::derive("", salt, ITERATIONS));
}

impl Login {
    /// The login and its first message. `secret`: the user's in the users file.
    pub fn new(secret: Option<&Secret>, user: &str, entropy: LoginEntropy) -> (Self, Authentication) {
        let salt = scram::mock_salt(&entropy.mock_secret, user);
        let account = match secret {
            Some(Secret::Md5(digest)) => {
                let salt = entropy.md5_salt;
                let state = State::Md5 { digest: digest.clone(), salt };
                return (Self { user: user.to_owned(), state }, Authentication::Md5 { salt });
            }
            Some(Secret::Scram(verifier)) => Account::Stored(verifier.clone()),
            Some(Secret::Plain(password)) => Account::Password { password: password.clone(), salt },
            None => Account::Nobody { salt },
        };
        let state = State::ClientFirst { account, nonce: entropy.nonce };
        let mechanisms = vec![Bytes::from_static(scram::MECHANISM.as_bytes())];
        (Self { user: user.to_owned(), state }, Authentication::Sasl { mechanisms })
    }

    /// The body of the client's next password message. May derive a key, unless `keys` has it.
    pub fn handle(&mut self, body: Bytes, keys: &mut KeyCache) -> LoginStep {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::Md5 { digest, salt } => self.md5(digest, salt, body),
            State::ClientFirst { account, nonce } => self.client_first(account, nonce, body),
            State::ClientFinal { account, challenge } => self.client_final(&account, &challenge, &body, keys),
            State::Over => Err(Fault::protocol("a password message came after the end of the login")),
        };
        step.unwrap_or_else(LoginStep::Refused)
    }

    fn md5(&self, digest: Md5Digest, salt: [u8; 4], body: Bytes) -> Result<LoginStep, Fault> {
        let mut cursor = Cursor::new(body);
        let answer = cursor.cstr().map_err(malformed)?;
        cursor.finish().map_err(malformed)?;
        if !scram::same(&answer, digest.answer(salt).as_bytes()) {
            return Err(self.wrong_password());
        }
        Ok(LoginStep::Done { messages: Bytes::new(), key: NodeKey::Md5(digest) })
    }

    fn client_first(&mut self, account: Account, nonce: Nonce, body: Bytes) -> Result<LoginStep, Fault> {
        let mut cursor = Cursor::new(body);
        if cursor.cstr().map_err(malformed)? != scram::MECHANISM {
            return Err(Fault::protocol("client selected an invalid SASL authentication mechanism"));
        }
        let message = cursor.value().map_err(malformed)?;
        cursor.finish().map_err(malformed)?;
        // The message may come late in SASL; no client of PostgreSQL does that.
        let message = message.ok_or_else(|| malformed(Malformed::Field("initial response")))?;
        let challenge = Challenge::new(&message, nonce, account.salt(), account.iterations()).map_err(scram_fault)?;
        let mut out = BytesMut::new();
        Authentication::SaslContinue(challenge.message().to_owned().into()).write(&mut out);
        self.state = State::ClientFinal { account, challenge };
        Ok(LoginStep::Send(out))
    }

    fn client_final(
        &self,
        account: &Account,
        challenge: &Challenge,
        body: &[u8],
        keys: &mut KeyCache,
    ) -> Result<LoginStep, Fault> {
        let claim = challenge.claim(body).map_err(scram_fault)?;
        let derives = account.costs_a_derivation(keys);
        let verifier = account.verifier(keys);
        let Some(client_key) = claim.check(&verifier) else {
            if !derives {
                take_the_time_of_a_derivation(account.salt());
            }
            return Err(self.wrong_password());
        };
        let mut messages = BytesMut::new();
        Authentication::SaslFinal(claim.server_final(&verifier.server_key).into()).write(&mut messages);
        let key = match account {
            Account::Password { password, .. } => NodeKey::Plain(password.clone()),
            Account::Stored(_) => NodeKey::Scram {
                keys: Keys { client_key, server_key: verifier.server_key },
                salt: verifier.salt,
                iterations: verifier.iterations,
            },
            Account::Nobody { .. } => return Err(self.wrong_password()),
        };
        Ok(LoginStep::Done { messages: messages.freeze(), key })
    }

    fn wrong_password(&self) -> Fault {
        Fault::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{}\"", self.user))
    }
}

fn malformed(fault: Malformed) -> Fault {
    Fault::protocol(format!("invalid password message: {fault}"))
}

fn scram_fault(fault: ScramFault) -> Fault {
    let state = match fault {
        ScramFault::AuthorizationIdentity | ScramFault::Extension => SqlState::FEATURE_NOT_SUPPORTED,
        _ => SqlState::PROTOCOL_VIOLATION,
    };
    Fault::fatal(state, "malformed SCRAM message").with_detail(format!("The message is wrong: {fault}."))
}

/// Whole exchanges with a client that is not ours are in `core/tests/logins`.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::take_frame;

    const ENTROPY: LoginEntropy = LoginEntropy { md5_salt: [1, 2, 3, 4], nonce: [7; 18], mock_secret: [9; 32] };

    fn initial_response(message: &[u8]) -> Bytes {
        let length = (message.len() as u32).to_be_bytes();
        [b"SCRAM-SHA-256\0", &length[..], message].concat().into()
    }

    fn step(secret: Option<&Secret>, body: impl Into<Bytes>) -> LoginStep {
        Login::new(secret, "ann", ENTROPY).0.handle(body.into(), &mut KeyCache::default())
    }

    fn refusal(step: LoginStep) -> SqlState {
        match step {
            LoginStep::Refused(fault) => fault.state,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn an_unknown_user_is_asked_and_challenged_like_one_with_a_password() {
        let challenge = |secret: Option<&Secret>| match step(secret, initial_response(b"n,,n=,r=abc")) {
            LoginStep::Send(mut out) => take_frame(&mut out, 1000).unwrap().unwrap().raw,
            other => panic!("no challenge: {other:?}"),
        };
        let known = Secret::Plain("secret".into());
        assert_eq!(Login::new(None, "ann", ENTROPY).1, Login::new(Some(&known), "ann", ENTROPY).1);
        assert_eq!(challenge(None), challenge(Some(&known)));
    }

    #[test]
    fn an_md5_answer_is_right_wrong_or_malformed() {
        let digest = Md5Digest::of("ann", "secret");
        let secret = Secret::Md5(digest.clone());
        let right = digest.answer(ENTROPY.md5_salt) + "\0";
        assert!(matches!(step(Some(&secret), right.clone()), LoginStep::Done { key: NodeKey::Md5(_), .. }));
        for wrong in ["\0", "secret\0", &right.to_uppercase()] {
            assert_eq!(refusal(step(Some(&secret), wrong.to_owned())), SqlState::INVALID_PASSWORD, "{wrong:?}");
        }
        for malformed in ["", right.trim_end_matches('\0'), &format!("{right}x")] {
            let step = step(Some(&secret), malformed.to_owned());
            assert_eq!(refusal(step), SqlState::PROTOCOL_VIOLATION, "{malformed:?}");
        }
    }

    #[test]
    fn a_first_message_that_is_malformed_is_a_protocol_violation_and_one_of_later_scram_is_not_supported() {
        for body in [
            &b"SCRAM-SHA-256-PLUS\0\0\0\0\0"[..],
            b"SCRAM-SHA-256\0\0\0\0\0",
            b"SCRAM-SHA-256\0\0\0\0\x09short",
            b"SCRAM-SHA-256\0\xff\xff\xff\xff",
            b"SCRAM-SHA-256",
            b"",
        ] {
            assert_eq!(refusal(step(None, body)), SqlState::PROTOCOL_VIOLATION, "{body:?}");
        }
        for message in [&b"n,a=bob,n=,r=abc"[..], b"n,,m=x,n=,r=abc"] {
            assert_eq!(refusal(step(None, initial_response(message))), SqlState::FEATURE_NOT_SUPPORTED, "{message:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (login, _) = Login::new(Some(&Secret::Plain("hunter2".into())), "ann", ENTROPY);
        assert_eq!(format!("{login:?}"), "Login { user: \"ann\", .. }");
    }
}
