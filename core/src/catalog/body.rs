//! What the text of a function mentions, told from its tokens: enough to say what it cannot do.
//!
//! A function of SQL or PL/pgSQL can write by a statement of its own, by text that it makes (EXECUTE), or by what it
//! calls. The first two are seen by a few words and by the words with which its statements begin; for the third every
//! word is taken for the name of what is called. Invariant: too much is found rather than too little, and a text that is
//! not cut into tokens with certainty has no [`Body`].

use std::collections::HashSet;

use super::run;
use crate::sql::{Kind, Token, lex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Sql,
    PlPgSql,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    /// Words and quoted names as the server folds them.
    pub words: HashSet<String>,
    /// Those of them before which no dot stands.
    pub unqualified: HashSet<String>,
    /// Those behind which a bracket opens: what is called.
    pub called: HashSet<String>,
    /// Those before which a dot stands: `a.f` may mean `f(a)`.
    pub fields: HashSet<String>,
    pub operators: HashSet<String>,
    /// The first word or statement by which it would write something else than rows, were it allowed to.
    pub statement: Option<String>,
    /// Names of what its statements would insert into, update or delete from; of text that it makes, a guess ([`run`]).
    pub targets: Vec<String>,
    /// It makes text and runs it, other than plain literals, which are read as if they stood there.
    pub runs_text: bool,
    /// A literal that means another time tomorrow.
    pub temporal: bool,
    /// Settings that `set_config` changes; `None`: not a plain literal.
    pub settings: Vec<Option<String>>,
    /// It may lock rows that it does not change, or leave a cursor, or run one on.
    pub lingers: bool,
}

/// Words with which a statement that only reads begins, or a part of one in PL/pgSQL.
const STARTS: [&str; 37] = [
    "assert",
    "begin",
    "call",
    "case",
    "close",
    "continue",
    "declare",
    "delete",
    "else",
    "elsif",
    "elseif",
    "end",
    "exception",
    "execute",
    "exit",
    "fetch",
    "for",
    "foreach",
    "get",
    "if",
    "insert",
    "loop",
    "merge",
    "move",
    "null",
    "open",
    "perform",
    "raise",
    "return",
    "select",
    "table",
    "update",
    "values",
    "when",
    "while",
    "with",
    "atomic",
];

/// Words behind which another statement begins.
const BEFORE_A_START: [&str; 6] = ["begin", "then", "else", "loop", "atomic", "declare"];

const WRITES: [&str; 4] = ["insert", "delete", "merge", "update"];

impl Body {
    pub fn read(text: &str, language: Language) -> Option<Self> {
        let tokens = lex(text).ok()?;
        let mut reader = Reader { text, tokens: &tokens, names: Names::default() };
        reader.read_names()?;
        let targets = reader.targets();
        let writes = targets.as_ref().err().cloned().or_else(|| reader.makes_a_table(language));
        let statement = writes.or_else(|| reader.unknown_start());
        let mut targets = targets.unwrap_or_default();
        let (texts, runs_text) = match language {
            Language::Sql => (Vec::new(), reader.names.words.contains("execute")),
            Language::PlPgSql => run::texts(text, &tokens),
        };
        if runs_text {
            targets.extend(reader.of_kind(Kind::String).filter_map(run::content).flat_map(|text| named_in(&text)));
        }
        let operators = reader.of_kind(Kind::Operator).map(str::to_owned).collect();
        let temporal = reader.of_kind(Kind::String).any(names_a_time);
        let settings = reader.settings();
        let lingers = reader.lingers();
        let Names { words, unqualified, called, fields } = reader.names;
        let mut body = Self {
            words,
            unqualified,
            called,
            fields,
            operators,
            statement,
            targets,
            runs_text,
            temporal,
            settings,
            lingers,
        };
        texts.iter().for_each(|text| body.absorb(Self::read(text, Language::Sql)));
        Some(body)
    }

    /// A statement that stands in it as a literal. `None`: it is not understood.
    fn absorb(&mut self, run: Option<Self>) {
        let Some(run) = run else {
            self.runs_text = true;
            return;
        };
        self.words.extend(run.words);
        self.unqualified.extend(run.unqualified);
        self.called.extend(run.called);
        self.fields.extend(run.fields);
        self.operators.extend(run.operators);
        self.statement = self.statement.take().or(run.statement);
        self.targets.extend(run.targets);
        self.runs_text |= run.runs_text;
        self.temporal |= run.temporal;
        self.settings.extend(run.settings);
        self.lingers |= run.lingers;
    }
}

/// What a part of a text would write to, as far as that stands in it.
fn named_in(part: &str) -> Vec<String> {
    let Ok(tokens) = lex(part) else { return Vec::new() };
    let reader = Reader { text: part, tokens: &tokens, names: Names::default() };
    let words = |at: usize| WRITES.iter().find(|word| tokens[at].is_word(part, word)).map(|word| (at, *word));
    let written = (0..tokens.len()).filter_map(words).filter(|(at, word)| !reader.names_no_target(*at, word));
    written.filter_map(|(at, word)| reader.target(at, word)).collect()
}

