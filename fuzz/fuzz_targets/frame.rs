//! A stream cut anywhere gives the frames, the rest and the fault of the same stream in one piece; no byte is lost.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use lockstep_core::limits;
use lockstep_core::wire::{Frame, FrameFault, take_frame};

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    frames: Vec<Frame>,
    rest: BytesMut,
    fault: Option<FrameFault>,
}

impl Seen {
    /// After a fault the stream is out of step: what comes then is only kept.
    fn read(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
        while self.fault.is_none() {
            match take_frame(&mut self.rest, limits::AUTH_MESSAGE) {
                Ok(Some(frame)) => self.frames.push(frame),
                Ok(None) => return,
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn bytes(&self) -> Bytes {
        let mut all = BytesMut::new();
        self.frames.iter().for_each(|frame| all.extend_from_slice(&frame.raw));
        all.extend_from_slice(&self.rest);
        all.freeze()
    }
}

fuzz_target!(|input: &[u8]| {
    let pieces = lockstep_fuzz::pieces(input);
    let stream = pieces.concat();

    let (mut cut, mut whole) = (Seen::default(), Seen::default());
    pieces.iter().for_each(|piece| cut.read(piece));
    whole.read(&stream);

    assert_eq!(cut, whole);
    assert_eq!(whole.bytes(), stream);
    for frame in &whole.frames {
        assert_eq!(frame.body().len() + lockstep_core::wire::frame::HEADER, frame.raw.len());
    }
});
