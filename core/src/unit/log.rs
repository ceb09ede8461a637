//! A unit's effects, as the frames that followers will be sent.
//!
//! Effects are encoded when they become known, so that the log is one run of bytes: cutting it at a savepoint is a
//! truncation, playing it is a write. Beyond [`limits::LOG_IN_MEMORY`] its older part lives in a file that the shell
//! keeps ([`Log::take_spill`]); the log only counts those bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::Batch;
use crate::effect::{Template, role};
use crate::limits;
use crate::wire::frontend::{self, Format};

#[derive(Debug, Default)]
pub struct Log {
    body: BytesMut,
    /// Bytes before `body` that were given to the shell.
    spilled: u64,
    /// Statements that `body` executes by name.
    templates: Vec<Template>,
    /// From the first DDL on, statements are parsed where they stand: their tables may not exist before it.
    schema_changed: bool,
    /// Something in the log holds only within an explicit transaction block.
    block: bool,
    /// Deferrable constraints are checked at the end only: rows are applied one by one, the leader had them at once.
    deferred: bool,
    /// Something was put in that is not rows by key, whether it was cut since or not.
    texts: bool,
}

/// A place in the log to which it can be cut back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    at: u64,
    templates: usize,
    schema_changed: bool,
}

impl Mark {
    /// Bytes of the log before it.
    pub fn position(self) -> u64 {
        self.at
    }
}

impl Log {
    pub fn is_empty(&self) -> bool {
        self.end() == 0
    }

    pub fn has_schema_change(&self) -> bool {
        self.schema_changed
    }

    pub fn mark(&self) -> Mark {
        Mark { at: self.end(), templates: self.templates.len(), schema_changed: self.schema_changed }
    }

    /// Forgets everything after `mark`. Returns the length to which the shell must cut its file, if it holds too much.
    #[must_use]
    pub fn cut(&mut self, mark: Mark) -> Option<u64> {
        debug_assert!(mark.at <= self.end());
        self.templates.truncate(mark.templates);
        self.schema_changed = mark.schema_changed;
        if mark.at >= self.spilled {
            self.body.truncate((mark.at - self.spilled) as usize);
            return None;
        }
        self.body.clear();
        self.spilled = mark.at;
        Some(mark.at)
    }

    /// What is played of it on a new leader; `None`: there is more to it than executions of statements by name, or not
    /// all of it is here.
    pub fn executions(&self) -> Option<(&[Template], &[u8])> {
        let plain = !(self.schema_changed || self.deferred || self.texts);
        (plain && self.spilled == 0).then_some((&self.templates[..], &self.body[..]))
    }

    /// Out of a batch that was not sent.
    pub fn of_executions(templates: &[Template], body: &[u8], block: bool) -> Self {
        Self { templates: templates.to_vec(), body: body.into(), block, ..Self::default() }
    }

    /// One execution of `template`. `parameters` are values with their lengths, as they stand in a DataRow.
    pub fn execute(&mut self, template: &Template, formats: &[Format], count: usize, parameters: &[u8]) {
        let name = template.id.statement_name();
        let statement = if self.schema_changed {
            frontend::parse(&mut self.body, b"", template.sql.as_bytes(), &[]);
            ""
        } else {
            if !self.templates.iter().any(|t| t.id == template.id) {
                self.templates.push(template.clone());
            }
            &name
        };
        frontend::message(&mut self.body, frontend::BIND, |b| {
            b.put_u8(0);
            frontend::put_cstr(b, statement.as_bytes());
            put_formats(b, formats, count);
            b.put_u16(count as u16);
            b.put_slice(parameters);
            b.put_u16(0);
        });
        frontend::execute(&mut self.body, b"", 0);
    }

    /// A statement as text, without parameters.
    pub fn text(&mut self, sql: &str) {
        self.texts = true;
        frontend::parse(&mut self.body, b"", sql.as_bytes(), &[]);
        frontend::bind(&mut self.body, b"", b"", frontend::NO_PARAMETERS, &[]);
        frontend::execute(&mut self.body, b"", 0);
    }