struct Reader<'a> {
    text: &'a str,
    tokens: &'a [Token],
    names: Names,
}

#[derive(Default)]
struct Names {
    words: HashSet<String>,
    unqualified: HashSet<String>,
    called: HashSet<String>,
    fields: HashSet<String>,
}

impl<'a> Reader<'a> {
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &'a str> {
        let text = self.text;
        self.tokens.iter().filter(move |t| t.kind == kind).map(move |t| &text[t.start..t.end])
    }

    fn read_names(&mut self) -> Option<()> {
        for (at, token) in self.tokens.iter().enumerate() {
            let Some(name) = name(self.text, token)? else { continue };
            let qualified = at > 0 && self.tokens[at - 1].is(self.text, b'.');
            let called = self.tokens.get(at + 1).is_some_and(|next| next.is(self.text, b'('));
            // Letters beyond ASCII are folded by some encodings and not by others.
            let folded = (token.kind == Kind::Word && !name.is_ascii()).then(|| name.to_lowercase());
            for name in folded.into_iter().chain([name]) {
                if qualified {
                    self.names.fields.insert(name.clone());
                } else {
                    self.names.unqualified.insert(name.clone());
                }
                if called {
                    self.names.called.insert(name.clone());
                }
                self.names.words.insert(name);
            }
        }
        Some(())
    }

    /// What statements that write rows write to, wherever they stand: such a statement may be part of a query. The error is
    /// a word of which it is not seen to what it belongs.
    fn targets(&self) -> Result<Vec<String>, String> {
        let mut targets = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let Some(word) = WRITES.iter().find(|word| token.is_word(self.text, word)) else { continue };
            if self.names_no_target(at, word) {
                continue;
            }
            let target = self.target(at, word).ok_or_else(|| self.text[token.start..token.end].to_uppercase())?;
            targets.push(target);
        }
        Ok(targets)
    }

    /// FOR UPDATE only locks; DO UPDATE belongs to an INSERT, and THEN INSERT, UPDATE and DELETE may belong to a MERGE.
    fn names_no_target(&self, at: usize, word: &str) -> bool {
        let Some(before) = at.checked_sub(1).map(|before| &self.tokens[before]) else { return false };
        let follows = |words: &[&str]| self.tokens.get(at + 1).is_some_and(|next| self.is_one_of(next, words));
        let ends = self.tokens.get(at + 1).is_none_or(|next| next.is(self.text, b';'));
        match word {
            "update" if self.is_one_of(before, &["for", "key"]) => true,
            "update" => self.is_one_of(before, &["do", "then"]) && follows(&["set"]),
            "insert" if before.is_word(self.text, "then") => {
                follows(&["values", "default", "overriding"])
                    || self.tokens.get(at + 1).is_some_and(|next| next.is(self.text, b'('))
            }
            "delete" => before.is_word(self.text, "then") && (ends || follows(&["when"])),
            _ => false,
        }
    }

    /// FOR UPDATE and its kind, ON CONFLICT DO UPDATE with a condition by which a row may only be locked, and cursors that
    /// are opened by themselves, or fetched from.
    fn lingers(&self) -> bool {
        let pairs = || self.tokens.windows(2).enumerate();
        let pair = |pair: &[Token], first: &str, second: &[&str]| {
            pair[0].is_word(self.text, first) && self.is_one_of(&pair[1], second)
        };
        let locks = pairs().any(|(_, two)| pair(two, "for", &["update", "share", "no", "key"]));
        let rest = |at: usize| self.tokens[at..].iter().take_while(|token| !token.is(self.text, b';'));
        let upserts = pairs().filter(|(_, two)| pair(two, "do", &["update"]));
        let mut ends = upserts.map(|(at, _)| rest(at).any(|token| token.is_word(self.text, "where")));
        let cursors = self.tokens.iter().any(|token| self.is_one_of(token, &["open", "refcursor", "fetch", "move"]));
        locks || ends.any(|conditional| conditional) || cursors
    }

    /// The name behind INSERT INTO, UPDATE, DELETE FROM or MERGE INTO, without its schema.
    fn target(&self, at: usize, word: &str) -> Option<String> {
        let mut at = at + 1;
        let between = match word {
            "update" => None,
            "delete" => Some("from"),
            _ => Some("into"),
        };
        if let Some(between) = between {
            self.tokens.get(at).filter(|token| token.is_word(self.text, between))?;
            at += 1;
        }
        if self.tokens.get(at)?.is_word(self.text, "only") {
            at += 1;
        }
        let mut target = name(self.text, self.tokens.get(at)?)??;
        // The system's own tables begin with `pg_`, but for these.
        let of_system = target == "information_schema";
        while self.tokens.get(at + 1).is_some_and(|token| token.is(self.text, b'.')) {
            at += 2;
            target = name(self.text, self.tokens.get(at)?)??;
        }
        (!of_system && !target.starts_with("pg_") && target.is_ascii()).then_some(target)
    }

    /// SELECT INTO makes a table, but in PL/pgSQL sets a variable.
    fn makes_a_table(&self, language: Language) -> Option<String> {
        let into = |(at, token): &(usize, &Token)| {
            let inserts = *at > 0 && self.is_one_of(&self.tokens[at - 1], &["insert", "merge"]);
            token.is_word(self.text, "into") && !inserts
        };
        let found = self.tokens.iter().enumerate().find(into).filter(|_| language == Language::Sql);
        found.map(|(_, token)| self.text[token.start..token.end].to_uppercase())
    }

    /// The first statement that begins with a word that is not known here.
    fn unknown_start(&self) -> Option<String> {
        let mut start = true;
        let mut declarations = false;
        let mut cases = 0usize;
        for (at, token) in self.tokens.iter().enumerate() {
            let declares = declarations && !self.is_one_of(token, &["begin", "declare"]);
            if start && !declares && !self.begins_well(at) {
                return Some(self.text[token.start..token.end].to_owned());
            }
            match () {
                () if token.is_word(self.text, "declare") => declarations = true,
                () if token.is_word(self.text, "begin") => declarations = false,
                // CASE within an expression has a THEN behind which no statement begins.
                () if token.is_word(self.text, "case") && !start => cases += 1,
                () if token.is_word(self.text, "end") && cases > 0 => cases -= 1,
                () => {}
            }
            start = token.is(self.text, b';')
                || cases == 0 && self.is_one_of(token, &BEFORE_A_START) && !self.ends_a_loop(at)
                || token.kind == Kind::Operator && self.text[token.start..token.end].ends_with(">>");
        }
        None
    }

    fn ends_a_loop(&self, at: usize) -> bool {
        at > 0 && self.tokens[at - 1].is_word(self.text, "end")
    }

    fn begins_well(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let assigns = self.tokens.get(at + 1).is_some_and(|next| {
            matches!(self.text.as_bytes()[next.start], b'.' | b'[' | b'=')
                || next.is(self.text, b':') && self.tokens.get(at + 2).is_some_and(|t| t.kind == Kind::Operator)
        });
        match token.kind {
            Kind::Word => assigns || self.is_one_of(token, &STARTS),
            Kind::Quoted | Kind::Parameter => assigns,
            // A label, an option of the compiler; a query in brackets; an empty statement.
            Kind::Operator => {
                self.text[token.start..token.end].starts_with("<<") || &self.text[token.start..token.end] == "#"
            }
            Kind::Punctuation => token.is(self.text, b'(') || token.is(self.text, b';'),
            Kind::String | Kind::Number => false,
        }
    }

    fn settings(&self) -> Vec<Option<String>> {
        let calls = self.tokens.iter().enumerate().filter(|(_, t)| t.is_word(self.text, "set_config"));
        let argument = |at: usize| {
            let literal = self.tokens.get(at + 2).filter(|t| t.kind == Kind::String)?;
            let plain = self.text[literal.start..literal.end].strip_prefix('\'')?.strip_suffix('\'')?;
            let ends = self.tokens.get(at + 3).is_some_and(|t| t.is(self.text, b','));
            (ends && !plain.contains('\'')).then(|| plain.to_ascii_lowercase())
        };
        calls.map(|(at, _)| argument(at)).collect()
    }

    fn is_one_of(&self, token: &Token, words: &[&str]) -> bool {
        words.iter().any(|word| token.is_word(self.text, word))
    }
}

