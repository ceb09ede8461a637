//! Reading fields inside one frame, without copying and without running past its end.

use std::ops::Deref;

use bytes::{Buf, Bytes};

use super::Malformed;

/// The body of a frame, or a part of it: shared, for what is to be kept, or borrowed, which costs nothing.
pub trait Body: Buf + Deref<Target = [u8]> + Clone {
    /// Takes the first `len` bytes, which must be there.
    fn take_first(&mut self, len: usize) -> Self;
}

impl Body for Bytes {
    fn take_first(&mut self, len: usize) -> Self {
        self.split_to(len)
    }
}

impl Body for &[u8] {
    fn take_first(&mut self, len: usize) -> Self {
        let (first, rest) = self.split_at(len);
        *self = rest;
        first
    }
}

/// A position in the body of a frame. Slices that it gives out share the frame's memory.
#[derive(Debug, Clone)]
pub struct Cursor<B = Bytes> {
    rest: B,
}

impl<B: Body> Cursor<B> {
    pub fn new(body: B) -> Self {
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

    pub fn bytes(&mut self, len: usize) -> Result<B, Malformed> {
        self.need(len)?;
        Ok(self.rest.take_first(len))
    }

    /// Bytes up to a NUL, which is passed over.
    pub fn cstr(&mut self) -> Result<B, Malformed> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(Malformed::Unterminated)?;
        let text = self.rest.take_first(end);
        self.rest.advance(1);
        Ok(text)
    }

    /// A value with its 32-bit length before it; -1 is NULL.
    pub fn value(&mut self) -> Result<Option<B>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            len => Ok(Some(self.bytes(usize::try_from(len).map_err(|_| Malformed::Negative)?)?)),
        }
    }

    pub fn rest(&self) -> &B {
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
