//! The client here is postgres-protocol's.

use bytes::BufMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::*;
use crate::wire::take_frame;

const ENTROPY: LoginEntropy = LoginEntropy { md5_salt: [1, 2, 3, 4], nonce: [7; 18], mock_secret: [9; 32] };

fn initial_response(mechanism: &str, message: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_slice(mechanism.as_bytes());
    body.put_u8(0);
    body.put_i32(message.len() as i32);
    body.put_slice(message);
    body.freeze()
}

fn sasl_data(mut message: BytesMut) -> Bytes {
    take_frame(&mut message, 1000).unwrap().unwrap().body().slice(4..)
}

struct Conversation {
    challenge: Bytes,
    outcome: LoginStep,
}

/// A login from its first message to its end; the client checks our signature.
fn log_in(secret: Option<&Secret>, password: &str) -> Conversation {
    log_in_with(secret, ENTROPY, password, ChannelBinding::unsupported())
}

fn log_in_with(
    secret: Option<&Secret>,
    entropy: LoginEntropy,
    password: &str,
    binding: ChannelBinding,
) -> Conversation {
    let (mut login, question) = Login::new(secret, "ann", entropy);
    assert_eq!(question, Authentication::Sasl { mechanisms: vec!["SCRAM-SHA-256".into()] });
    let mut keys = KeyCache::default();
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let first = initial_response(scram::MECHANISM, client.message());
    let LoginStep::Send(answer) = login.handle(first, &mut keys) else { panic!("a first message is answered") };
    let challenge = sasl_data(answer);
    client.update(&challenge).unwrap();
    let outcome = login.handle(Bytes::copy_from_slice(client.message()), &mut keys);
    if let LoginStep::Done { messages, .. } = &outcome {
        client.finish(&sasl_data(messages[..].into())).expect("the server's signature is right");
    }
    Conversation { challenge, outcome }
}

fn verifier(password: &str) -> Secret {
    Secret::Scram(Keys::derive(password, b"salt", 4096).verifier(b"salt", 4096))
}

fn key(step: LoginStep) -> NodeKey {
    match step {
        LoginStep::Done { key, .. } => key,
        other => panic!("not logged in: {other:?}"),
    }
}

fn refusal(step: LoginStep) -> Fault {
    match step {
        LoginStep::Refused(fault) => fault,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_client_of_a_verifier_is_in_and_its_proof_gives_the_key_for_the_nodes() {
    let expected =
        NodeKey::Scram { keys: Keys::derive("secret", b"salt", 4096), salt: b"salt".to_vec(), iterations: 4096 };
    assert_eq!(key(log_in(Some(&verifier("secret")), "secret").outcome), expected);
}

#[test]
fn a_client_of_a_plain_entry_is_in_and_its_password_is_the_key() {
    for password in ["secret", "pass wörd", "\u{ad}x", "\u{7}"] {
        let secret = Secret::Plain(password.into());
        assert_eq!(key(log_in(Some(&secret), password).outcome), NodeKey::Plain(password.into()));
    }
}

#[test]
fn a_client_that_could_bind_the_channel_is_in_without_it() {
    let conversation = log_in_with(Some(&verifier("secret")), ENTROPY, "secret", ChannelBinding::unrequested());
    assert!(matches!(conversation.outcome, LoginStep::Done { .. }));
}

#[test]
fn a_wrong_password_is_refused_in_the_words_of_postgresql() {
    for secret in [verifier("secret"), Secret::Plain("secret".into())] {
        let fault = refusal(log_in(Some(&secret), "geheim").outcome);
        assert_eq!(fault.to_string(), "password authentication failed for user \"ann\" (28P01)");
        assert_eq!(fault, Fault::fatal(SqlState::INVALID_PASSWORD, fault.message.clone()));
    }
}

#[test]
fn an_unknown_user_cannot_be_told_from_a_wrong_password() {
    let wrong = log_in(Some(&Secret::Plain("secret".into())), "geheim");
    let unknown = log_in(None, "geheim");
    // The client's nonce is new each time; what follows it is ours.
    let ours = |challenge: &Bytes| challenge.slice(2 + 24..);
    assert_eq!(ours(&wrong.challenge), ours(&unknown.challenge));
    assert_eq!(refusal(wrong.outcome), refusal(unknown.outcome));
}

#[test]
fn an_unknown_user_is_shown_the_same_salt_at_every_attempt() {
    let salt = |nonce| {
        let challenge =
            log_in_with(None, LoginEntropy { nonce, ..ENTROPY }, "x", ChannelBinding::unsupported()).challenge;
        challenge.slice(2 + 24 + 24..)
    };
    assert_eq!(salt([1; 18]), salt([2; 18]));
}

#[test]
fn md5_takes_the_right_answer_only() {
    let secret = Secret::Md5(Md5Digest::of("ann", "secret"));
    let answer = |text: &[u8]| {
        let (mut login, question) = Login::new(Some(&secret), "ann", ENTROPY);
        assert_eq!(question, Authentication::Md5 { salt: ENTROPY.md5_salt });
        login.handle(Bytes::copy_from_slice(text), &mut KeyCache::default())
    };
    let right = postgres_protocol::authentication::md5_hash(b"ann", b"secret", ENTROPY.md5_salt) + "\0";
    assert_eq!(key(answer(right.as_bytes())), NodeKey::Md5(Md5Digest::of("ann", "secret")));
    for wrong in ["\0", "secret\0", &right.to_uppercase()] {
        assert_eq!(refusal(answer(wrong.as_bytes())).state, SqlState::INVALID_PASSWORD, "{wrong:?}");
    }
    for malformed in ["", right.trim_end_matches('\0'), &format!("{right}x")] {
        assert_eq!(refusal(answer(malformed.as_bytes())).state, SqlState::PROTOCOL_VIOLATION, "{malformed:?}");
    }
}

#[test]
fn malformed_messages_are_protocol_violations() {
    for body in [
        initial_response("SCRAM-SHA-256-PLUS", b""),
        initial_response("SCRAM-SHA-256", b""),
        Bytes::from_static(b"SCRAM-SHA-256\0\0\0\0\x09short"),
        Bytes::from_static(b"SCRAM-SHA-256\0\0\0\0\x00more"),
        Bytes::from_static(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
        Bytes::from_static(b"SCRAM-SHA-256"),
        Bytes::new(),
    ] {
        let (mut login, _) = Login::new(None, "ann", ENTROPY);
        let fault = refusal(login.handle(body.clone(), &mut KeyCache::default()));
        assert_eq!(fault.state, SqlState::PROTOCOL_VIOLATION, "{body:?}");
    }
}

#[test]
fn a_login_that_was_refused_is_over() {
    let (mut login, _) = Login::new(Some(&verifier("secret")), "ann", ENTROPY);
    let mut keys = KeyCache::default();
    refusal(login.handle(Bytes::new(), &mut keys));
    let fault = refusal(login.handle(initial_response(scram::MECHANISM, b"n,,n=,r=abc"), &mut keys));
    assert_eq!(fault.state, SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn nothing_secret_is_shown() {
    let (login, _) = Login::new(Some(&Secret::Plain("hunter2".into())), "ann", ENTROPY);
    assert_eq!(format!("{login:?}"), "Login { user: \"ann\", .. }");
}
