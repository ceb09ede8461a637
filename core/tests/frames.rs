//! What holds for every message: how the network cuts a stream changes nothing, no bytes make a reader panic, and what is
//! written reads back.

use bytes::{Bytes, BytesMut};
use lockstep_core::limits;
use lockstep_core::wire::backend::{self, Authentication, Column, Status};
use lockstep_core::wire::frontend::{self, Bind, Execute, Named, Parse, Target};
use lockstep_core::wire::notice::Fields;
use lockstep_core::wire::startup::{self, Startup, StartupFault, Version, take_startup};
use lockstep_core::wire::{Frame, FrameFault, take_frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const LIMIT: usize = 1 << 16;

/// Bytes that a protocol string can hold.
fn text() -> impl Strategy<Value = Bytes> {
    vec(1..=u8::MAX, 0..20).prop_map(Bytes::from)
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

/// Whole frames, and sometimes a header that cannot be right.
fn stream() -> impl Strategy<Value = Bytes> {
    let frame = (any::<u8>(), data()).prop_map(|(tag, body)| {
        let mut out = BytesMut::new();
        frontend::message(&mut out, tag, |b| b.extend_from_slice(&body));
        out.freeze()
    });
    let broken = prop_oneof![Just(&b"Q\0\0\0\x03"[..]), Just(&b"Q\xff\xff\xff\xff"[..]), Just(&b"Q\0"[..])];
    (vec(frame, 0..8), option::of(broken))
        .prop_map(|(frames, end)| [frames.concat(), end.unwrap_or_default().to_vec()].concat().into())
}

fn take_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameFault>, BytesMut) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    let mut fault = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while fault.is_none() {
            match take_frame(&mut buffer, LIMIT) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(found) => fault = Some(found),
            }
        }
    }
    (frames, fault, buffer)
}

/// The one frame in `out`, which must hold nothing else.
fn only_frame(mut out: BytesMut) -> Frame {
    let frame = take_frame(&mut out, LIMIT).unwrap().expect("a whole frame");
    assert!(out.is_empty());
    frame
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    only_frame(out).body()
}

mod cutting {
    use super::*;

    proptest! {
        #[test]
        fn a_stream_gives_the_same_frames_wherever_it_is_cut(stream in stream(), lengths in vec(0_usize..40, 0..20)) {
            let mut rest = &stream[..];
            let mut pieces = Vec::new();
            for length in lengths {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(take_all(pieces), take_all([&stream[..]]));
        }

        #[test]
        fn frames_and_rest_are_the_stream_again(stream in data()) {
            let (frames, _, rest) = take_all([&stream[..]]);
            let mut all: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
            all.extend_from_slice(&rest);
            prop_assert_eq!(all, stream);
        }

        #[test]
        fn a_first_packet_gives_the_same_wherever_it_is_cut(packet in startup_packet(), at in any::<prop::sample::Index>()) {
            let mut whole = BytesMut::from(&packet[..]);
            let expected = take_startup(&mut whole);
            let (first, second) = packet.split_at(at.index(packet.len()));
            let mut buffer = BytesMut::from(first);
            match take_startup(&mut buffer) {
                Ok(None) => {
                    buffer.extend_from_slice(second);
                    prop_assert_eq!(take_startup(&mut buffer), expected);
                    prop_assert_eq!(buffer, whole);
                }
                early => prop_assert_eq!(early, expected),
            }
        }
    }

    fn startup_packet() -> impl Strategy<Value = Bytes> {
        let session = vec((text(), text()), 0..5).prop_map(|parameters| {
            let mut out = BytesMut::new();
            startup::write_session(&mut out, Version::V3_0, parameters.iter().map(|(n, v)| (&n[..], &v[..])));
            out.freeze()
        });
        let arbitrary = (0_u8..40, data()).prop_map(|(length, rest)| [&[0, 0, 0, length][..], &rest].concat().into());
        prop_oneof![session, arbitrary]
    }
}

mod reading_anything {
    use super::*;

