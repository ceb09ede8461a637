//! Fields of ErrorResponse and NoticeResponse (documentation: "Error and Notice Message Fields").

use bytes::{BufMut, Bytes, BytesMut};

use super::backend::{ERROR_RESPONSE, NOTICE_RESPONSE};
use super::frontend::{message, put_cstr};
use super::{Cursor, Malformed};
use crate::fault::{Fault, Severity};

/// The fields in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<(u8, Bytes)>);

impl Fields {
    pub fn read(body: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let mut fields = Vec::new();
        loop {
            match cursor.u8()? {
                0 => break,
                code => fields.push((code, cursor.cstr()?)),
            }
        }
        cursor.finish()?;
        Ok(Self(fields))
    }

    pub fn get(&self, code: u8) -> Option<&Bytes> {
        self.0.iter().find(|(c, _)| *c == code).map(|(_, value)| value)
    }

    /// The SQLSTATE, or nothing when the server sent none.
    pub fn state(&self) -> &[u8] {
        self.get(b'C').map_or(b"", |s| s)
    }

    /// The primary message for a log line or an error of ours.
    pub fn message(&self) -> String {
        self.get(b'M').map_or_else(String::new, |m| String::from_utf8_lossy(m).into_owned())
    }

    /// The severity in English, whatever the server's `lc_messages`.
    pub fn is_fatal(&self) -> bool {
        matches!(self.get(b'V').or(self.get(b'S')).map(|s| &s[..]), Some(b"FATAL" | b"PANIC"))
    }

    pub fn is_info(&self) -> bool {
        matches!(self.get(b'V').map(|s| &s[..]), Some(b"INFO"))
    }

    /// The position of the error in the statement, in characters from 1.
    pub fn position(&self) -> Option<u32> {
        std::str::from_utf8(self.get(b'P')?).ok()?.parse().ok()
    }

    pub fn set_position(&mut self, position: u32) {
        if let Some(field) = self.0.iter_mut().find(|(c, _)| *c == b'P') {
            field.1 = Bytes::from(position.to_string());
        }
    }

    /// Moves the position by so many characters; without a number, or out of the text, there is none.
    pub fn move_position(&mut self, shift: Option<i64>) {
        let moved = self.position().zip(shift).and_then(|(position, shift)| i64::from(position).checked_add(shift));
        match moved.and_then(|position| u32::try_from(position).ok()).filter(|position| *position > 0) {
            Some(position) => self.set_position(position),
            None => self.0.retain(|(code, _)| *code != b'P'),
        }
    }

    /// Puts other words in the place of these, in the message and in its context.
    pub fn reword(&mut self, from: &str, to: &str) {
        for (_, value) in self.0.iter_mut().filter(|(code, _)| matches!(code, b'M' | b'W')) {
            if let Ok(text) = std::str::from_utf8(value) {
                *value = text.replace(from, to).into();
            }
        }
    }

    /// Takes from the end of the context that this function of ours ran a statement, and which. In any language: what is
    /// called stands there by its name.
    pub fn forget_caller(&mut self, function: &str, statement: &str) {
        let Some((_, context)) = self.0.iter_mut().find(|(code, _)| *code == b'W') else { return };
        let Ok(text) = std::str::from_utf8(context) else { return };
        let mut lines: Vec<&str> = text.split('\n').collect();
        for ours in [function, statement] {
            if lines.last().is_some_and(|line| line.contains(ours)) {
                lines.pop();
            }
        }
        *context = lines.join("\n").into();
        self.0.retain(|(code, value)| *code != b'W' || !value.is_empty());
    }

    /// Adds a hint where there is none.
    pub fn hint(&mut self, hint: &'static str) {
        if self.get(b'H').is_none() {
            self.0.push((b'H', hint.into()));
        }
    }

    pub fn write_error(&self, out: &mut BytesMut) {
        self.write(out, ERROR_RESPONSE);
    }

    pub fn write_notice(&self, out: &mut BytesMut) {
        self.write(out, NOTICE_RESPONSE);
    }

    fn write(&self, out: &mut BytesMut, tag: u8) {
        message(out, tag, |b| {
            for (code, value) in &self.0 {
                b.put_u8(*code);
                put_cstr(b, value);
            }
            b.put_u8(0);
        });
    }
}

/// Writes an error of ours.
pub fn error(out: &mut BytesMut, fault: &Fault) {
    let severity = match fault.severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    ours(out, ERROR_RESPONSE, severity, fault);
}

/// Writes a warning of ours.
pub fn warning(out: &mut BytesMut, fault: &Fault) {
    ours(out, NOTICE_RESPONSE, "WARNING", fault);
}

fn ours(out: &mut BytesMut, tag: u8, severity: &str, fault: &Fault) {
    // A NUL cannot be said in this protocol; a message may quote one from somebody's input.
    let clean = |text: &str| text.replace('\0', "\\0");
    message(out, tag, |b| {
        let mut field = |code: u8, text: &str| {
            b.put_u8(code);
            put_cstr(b, clean(text).as_bytes());
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', fault.state.0);
        field(b'M', &fault.message);
        if let Some(detail) = &fault.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &fault.hint {
            field(b'H', hint);
        }
        b.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::SqlState;
    use crate::wire::take_frame;

    #[test]
    fn an_error_of_ours_reads_back_with_state_message_and_hint() {
        let fault = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, "a\0b").with_hint("do this");
        let mut out = BytesMut::new();
        error(&mut out, &fault);
        let fields = Fields::read(take_frame(&mut out, 1000).unwrap().unwrap().body()).unwrap();
        assert_eq!(fields.state(), b"0A000");
        assert_eq!(fields.message(), "a\\0b");
        assert_eq!(fields.get(b'H').unwrap(), "do this");
        assert!(!fields.is_fatal());
    }

    #[test]
    fn a_function_of_ours_is_taken_from_the_context_and_nothing_else() {
        let ours = "SQL-Anweisung »SET CONSTRAINTS public.k IMMEDIATE«\nPL/pgSQL-Funktion lockstep.settle() Zeile 9";
        let own = "PL/pgSQL-Funktion f() Zeile 3\nSQL-Anweisung »UPDATE t SET a = 1«";
        let left = |context: &str| {
            let mut fields = Fields(vec![(b'M', "x".into()), (b'W', Bytes::from(context.to_owned()))]);
            fields.forget_caller("lockstep.settle()", "SET CONSTRAINTS ");
            fields.get(b'W').map(|context| String::from_utf8_lossy(context).into_owned())
        };
        assert_eq!(left(ours), None);
        assert_eq!(left(&format!("{own}\n{ours}")).as_deref(), Some(own));
        assert_eq!(left(own).as_deref(), Some(own));
    }

    #[test]
    fn a_position_is_replaced_in_its_place() {
        let body = Bytes::from_static(b"SERROR\0P12\0Mx\0\0");
        let mut fields = Fields::read(body).unwrap();
        assert_eq!(fields.position(), Some(12));
        fields.set_position(40);
        let mut out = BytesMut::new();
        fields.write_error(&mut out);
        assert_eq!(take_frame(&mut out, 1000).unwrap().unwrap().body(), &b"SERROR\0P40\0Mx\0\0"[..]);
    }
}
