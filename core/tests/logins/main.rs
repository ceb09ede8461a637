//! Both roles of a login as a stranger meets them: postgres-protocol is the client of `Login`, and makes the verifiers of
//! the nodes that `Dial` logs in to.

mod client_to_us;
mod us_to_a_node;

use bytes::{BufMut, Bytes, BytesMut};
use lockstep_core::auth::login::{Login, LoginEntropy, LoginStep};
use lockstep_core::auth::{KeyCache, Users};
use lockstep_core::limits;
use lockstep_core::wire::take_frame;
use postgres_protocol::password;

const ENTROPY: LoginEntropy = LoginEntropy { md5_salt: [1, 2, 3, 4], nonce: [7; 18], mock_secret: [9; 32] };

/// ASCII; what SASLprep keeps, maps, drops, and forbids.
const PASSWORDS: [&str; 6] = ["secret", " with spaces ", "säcret", "ＡＢＣ\u{2168}", "I\u{ad}X", "bell\u{7}"];

fn users(entry: &str) -> Users {
    Users::parse(&format!("ann:{entry}")).expect("an entry that can be read")
}

/// The kinds of entry for one password: itself, SCRAM, md5.
fn entries(password: &str) -> [String; 3] {
    [password.to_owned(), password::scram_sha_256(password.as_bytes()), password::md5(password.as_bytes(), "ann")]
}

/// What the first message in `bytes` says, without its header.
fn body(bytes: &[u8]) -> Bytes {
    take_frame(&mut BytesMut::from(bytes), limits::AUTH_MESSAGE).unwrap().expect("a whole frame").body()
}

/// The text of the SASL message in `bytes`.
fn sasl_text(bytes: &[u8]) -> String {
    String::from_utf8(body(bytes)[4..].to_vec()).expect("SCRAM messages are text")
}

/// Logins here share no keys.
fn handle(login: &mut Login, body: impl Into<Bytes>) -> LoginStep {
    login.handle(body.into(), &mut KeyCache::default())
}

fn initial_response(message: &[u8]) -> Bytes {
    let mut body = BytesMut::from(&b"SCRAM-SHA-256\0"[..]);
    body.put_i32(message.len() as i32);
    body.put_slice(message);
    body.freeze()
}
