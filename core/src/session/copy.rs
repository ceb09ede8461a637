//! Words in COPY data that mean another value on each server: `now` and its kind, as whole fields.
//!
//! Documentation: "Date/Time Types", special values. `epoch`, `infinity` and `allballs` mean the same everywhere.

const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// What is kept of one piece for the next: the longest word with what may stand around it.
const CARRY: usize = 32;

/// Looks through text data that arrives in pieces. Finds too much rather than too little: a field of another type that
/// consists of such a word is found too.
#[derive(Debug)]
pub struct Words {
    carry: Vec<u8>,
}

impl Default for Words {
    fn default() -> Self {
        Self { carry: b"\n".to_vec() }
    }
}

impl Words {
    /// The first such field that is seen to end in this piece.
    pub fn find(&mut self, piece: &[u8]) -> Option<&'static str> {
        let mut text = std::mem::take(&mut self.carry);
        text.extend_from_slice(piece);
        let found = WORDS.iter().find(|word| contains_field(&text, word));
        self.carry = text[text.len().saturating_sub(CARRY)..].to_vec();
        found.map(|word| std::str::from_utf8(word).unwrap_or("now"))
    }
}

fn contains_field(text: &[u8], word: &[u8]) -> bool {
    let delimits =
        |byte: Option<&u8>| byte.is_some_and(|b| matches!(b, b'\t' | b'\n' | b'\r' | b',' | b';' | b'|' | b'"'));
    text.windows(word.len()).enumerate().any(|(at, window)| {
        window.eq_ignore_ascii_case(word)
            && delimits(text[..at].iter().rev().find(|b| **b != b' '))
            && delimits(text[at + word.len()..].iter().find(|b| **b != b' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_as_a_field_wherever_the_data_is_cut() {
        for data in [&b"1\tNow\t2\n"[..], b"today\n", b"7, now ,x\n"] {
            for cut in 0..data.len() {
                let mut words = Words::default();
                let found = words.find(&data[..cut]).or(words.find(&data[cut..]));
                assert!(found.is_some(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_word_inside_a_longer_field_is_not_found() {
        assert_eq!(Words::default().find(b"1\tknow\tnowhere\tright now\tnow_\n"), None);
    }
}
