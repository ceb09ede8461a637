//! The client's rows of a write: those that it has asked for, and those that wait until it asks for more.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::limits;

/// Which rows of an execution the client has asked for; the others are kept for it.
#[derive(Debug, Default)]
pub struct Share {
    /// The portal, by name and serial number; without one all rows are asked for.
    pub portal: Option<(Bytes, u64)>,
    /// 0: all.
    limit: usize,
    given: usize,
    kept: VecDeque<Bytes>,
    bytes: usize,
}

/// More rows wait for the client than are kept.
#[derive(Debug, Clone, Copy)]
pub struct TooManyWait;

impl Share {
    /// The first rows that an Execute of this portal asks for.
    pub fn of_portal(name: Bytes, serial: u64, limit: usize) -> Self {
        Self { portal: Some((name, serial)), limit, ..Self::default() }
    }

    /// The row, if the client is to have it now.
    pub fn take(&mut self, row: BytesMut) -> Result<Option<BytesMut>, TooManyWait> {
        if self.limit == 0 || self.given < self.limit {
            self.given += 1;
            return Ok(Some(row));
        }
        self.bytes += row.len();
        self.kept.push_back(row.freeze());
        if self.bytes > limits::ROWS_KEPT { Err(TooManyWait) } else { Ok(None) }
    }

    /// The rows that wait.
    pub fn rest(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.kept)
    }

    /// As many rows were given as were asked for: PostgreSQL does not look whether there is another.
    pub fn is_suspended(&self) -> bool {
        self.limit > 0 && self.given == self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_beyond_the_limit_are_kept_up_to_a_bound() {
        let mut share = Share { limit: 1, ..Share::default() };
        let row = || BytesMut::zeroed(limits::ROWS_KEPT / 2 + 1);
        assert!(share.take(row()).unwrap().is_some());
        assert!(share.is_suspended());
        assert!(share.take(row()).unwrap().is_none());
        assert!(share.take(row()).is_err());
    }
}