    proptest! {
        #[test]
        fn readers_of_a_clients_messages_never_panic(body in data()) {
            let _ = Parse::read(body.clone());
            let _ = Bind::read(body.clone());
            let _ = Named::read(body.clone());
            let _ = Execute::read(body.clone());
            let _ = frontend::read_query(body);
        }

        #[test]
        fn readers_of_a_servers_messages_never_panic(body in data()) {
            let _ = Authentication::read(body.clone());
            let _ = Status::read(body.clone());
            let _ = Fields::read(body.clone());
            let _ = backend::read_parameter_status(body.clone());
            let _ = backend::read_key_data(body.clone());
            let _ = backend::read_command_complete(body.clone());
            let _ = backend::read_row_description(body.clone());
            let _ = backend::read_negotiate_protocol_version(body.clone());
            let _ = backend::read_data_row(body);
        }

        #[test]
        fn the_first_packet_is_taken_whole_or_not_at_all(bytes in data()) {
            let mut buffer = BytesMut::from(&bytes[..]);
            if let Ok(None) = take_startup(&mut buffer) {
                prop_assert_eq!(buffer, bytes);
            }
        }
    }
}

mod client_messages {
    use super::*;

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![Just(Target::Statement), Just(Target::Portal)]
    }

    /// Formats and values of a Bind, as they stand in the message.
    fn parameters() -> impl Strategy<Value = Bytes> {
        (vec(0_i16..=1, 0..4), vec(option::of(data()), 0..6)).prop_map(|(formats, values)| {
            let mut out = BytesMut::new();
            out.extend_from_slice(&(formats.len() as u16).to_be_bytes());
            formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
            out.extend_from_slice(&(values.len() as u16).to_be_bytes());
            values.iter().for_each(|value| backend::put_value(&mut out, value.as_deref()));
            out.freeze()
        })
    }

    proptest! {
        #[test]
        fn a_query_reads_back(sql in text()) {
            prop_assert_eq!(frontend::read_query(written(|b| frontend::query(b, &sql))), Ok(sql));
        }

        #[test]
        fn a_parse_reads_back(name in text(), sql in text(), types in vec(any::<u32>(), 0..9)) {
            let body = written(|b| frontend::parse(b, &name, &sql, &types));
            prop_assert_eq!(Parse::read(body), Ok(Parse { name, sql, types }));
        }

        #[test]
        fn a_bind_reads_back(
            portal in text(),
            statement in text(),
            parameters in parameters(),
            result_formats in vec(any::<i16>(), 0..5),
        ) {
            let body = written(|b| frontend::bind(b, &portal, &statement, &parameters, &result_formats));
            prop_assert_eq!(Bind::read(body), Ok(Bind { portal, statement, parameters, result_formats }));
        }

        #[test]
        fn a_describe_and_a_close_read_back(target in target(), name in text()) {
            let expected = Ok(Named { target, name: name.clone() });
            prop_assert_eq!(Named::read(written(|b| frontend::describe(b, target, &name))), expected.clone());
            prop_assert_eq!(Named::read(written(|b| frontend::close(b, target, &name))), expected);
        }

        #[test]
        fn an_execute_reads_back(portal in text(), max_rows in any::<i32>()) {
            let body = written(|b| frontend::execute(b, &portal, max_rows));
            prop_assert_eq!(Execute::read(body), Ok(Execute { portal, max_rows }));
        }

        #[test]
        fn what_ends_too_early_or_goes_on_is_a_fault(name in text(), sql in text(), at in any::<prop::sample::Index>()) {
            let body = written(|b| frontend::parse(b, &name, &sql, &[23]));
            prop_assert!(Parse::read(body.slice(..at.index(body.len()))).is_err());
            prop_assert!(Parse::read([&body[..], b"x"].concat().into()).is_err());
        }
    }
}

mod server_messages {
    use super::*;

    /// Names of SASL mechanisms: an empty one ends their list.
    fn mechanism() -> impl Strategy<Value = Bytes> {
        vec(1..=u8::MAX, 1..20).prop_map(Bytes::from)
    }

    fn authentication() -> impl Strategy<Value = Authentication> {
        prop_oneof![
            Just(Authentication::Ok),
            Just(Authentication::Cleartext),
            any::<[u8; 4]>().prop_map(|salt| Authentication::Md5 { salt }),
            vec(mechanism(), 0..4).prop_map(|mechanisms| Authentication::Sasl { mechanisms }),
            data().prop_map(Authentication::SaslContinue),
            data().prop_map(Authentication::SaslFinal),
            (13..i32::MAX).prop_map(Authentication::Other),
        ]
    }

