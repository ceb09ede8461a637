//! Tokens in one pass, without a look at what they mean (src/backend/parser/scan.l).
//!
//! A run of operator characters is one token here where PostgreSQL may see several; for the purposes of this project that
//! makes no difference. What this lexer is not sure about it says so, and then the text is never recognised again.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A keyword or an identifier without quotes.
    Word,
    /// `"…"` and `U&"…"`.
    Quoted,
    /// A string, bit string or dollar-quoted literal.
    String,
    Number,
    /// `$1`.
    Parameter,
    Operator,
    /// One of `, ( ) [ ] . ; :`.
    Punctuation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    /// Bytes from the start of the text.
    pub start: usize,
    pub end: usize,
    /// Nothing stands between this token and the one before it.
    pub glued: bool,
}

impl Token {
    pub fn text<'a>(&self, sql: &'a str) -> &'a [u8] {
        &sql.as_bytes()[self.start..self.end]
    }

    pub fn is(&self, sql: &str, punctuation: u8) -> bool {
        self.kind == Kind::Punctuation && sql.as_bytes()[self.start..self.end] == [punctuation]
    }

    /// Whether it is this keyword, given in lower case.
    pub fn is_word(&self, sql: &str, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text(sql).eq_ignore_ascii_case(keyword.as_bytes())
    }
}

/// The lexer met what it does not know, or what ends in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not cut into tokens with certainty")]
pub struct Unsure;

pub fn lex(sql: &str) -> Result<Vec<Token>, Unsure> {
    let mut lexer = Lexer { bytes: sql.as_bytes(), at: 0 };
    let mut tokens = Vec::with_capacity(sql.len() / 5);
    let mut end = 0;
    loop {
        lexer.skip_blank()?;
        if lexer.at == lexer.bytes.len() {
            return Ok(tokens);
        }
        let start = lexer.at;
        let kind = lexer.token()?;
        tokens.push(Token { kind, start, end: lexer.at, glued: start == end });
        end = lexer.at;
    }
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Not even a doubled quote: a bit string.
    None,
    Quote,
    Backslash,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && accept(self.bytes[self.at]) {
            self.at += 1;
        }
    }

    fn skip_blank(&mut self) -> Result<(), Unsure> {
        loop {
            self.skip_while(is_space);
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') => self.skip_while(|b| b != b'\n' && b != b'\r'),
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// Block comments nest.
    fn skip_comment(&mut self) -> Result<(), Unsure> {
        let mut depth = 0usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ if self.at >= self.bytes.len() => return Err(Unsure),
                _ => self.at += 1,
            }
        }
    }

    fn token(&mut self) -> Result<Kind, Unsure> {
        match self.peek(0) {
            b'\'' => self.string(Escapes::Quote),
            b'"' => self.quoted(),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            // A range in PL/pgSQL.
            b'.' if self.peek(1) == b'.' => {
                self.at += 2;
                Ok(Kind::Punctuation)
            }
            b',' | b'(' | b')' | b'[' | b']' | b'.' | b';' | b':' => {
                self.at += 1;
                Ok(Kind::Punctuation)
            }
            byte if is_word_start(byte) => self.word(),
            byte if is_operator(byte) => {
                self.operator();
                Ok(Kind::Operator)
            }
            _ => Err(Unsure),
        }
    }

    fn word(&mut self) -> Result<Kind, Unsure> {
        match (self.peek(0), self.peek(1), self.peek(2)) {
            (b'e' | b'E', b'\'', _) => {
                self.at += 1;
                self.string(Escapes::Backslash)
            }
            (b'b' | b'B' | b'x' | b'X', b'\'', _) => {
                self.at += 1;
                self.string(Escapes::None)
            }
            (b'n' | b'N', b'\'', _) => {
                self.at += 1;
                self.string(Escapes::Quote)
            }
            (b'u' | b'U', b'&', b'\'') => {
                self.at += 2;
                self.string(Escapes::Quote)
            }
            (b'u' | b'U', b'&', b'"') => {
                self.at += 2;
                self.quoted()
            }
            _ => {
                self.skip_while(is_word_part);
                Ok(Kind::Word)
            }
        }
    }

    /// From the opening quote; literals that only a line break parts are one.
    fn string(&mut self, escapes: Escapes) -> Result<Kind, Unsure> {
        self.at += 1;
        loop {
            match self.peek(0) {
                b'\'' if self.peek(1) == b'\'' && escapes != Escapes::None => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    if !self.continues() {
                        return Ok(Kind::String);
                    }
                }
                b'\\' if escapes == Escapes::Backslash => self.at += 2,
                _ => self.at += 1,
            }
            if self.at >= self.bytes.len() {
                return Err(Unsure);
            }
        }
    }

    /// Whether the literal goes on after white space with a line break; then the position is behind its next quote.
    fn continues(&mut self) -> bool {
        let closed = self.at;
        let mut line_break = false;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n' | b'\r', _) => line_break = true,
                (byte, _) if is_space(byte) => {}
                (b'-', b'-') => {
                    self.skip_while(|b| b != b'\n' && b != b'\r');
                    continue;
                }
                (b'\'', _) if line_break => {
                    self.at += 1;
                    return true;
                }
                _ => {
                    self.at = closed;
                    return false;
                }
            }
            self.at += 1;
        }
    }

    fn quoted(&mut self) -> Result<Kind, Unsure> {
        self.at += 1;
        loop {
            self.skip_while(|b| b != b'"');
            match (self.peek(0), self.peek(1)) {
                (b'"', b'"') => self.at += 2,
                (b'"', _) => {
                    self.at += 1;
                    return Ok(Kind::Quoted);
                }
                _ => return Err(Unsure),
            }
        }
    }

    fn dollar(&mut self) -> Result<Kind, Unsure> {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.skip_while(|b| b.is_ascii_digit());
            return if is_word_start(self.peek(0)) { Err(Unsure) } else { Ok(Kind::Parameter) };
        }
        if is_word_start(self.peek(0)) {
            self.skip_while(|b| is_word_part(b) && b != b'$');
        }
        if self.peek(0) != b'$' {
            return Err(Unsure);
        }
        self.at += 1;
        let tag = &self.bytes[start..self.at];
        let body = &self.bytes[self.at..];
        let length = body.windows(tag.len()).position(|window| window == tag).ok_or(Unsure)?;
        self.at += length + tag.len();
        Ok(Kind::String)
    }

    fn number(&mut self) -> Result<Kind, Unsure> {
        if self.peek(0) == b'0' && matches!(self.peek(1) | 0x20, b'x' | b'o' | b'b') {
            self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
            return Ok(Kind::Number);
        }
        let digit = |b: u8| b.is_ascii_digit() || b == b'_';
        self.skip_while(digit);
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.skip_while(digit);
        }
        if self.peek(0) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.skip_while(digit);
            }
        }
        // Servers before 15 read `1a` as two tokens.
        if is_word_start(self.peek(0)) { Err(Unsure) } else { Ok(Kind::Number) }
    }

    fn operator(&mut self) {
        while is_operator(self.peek(0)) && !matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*')) {
            self.at += 1;
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(sql: &str) -> Vec<&str> {
        lex(sql).unwrap().iter().map(|t| &sql[t.start..t.end]).collect()
    }

    #[test]
    fn comments_nest_and_end_where_the_server_says() {
        assert_eq!(words("a /* b /* c */ d */ e -- f\n g/*'*/h"), ["a", "e", "g", "h"]);
        assert_eq!(lex("a /* /* */"), Err(Unsure));
    }

    #[test]
    fn every_kind_of_literal_is_one_token() {
        for literal in
            ["'a''b'", r"E'a\'b'", r"'a\'", "$$ ' $ $$", "$a$ $b$ $$ $a$", "x'1F'", "U&'\\0041'", "'a' \n 'b'"]
        {
            let sql = format!("f({literal}) ;");
            assert_eq!(words(&sql), ["f", "(", literal, ")", ";"]);
        }
    }

    #[test]
    fn an_escaped_literal_stays_one_after_a_line_break() {
        assert_eq!(words("E'a' -- x\n 'b\\'c' d"), ["E'a' -- x\n 'b\\'c'", "d"]);
    }

    #[test]
    fn a_range_is_no_fraction() {
        assert_eq!(words("1..3 a..b .5 1.5 1."), ["1", "..", "3", "a", "..", "b", ".5", "1.5", "1."]);
    }

    #[test]
    fn what_ends_in_the_middle_is_not_cut() {
        for sql in ["'a", "\"a", "$a$ b", "E'a\\'", "1a", "$1a", "a \\ b"] {
            assert_eq!(lex(sql), Err(Unsure), "{sql}");
        }
    }
}

