//! Cutting tagged frames: one tag byte, a 32-bit length that counts itself, the body.

use bytes::{Bytes, BytesMut};

/// Tag byte and length field.
pub const HEADER: usize = 5;

/// One whole message. `raw` holds it with its header, for passing on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    pub raw: Bytes,
}

impl Frame {
    /// The message without its header.
    pub fn body(&self) -> Bytes {
        self.raw.slice(HEADER..)
    }

    /// The same, to be looked at only.
    pub fn content(&self) -> &[u8] {
        &self.raw[HEADER..]
    }
}

/// The header cannot be right: the stream is out of step and cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    #[error("message of type {tag:#04x} claims a length of {length}, less than its own length field")]
    TooShort { tag: u8, length: u32 },
    #[error("message of type {tag:#04x} claims {length} bytes, over the limit of {limit}")]
    TooLong { tag: u8, length: u32, limit: usize },
}

/// Tag and whole size (header included) of the frame at the start of `buffer`; `None` when the header is not all there.
pub fn peek(buffer: &[u8], limit: usize) -> Result<Option<(u8, usize)>, FrameFault> {
    let Some((header, _)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [tag, a, b, c, d] = *header;
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 4 {
        return Err(FrameFault::TooShort { tag, length });
    }
    if length as usize > limit {
        return Err(FrameFault::TooLong { tag, length, limit });
    }
    Ok(Some((tag, length as usize + 1)))
}

/// Takes the next frame off `buffer`; `None` when it is not all there yet.
pub fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameFault> {
    match peek(buffer, limit)? {
        Some((tag, size)) if buffer.len() >= size => Ok(Some(Frame { tag, raw: buffer.split_to(size).freeze() })),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_only_when_it_is_whole() {
        let whole = b"Q\0\0\0\x06x\0rest";
        for n in 0..7 {
            assert_eq!(take_frame(&mut BytesMut::from(&whole[..n]), 100), Ok(None), "{n} bytes");
        }
        let mut buffer = BytesMut::from(&whole[..]);
        let frame = take_frame(&mut buffer, 100).unwrap().unwrap();
        assert_eq!((frame.tag, &frame.body()[..]), (b'Q', &b"x\0"[..]));
        assert_eq!(&buffer[..], b"rest");
    }

    #[test]
    fn a_length_below_four_or_over_the_limit_is_a_fault_before_the_body_arrives() {
        assert_eq!(peek(b"Q\0\0\0\x03", 100), Err(FrameFault::TooShort { tag: b'Q', length: 3 }));
        assert_eq!(peek(b"Q\0\0\0\x65", 100), Err(FrameFault::TooLong { tag: b'Q', length: 101, limit: 100 }));
        assert_eq!(
            peek(b"Q\xff\xff\xff\xff", 100),
            Err(FrameFault::TooLong { tag: b'Q', length: u32::MAX, limit: 100 })
        );
    }
}
