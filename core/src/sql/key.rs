//! Recognises a text that was seen before, perhaps with other literals.
//!
//! The key is a cryptographic digest, because sessions of different users share what is found by it. Texts with the same
//! key have the same tokens, literals aside, one for one: so what is known of one by token is true of the other.

use sha2::{Digest, Sha256};

use super::lexer::{Kind, Token};
use super::parse::Scanned;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextKey(u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// Strings and numbers are all the same.
    Literals,
    Nothing,
}

impl Masking {
    /// Literals say what is meant, except in statements that read and write rows.
    pub fn of(scanned: &Scanned<'_>) -> Self {
        let sql = scanned.sql;
        let mut first = true;
        for token in &scanned.tokens {
            let separates = token.is(sql, b';');
            if first && !separates && !masks(sql, token) {
                return Self::Nothing;
            }
            first = separates;
        }
        Self::Literals
    }
}

const MASKED: [&str; 18] = [
    "select",
    "insert",
    "update",
    "delete",
    "with",
    "values",
    "table",
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "execute",
    "fetch",
    "close",
];

fn masks(sql: &str, first: &Token) -> bool {
    first.is(sql, b'(') || MASKED.iter().any(|word| first.is_word(sql, word))
}

impl TextKey {
    pub fn of(scanned: &Scanned<'_>, masking: Masking) -> Self {
        let mut digest = Sha256::new();
        let mut buffer = Vec::with_capacity(scanned.sql.len());
        let mut colon = false;
        for token in &scanned.tokens {
            // `::` and `:=` are one, `: :` and `: =` are two.
            let joined = colon && token.glued;
            colon = token.is(scanned.sql, b':');
            let masked = masking == Masking::Literals && matches!(token.kind, Kind::String | Kind::Number);
            let text = if masked { &[][..] } else { token.text(scanned.sql) };
            buffer.push(token.kind as u8 | u8::from(joined) << 7);
            buffer.extend_from_slice(&(text.len() as u32).to_le_bytes());
            buffer.extend_from_slice(text);
        }
        digest.update([u8::from(masking == Masking::Literals)]);
        digest.update(&buffer);
        Self(digest.finalize().iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::scan;
    use super::*;

    fn key(sql: &str) -> TextKey {
        let scanned = scan(sql).unwrap();
        TextKey::of(&scanned, Masking::of(&scanned))
    }

    #[test]
    fn texts_that_differ_in_literals_and_comments_are_the_same() {
        assert_eq!(key("SELECT 'a', 1 FROM t"), key("SELECT  $$b'$$ , 2.5e3 FROM/* c */t -- d"));
        assert_eq!(key("INSERT INTO t VALUES (1, E'\\'')"), key("INSERT INTO t VALUES (22, 'x')"));
    }

    #[test]
    fn everything_else_tells_texts_apart() {
        let texts = [
            "SELECT a FROM t",
            "SELECT b FROM t",
            "SELECT \"a\" FROM t",
            "SELECT 'a' FROM t",
            "SELECT 1 FROM t",
            "SELECT $1 FROM t",
            "SELECT $2 FROM t",
            "SELECT a::b FROM t",
            "SELECT a: :b FROM t",
            "SELECT a <-1 FROM t",
            "SELECT a < -1 FROM t",
            "SELECT ab FROM t",
            "SELECT a b FROM t",
            "SELECT a FROM t;",
            "SET a = 'b'",
            "SET a = 'c'",
            "SELECT 1; SET a = 'c'",
            "SELECT 1; SET a = 'd'",
        ];
        for (n, one) in texts.iter().enumerate() {
            for other in &texts[..n] {
                assert_ne!(key(one), key(other), "{one} / {other}");
            }
        }
    }
}
