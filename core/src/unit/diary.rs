//! What an open transaction has done on its leader besides writing rows, in its order: savepoints, and statements that a
//! new leader is to be told again: locks, settings, notifications.
//!
//! Between them stand the effects, which the [`Log`](super::Log) has: each entry knows where the log ended before it. So
//! the two are played as one ([`Diary::play`]).
//!
//! A statement that is told again and answers with rows must answer with the same ones ([`Recital`]). Then all that the
//! client knows of it is true on the new leader too, and what it has locked there is what the client was told. A
//! transaction at READ COMMITTED cannot tell whether one of its statements ran now or before.

use std::hash::{DefaultHasher, Hasher};

use bytes::{Bytes, BytesMut};

use super::Mark;
use crate::limits;
use crate::quote::quote_identifier;
use crate::wire::backend;
use crate::wire::frontend::{self, Target};

#[derive(Debug, Default)]
pub struct Diary {
    entries: Vec<Entry>,
    /// Of statements that are told again.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    at: Mark,
    what: What,
}

#[derive(Debug)]
enum What {
    Savepoint {
        name: String,
        /// How many settings of the session had been changed before it.
        learned: usize,
    },
    Again(Retold),
}

/// A statement that a new leader is told again.
#[derive(Debug, Clone)]
pub struct Retold {
    /// Parse, Bind and Execute under the proxy's own name.
    messages: Bytes,
    rows: Rows,
}

/// What is kept of an answer's rows.
#[derive(Debug, Clone, Default)]
pub struct Rows(DefaultHasher);

impl Rows {
    /// `row`: the body of a DataRow.
    pub fn take(&mut self, row: &[u8]) {
        self.0.write_usize(row.len());
        self.0.write(row);
    }

    fn digest(&self) -> u64 {
        self.0.finish()
    }
}

impl Retold {
    /// `types`, `parameters` and `formats` as in Parse and Bind.
    pub fn new(own_name: &[u8], sql: &[u8], types: &[u32], parameters: &[u8], formats: &[i16]) -> Self {
        let mut out = BytesMut::new();
        frontend::parse(&mut out, own_name, sql, types);
        frontend::bind(&mut out, own_name, own_name, parameters, formats);
        frontend::execute(&mut out, own_name, 0);
        frontend::close(&mut out, Target::Portal, own_name);
        frontend::close(&mut out, Target::Statement, own_name);
        Self { messages: out.freeze(), rows: Rows::default() }
    }

    pub fn messages(&self) -> &[u8] {
        &self.messages
    }

    pub fn take_row(&mut self, row: &[u8]) {
        self.rows.take(row);
    }
}

impl Diary {
    /// `learned`: how much the session has learned in the transaction by now.
    pub fn savepoint(&mut self, name: String, at: Mark, learned: usize) {
        self.entries.push(Entry { at, what: What::Savepoint { name, learned } });
    }

    pub fn has_savepoints(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.what, What::Savepoint { .. }))
    }

    /// The savepoint is no more, nor are those that were set since: what was done since stays.
    pub fn release(&mut self, name: &str) {
        let Some(from) = self.find(name) else { return };
        let mut place = 0;
        self.entries.retain(|entry| {
            place += 1;
            place <= from || !matches!(entry.what, What::Savepoint { .. })
        });
    }

    /// What was done since is undone; the savepoint stays. Where the log ended then, and how much was learned.
    pub fn roll_back_to(&mut self, name: &str) -> Option<(Mark, usize)> {
        let place = self.find(name)?;
        self.cut(place + 1);
        match &self.entries[place] {
            Entry { at, what: What::Savepoint { learned, .. } } => Some((*at, *learned)),
            _ => None,
        }
    }

    /// False: there are too many.
    #[must_use]
    pub fn again(&mut self, again: Retold, at: Mark) -> bool {
        self.bytes += again.messages.len();
        self.entries.push(Entry { at, what: What::Again(again) });
        self.bytes <= limits::TOLD_AGAIN
    }

    /// How many there are, to [`Self::cut`] back to.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn cut(&mut self, to: usize) {
        self.entries.truncate(to);
        self.bytes = self.agains().map(|again| again.messages.len()).sum();
    }

    /// Whether there are statements in it that are told again: what they have locked is not known.
    pub fn tells_again(&self) -> bool {
        self.agains().next().is_some()
    }

    /// Writes the log's executions and what stands between them.
    pub fn play(&self, own_name: &[u8], executions: &[u8], out: &mut BytesMut) {
        let mut played = 0;
        for Entry { at, what } in &self.entries {
            let end = usize::try_from(at.position()).unwrap_or(usize::MAX).clamp(played, executions.len());
            out.extend_from_slice(&executions[played..end]);
            played = end;
            match what {
                What::Again(again) => out.extend_from_slice(&again.messages),
                What::Savepoint { name, .. } => {
                    let sql = format!("SAVEPOINT {}", quote_identifier(name));
                    let savepoint = Retold::new(own_name, sql.as_bytes(), &[], frontend::NO_PARAMETERS, &[]);
                    out.extend_from_slice(&savepoint.messages);
                }
            }
        }
        out.extend_from_slice(&executions[played..]);
    }

    /// What the new leader must answer.
    pub fn recital(&self) -> Recital {
        let digests = self.entries.iter().map(|entry| match &entry.what {
            What::Again(again) => again.rows.digest(),
            What::Savepoint { .. } => Rows::default().digest(),
        });
        Recital { expected: digests.collect(), ..Recital::default() }
    }

    fn agains(&self) -> impl Iterator<Item = &Retold> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Again(again) => Some(again),
            What::Savepoint { .. } => None,
        })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.entries
            .iter()
            .rposition(|entry| matches!(&entry.what, What::Savepoint { name: known, .. } if known == name))
    }
}

