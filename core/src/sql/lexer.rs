//! Tokens of SQL text (documentation, "Lexical Structure"), with `standard_conforming_strings` on.
//!
//! The lexer need not reject anything: what it cuts is used only for texts that PostgreSQL's grammar has accepted, or that
//! are equal, token by token, to such a text.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An unquoted name or keyword.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string or bit string constant.
    Text,
    Number,
    /// `$1`
    Parameter,
    /// One or more operator characters.
    Operator,
    /// One of `( ) [ ] , ; : .`, or a byte that belongs to nothing.
    Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    pub fn text<'a>(&self, sql: &'a str) -> &'a str {
        &sql[self.start as usize..self.end as usize]
    }
}

/// The tokens of one text.
#[derive(Debug, Default)]
pub struct Tokens {
    pub list: Vec<Token>,
    /// A string, name or comment has no end.
    pub unterminated: bool,
}

impl Tokens {
    pub fn of(sql: &str) -> Self {
        let mut lexer = Lexer { bytes: sql.as_bytes(), at: 0, tokens: Self::default() };
        lexer.run();
        lexer.tokens
    }

    /// From the first token in `range` to the end of its last that is no semicolon, in bytes.
    pub fn span(&self, sql: &str, range: Range<usize>) -> Option<Range<usize>> {
        let within = |t: &&Token| (range.start..range.end).contains(&(t.start as usize));
        let counts = |t: &&Token| within(t) && t.text(sql) != ";";
        let first = self.list.iter().find(counts)?;
        let last = self.list.iter().rev().find(counts)?;
        Some(first.start as usize..last.end as usize)
    }

    /// The most that a text's tree can be nested: brackets, and operators and keywords that stack without them.
    pub fn nesting(&self, sql: &str) -> usize {
        let (mut depth, mut chain, mut most) = (0usize, 0usize, 0);
        for token in &self.list {
            match (token.kind, token.text(sql)) {
                (Kind::Mark, "(" | "[") => depth += 1,
                (Kind::Mark, ")" | "]") => depth = depth.saturating_sub(1),
                (Kind::Mark, "," | ";") => chain = 0,
                (Kind::Mark, ":") | (Kind::Operator, _) => chain += 1,
                (Kind::Word, word) if stacks(word) => chain += 1,
                _ => {}
            }
            most = most.max(depth + chain);
        }
        most
    }
}

