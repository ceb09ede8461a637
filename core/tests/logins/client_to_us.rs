use bytes::Bytes;
use lockstep_core::auth::login::{Login, LoginStep};
use lockstep_core::auth::{NodeKey, Users};
use lockstep_core::fault::{Fault, Severity, SqlState};
use lockstep_core::wire::backend::Authentication;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::password;

use super::{ENTROPY, PASSWORDS, entries, handle, initial_response, sasl_text, users};

/// Logs in as postgres-protocol's client does, by the method that it is asked for.
pub fn log_in(users: &Users, user: &str, password: &str, binding: ChannelBinding) -> LoginStep {
    let (mut login, question) = Login::new(users.get(user), user, ENTROPY);
    match question {
        Authentication::Md5 { salt } => handle(&mut login, md5_hash(user.as_bytes(), password.as_bytes(), salt) + "\0"),
        Authentication::Sasl { mechanisms } => {
            assert_eq!(mechanisms, [SCRAM_SHA_256]);
            scram_exchange(&mut login, ScramSha256::new(password.as_bytes(), binding))
        }
        other => panic!("clients are not asked {other:?}"),
    }
}

fn scram_exchange(login: &mut Login, mut client: ScramSha256) -> LoginStep {
    let server_first = answer_to(login, client.message());
    client.update(server_first.as_bytes()).expect("the client understands our first message");
    let step = handle(login, Bytes::copy_from_slice(client.message()));
    if let LoginStep::Done { messages, .. } = &step {
        client.finish(sasl_text(messages).as_bytes()).expect("the client believes our signature");
    }
    step
}

/// Our first SCRAM message, in answer to the client's.
fn answer_to(login: &mut Login, client_first: &[u8]) -> String {
    match handle(login, initial_response(client_first)) {
        LoginStep::Send(bytes) => sasl_text(&bytes),
        other => panic!("{other:?} instead of an answer"),
    }
}

fn refusal(step: LoginStep) -> Fault {
    match step {
        LoginStep::Refused(fault) => fault,
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[test]
fn the_right_password_opens_every_kind_of_entry_and_gives_its_key() {
    for password in PASSWORDS {
        let [plain, scram, md5] = entries(password);
        let key = |entry: &str| match log_in(&users(entry), "ann", password, ChannelBinding::unsupported()) {
            LoginStep::Done { key, .. } => key,
            other => panic!("{password:?}: {other:?}"),
        };
        assert_eq!(key(&plain), NodeKey::Plain(password.to_owned()));
        assert!(matches!(key(&scram), NodeKey::Scram { iterations: 4096, .. }));
        assert!(matches!(key(&md5), NodeKey::Md5(_)));
    }
}

#[test]
fn a_client_that_could_bind_to_a_channel_gets_in_without() {
    let step = log_in(&users("secret"), "ann", "secret", ChannelBinding::unrequested());
    assert!(matches!(step, LoginStep::Done { .. }), "{step:?}");
}

#[test]
fn a_client_that_insists_on_channel_binding_breaks_the_protocol() {
    let client = ScramSha256::new(b"secret", ChannelBinding::tls_server_end_point(vec![1; 32]));
    let (mut login, _) = Login::new(users("secret").get("ann"), "ann", ENTROPY);
    let fault = refusal(handle(&mut login, initial_response(client.message())));
    assert_eq!((fault.state, fault.severity), (SqlState::PROTOCOL_VIOLATION, Severity::Fatal));
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_with_the_same_words() {
    for entry in entries("secret") {
        for (user, password) in [("ann", "geheim"), ("bob", "secret")] {
            let fault = refusal(log_in(&users(&entry), user, password, ChannelBinding::unsupported()));
            let words = format!("password authentication failed for user \"{user}\"");
            assert_eq!(fault, Fault::fatal(SqlState::INVALID_PASSWORD, words));
        }
    }
}

#[test]
fn an_unknown_user_meets_the_same_salt_at_every_attempt_and_another_user_another_one() {
    let server_first = |user: &str| answer_to(&mut Login::new(None, user, ENTROPY).0, b"n,,n=,r=client");
    assert_eq!(server_first("bob"), server_first("bob"));
    assert_ne!(server_first("bob"), server_first("cid"));
}

#[test]
fn bytes_after_the_end_of_a_message_break_the_protocol() {
    let trailing = [&initial_response(b"n,,n=,r=client")[..], b"x"].concat();
    let (mut login, _) = Login::new(None, "ann", ENTROPY);
    assert_eq!(refusal(handle(&mut login, trailing)).state, SqlState::PROTOCOL_VIOLATION);

    let entry = users(&password::md5(b"secret", "ann"));
    let (mut login, _) = Login::new(entry.get("ann"), "ann", ENTROPY);
    let answer = md5_hash(b"ann", b"secret", ENTROPY.md5_salt) + "\0x";
    assert_eq!(refusal(handle(&mut login, answer)).state, SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn after_a_refusal_not_even_the_right_answer_is_taken() {
    let entry = users(&password::md5(b"secret", "ann"));
    let (mut login, _) = Login::new(entry.get("ann"), "ann", ENTROPY);
    assert_eq!(refusal(handle(&mut login, "wrong\0")).state, SqlState::INVALID_PASSWORD);
    let right = md5_hash(b"ann", b"secret", ENTROPY.md5_salt) + "\0";
    assert_eq!(refusal(handle(&mut login, right)).state, SqlState::PROTOCOL_VIOLATION);
}
