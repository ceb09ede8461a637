//! Words in COPY data that mean another value on each server: `now` and its kind, in fields that may hold a time.
//!
//! Documentation: "Date/Time Types", special values; "COPY", file formats. `epoch`, `infinity` and `allballs` mean the same
//! everywhere. Of a field no more is kept than the word that is under way.

use std::sync::Arc;

use crate::plan::{CopyIn, Quoting, Times};

const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// The longest of them.
const LONGEST: usize = 9;

/// Client encodings in which a byte of a longer character may look like a delimiter (src/backend/utils/mb).
const EMBEDS_ASCII: [&[u8]; 7] = [b"SJIS", b"SHIFT_JIS_2004", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB"];

/// Looks through data that arrives in pieces. Finds too much rather than too little: a row with a time among other values,
/// or with a character that is written as a number, counts as well.
#[derive(Debug)]
pub struct Words {
    copy: Arc<CopyIn>,
    /// Columns cannot be told apart: all of them are looked at.
    everywhere: bool,
    /// The column under way, counted from 0.
    column: usize,
    /// Of a line with names.
    header: bool,
    quoted: bool,
    escaped: bool,
    /// The word under way; one byte more than the longest stands for any longer one.
    word: Vec<u8>,
}

impl Words {
    /// `None`: no column may hold a time.
    pub fn of(copy: &Arc<CopyIn>, client_encoding: &[u8]) -> Option<Self> {
        let header = copy.times.as_ref()?.header;
        let everywhere = EMBEDS_ASCII.iter().any(|name| client_encoding.eq_ignore_ascii_case(name));
        let copy = copy.clone();
        Some(Self { copy, everywhere, column: 0, header, quoted: false, escaped: false, word: Vec::new() })
    }

    /// What is found in this piece, and ends in it.
    pub fn find(&mut self, piece: &[u8]) -> Option<&'static str> {
        let copy = self.copy.clone();
        let times = copy.times.as_ref()?;
        piece.iter().find_map(|byte| match &times.quoting {
            Some(quoting) => self.csv(*byte, times, quoting),
            None => self.text(*byte, times),
        })
    }

    fn text(&mut self, byte: u8, times: &Times) -> Option<&'static str> {
        if std::mem::take(&mut self.escaped) {
            return match byte {
                b'0'..=b'7' | b'x' if self.matters(times) => {
                    Some("a time with a character that is written as a number")
                }
                b'b' | b'f' | b'n' | b'r' | b't' | b'v' => self.within(b' ', times),
                other => self.within(other, times),
            };
        }
        match byte {
            b'\\' => {
                self.escaped = true;
                None
            }
            other => self.plain(other, times),
        }
    }

    fn csv(&mut self, byte: u8, times: &Times, quoting: &Quoting) -> Option<&'static str> {
        let (quote, escape) = (quoting.quote, quoting.escape);
        if std::mem::take(&mut self.escaped) && (byte == quote || byte == escape) {
            return self.within(byte, times);
        }
        if self.quoted && byte == escape && escape != quote {
            self.escaped = true;
        } else if byte == quote {
            self.quoted = !self.quoted;
        } else if self.quoted {
            return self.within(byte, times);
        } else {
            return self.plain(byte, times);
        }
        None
    }

    /// A byte that may end a field or a line.
    fn plain(&mut self, byte: u8, times: &Times) -> Option<&'static str> {
        let ends_line = matches!(byte, b'\n' | b'\r');
        if !ends_line && byte != times.delimiter {
            return self.within(byte, times);
        }
        let found = self.word_ends(times);
        self.column = if ends_line { 0 } else { self.column + 1 };
        self.header &= !ends_line;
        found
    }

    /// A byte of a field.
    fn within(&mut self, byte: u8, times: &Times) -> Option<&'static str> {
        if !(byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()) {
            return self.word_ends(times);
        }
        if self.word.len() <= LONGEST {
            self.word.push(byte);
        }
        None
    }

    fn word_ends(&mut self, times: &Times) -> Option<&'static str> {
        let found = WORDS.iter().find(|word| self.word.eq_ignore_ascii_case(word)).filter(|_| self.matters(times));
        self.word.clear();
        found.and_then(|word| std::str::from_utf8(word).ok())
    }

    fn matters(&self, times: &Times) -> bool {
        !self.header && (self.everywhere || times.columns.get(self.column).is_some_and(|temporal| *temporal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns; the second may hold a time.
    fn times() -> Times {
        Times { columns: vec![false, true], delimiter: b'\t', quoting: None, header: false }
    }

    fn csv(escape: u8) -> Times {
        Times { delimiter: b',', quoting: Some(Quoting { quote: b'"', escape }), ..times() }
    }

    fn words(times: Times, encoding: &[u8]) -> Words {
        let copy = CopyIn { follower_sql: String::new(), deferrable: false, times: Some(times) };
        Words::of(&Arc::new(copy), encoding).unwrap()
    }

    fn found(times: &Times, data: &[u8]) -> Option<&'static str> {
        words(times.clone(), b"UTF8").find(data)
    }

    #[test]
    fn a_word_is_found_wherever_the_data_is_cut() {
        for (times, data) in [
            (times(), &b"1\tNow\n"[..]),
            (times(), b"1\t2020-01-01\r\nx\ttoday 04:05\n"),
            (times(), b"1\t{infinity,tomorrow}\n"),
            (csv(b'"'), b"1,\"a\"\"b\"\n2, \"yesterday\" \n"),
            (csv(b'\\'), b"\"\\\", now\",now\n"),
        ] {
            assert!(found(&times, data).is_some(), "{data:?}");
            for cut in 0..data.len() {
                let mut words = words(times.clone(), b"UTF8");
                assert!(words.find(&data[..cut]).or(words.find(&data[cut..])).is_some(), "{data:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_word_elsewhere_means_itself() {
        for data in [
            &b"now\t2020-01-01\ntoday\t\\N\n"[..],
            b"\\tnow\\\tnow\\nnow\tinfinity\n",
            b"1\tknow\n1\tnow_\n1\tnowhere\n",
        ] {
            assert_eq!(found(&times(), data), None, "{data:?}");
        }
        assert_eq!(found(&csv(b'"'), b"\"now,\nnow,\"\"now\",2020-01-01\nnow,\n"), None);
        assert_eq!(found(&Times { header: true, ..csv(b'"') }, b"id,now\n1,2020-01-01\n"), None);
    }

    #[test]
    fn what_is_written_in_numbers_is_not_looked_through() {
        assert!(found(&times(), b"1\tn\\157w\n").is_some());
        assert_eq!(found(&times(), b"n\\157w\t2020-01-01\n"), None);
    }

    #[test]
    fn where_characters_hide_delimiters_every_column_counts() {
        assert!(words(times(), b"sjis").find(b"now\t1\n").is_some());
    }
}
