//! The node here is a script. Whole exchanges are in `core/tests/logins`.

use bytes::BufMut;

use super::*;
use crate::wire::backend::Status;
use crate::wire::frontend::message;
use crate::wire::startup::{Startup, take_startup};
use crate::wire::take_frame;

fn frames(bytes: &mut BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| take_frame(bytes, 1 << 20).unwrap()).collect()
}

fn frame(write: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut bytes = BytesMut::new();
    write(&mut bytes);
    frames(&mut bytes).remove(0)
}

fn authentication(asked: Authentication) -> Frame {
    frame(|out| asked.write(out))
}

fn idle() -> Frame {
    frame(|out| backend::ready_for_query(out, Status::Idle))
}

fn plain() -> NodeKey {
    NodeKey::Plain("secret".into())
}

fn dial(key: NodeKey) -> Dial {
    Dial::new("ann", vec![], key, [3; 18])
}

/// A node that says `frames` whatever it is told.
fn script(dial: &mut Dial, frames: impl IntoIterator<Item = Frame>) -> Result<DialStep, DialFault> {
    let (mut out, mut keys) = (BytesMut::new(), KeyCache::default());
    let mut last = Ok(DialStep::Continue);
    for frame in frames {
        last = dial.handle(&frame, &mut out, &mut keys);
        if last.is_err() {
            break;
        }
    }
    last
}

#[test]
fn a_key_that_cannot_answer_says_what_is_wanted_what_there_is_and_what_to_do() {
    let keys = Keys::derive("secret", b"salt", 10);
    let scram = |salt: &[u8], iterations| NodeKey::Scram { keys: keys.clone(), salt: salt.to_vec(), iterations };
    let md5 = NodeKey::Md5(Md5Digest::of("ann", "secret"));
    for (key, asked, words) in [
        (scram(b"tlas", 10), sasl("i=10"), "with another salt"),
        (scram(b"salt", 11), sasl("i=10"), "number of iterations"),
        (md5.clone(), sasl("i=10"), "asks for SCRAM-SHA-256, and the users file has an md5 verifier"),
        (scram(b"salt", 10), vec![Authentication::Md5 { salt: [0; 4] }], "asks for an md5 answer, and the users file"),
        (scram(b"salt", 10), vec![Authentication::Cleartext], "a password in clear"),
        (md5, vec![Authentication::Cleartext], "a password in clear"),
    ] {
        let fault = script(&mut dial(key), asked.into_iter().map(authentication)).unwrap_err();
        assert!(matches!(fault, DialFault::Key { .. }) && fault.to_string().contains(words), "{fault}");
    }
}

#[test]
fn a_node_that_trusts_us_is_ready_with_what_it_told() {
    let told = [
        authentication(Authentication::Ok),
        frame(|out| backend::parameter_status(out, b"b", b"1")),
        frame(|out| backend::parameter_status(out, b"a", b"2")),
        Frame { tag: backend::NOTICE_RESPONSE, raw: Bytes::from_static(b"N\0\0\0\x05\0") },
        frame(|out| backend::key_data(out, u32::MAX, &[7; 256])),
        idle(),
    ];
    let Ok(DialStep::Ready(ready)) = script(&mut dial(plain()), told.clone()) else { panic!("it is ready") };
    assert_eq!(ready.version, Version::V3_0);
    assert_eq!(ready.parameters, [("b".into(), "1".into()), ("a".into(), "2".into())]);
    assert_eq!((ready.pid, ready.cancel_key), (u32::MAX, Bytes::from_static(&[7; 256])));
    assert_eq!(ready.notices, told[3..4]);
}

/// A node's side of SCRAM up to its signature, with the salt `salt`.
fn sasl(iterations: &str) -> Vec<Authentication> {
    let mechanisms = vec!["SCRAM-SHA-256-PLUS".into(), "SCRAM-SHA-256".into()];
    let nonce = Opening::new([3; 18]).message().replace("n,,n=,", "");
    let first = format!("{nonce}xyz,s=c2FsdA==,{iterations}");
    vec![Authentication::Sasl { mechanisms }, Authentication::SaslContinue(first.into())]
}