    fn column() -> impl Strategy<Value = Column> {
        (text(), any::<(u32, i16, u32, i16, i32, i16)>()).prop_map(|(name, numbers)| {
            let (table, attribute, type_oid, type_len, type_modifier, format) = numbers;
            Column { name, table, attribute, type_oid, type_len, type_modifier, format }
        })
    }

    /// Codes of fields are not zero, which ends them.
    fn fields() -> impl Strategy<Value = Vec<(u8, Bytes)>> {
        vec((1..=u8::MAX, text()), 0..8)
    }

    proptest! {
        #[test]
        fn an_authentication_reads_back(message in authentication()) {
            prop_assert_eq!(Authentication::read(written(|b| message.write(b))), Ok(message));
        }

        #[test]
        fn a_row_reads_back(values in vec(option::of(data()), 0..9)) {
            let body = written(|b| backend::data_row(b, values.iter().map(Option::as_deref)));
            prop_assert_eq!(backend::read_data_row(body), Ok(values));
        }

        #[test]
        fn a_row_description_reads_back(columns in vec(column(), 0..6)) {
            let body = written(|b| backend::row_description(b, &columns));
            prop_assert_eq!(backend::read_row_description(body), Ok(columns));
        }

        #[test]
        fn a_parameter_status_reads_back(name in text(), value in text()) {
            let body = written(|b| backend::parameter_status(b, &name, &value));
            prop_assert_eq!(backend::read_parameter_status(body), Ok((name, value)));
        }

        #[test]
        fn an_answer_to_an_unknown_version_reads_back(minor in any::<u16>(), unknown in vec(text(), 0..4)) {
            let body = written(|b| backend::negotiate_protocol_version(b, minor, &unknown));
            let version = Version { major: 3, minor };
            prop_assert_eq!(backend::read_negotiate_protocol_version(body), Ok((version, unknown)));
        }

        #[test]
        fn a_cancel_key_reads_back_if_it_has_a_length_that_is_allowed(pid in any::<u32>(), key in vec(any::<u8>(), 0..300)) {
            let read = backend::read_key_data(written(|b| backend::key_data(b, pid, &key)));
            prop_assert_eq!(read.is_ok(), (4..=256).contains(&key.len()));
            if let Ok(read) = read {
                prop_assert_eq!(read, (pid, Bytes::from(key)));
            }
        }

        #[test]
        fn an_error_of_a_server_is_passed_on_as_it_came(fields in fields()) {
            let body = written(|b| {
                frontend::message(b, backend::ERROR_RESPONSE, |b| {
                    for (code, value) in &fields {
                        b.extend_from_slice(&[*code]);
                        frontend::put_cstr(b, value);
                    }
                    b.extend_from_slice(&[0]);
                });
            });
            let read = Fields::read(body.clone()).expect("well-formed fields");
            prop_assert_eq!(written(|b| read.write_error(b)), body);
        }
    }

    #[test]
    fn every_transaction_status_reads_back() {
        for status in [Status::Idle, Status::InTransaction, Status::Failed] {
            assert_eq!(Status::read(written(|b| backend::ready_for_query(b, status))), Ok(status));
        }
    }
}

mod first_packets {
    use super::*;

    /// The name of a parameter: an empty one ends their list.
    fn name() -> impl Strategy<Value = Bytes> {
        vec(1..=u8::MAX, 1..20).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn a_session_packet_reads_back(minor in any::<u16>(), parameters in vec((name(), text()), 0..9)) {
            let version = Version { major: 3, minor };
            let mut out = BytesMut::new();
            startup::write_session(&mut out, version, parameters.iter().map(|(n, v)| (&n[..], &v[..])));
            prop_assert_eq!(take_startup(&mut out), Ok(Some(Startup::Session { version, parameters })));
            prop_assert!(out.is_empty());
        }

        #[test]
        fn a_cancel_packet_reads_back(pid in any::<u32>(), key in vec(any::<u8>(), 4..=256)) {
            let mut out = BytesMut::new();
            startup::write_cancel(&mut out, pid, &key);
            prop_assert_eq!(take_startup(&mut out), Ok(Some(Startup::Cancel { pid, key: key.into() })));
        }

        #[test]
        fn a_length_that_no_first_packet_has_is_refused_at_once(length in any::<u32>()) {
            prop_assume!(length < 8 || length as usize > limits::STARTUP_PACKET);
            let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
            prop_assert_eq!(take_startup(&mut bytes), Err(StartupFault::Length(length)));
        }
    }
}