/// Keywords that nest what follows or what came before them.
fn stacks(word: &str) -> bool {
    const WORDS: [&str; 14] = [
        "not",
        "case",
        "else",
        "union",
        "except",
        "intersect",
        "join",
        "is",
        "like",
        "ilike",
        "similar",
        "collate",
        "isnull",
        "notnull",
    ];
    WORDS.iter().any(|w| w.eq_ignore_ascii_case(word))
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    tokens: Tokens,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.peek(0) {
            let start = self.at;
            let kind = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                    self.at += 1;
                    continue;
                }
                b'-' if self.peek(1) == Some(b'-') => {
                    self.line_comment();
                    continue;
                }
                b'/' if self.peek(1) == Some(b'*') => {
                    self.block_comment();
                    continue;
                }
                b'\'' => self.quoted(1, b'\'', false, Kind::Text),
                b'"' => self.quoted(1, b'"', false, Kind::Quoted),
                b'$' => self.dollar(),
                b'0'..=b'9' => self.number(),
                b'.' if self.peek(1).is_some_and(|b| b.is_ascii_digit()) => self.number(),
                _ if begins_word(byte) => self.word(),
                _ if is_operator(byte) => self.operator(),
                _ => {
                    self.at += 1;
                    Kind::Mark
                }
            };
            self.tokens.list.push(Token { kind, start: start as u32, end: self.at as u32 });
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn line_comment(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.tokens.unterminated = true;
    }

    /// A constant or name in quotes that begins `skip` bytes from here with its quote.
    fn quoted(&mut self, skip: usize, quote: u8, backslashes: bool, kind: Kind) -> Kind {
        self.at += skip;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' if backslashes => self.at += 2,
                _ if byte == quote && self.peek(1) == Some(quote) => self.at += 2,
                _ if byte == quote => {
                    self.at += 1;
                    return kind;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
        self.tokens.unterminated = true;
        kind
    }

    /// `$1`, `$tag$ … $tag$`, or a lone dollar.
    fn dollar(&mut self) -> Kind {
        let rest = &self.bytes[self.at + 1..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            self.at += 1 + digits;
            return Kind::Parameter;
        }
        let tag = rest.iter().take_while(|b| continues_word(**b) && **b != b'$').count();
        if rest.get(tag) != Some(&b'$') {
            self.at += 1;
            return Kind::Mark;
        }
        let delimiter = &self.bytes[self.at..self.at + tag + 2];
        let body = self.at + delimiter.len();
        match find(&self.bytes[body..], delimiter) {
            Some(end) => self.at = body + end + delimiter.len(),
            None => {
                self.at = self.bytes.len();
                self.tokens.unterminated = true;
            }
        }
        Kind::Text
    }

    fn number(&mut self) -> Kind {
        if self.peek(0) == Some(b'0') && self.peek(1).is_some_and(|b| matches!(b | 0x20, b'x' | b'o' | b'b')) {
            self.at += 2;
            self.skip_while(|b| b.is_ascii_hexdigit() || b == b'_');
            return Kind::Number;
        }
        self.skip_while(|b| b.is_ascii_digit() || b == b'_');
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.skip_while(|b| b.is_ascii_digit() || b == b'_');
        }
        if self.peek(0).is_some_and(|b| b | 0x20 == b'e') {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1 + sign;
                self.skip_while(|b| b.is_ascii_digit() || b == b'_');
            }
        }
        Kind::Number
    }

    fn word(&mut self) -> Kind {
        let quote = self.peek(1);
        match (self.bytes[self.at] | 0x20, quote) {
            (b'e', Some(b'\'')) => return self.quoted(2, b'\'', true, Kind::Text),
            (b'b' | b'x' | b'n', Some(b'\'')) => return self.quoted(2, b'\'', false, Kind::Text),
            (b'u', Some(b'&')) => match self.peek(2) {
                Some(b'\'') => return self.quoted(3, b'\'', false, Kind::Text),
                Some(b'"') => return self.quoted(3, b'"', false, Kind::Quoted),
                _ => {}
            },
            _ => {}
        }
        self.skip_while(continues_word);
        Kind::Word
    }

    fn operator(&mut self) -> Kind {
        while let Some(byte) = self.peek(0).filter(|b| is_operator(*b)) {
            let comment = matches!((byte, self.peek(1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if comment {
                break;
            }
            self.at += 1;
        }
        Kind::Operator
    }

    fn skip_while(&mut self, holds: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&holds) {
            self.at += 1;
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        Tokens::of(sql).list.iter().map(|t| t.text(sql)).collect()
    }

    #[test]
    fn strings_names_and_comments_end_where_postgresql_ends_them() {
        assert_eq!(
            texts("a'b''c' E'd\\'e' \"f\"\"g\" U&'h' x'0f'"),
            ["a", "'b''c'", "E'd\\'e'", "\"f\"\"g\"", "U&'h'", "x'0f'"]
        );
        assert_eq!(texts("1 /* a /* b */ c */ 2 -- d\n 3"), ["1", "2", "3"]);
        assert_eq!(texts("$1 $$a;b$$ $x$ $$ $x$ a$b"), ["$1", "$$a;b$$", "$x$ $$ $x$", "a$b"]);
        assert_eq!(texts("a->>'k'*-1.5e-3--c"), ["a", "->>", "'k'", "*-", "1.5e-3"]);
        assert_eq!(texts("x::int[1:2]"), ["x", ":", ":", "int", "[", "1", ":", "2", "]"]);
    }

    #[test]
    fn a_statement_spans_its_tokens_without_semicolon_and_comments() {
        let sql = " /* a */ SELECT 1 -- b\n ; SELECT 2;";
        let tokens = Tokens::of(sql);
        assert_eq!(&sql[tokens.span(sql, 0..25).unwrap()], "SELECT 1");
        assert_eq!(&sql[tokens.span(sql, 26..sql.len()).unwrap()], "SELECT 2");
    }

    #[test]
    fn what_has_no_end_is_told() {
        for sql in ["'a", "\"a", "$$a", "/* a", "E'a\\'"] {
            assert!(Tokens::of(sql).unterminated, "{sql}");
        }
    }

    #[test]
    fn nesting_is_measured_for_brackets_and_for_chains() {
        let nesting = |sql: &str| Tokens::of(sql).nesting(sql);
        assert_eq!(nesting(&"(".repeat(1000)), 1000);
        assert!(nesting(&format!("SELECT 1{}", "+1".repeat(5000))) >= 5000);
        assert!(nesting(&format!("INSERT INTO t VALUES {}", "(-1, -2),".repeat(5000))) < 10);
    }
}