/// What a new leader answers while it is told a unit, held against what the former one had answered.
#[derive(Debug, Default)]
pub struct Recital {
    expected: Vec<u64>,
    heard: Vec<u64>,
    rows: Rows,
    parsed: bool,
    /// A statement is answered that was parsed for it. The effects are not: their statements are parsed before.
    told: bool,
}

impl Recital {
    /// A message of the answer.
    pub fn take(&mut self, tag: u8, body: &[u8]) {
        match tag {
            backend::PARSE_COMPLETE => self.parsed = true,
            backend::BIND_COMPLETE => self.told = std::mem::take(&mut self.parsed),
            backend::DATA_ROW if self.told => self.rows.take(body),
            backend::COMMAND_COMPLETE if self.told => self.heard.push(std::mem::take(&mut self.rows).digest()),
            _ => {}
        }
    }

    /// `before`: so many statements of the proxy's own come first.
    pub fn is_the_same(&self, before: usize) -> bool {
        self.heard.get(before..) == Some(&self.expected[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Log;

    const OWN: &[u8] = b"own";

    fn told(sql: &str) -> Retold {
        Retold::new(OWN, sql.as_bytes(), &[], frontend::NO_PARAMETERS, &[])
    }

    fn texts(out: &[u8]) -> Vec<&str> {
        let known = ["SAVEPOINT \"s\"", "one", "two", "effect"];
        let mut found: Vec<(usize, &str)> = known
            .iter()
            .flat_map(|text| {
                let places = (0..out.len()).filter(|at| out[*at..].starts_with(text.as_bytes()));
                places.map(|at| (at, *text)).collect::<Vec<_>>()
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, text)| text).collect()
    }

    fn played(diary: &Diary, log: &Log) -> BytesMut {
        let mut out = BytesMut::new();
        diary.play(OWN, log.bytes_for_tests(), &mut out);
        out
    }

    #[test]
    fn effects_and_statements_are_played_in_their_order() {
        let (mut diary, mut log) = (Diary::default(), Log::default());
        assert!(diary.again(told("one"), log.mark()));
        log.text("effect");
        diary.savepoint("s".into(), log.mark(), 0);
        assert!(diary.again(told("two"), log.mark()));
        log.text("effect");
        assert_eq!(texts(&played(&diary, &log)), ["one", "effect", "SAVEPOINT \"s\"", "two", "effect"]);
    }

    #[test]
    fn what_a_savepoint_undoes_is_not_played_and_a_released_one_is_none() {
        let (mut diary, mut log) = (Diary::default(), Log::default());
        diary.savepoint("s".into(), log.mark(), 0);
        let before = log.mark();
        log.text("effect");
        assert!(diary.again(told("one"), log.mark()));
        diary.savepoint("inner".into(), log.mark(), 0);
        assert_eq!(diary.roll_back_to("s"), Some((before, 0)));
        assert!(log.cut(before).is_none() && diary.has_savepoints() && !diary.tells_again());
        assert_eq!(texts(&played(&diary, &log)), ["SAVEPOINT \"s\""]);
        assert!(diary.again(told("two"), log.mark()));
        diary.release("s");
        assert!(!diary.has_savepoints());
        assert_eq!(texts(&played(&diary, &log)), ["two"]);
    }

    #[test]
    fn another_answer_is_not_the_same() {
        let mut diary = Diary::default();
        let mut again = Retold::new(OWN, b"one", &[], frontend::NO_PARAMETERS, &[]);
        again.take_row(b"7");
        assert!(diary.again(again, Log::default().mark()));
        let answers = |rows: &[&[u8]]| {
            let mut recital = diary.recital();
            // Its own BEGIN, an effect, and the statement.
            for (parsed, rows) in [(true, &[][..]), (false, &[&b"1"[..]][..]), (true, rows)] {
                if parsed {
                    recital.take(backend::PARSE_COMPLETE, b"");
                }
                recital.take(backend::BIND_COMPLETE, b"");
                rows.iter().for_each(|row| recital.take(backend::DATA_ROW, row));
                recital.take(backend::COMMAND_COMPLETE, b"SELECT 1");
            }
            recital.is_the_same(1)
        };
        assert!(answers(&[b"7"]));
        assert!(!answers(&[b"8"]) && !answers(&[]) && !answers(&[b"7", b"7"]) && !diary.recital().is_the_same(1));
    }

    #[test]
    fn there_are_not_too_many() {
        let mut diary = Diary::default();
        let long = "x".repeat(limits::TOLD_AGAIN / 2);
        assert!(diary.again(told(&long), Log::default().mark()));
        assert!(!diary.again(told(&long), Log::default().mark()));
    }
}