/// The server has our proof and owes its signature.
fn proved() -> Dial {
    let mut dial = dial(plain());
    script(&mut dial, sasl("i=10").into_iter().map(authentication)).unwrap();
    dial
}

#[test]
fn a_server_that_cannot_prove_that_it_knows_the_password_is_not_believed() {
    let wrong = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for instead in [
        Authentication::Ok,
        Authentication::SaslFinal(wrong.into()),
        Authentication::SaslFinal(Bytes::new()),
        Authentication::SaslContinue(Bytes::new()),
        Authentication::Cleartext,
        Authentication::Md5 { salt: [0; 4] },
    ] {
        let mut dial = proved();
        assert!(script(&mut dial, [authentication(instead.clone())]).is_err(), "{instead:?}");
        let after = script(&mut dial, [authentication(Authentication::Ok)]);
        assert!(matches!(after, Err(DialFault::Unexpected(b'R'))), "{instead:?}: a failed dial goes on");
    }
}

#[test]
fn a_node_that_answers_nonsense_is_a_fault() {
    let trusted = [authentication(Authentication::Ok)];
    for (before, bytes) in [
        (&[][..], &b"D\0\0\0\x04"[..]),
        (&[], b"R\0\0\0\x06\0\0"),
        (&[], b"R\0\0\0\x09\0\0\0\0x"),
        (&[], b"R\0\0\0\x08\0\0\0\x0b"),
        (&[], b"R\0\0\0\x08\0\0\0\x07"),
        (&[], b"R\0\0\0\x09\0\0\0\x0a\0"),
        (&[], b"Z\0\0\0\x05I"),
        (&[], b"S\0\0\0\x08a\0b\0"),
        (&[], b"E\0\0\0\x05S"),
        (&trusted, b"R\0\0\0\x08\0\0\0\0"),
        (&trusted, b"Z\0\0\0\x05T"),
        (&trusted, b"Z\0\0\0\x04"),
        (&trusted, b"K\0\0\0\x0a\0\0\0\x01ab"),
        (&trusted, b"S\0\0\0\x06a\0"),
        (&trusted, b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0"),
    ] {
        let nonsense = frames(&mut BytesMut::from(bytes)).remove(0);
        let said = before.iter().cloned().chain([nonsense]);
        assert!(script(&mut dial(plain()), said).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_node_that_goes_on_for_ever_is_a_fault_while_little_is_kept() {
    let notice = frame(|out| message(out, backend::NOTICE_RESPONSE, |b| b.put_bytes(b'x', 10_000)));
    let fault = script(&mut dial(plain()), std::iter::repeat(notice)).unwrap_err();
    assert!(matches!(fault, DialFault::TooMuch), "{fault}");
}

#[test]
fn a_node_may_answer_with_an_older_version_and_no_other() {
    let answer = |code: u32| {
        frame(|out| {
            message(out, backend::NEGOTIATE_PROTOCOL_VERSION, |b| {
                b.put_u32(code);
                b.put_u32(0);
            })
        })
    };
    let asking = || dial(plain()).speaking(Version::V3_2);
    let mut packet = BytesMut::new();
    asking().start(&mut packet);
    let parameters = vec![("user".into(), "ann".into())];
    assert_eq!(take_startup(&mut packet), Ok(Some(Startup::Session { version: Version::V3_2, parameters })));

    let said = [answer(Version::V3_0.code()), authentication(Authentication::Ok), idle()];
    let Ok(DialStep::Ready(ready)) = script(&mut asking(), said) else { panic!("it is ready") };
    assert_eq!(ready.version, Version::V3_0);
    let said = [authentication(Authentication::Ok), idle()];
    let Ok(DialStep::Ready(ready)) = script(&mut asking(), said) else { panic!("it is ready") };
    assert_eq!(ready.version, Version::V3_2);
    for code in [0x0002_0000, 0x0003_0003, 0x0004_0000] {
        assert!(matches!(script(&mut asking(), [answer(code)]), Err(DialFault::Version { .. })), "{code:#x}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    assert_eq!(format!("{:?}", dial(plain())), "Dial { user: \"ann\", .. }");
}
