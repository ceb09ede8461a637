//! Reading fields inside one frame, without copying and without running past its end.

use bytes::{Buf, Bytes};

use super::Malformed;

/// A position in the body of a frame. Slices that it gives out share the frame's memory.
#[derive(Debug, Clone)]
pub struct Cursor {
    rest: Bytes,
}

impl Cursor {
    pub fn new(body: Bytes) -> Self {
        Self { rest: body }
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.need(2)?;
        Ok(self.rest.get_i16())
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.need(4)?;
        Ok(self.rest.get_i32())
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    /// A 16-bit count, which may use the whole unsigned range (parameters go up to 65,535).
    pub fn count(&mut self) -> Result<usize, Malformed> {
        self.need(2)?;
        Ok(usize::from(self.rest.get_u16()))
    }

    pub fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        self.need(len)?;
        Ok(self.rest.split_to(len))
    }

    /// Bytes up to a NUL, which is passed over.
    pub fn cstr(&mut self) -> Result<Bytes, Malformed> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(Malformed::Unterminated)?;
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        Ok(text)
    }

    /// A value with its 32-bit length before it; -1 is NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            len => Ok(Some(self.bytes(usize::try_from(len).map_err(|_| Malformed::Negative)?)?)),
        }
    }

    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    fn need(&self, len: usize) -> Result<(), Malformed> {
        if self.rest.len() < len { Err(Malformed::Short) } else { Ok(()) }
    }
}
