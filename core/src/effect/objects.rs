//! Large objects: what followers are sent of those that a unit has changed.
//!
//! The leader tells what has become of each, in lines (`lockstep.objects` in `runtime/src/cluster/capture`): that it is
//! gone, what belongs to it, its pages. Followers apply many lines at once by a function that believes only what is signed
//! with the cluster's key, like [`super::capture`].

use std::sync::LazyLock;

use bytes::{BufMut, Bytes, BytesMut};

use super::Template;

/// One call of the function that applies them; its parameters are the lines and their signature.
pub static APPLY: LazyLock<Template> =
    LazyLock::new(|| Template::new("SELECT lockstep.apply_objects($1::pg_catalog.text,$2::pg_catalog.text)".into()));

/// Lines that were told and are not in the log yet.
#[derive(Debug, Default)]
pub struct ObjectLines {
    lines: BytesMut,
}

impl ObjectLines {
    pub fn take(&mut self, line: &[u8]) {
        if !self.lines.is_empty() {
            self.lines.put_u8(b',');
        }
        // Where base64 is cut.
        line.split(|byte| *byte == b'\n').for_each(|part| self.lines.put_slice(part));
    }

    pub fn bytes(&self) -> usize {
        self.lines.len()
    }

    pub fn take_all(&mut self) -> Option<Bytes> {
        (!self.lines.is_empty()).then(|| self.lines.split().freeze())
    }
}

/// How a message notes a large object, and which. `None`: it is none of these messages.
pub fn noted(message: &[u8]) -> Option<(Noted, u32)> {
    let (how, number) = match message.strip_prefix(b"lockstep ")? {
        [b'c', b' ', number @ ..] => (Noted::Made, number),
        [b'o', b' ', number @ ..] => (Noted::Opened, number),
        _ => return None,
    };
    Some((how, std::str::from_utf8(number).ok()?.parse().ok()?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Made,
    /// For writing.
    Opened,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_as_followers_take_them_apart() {
        let mut lines = ObjectLines::default();
        lines.take(b"= 5  YQ\n==");
        lines.take(b"p 5 0 Yg==");
        assert_eq!(lines.bytes(), 20);
        assert_eq!(lines.take_all().as_deref(), Some(&b"= 5  YQ==,p 5 0 Yg=="[..]));
        assert_eq!(lines.take_all(), None);
    }

    #[test]
    fn what_is_noted_is_told_from_captured_rows_and_from_what_others_say() {
        assert_eq!(noted(b"lockstep c 4711"), Some((Noted::Made, 4711)));
        assert_eq!(noted(b"lockstep o 4294967295"), Some((Noted::Opened, u32::MAX)));
        for other in ["lockstep = YQ==", "lockstep c", "lockstep c 4294967296", "lockstep o -1", "c 1", ""] {
            assert_eq!(noted(other.as_bytes()), None, "{other}");
        }
    }
}
