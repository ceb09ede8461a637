//! Reading the little SQL.

use super::sql::{
    Conflict, Expression, Kind, Level, Operator, Select, Source, Statement, Strength, Value, Waiting, Write,
};
use crate::catalog::SEARCH_PATH_QUERY;
use crate::effect::capture::{APPLY, INHERIT};
use crate::session::OF_THIS_KIND;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Names and keywords; unquoted ones in small letters.
    Word(String),
    Text(String),
    Number(i64),
    Parameter(usize),
    Sign(char),
    /// `::`
    Cast,
}

pub(super) fn parse(text: &str) -> Option<Statement> {
    if text == OF_THIS_KIND {
        // All transactions whose BEGIN does not say otherwise are.
        return Some(Statement::Nothing("SELECT 1"));
    }
    if text == SEARCH_PATH_QUERY {
        return Some(Statement::SearchPath);
    }
    if text.starts_with("SELECT lockstep.flush(") {
        return Some(Statement::Flush);
    }
    // No table whose rows are captured refers to another one here.
    if text == &*APPLY.sql || text == INHERIT {
        return Some(Statement::Apply);
    }
    if let Some(advisory) = super::advisory::read(text) {
        return Some(advisory);
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, subqueries: Vec::new() };
    let statement = parser.statement()?;
    (parser.at == parser.tokens.len()).then_some(statement)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' => (None, 1),
            // What a comment says is taken at its word: see the fault that disguises locks.
            '/' if rest.starts_with("/*") => (None, 2),
            '*' if rest.starts_with("*/") => (None, 2),
            '"' => {
                let end = rest[1..].find('"')? + 1;
                (Some(Token::Word(rest[1..end].into())), end + 1)
            }
            '\'' => {
                let end = rest[1..].find('\'')? + 1;
                (Some(Token::Text(rest[1..end].into())), end + 1)
            }
            '$' => {
                let length = rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1) + 1;
                (Some(Token::Parameter(rest[1..length].parse::<usize>().ok()?.checked_sub(1)?)), length)
            }
            '0'..='9' => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                (Some(Token::Number(rest[..length].parse().ok()?)), length)
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Some(Token::Word(rest[..length].to_ascii_lowercase())), length)
            }
            ':' if rest.starts_with("::") => (Some(Token::Cast), 2),
            '(' | ')' | ',' | '.' | '+' | '-' | '*' | '/' | '=' | '<' | '>' => (Some(Token::Sign(first)), 1),
            _ => return None,
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Some(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    subqueries: Vec<Select>,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        Some(token)
    }

    fn name(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Passes over these words if they come next.
    fn eat(&mut self, words: &str) -> bool {
        let words: Vec<&str> = words.split(' ').collect();
        let here = self.tokens.get(self.at..self.at + words.len());
        let found =
            here.is_some_and(|here| here.iter().zip(&words).all(|(t, w)| matches!(t, Token::Word(x) if x == w)));
        self.at += if found { words.len() } else { 0 };
        found
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn needs(found: bool) -> Option<()> {
        found.then_some(())
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.sign(',') {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn bracketed<T>(&mut self, item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        Self::needs(self.sign('('))?;
        let items = self.list(item)?;
        Self::needs(self.sign(')'))?;
        Some(items)
    }

    fn statement(&mut self) -> Option<Statement> {
        if self.eat("begin") {
            return self.level().map(Statement::Begin);
        }
        match self.next()? {
            Token::Word(word) => match word.as_str() {
                "commit" => Some(Statement::Commit { chain: self.eat("and chain") }),
                "rollback" if self.eat("to savepoint") => self.name().map(Statement::RollbackTo),
                "rollback" => Some(Statement::Rollback),
                "savepoint" => self.name().map(Statement::Savepoint),
                "release" => self.name().map(Statement::Release),
                "set" => {
                    self.at = self.tokens.len();
                    Some(Statement::Nothing("SET"))
                }
                "select" => self.select().map(Statement::Select),
                "with" => self.counted().map(Statement::Write),
                word => self.write(word).map(Statement::Write),
            },
            _ => None,
        }
    }

    fn level(&mut self) -> Option<Level> {
        if !self.eat("isolation level") {
            return Some(Level::ReadCommitted);
        }
        let level = match self.name()?.as_str() {
            "serializable" => Level::Serializable,
            "repeatable" if self.eat("read") => Level::RepeatableRead,
            "read" if self.eat("committed") => Level::ReadCommitted,
            _ => return None,
        };
        let _ = self.eat("read write");
        Some(level)
    }

    fn write(&mut self, word: &str) -> Option<Write> {
        let (table, alias, kind) = match word {
            "insert" => self.insert()?,
            "update" => {
                let (table, alias) = self.target()?;
                Self::needs(self.eat("set"))?;
                let set = self.list(Self::assignment)?;
                let from = if self.eat("from") { Some(self.source()?) } else { None };
                (table, alias, Kind::Update { set, from, filter: self.filter()? })
            }
            "delete" => {
                Self::needs(self.eat("from"))?;
                let (table, alias) = self.target()?;
                let from = if self.eat("using") { Some(self.source()?) } else { None };
                (table, alias, Kind::Delete { from, filter: self.filter()? })
            }
            _ => return None,
        };
        let returning = if self.eat("returning") { self.list(Self::expression)? } else { Vec::new() };
        Some(Write { kind, table, alias, subqueries: std::mem::take(&mut self.subqueries), returning, counted: None })
    }

    /// The table, `public` or not, and what its columns are called by.
    fn target(&mut self) -> Option<(String, String)> {
        let table = self.table()?;
        let alias = if self.eat("as") { self.name()? } else { table.clone() };
        Some((table, alias))
    }

    fn table(&mut self) -> Option<String> {
        let first = self.name()?;
        if self.sign('.') { self.name() } else { Some(first) }
    }

    fn insert(&mut self) -> Option<(String, String, Kind)> {
        Self::needs(self.eat("into"))?;
        let (table, alias) = self.target()?;
        let columns = self.bracketed(Self::name)?;
        let _ = self.eat("overriding system value");
        Self::needs(self.eat("values"))?;
        let rows = self.list(|p| p.bracketed(Self::expression))?;
        let conflict = if self.eat("on conflict") { Some(self.conflict()?) } else { None };
        Some((table, alias, Kind::Insert { columns, rows, conflict }))
    }

    fn conflict(&mut self) -> Option<Conflict> {
        let key = self.bracketed(Self::name)?;
        if self.eat("do nothing") {
            return Some(Conflict { key, set: Vec::new() });
        }
        Self::needs(self.eat("do update set"))?;
        Some(Conflict { key, set: self.list(Self::assignment)? })
    }

    fn assignment(&mut self) -> Option<(String, Expression)> {
        let column = self.name()?;
        Self::needs(self.sign('='))?;
        // Not a comparison of what follows.
        Some((column, self.sum()?))
    }

    fn source(&mut self) -> Option<Source> {
        Self::needs(self.sign('(') && self.eat("values"))?;
        let rows = self.list(|p| p.bracketed(Self::expression))?;
        Self::needs(self.sign(')') && self.eat("as"))?;
        Some(Source { name: self.name()?, columns: self.bracketed(Self::name)?, rows })
    }

    fn filter(&mut self) -> Option<Option<Expression>> {
        if self.eat("where") { self.expression().map(Some) } else { Some(None) }
    }

    /// `WITH w AS (… RETURNING 1) SELECT 1 / (count(*) = n)::int4 FROM w`.
    fn counted(&mut self) -> Option<Write> {
        Self::needs(self.eat("w as") && self.sign('('))?;
        let word = self.name()?;
        let mut write = self.write(&word)?;
        Self::needs(self.sign(')') && self.eat("select"))?;
        let rest = &self.tokens[self.at..];
        let numbers: Vec<i64> =
            rest.iter().filter_map(|t| if let Token::Number(n) = t { Some(*n) } else { None }).collect();
        write.counted = match numbers[..] {
            [1, rows] => usize::try_from(rows).ok(),
            _ => return None,
        };
        write.returning.clear();
        self.at = self.tokens.len();
        Some(write)
    }

    fn select(&mut self) -> Option<Select> {
        let columns = self.list(Self::expression)?;
        let table = if self.eat("from") { Some(self.table()?) } else { None };
        let filter = self.filter()?;
        let ordered = self.eat("order by id");
        let limit = match self.eat("limit").then(|| self.next()) {
            None => None,
            Some(Some(Token::Number(limit))) => usize::try_from(limit).ok(),
            Some(_) => return None,
        };
        let strength = [
            ("for update", Strength::Update),
            ("for no key update", Strength::NoKeyUpdate),
            ("for share", Strength::Share),
            ("for key share", Strength::KeyShare),
        ];
        let strength = strength.into_iter().find(|(words, _)| self.eat(words)).map(|(_, strength)| strength);
        let waiting = if self.eat("skip locked") { Waiting::SkipsLocked } else { Waiting::Waits };
        Some(Select { columns, table, filter, ordered, limit, lock: strength.map(|s| (s, waiting)) })
    }

    fn expression(&mut self) -> Option<Expression> {
        let mut left = self.comparison()?;
        while self.eat("and") {
            left = Expression::Binary(Operator::And, left.into(), self.comparison()?.into());
        }
        Some(left)
    }

    fn comparison(&mut self) -> Option<Expression> {
        let left = self.sum()?;
        let named = self.named_operator();
        let operator = match () {
            () if named || self.sign('=') => Operator::Equal,
            () if self.sign('<') => Operator::Less,
            () if self.sign('>') => Operator::Greater,
            () => return Some(left),
        };
        Some(Expression::Binary(operator, left.into(), self.sum()?.into()))
    }

    /// `OPERATOR(pg_catalog.=)`
    fn named_operator(&mut self) -> bool {
        let before = self.at;
        let found = self.eat("operator") && self.sign('(') && self.name().is_some() && self.sign('.');
        if !(found && self.sign('=') && self.sign(')')) {
            self.at = before;
            return false;
        }
        true
    }

    fn sum(&mut self) -> Option<Expression> {
        let mut left = self.term()?;
        loop {
            let operator = match () {
                () if self.sign('+') => Operator::Plus,
                () if self.sign('-') => Operator::Minus,
                () if self.sign('*') => Operator::Times,
                () => return Some(left),
            };
            left = Expression::Binary(operator, left.into(), self.term()?.into());
        }
    }

    fn term(&mut self) -> Option<Expression> {
        let term = match self.next()? {
            Token::Number(number) => Expression::Constant(Some(number)),
            Token::Parameter(number) => Expression::Parameter(number),
            Token::Sign('(') if self.eat("select") => {
                let select = self.select()?;
                self.subqueries.push(select);
                Self::needs(self.sign(')'))?;
                Expression::Subquery(self.subqueries.len() - 1)
            }
            Token::Sign('(') => {
                let inner = self.expression()?;
                Self::needs(self.sign(')'))?;
                inner
            }
            Token::Sign('-') => Expression::Constant(self.negative()?),
            Token::Word(word) => self.word(word)?,
            _ => return None,
        };
        while self.tokens.get(self.at) == Some(&Token::Cast) {
            self.at += 1;
            self.table()?;
        }
        Some(term)
    }

    fn negative(&mut self) -> Option<Value> {
        match self.next()? {
            Token::Number(number) => Some(Some(-number)),
            _ => None,
        }
    }

    fn word(&mut self, word: String) -> Option<Expression> {
        match word.as_str() {
            "null" => return Some(Expression::Constant(None)),
            "default" => return Some(Expression::Default),
            "random" => {
                Self::needs(self.sign('(') && self.sign(')') && self.sign('*'))?;
                let Token::Number(bound) = self.next()? else { return None };
                return Some(Expression::Random(bound));
            }
            "nextval" => {
                Self::needs(self.sign('('))?;
                let Token::Text(sequence) = self.next()? else { return None };
                Self::needs(self.sign(')'))?;
                return Some(Expression::Nextval(sequence));
            }
            "count" => {
                Self::needs(self.sign('(') && self.sign('*') && self.sign(')'))?;
                return Some(Expression::Count);
            }
            _ => {}
        }
        if self.sign('.') {
            return Some(Expression::Column(Some(word), self.name()?));
        }
        Some(Expression::Column(None, word))
    }
}
