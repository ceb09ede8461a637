//! The body of any client message, read as every message that a session looks into: what is understood is, written again,
//! the same bytes.
//!
//! The first byte of an input is the message's type.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use lockstep_core::limits;
use lockstep_core::wire::frontend::{self, Bind, Execute, Named, Parse};
use lockstep_core::wire::{Malformed, take_frame};

fuzz_target!(|input: &[u8]| {
    let Some((tag, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    let mut out = BytesMut::new();
    if write_again(*tag, body.clone(), &mut out).is_ok() && !out.is_empty() {
        let frame = take_frame(&mut out, limits::MESSAGE).expect("a header of ours").expect("a whole frame");
        assert_eq!((frame.tag, frame.body()), (*tag, body));
        assert!(out.is_empty());
    }
});

fn write_again(tag: u8, body: Bytes, out: &mut BytesMut) -> Result<(), Malformed> {
    match tag {
        frontend::QUERY => frontend::query(out, &frontend::read_query(body)?),
        frontend::PARSE => {
            let Parse { name, sql, types } = Parse::read(body)?;
            frontend::parse(out, &name, &sql, &types);
        }
        frontend::BIND => {
            let Bind { portal, statement, parameters, result_formats } = Bind::read(body)?;
            frontend::bind(out, &portal, &statement, &parameters, &result_formats);
        }
        frontend::DESCRIBE => {
            let Named { target, name } = Named::read(body)?;
            frontend::describe(out, target, &name);
        }
        frontend::CLOSE => {
            let Named { target, name } = Named::read(body)?;
            frontend::close(out, target, &name);
        }
        frontend::EXECUTE => {
            let Execute { portal, max_rows } = Execute::read(body)?;
            frontend::execute(out, &portal, max_rows);
        }
        _ => {}
    }
    Ok(())
}
