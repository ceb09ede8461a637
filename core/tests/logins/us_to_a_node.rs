use bytes::BytesMut;
use lockstep_core::auth::dial::{Dial, DialFault, DialStep};
use lockstep_core::auth::login::{Login, LoginStep};
use lockstep_core::auth::{KeyCache, NodeKey};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::limits;
use lockstep_core::wire::backend::{self, Authentication, Status};
use lockstep_core::wire::{Frame, notice, take_frame};
use postgres_protocol::authentication::sasl::ChannelBinding;

use super::{ENTROPY, PASSWORDS, body, entries, handle, users};

fn frames(bytes: &mut BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| take_frame(bytes, limits::AUTH_MESSAGE).unwrap()).collect()
}

fn dial(key: NodeKey) -> Dial {
    Dial::new("ann", Vec::new(), key, [3; 18])
}

fn secret() -> NodeKey {
    NodeKey::Plain("secret".into())
}

/// The node says what `write` writes; what came of its last message, and our answer.
fn say(dial: &mut Dial, write: impl FnOnce(&mut BytesMut)) -> Result<(DialStep, BytesMut), DialFault> {
    let (mut bytes, mut answer) = (BytesMut::new(), BytesMut::new());
    write(&mut bytes);
    let mut step = DialStep::Continue;
    for frame in frames(&mut bytes) {
        step = dial.handle(&frame, &mut answer, &mut KeyCache::default())?;
    }
    Ok((step, answer))
}

fn ready(out: &mut BytesMut) {
    Authentication::Ok.write(out);
    notice::warning(out, &Fault::error(SqlState::INTERNAL, "collation version mismatch"));
    backend::parameter_status(out, b"server_version", b"15.6");
    backend::key_data(out, 77, b"1234");
    backend::ready_for_query(out, Status::Idle);
}

/// Logs in at a node that stores `entry`. `on_the_way` may change what the node says.
fn log_in(entry: &str, key: NodeKey, on_the_way: impl Fn(&mut BytesMut)) -> Result<DialStep, DialFault> {
    let users = users(entry);
    let mut dial = dial(key);
    let (mut node, question) = Login::new(users.get("ann"), "ann", ENTROPY);
    let mut from_node = BytesMut::new();
    question.write(&mut from_node);
    loop {
        on_the_way(&mut from_node);
        let (step, mut answer) = say(&mut dial, |b| b.unsplit(from_node.split()))?;
        let Some(answer) = frames(&mut answer).pop() else { return Ok(step) };
        match handle(&mut node, answer.body()) {
            LoginStep::Send(bytes) => from_node = bytes,
            LoginStep::Done { messages, .. } => {
                from_node.extend_from_slice(&messages);
                ready(&mut from_node);
            }
            LoginStep::Refused(fault) => notice::error(&mut from_node, &fault),
        }
    }
}

fn untouched(_: &mut BytesMut) {}

/// What the nodes are shown after a client has logged in with this entry.
fn key_of(entry: &str, password: &str) -> NodeKey {
    match super::client_to_us::log_in(&users(entry), "ann", password, ChannelBinding::unsupported()) {
        LoginStep::Done { key, .. } => key,
        other => panic!("{other:?} for the right password"),
    }
}

#[test]
fn what_a_client_has_proved_opens_the_nodes_that_store_the_same() {
    for password in PASSWORDS {
        let [plain, scram, md5] = entries(password);
        for (entry, node) in [(&plain, &scram), (&plain, &md5), (&plain, &plain), (&scram, &scram), (&md5, &md5)] {
            let step = log_in(node, key_of(entry, password), untouched).expect("the node lets us in");
            let DialStep::Ready(ready) = step else { panic!("the node was ready") };
            assert_eq!((ready.pid, &ready.cancel_key[..]), (77, &b"1234"[..]));
            assert_eq!(ready.parameters, [("server_version".into(), "15.6".into())]);
            assert!(!format!("{ready:?}").contains("1234"), "a cancel key is a secret");
        }
    }
}

#[test]
fn a_node_that_wants_what_the_users_file_cannot_give_is_told_with_the_remedy() {
    let [_, scram, md5] = entries("secret");
    let [_, scram_with_another_salt, _] = entries("secret");
    for (entry, node) in [(&scram, &scram_with_another_salt), (&scram, &md5), (&md5, &scram)] {
        let fault = log_in(node, key_of(entry, "secret"), untouched).unwrap_err();
        assert!(matches!(fault, DialFault::Key { .. }), "{fault:?}");
        let words = fault.to_string();
        assert!(words.contains("the node asks for") && words.contains("the users file has"), "{words}");
    }
}

#[test]
fn a_password_goes_in_clear_only_where_the_users_file_has_it() {
    let ask = |key| say(&mut dial(key), |b| Authentication::Cleartext.write(b)).map(|(_, answer)| answer);
    let [_, scram, md5] = entries("secret");
    assert_eq!(body(&ask(secret()).unwrap()), &b"secret\0"[..]);
    assert!(matches!(ask(key_of(&scram, "secret")), Err(DialFault::Key { .. })));
    assert!(matches!(ask(key_of(&md5, "secret")), Err(DialFault::Key { .. })));
}

#[test]
fn a_node_that_trusts_is_answered_nothing() {
    let (step, answer) = say(&mut dial(secret()), ready).unwrap();
    assert!(matches!(step, DialStep::Ready(_)) && answer.is_empty(), "{step:?}");
}

#[test]
fn the_nodes_own_refusal_is_passed_on() {
    for node in entries("secret") {
        let result = log_in(&node, NodeKey::Plain("geheim".into()), untouched);
        let Err(DialFault::Node(fields)) = result else { panic!("{result:?} for a wrong password") };
        assert_eq!(fields.state(), b"28P01");
    }
}

#[test]
fn a_signature_with_one_bit_changed_is_not_believed() {
    const SASL_FINAL: [u8; 4] = [0, 0, 0, 12];
    let first_of_signature = "R0000cccc".len() + "v=".len();
    let result = log_in(&entries("secret")[1], secret(), |bytes| {
        if bytes[5..9] == SASL_FINAL {
            bytes[first_of_signature] ^= 1;
        }
    });
    assert!(matches!(result, Err(DialFault::Scram(_))), "{result:?}");
}