/// The name that a token is, if it is one. `None`: its letters are written as numbers, or are not known.
fn name(text: &str, token: &Token) -> Option<Option<String>> {
    let written = &text[token.start..token.end];
    let name = match token.kind {
        Kind::Word => written.to_ascii_lowercase(),
        Kind::Quoted => written.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""),
        _ => return Some(None),
    };
    (!name.contains(char::REPLACEMENT_CHARACTER)).then_some(Some(name))
}

/// Documentation: "Date/Time Types", special values.
fn names_a_time(literal: &str) -> bool {
    let mut words = literal.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| ["now", "today", "tomorrow", "yesterday"].iter().any(|known| word.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plpgsql(text: &str) -> Body {
        Body::read(text, Language::PlPgSql).unwrap()
    }

    #[test]
    fn a_body_that_only_reads_is_told_from_one_that_may_write() {
        for reads in [
            "BEGIN RETURN 1; END",
            "DECLARE x int := f(1); update_count text; BEGIN x := x + 1; x.y = 2; a[1] := 3; RETURN x; END;",
            "BEGIN SELECT a INTO x FROM t FOR UPDATE; SELECT 1 FROM t FOR NO KEY UPDATE; RETURN x; END",
            "BEGIN IF a THEN RETURN CASE WHEN b THEN c ELSE d END; ELSE NULL; END IF; RETURN CASE a WHEN 1 THEN b END; END",
            "<<l>> BEGIN FOR r IN SELECT * FROM t LOOP CONTINUE l WHEN r.a; RETURN NEXT r; END LOOP l; END",
            "BEGIN CASE a WHEN 1 THEN PERFORM f(); ELSE RAISE 'x'; END CASE; END",
            "BEGIN RETURN QUERY SELECT 1; EXCEPTION WHEN others THEN RETURN; END",
            "DECLARE c CURSOR FOR SELECT 1; BEGIN OPEN c; FETCH c INTO x; CLOSE c; <<m>> WHILE x LOOP EXIT; END LOOP; END",
            "#variable_conflict use_column\nBEGIN RETURN 'INSERT'; -- DELETE\nEND",
        ] {
            let body = plpgsql(reads);
            assert_eq!((body.statement, body.runs_text), (None, false), "{reads}");
        }
        for writes in [
            "BEGIN IF a THEN LISTEN p; END IF; END",
            "BEGIN UPDATE 'x'; END",
            "BEGIN INSERT t VALUES (1); END",
            "BEGIN UPDATE pg_catalog.pg_database SET datallowconn = true; END",
            "BEGIN DELETE FROM information_schema.sql_parts; END",
            "BEGIN RETURN 1; CREATE TABLE t (); END",
            "BEGIN x := CASE WHEN a THEN b END; COMMIT; END",
            "BEGIN <<l>> LOCK t; END",
            "BEGIN EXCEPTION WHEN others THEN SET search_path = x; END",
            "DECLARE a int; BEGIN DECLARE b int; BEGIN TRUNCATE t; END; END",
        ] {
            assert!(plpgsql(writes).statement.is_some(), "{writes}");
        }
        let sql = |text| Body::read(text, Language::Sql).unwrap().statement;
        assert_eq!(sql("SELECT $1 + 1"), None);
        assert_eq!(sql("(SELECT 1) UNION VALUES (2); ; TABLE t"), None);
        assert_eq!(sql("BEGIN ATOMIC\n SELECT 1;\nEND"), None);
        assert_eq!(sql("RETURN ($1 + 1)"), None);
        assert_eq!(sql("SELECT 1 INTO t"), Some("INTO".into()));
        assert_eq!(sql("NOTIFY a"), Some("NOTIFY".into()));
    }

    #[test]
    fn the_tables_to_which_a_body_writes_are_known_by_name() {
        for (text, targets) in [
            ("BEGIN INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1; END", &["t"][..]),
            ("BEGIN WITH d AS (DELETE FROM ONLY s.t RETURNING *) SELECT 1 INTO x FROM d; END", &["t"]),
            ("BEGIN UPDATE \"T t\" SET a = 1; IF a THEN CALL p(); DELETE FROM u; END IF; END", &["T t", "u"]),
            (
                "BEGIN MERGE INTO t USING u ON a = b WHEN MATCHED THEN UPDATE SET a = 1 WHEN MATCHED THEN DELETE \
                WHEN NOT MATCHED THEN INSERT VALUES (1); END",
                &["t"],
            ),
            ("BEGIN PERFORM 1 FROM t FOR UPDATE; END", &[]),
        ] {
            let body = plpgsql(text);
            assert_eq!((body.statement, body.targets), (None, targets.iter().map(|t| (*t).into()).collect()), "{text}");
        }
    }

    #[test]
    fn names_are_folded_as_the_server_folds_them() {
        let body = plpgsql("BEGIN RETURN public.Calls(\"Odd \"\"name\") |+| U; END");
        for word in ["calls", "Odd \"name", "public", "u"] {
            assert!(body.words.contains(word), "{word}");
        }
        assert!(body.unqualified.contains("public") && !body.unqualified.contains("calls"));
        assert!(body.operators.contains("|+|"));
        assert!(body.called.contains("calls") && !body.called.contains("public") && body.fields.contains("calls"));
        assert_eq!(Body::read("SELECT U&\"\\0061\"()", Language::Sql), None);
        assert_eq!(Body::read("SELECT 'open", Language::Sql), None);
    }

    #[test]
    fn settings_are_known_only_from_a_literal() {
        let body = plpgsql("BEGIN PERFORM set_config('App.User', x, true), set_config(y, x, true); END");
        assert_eq!(body.settings, [Some("app.user".to_owned()), None]);
        assert!(plpgsql("BEGIN RETURN 'today'::date; END").temporal);
    }
}