#[cfg(all(test, feature = "sql"))]
mod against_the_server {
    use super::*;
    use proptest::prelude::*;

    /// The server's own tokens, without comments, and without operators, which are cut in another way here.
    fn oracle(sql: &str) -> Option<Vec<(usize, usize)>> {
        let operator = |c: char| c.is_ascii() && is_operator(c as u8);
        let tokens = pg_query::scan(sql).ok()?.tokens;
        let spans = tokens.iter().map(|t| (t.start as usize, t.end as usize));
        let spans = spans.filter(|(start, end)| {
            let text = &sql[*start..*end];
            !text.starts_with("--") && !text.starts_with("/*") && !text.starts_with(operator) && !text.starts_with(':')
        });
        Some(spans.collect())
    }

    fn ours(sql: &str) -> Option<Vec<(usize, usize)>> {
        let tokens = lex(sql).ok()?;
        let kept = tokens.iter().filter(|t| t.kind != Kind::Operator && !t.is(sql, b':'));
        Some(kept.map(|t| (t.start, t.end)).collect())
    }

    proptest! {
        #[test]
        fn tokens_stand_where_the_server_sees_them(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("'"), Just("''"), Just("E'"), Just("\\"), Just("\""), Just("U&\""), Just("$$"), Just("$a$"),
                    Just("--"), Just("\n"), Just(" "), Just("/*"), Just("*/"), Just("a"), Just("1"), Just(".5"), Just("."), Just(".."), Just("e3"),
                    Just("$1"), Just("("), Just(")"), Just(";"), Just("+"), Just("<="), Just("é"), Just("::"), Just("x'"),
                ],
                0..24,
            )
        ) {
            let sql: String = pieces.concat();
            if let (Some(ours), Some(oracle)) = (ours(&sql), oracle(&sql)) {
                prop_assert_eq!(ours, oracle, "{:?}", sql);
            }
        }
    }
}