    /// DDL: everything after it may rest on it.
    pub fn schema_change(&mut self, sql: &str) {
        self.schema_changed = true;
        self.text(sql);
    }

    /// Rows of this unit may violate a deferrable constraint between two statements.
    pub fn defer_constraints(&mut self) {
        self.deferred = true;
    }

    /// Whose rights the effects that follow need.
    pub fn role(&mut self, name: &str) {
        self.block = true;
        self.execute(&role::SET_ROLE, &[Format::Text], 1, &role::parameters(name));
    }

    /// COPY, under the settings by which the leader reads the data: `settings` is a query that sets them.
    pub fn copy_begin(&mut self, settings: &str, sql: &str) {
        self.block = true;
        self.text(settings);
        self.text(sql);
    }

    /// A CopyData or CopyDone of the client, with its header.
    pub fn copy_frame(&mut self, raw: &[u8]) {
        self.body.put_slice(raw);
    }

    /// What has to go to the shell's file now, to be appended there.
    pub fn take_spill(&mut self) -> Option<Bytes> {
        if self.body.len() <= limits::LOG_IN_MEMORY {
            return None;
        }
        self.spilled += self.body.len() as u64;
        Some(self.body.split().freeze())
    }

    /// The whole log as what followers are sent; the log is empty afterwards.
    pub fn take_batch(&mut self) -> Batch {
        let taken = std::mem::take(self);
        let block = taken.schema_changed || taken.block || taken.deferred;
        let rows_only = !taken.texts && !taken.schema_changed;
        Batch::new(taken.templates, taken.spilled, taken.body.freeze(), block, taken.deferred).rows_only(rows_only)
    }

    #[cfg(test)]
    pub(super) fn bytes_for_tests(&self) -> &[u8] {
        &self.body
    }

    fn end(&self) -> u64 {
        self.spilled + self.body.len() as u64
    }
}

/// Parameter formats: one code where all agree, else one for each, repeated for each row.
fn put_formats(out: &mut BytesMut, formats: &[Format], count: usize) {
    match formats.first() {
        None => out.put_u16(0),
        Some(first) if formats.iter().all(|f| f == first) => {
            out.put_u16(1);
            out.put_i16(first.code());
        }
        Some(_) => {
            out.put_u16(count as u16);
            formats.iter().cycle().take(count).for_each(|f| out.put_i16(f.code()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::TemplateId;

    fn template(n: u128) -> Template {
        Template { id: TemplateId(n), sql: "INSERT INTO t VALUES ($1)".into(), finder: None }
    }

    fn row(log: &mut Log, n: u128) {
        log.execute(&template(n), &[Format::Binary], 1, &[0, 0, 0, 1, 7]);
    }

    #[test]
    fn cutting_at_a_mark_forgets_what_came_after_it_and_nothing_else() {
        let mut log = Log::default();
        row(&mut log, 1);
        let before = (log.end(), log.templates.clone());
        let mark = log.mark();
        row(&mut log, 2);
        log.schema_change("CREATE TABLE u ()");
        assert_eq!(log.cut(mark), None);
        assert_eq!((log.end(), log.templates.clone()), before);
        assert!(!log.has_schema_change());
    }

    #[test]
    fn cutting_into_the_spilled_part_tells_the_shell_how_much_of_its_file_stays() {
        let mut log = Log::default();
        row(&mut log, 1);
        let mark = log.mark();
        log.copy_frame(&vec![0; limits::LOG_IN_MEMORY]);
        assert_eq!(log.take_spill().unwrap().len() as u64, log.end());
        assert_eq!(log.cut(mark), Some(mark.at));
        assert_eq!(log.end(), mark.at);
    }

    #[test]
    fn after_ddl_statements_are_parsed_in_their_place() {
        let mut log = Log::default();
        log.schema_change("CREATE TABLE t (a int)");
        row(&mut log, 1);
        assert!(log.templates.is_empty());
        assert!(log.body.windows(25).any(|w| w == b"INSERT INTO t VALUES ($1)"));
    }
}
