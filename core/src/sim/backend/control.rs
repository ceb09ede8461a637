//! The beginning and the end of transactions, and what comes of an error.

use super::{Answer, Backend, Error, Statement, Store, error};
use crate::fault::{Fault, SqlState};
use crate::wire::backend::{self, Status};
use crate::wire::notice;

impl Backend {
    /// Transactions and settings.
    pub(super) fn control(&mut self, statement: &Statement, store: &mut Store) -> Result<Answer, Error> {
        let missing = || error("3B001", "savepoint does not exist");
        match (statement, &mut self.tx) {
            (Statement::Begin(level), _) => {
                self.block = true;
                let level = *level;
                self.tx.get_or_insert_with(|| store.begin(level));
                Ok(Answer::tag("BEGIN"))
            }
            (Statement::Commit { chain }, tx) => {
                let level = tx.as_ref().map(|tx| tx.level).filter(|_| *chain);
                let tag = if self.failed { "ROLLBACK" } else { "COMMIT" };
                self.end_block(store)?;
                self.block = level.is_some();
                self.tx = level.map(|level| store.begin(level));
                Ok(Answer::tag(tag))
            }
            (Statement::Rollback, _) => {
                self.failed = true;
                self.end_block(store)?;
                Ok(Answer::tag("ROLLBACK"))
            }
            (Statement::Savepoint(name), Some(tx)) if self.block => {
                store.savepoint(tx, name.clone());
                Ok(Answer::tag("SAVEPOINT"))
            }
            (Statement::RollbackTo(name), Some(tx)) if self.block => {
                store.back_to(tx, name).then_some(()).ok_or_else(missing)?;
                self.failed = false;
                Ok(Answer::tag("ROLLBACK"))
            }
            (Statement::Release(name), Some(tx)) if self.block => {
                store.release(tx, name).then_some(()).ok_or_else(missing)?;
                Ok(Answer::tag("RELEASE"))
            }
            (Statement::Savepoint(_) | Statement::RollbackTo(_) | Statement::Release(_), _) => {
                Err(error("25P01", "this can only be used in transaction blocks"))
            }
            (Statement::Nothing(tag), _) => Ok(Answer::tag(tag)),
            (Statement::SearchPath, _) => Ok(Answer::search_path()),
            (
                Statement::Select(_)
                | Statement::Write(_)
                | Statement::Flush
                | Statement::Apply
                | Statement::Advisory(_)
                | Statement::TakeAgain(_),
                _,
            ) => Err(error("XX000", "there is no transaction")),
        }
    }

    fn end_block(&mut self, store: &mut Store) -> Result<(), Error> {
        self.block = false;
        self.portals.clear();
        let failed = std::mem::take(&mut self.failed);
        match self.tx.take() {
            Some(tx) if failed => store.roll_back(tx),
            Some(tx) => return store.commit(tx),
            None => {}
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, error: &Error, store: &mut Store) {
        if self.block {
            self.failed = true;
            self.tx.iter_mut().for_each(|tx| store.fail(tx));
        } else if let Some(tx) = self.tx.take() {
            store.roll_back(tx);
        }
        self.raised.push(error.state);
        notice::error(&mut self.out, &Fault::error(SqlState(error.state), error.message.clone()));
    }

    /// The end of a Query, or Sync.
    pub(super) fn sync(&mut self, store: &mut Store) {
        self.skips = false;
        if !self.block
            && let Err(error) = self.end_block(store)
        {
            self.fail(&error, store);
        }
        let status = match (self.block, self.failed) {
            (false, _) => Status::Idle,
            (true, false) => Status::InTransaction,
            (true, true) => Status::Failed,
        };
        backend::ready_for_query(&mut self.out, status);
    }
}
