//! The client's side: [`Opening`] → server-first → [`Demand`] → [`Proof`] → server-final, which is checked.

use super::{
    Attributes, Key, Keys, MAX_ITERATIONS, Nonce, ScramFault, decode, encode, hmac, number, same, sha256, xor,
};
use super::{MECHANISM, text};

const GS2: &str = "n,,";

/// The exchange is opened; the server's salt is awaited.
#[derive(Debug)]
pub struct Opening {
    nonce: String,
    bare: String,
}

impl Opening {
    pub fn new(nonce: Nonce) -> Self {
        let nonce = encode(&nonce);
        let bare = format!("n=,r={nonce}");
        Self { nonce, bare }
    }

    pub fn message(&self) -> String {
        format!("{GS2}{}", self.bare)
    }

    /// The body of a SASLInitialResponse.
    pub fn initial_response(&self) -> Vec<u8> {
        let message = self.message();
        let length = (message.len() as u32).to_be_bytes();
        [MECHANISM.as_bytes(), b"\0", &length, message.as_bytes()].concat()
    }

    /// Reads the server's first message.
    pub fn read(&self, server_first: &[u8]) -> Result<Demand, ScramFault> {
        let message = text(server_first)?;
        if message.starts_with("m=") {
            return Err(ScramFault::Extension);
        }
        let mut attributes = Attributes(message);
        let nonce = attributes.take('r')?;
        // A server that adds nothing could have recorded an exchange and would now repeat it.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramFault::Nonce);
        }
        let salt = decode(attributes.take('s')?).ok_or(ScramFault::Invalid('s'))?;
        let iterations = number(attributes.take('i')?).filter(|n| *n > 0).ok_or(ScramFault::Invalid('i'))?;
        if iterations > MAX_ITERATIONS {
            return Err(ScramFault::Iterations(iterations));
        }
        let without_proof = format!("c={},r={nonce}", encode(GS2.as_bytes()));
        let auth_message = format!("{},{message},{without_proof}", self.bare);
        Ok(Demand { salt, iterations, without_proof, auth_message })
    }
}

/// The server has said for which salt and iterations it wants the keys.
#[derive(Debug)]
pub struct Demand {
    pub salt: Vec<u8>,
    pub iterations: u32,
    without_proof: String,
    auth_message: String,
}

impl Demand {
    pub fn prove(&self, keys: &Keys) -> Proof {
        let signature = hmac(&sha256(&keys.client_key), &[self.auth_message.as_bytes()]);
        let proof = encode(&xor(keys.client_key, signature));
        Proof {
            message: format!("{},p={proof}", self.without_proof),
            expected: hmac(&keys.server_key, &[self.auth_message.as_bytes()]),
        }
    }
}

/// We have proved ourselves; the server has to.
pub struct Proof {
    message: String,
    expected: Key,
}

impl Proof {
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server's final message shows that it knows the password.
    pub fn check(&self, server_final: &[u8]) -> Result<(), ScramFault> {
        let message = text(server_final)?;
        if let Some(error) = message.strip_prefix("e=") {
            return Err(ScramFault::Refusal(error.to_owned()));
        }
        let signature = decode(Attributes(message).take('v')?).ok_or(ScramFault::Invalid('v'))?;
        if same(&signature, &self.expected) { Ok(()) } else { Err(ScramFault::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_of_the_server_is_refused_for_what_is_wrong_with_it() {
        let opening = Opening::new([0; 18]);
        let nonce = &opening.nonce;
        for (message, fault) in [
            (String::new(), ScramFault::Missing('r')),
            ("m=x,r=y".into(), ScramFault::Extension),
            (format!("r={nonce},s=c2FsdA==,i=1"), ScramFault::Nonce),
            (format!("r=x{nonce},s=c2FsdA==,i=1"), ScramFault::Nonce),
            (format!("r={nonce}x"), ScramFault::Missing('s')),
            (format!("r={nonce}x,s=!,i=1"), ScramFault::Invalid('s')),
            (format!("r={nonce}x,s=c2FsdA=="), ScramFault::Missing('i')),
            (format!("r={nonce}x,s=c2FsdA==,i=0"), ScramFault::Invalid('i')),
            (format!("r={nonce}x,s=c2FsdA==,i=-1"), ScramFault::Invalid('i')),
            (format!("r={nonce}x,s=c2FsdA==,i=100001"), ScramFault::Iterations(100_001)),
        ] {
            assert_eq!(opening.read(message.as_bytes()).unwrap_err(), fault, "{message:?}");
        }
        assert_eq!(opening.read(b"\xff").unwrap_err(), ScramFault::NotUtf8);
    }

    #[test]
    fn a_final_message_without_the_right_signature_is_a_fault() {
        let opening = Opening::new([0; 18]);
        let demand = opening.read(format!("r={}x,s=c2FsdA==,i=1", opening.nonce).as_bytes()).unwrap();
        let proof = demand.prove(&Keys::derive("secret", &demand.salt, demand.iterations));
        for (message, fault) in [
            ("e=other-error", ScramFault::Refusal("other-error".into())),
            ("", ScramFault::Missing('v')),
            ("v=!", ScramFault::Invalid('v')),
            ("v=", ScramFault::Signature),
            ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ScramFault::Signature),
        ] {
            assert_eq!(proof.check(message.as_bytes()), Err(fault), "{message:?}");
        }
        let right = format!("v={},x=later", encode(&proof.expected));
        assert_eq!(proof.check(right.as_bytes()), Ok(()));
    }
}
