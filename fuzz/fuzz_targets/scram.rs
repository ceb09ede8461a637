//! Arbitrary messages to both ends of a login. Nobody gets in who does not know the password; no node is believed that does
//! not; an end that has said no does not change its mind.
//!
//! The first byte of an input chooses the end and what it knows; the rest is messages, each with its length in a byte.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use lockstep_core::auth::dial::{Dial, DialStep};
use lockstep_core::auth::login::{Login, LoginEntropy, LoginStep};
use lockstep_core::auth::{KeyCache, NodeKey, Secret};
use lockstep_core::limits;
use lockstep_core::wire::{backend, frontend, take_frame};

use lockstep_core::auth::md5::Md5Digest;
use lockstep_core::auth::scram::{Keys, MECHANISM, Verifier};

fuzz_target!(|input: &[u8]| {
    let Some((choice, messages)) = input.split_first() else { return };
    let messages = messages_of(messages);
    match choice % 5 {
        0 => client(Some(scram()), messages),
        1 => client(Some(md5()), messages),
        2 => client(None, messages),
        3 => node(NodeKey::Plain("secret".into()), messages),
        _ => node(key_proved_by_a_client(), messages),
    }
});

/// A verifier of no password that is known to anybody.
fn scram() -> Secret {
    Secret::Scram(Verifier { iterations: 1, salt: b"salt".to_vec(), stored_key: [4; 32], server_key: [5; 32] })
}

fn md5() -> Secret {
    Secret::Md5(Md5Digest::parse("0123456789abcdef0123456789abcdef").expect("32 digits"))
}

fn key_proved_by_a_client() -> NodeKey {
    let keys = Keys { client_key: [4; 32], server_key: [5; 32] };
    NodeKey::Scram { keys, salt: b"salt".to_vec(), iterations: 1 }
}

fn messages_of(mut rest: &[u8]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (message, after) = after.split_at(usize::from(*length).min(after.len()));
        messages.push(Bytes::copy_from_slice(message));
        rest = after;
    }
    messages
}

fn client(secret: Option<Secret>, messages: Vec<Bytes>) {
    let entropy = LoginEntropy { md5_salt: [1; 4], nonce: [2; 18], mock_secret: [3; 32] };
    let (mut login, _) = Login::new(secret.as_ref(), "ann", entropy);
    let (mut keys, mut refused) = (KeyCache::default(), false);
    for message in messages {
        match login.handle(message, &mut keys) {
            LoginStep::Send(mut out) => {
                assert!(!refused, "a login goes on after its end");
                assert!(matches!(take_frame(&mut out, limits::MESSAGE), Ok(Some(_))) && out.is_empty());
            }
            LoginStep::Done { .. } => panic!("nobody knows this password"),
            LoginStep::Refused(_) => refused = true,
        }
    }
}

/// Messages begin with their type. A node may trust us or take a password unseen; once it has begun SCRAM it has to show
/// that it knows the password, and none here does.
fn node(key: NodeKey, messages: Vec<Bytes>) {
    let (mut dial, mut keys) = (Dial::new("ann", Vec::new(), key, [6; 18]), KeyCache::default());
    let mut began_scram = false;
    for message in messages {
        let Some((tag, body)) = message.split_first() else { continue };
        // Many iterations are right and slow: they are left to the tests.
        if *tag == backend::AUTHENTICATION && asks_for_many_iterations(body) {
            return;
        }
        let mut bytes = BytesMut::new();
        frontend::message(&mut bytes, *tag, |b| b.extend_from_slice(body));
        let frame = take_frame(&mut bytes, limits::MESSAGE).expect("a header of ours").expect("a whole frame");
        let mut out = BytesMut::new();
        match dial.handle(&frame, &mut out, &mut keys) {
            Ok(DialStep::Continue) => {}
            Ok(DialStep::Ready(_)) => {
                return assert!(!began_scram, "a node was believed that does not know the password");
            }
            Err(_) => return,
        }
        began_scram |= out.windows(MECHANISM.len()).any(|window| window == MECHANISM.as_bytes());
    }
}

fn asks_for_many_iterations(body: &[u8]) -> bool {
    let digits = body.windows(3).position(|window| window == b",i=").map_or(&body[..0], |at| &body[at + 3..]);
    digits.iter().take_while(|byte| byte.is_ascii_digit()).count() > 2
}
