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

#[cfg(test)]
mod tests;
