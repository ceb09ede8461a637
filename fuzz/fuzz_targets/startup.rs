//! A first packet, cut anywhere, gives what it gives in one piece; nothing is taken off before it is whole; a session or
//! cancel packet that was understood can be written and understood again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use lockstep_core::limits;
use lockstep_core::wire::startup::{self, Startup, take_startup};

fuzz_target!(|input: &[u8]| {
    let pieces = lockstep_fuzz::pieces(input);
    let stream = pieces.concat();
    let mut whole = BytesMut::from(&stream[..]);
    let expected = take_startup(&mut whole);

    let mut cut = BytesMut::new();
    let mut seen = Ok(None);
    for piece in pieces {
        cut.extend_from_slice(piece);
        if seen == Ok(None) {
            let before = cut.len();
            seen = take_startup(&mut cut);
            assert!(seen != Ok(None) || cut.len() == before, "an unfinished packet stays where it is");
        }
    }
    assert_eq!(seen, expected);
    assert!(seen != Ok(None) || stream.len() < limits::STARTUP_PACKET, "a client cannot make us wait for more");
    if let Ok(Some(startup)) = expected {
        assert_eq!(cut, whole);
        again(startup);
    }
});

fn again(startup: Startup) {
    let mut out = BytesMut::new();
    match &startup {
        Startup::Session { version, parameters } => {
            startup::write_session(&mut out, *version, parameters.iter().map(|(name, value)| (&name[..], &value[..])));
        }
        Startup::Cancel { pid, key } => startup::write_cancel(&mut out, *pid, key),
        Startup::Ssl | Startup::GssEnc => return,
    }
    assert_eq!(take_startup(&mut out), Ok(Some(startup)));
    assert!(out.is_empty());
}
