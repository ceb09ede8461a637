//! The body of any server message, read as every message that is looked into: what is understood is, written again, the same
//! bytes.
//!
//! The first byte of an input is the message's type.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use lockstep_core::limits;
use lockstep_core::wire::backend::{self, Authentication, Status};
use lockstep_core::wire::notice::Fields;
use lockstep_core::wire::{Malformed, take_frame};

fuzz_target!(|input: &[u8]| {
    let Some((tag, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    let mut out = BytesMut::new();
    if write_again(*tag, body.clone(), &mut out).is_ok() && !out.is_empty() {
        let frame = take_frame(&mut out, limits::MESSAGE).expect("a header of ours").expect("a whole frame");
        assert_eq!(frame.tag, *tag);
        assert!(out.is_empty());
        // A method that is not known here is told by its code alone.
        match *tag {
            backend::AUTHENTICATION if frame.body().len() == 4 => assert!(body.starts_with(&frame.body())),
            _ => assert_eq!(frame.body(), body),
        }
    }
});

fn write_again(tag: u8, body: Bytes, out: &mut BytesMut) -> Result<(), Malformed> {
    match tag {
        backend::AUTHENTICATION => Authentication::read(body)?.write(out),
        backend::READY_FOR_QUERY => backend::ready_for_query(out, Status::read(body)?),
        backend::ERROR_RESPONSE => {
            let fields = Fields::read(body)?;
            let _ = (fields.state(), fields.message(), fields.is_fatal(), fields.position());
            fields.write_error(out);
        }
        backend::PARAMETER_STATUS => {
            let (name, value) = backend::read_parameter_status(body)?;
            backend::parameter_status(out, &name, &value);
        }
        backend::BACKEND_KEY_DATA => {
            let (pid, key) = backend::read_key_data(body)?;
            backend::key_data(out, pid, &key);
        }
        backend::NEGOTIATE_PROTOCOL_VERSION => {
            let (version, unknown) = backend::read_negotiate_protocol_version(body)?;
            if version.major == 3 {
                backend::negotiate_protocol_version(out, version.minor, &unknown);
            }
        }
        backend::ROW_DESCRIPTION => backend::row_description(out, &backend::read_row_description(body)?),
        backend::DATA_ROW => {
            let values = backend::read_data_row(body)?;
            backend::data_row(out, values.iter().map(Option::as_deref));
        }
        backend::COMMAND_COMPLETE => {
            let tag = backend::read_command_complete(body)?;
            if let Ok(tag) = std::str::from_utf8(&tag) {
                backend::command_complete(out, tag);
            }
        }
        _ => {}
    }
    Ok(())
}
