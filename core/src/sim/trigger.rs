//! Triggers of users: the functions of `schema.sql`, statement by statement, so that they can wait in the middle.

use super::backend::read;
use super::evaluate::error;
use super::select::{Context, Stop};
use super::sql::{Statement, Value};
use super::write::Writing;

/// What stands in a function; `$1` and on are the columns of its row.
#[derive(Debug, Clone, Copy)]
enum Step {
    Run(&'static str),
    /// A block that catches `unique_violation`.
    Begin,
    End,
}

const TOUCHED: &[Step] = &[
    Step::Run("UPDATE item SET changes = changes + 1 WHERE id = $1"),
    Step::Run("UPDATE tally SET n = n + 1 WHERE id = $2"),
    Step::Begin,
    Step::Run("UPDATE tally SET firsts = firsts + 1 WHERE id = $2"),
    Step::Run("INSERT INTO met (id) VALUES ($2)"),
    Step::End,
];
const LEFT: &[Step] =
    &[Step::Run("UPDATE tally SET n = n - 1 WHERE id = $2"), Step::Run("DELETE FROM met WHERE id = $2")];

/// A trigger under way.
#[derive(Debug)]
pub(super) struct Firing {
    body: &'static [Step],
    row: Vec<Value>,
    at: usize,
    /// The statement of it that runs, with its snapshot.
    running: Option<(Box<Writing>, u64)>,
    /// Where the block began.
    block: Option<usize>,
}

impl Firing {
    /// `None`: the table has no trigger.
    pub(super) fn of(table: &str, row: &[Value], gone: bool) -> Option<Self> {
        let body = if gone { LEFT } else { TOUCHED };
        (table == "item").then(|| Self { body, row: row.to_vec(), at: 0, running: None, block: None })
    }

    pub(super) fn go(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        while let Some(step) = self.body.get(self.at) {
            match step {
                Step::Begin => self.block = Some(context.store.mark(context.tx)),
                Step::End => self.block = None,
                Step::Run(text) => match (self.run(text, context), self.block) {
                    (Err(Stop::Fail(error)), Some(mark)) if error.state == "23505" => {
                        context.store.back_to_mark(context.tx, mark);
                        self.running = None;
                        self.at = self.body.iter().rposition(|step| matches!(step, Step::End)).unwrap_or(self.at);
                        continue;
                    }
                    (result, _) => result?,
                },
            }
            self.at += 1;
        }
        Ok(())
    }

    fn run(&mut self, text: &str, context: &mut Context<'_>) -> Result<(), Stop> {
        let statement = read(text);
        let Some(Statement::Write(write)) = statement.as_deref() else {
            return Err(error("42601", "syntax error in a trigger").into());
        };
        let (store, tx) = (&mut *context.store, &mut *context.tx);
        let (writing, snapshot) =
            self.running.get_or_insert_with(|| (Box::new(Writing::of_a_trigger()), store.snapshot(tx)));
        writing.go(write, &mut Context { store, tx, snapshot: *snapshot, parameters: &self.row })?;
        self.running = None;
        Ok(())
    }
}
