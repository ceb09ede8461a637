//! The server's side: client-first → [`Challenge`] → client-final → [`Claim`] → checked against a verifier.

use super::{Attributes, Key, Nonce, ScramFault, Verifier, decode, encode, hmac, same, sha256, text, xor};

/// The client's first message is answered; its proof is awaited.
#[derive(Debug)]
pub struct Challenge {
    /// The header as the client sent it, which its final message must repeat.
    gs2: &'static str,
    client_bare: String,
    nonce: String,
    message: String,
}

impl Challenge {
    pub fn new(client_first: &[u8], nonce: Nonce, salt: &[u8], iterations: u32) -> Result<Self, ScramFault> {
        Self::with_nonce(client_first, &encode(&nonce), salt, iterations)
    }

    pub(super) fn with_nonce(
        client_first: &[u8],
        ours: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, ScramFault> {
        let (gs2, client_bare) = header(text(client_first)?)?;
        if client_bare.starts_with("m=") {
            return Err(ScramFault::Extension);
        }
        let mut attributes = Attributes(client_bare);
        // The user is the one of the startup packet: PostgreSQL ignores this one too.
        attributes.take('n')?;
        let theirs = attributes.take('r')?;
        if theirs.is_empty() || !theirs.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ScramFault::Invalid('r'));
        }
        let nonce = format!("{theirs}{ours}");
        let message = format!("r={nonce},s={},i={iterations}", encode(salt));
        Ok(Self { gs2, client_bare: client_bare.to_owned(), nonce, message })
    }

    /// What the client is sent.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Reads the client's final message.
    pub fn claim(&self, client_final: &[u8]) -> Result<Claim, ScramFault> {
        let message = text(client_final)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramFault::Missing('p'))?;
        let mut attributes = Attributes(without_proof);
        if attributes.take('c')? != encode(self.gs2.as_bytes()) {
            return Err(ScramFault::ChannelBinding);
        }
        if attributes.take('r')? != self.nonce {
            return Err(ScramFault::Nonce);
        }
        let proof = decode(proof).and_then(|proof| proof.try_into().ok()).ok_or(ScramFault::Invalid('p'))?;
        Ok(Claim { auth_message: format!("{},{},{without_proof}", self.client_bare, self.message), proof })
    }
}

/// The gs2 header and what comes behind it. `n`: the client has no channel binding; `y`: it holds that we have none.
fn header(first: &str) -> Result<(&'static str, &str), ScramFault> {
    let (gs2, behind_flag) = match first.split_at_checked(1) {
        Some(("n", rest)) => ("n,,", rest),
        Some(("y", rest)) => ("y,,", rest),
        Some(("p", _)) => return Err(ScramFault::ChannelBinding),
        _ => return Err(ScramFault::Header),
    };
    match behind_flag.strip_prefix(",,") {
        Some(bare) => Ok((gs2, bare)),
        None if behind_flag.starts_with(",a=") => Err(ScramFault::AuthorizationIdentity),
        None => Err(ScramFault::Header),
    }
}

/// A client's proof, not believed yet.
pub struct Claim {
    auth_message: String,
    proof: Key,
}

impl Claim {
    /// The client's key, if the proof shows that the client has it.
    pub fn check(&self, verifier: &Verifier) -> Option<Key> {
        let client_key = xor(self.proof, hmac(&verifier.stored_key, &[self.auth_message.as_bytes()]));
        same(&sha256(&client_key), &verifier.stored_key).then_some(client_key)
    }

    /// What a client whose proof was right is sent: that we know its password too.
    pub fn server_final(&self, server_key: &Key) -> String {
        format!("v={}", encode(&hmac(server_key, &[self.auth_message.as_bytes()])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(first: &str) -> Result<Challenge, ScramFault> {
        Challenge::new(first.as_bytes(), [0; 18], b"salt", 1)
    }

    #[test]
    fn a_first_message_is_refused_for_what_is_wrong_with_it() {
        for (message, fault) in [
            ("", ScramFault::Header),
            ("x,,n=,r=a", ScramFault::Header),
            ("n,n=,r=a", ScramFault::Header),
            ("ü", ScramFault::Header),
            ("p=tls-server-end-point,,n=,r=a", ScramFault::ChannelBinding),
            ("n,a=bob,n=,r=a", ScramFault::AuthorizationIdentity),
            ("n,,m=x,n=,r=a", ScramFault::Extension),
            ("n,,r=a", ScramFault::Missing('n')),
            ("n,,n=ann", ScramFault::Missing('r')),
            ("n,,n=,r=", ScramFault::Invalid('r')),
            ("n,,n=,r=a b", ScramFault::Invalid('r')),
        ] {
            assert_eq!(challenge(message).unwrap_err(), fault, "{message:?}");
        }
        assert_eq!(Challenge::new(b"n,,n=\xff", [0; 18], b"s", 1).unwrap_err(), ScramFault::NotUtf8);
    }

    #[test]
    fn a_final_message_is_refused_when_it_is_not_of_this_exchange() {
        let challenge = challenge("y,,n=,r=abc").unwrap();
        let nonce = format!("abc{}", encode(&[0; 18]));
        let proof = encode(&[0; 32]);
        for (message, fault) in [
            (format!("c=eSws,r={nonce}"), ScramFault::Missing('p')),
            (format!("c=biws,r={nonce},p={proof}"), ScramFault::ChannelBinding),
            (format!("r={nonce},p={proof}"), ScramFault::Missing('c')),
            (format!("c=eSws,r=abc,p={proof}"), ScramFault::Nonce),
            (format!("c=eSws,r={nonce},p=AAAA"), ScramFault::Invalid('p')),
            (format!("c=eSws,r={nonce},p={proof},x=y"), ScramFault::Invalid('p')),
        ] {
            assert_eq!(challenge.claim(message.as_bytes()).err(), Some(fault), "{message}");
        }
        assert!(challenge.claim(format!("c=eSws,r={nonce},x=later,p={proof}").as_bytes()).is_ok());
    }
}
