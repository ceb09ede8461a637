//! One connection to a model node, from the server's side: the protocol, and the transaction that it has open.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::answer::{self, Answer};
use super::captured::{self, Applying};
use super::evaluate::{Error, error};
use super::parse::parse;
use super::select::{Context, Selecting, Stop};
use super::sql::{Level, Statement, Value};
use super::store::{Store, Tx, TxId};
use super::write::Writing;
use crate::fault::{Fault, SqlState};
use crate::wire::backend;
use crate::wire::frontend::{self, Bind, Execute, Named, Parse, Target};
use crate::wire::{Frame, notice, take_frame};

mod control;

#[derive(Debug)]
pub(super) struct Backend {
    /// What its session's own locks are held by.
    session: TxId,
    pub inbox: BytesMut,
    pub out: BytesMut,
    /// The other side has gone: what it has sent is still done, unless it was lost on the way.
    pub abandoned: bool,
    /// It has said goodbye, or was ended: nothing comes any more but what is in `out`.
    pub ended: bool,
    /// SQLSTATEs of all errors that it has sent.
    pub raised: Vec<&'static str>,
    statements: BTreeMap<Bytes, Rc<Statement>>,
    portals: BTreeMap<Bytes, Portal>,
    tx: Option<Tx>,
    block: bool,
    failed: bool,
    /// Everything up to Sync is passed over.
    skips: bool,
    running: Option<Running>,
}

#[derive(Debug, Clone)]
struct Portal {
    statement: Rc<Statement>,
    parameters: Vec<Value>,
    /// As they came, where they are no numbers.
    raw: Bytes,
    formats: Vec<i16>,
}

/// A statement under way.
#[derive(Debug)]
struct Running {
    portal: Portal,
    snapshot: u64,
    selecting: Selecting,
    writing: Writing,
    applying: Applying,
    /// The rest of a Query's statements; `None`: by Execute.
    rest: Option<Vec<String>>,
    /// The count of releases when it last had to wait.
    waits: Option<u64>,
}

/// What a step was, for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Did {
    Nothing,
    Statement(String),
    Waits(TxId),
}

thread_local! {
    static STATEMENTS: RefCell<HashMap<String, Option<Rc<Statement>>>> = RefCell::default();
}

pub(super) fn read(text: &str) -> Option<Rc<Statement>> {
    STATEMENTS.with_borrow_mut(|known| match known.get(text) {
        Some(statement) => statement.clone(),
        None => {
            let statement = parse(text).map(Rc::new);
            assert!(
                statement.is_some() || text.starts_with("lockstep"),
                "the model does not understand what it was sent: {text}"
            );
            known.insert(text.to_owned(), statement.clone());
            statement
        }
    })
}

impl Backend {
    pub(super) fn new(number: usize) -> Self {
        Self {
            session: TxId(u64::MAX - number as u64),
            inbox: BytesMut::new(),
            out: BytesMut::new(),
            abandoned: false,
            ended: false,
            raised: Vec::new(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            tx: None,
            block: false,
            failed: false,
            skips: false,
            running: None,
        }
    }

    /// Nothing is under way, and it is there.
    pub(super) fn rests(&self) -> bool {
        let silent = self.inbox.is_empty() && self.out.is_empty() && self.running.is_none();
        silent && !self.ended && !self.abandoned
    }

    /// A transaction block is open, and has not failed.
    pub(super) fn is_in_block(&self) -> bool {
        self.block && !self.failed
    }

    pub(super) fn holds(&self, key: i64, store: &Store) -> usize {
        store.advisory.times(key, self.session)
    }

    pub(super) fn can_step(&self, store: &Store) -> bool {
        if self.ended {
            return false;
        }
        match &self.running {
            Some(Running { waits: Some(then), .. }) => *then != store.releases,
            Some(_) => true,
            None => {
                self.abandoned
                    || matches!(crate::wire::frame::peek(&self.inbox, 1 << 20), Ok(Some((_, size))) if self.inbox.len() >= size)
            }
        }
    }

    /// Whether another transaction waits for the one that is open here.
    pub(super) fn is_waited_for(&self, store: &Store) -> bool {
        let by_tx = self.tx.as_ref().is_some_and(|tx| store.is_waited_for(tx.id));
        !self.ended && (by_tx || store.is_waited_for(self.session))
    }

    pub(super) fn waits(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.waits.is_some())
    }

    /// Does one statement, or all that comes before one.
    pub(super) fn step(&mut self, store: &mut Store) -> Did {
        let mut did = Did::Nothing;
        while did == Did::Nothing && !self.ended {
            if self.running.is_some() {
                return self.go_on(store);
            }
            let Ok(Some(frame)) = take_frame(&mut self.inbox, 1 << 20) else {
                if self.abandoned {
                    self.end(store);
                }
                return did;
            };
            if !self.skips || frame.tag == frontend::SYNC || frame.tag == frontend::TERMINATE {
                did = self.handle(&frame, store);
            }
        }
        did
    }

    /// The connection is over: what was not committed is gone.
    pub(super) fn end(&mut self, store: &mut Store) {
        self.ended = true;
        self.running = None;
        if let Some(tx) = self.tx.take() {
            store.waits_no_more(tx.id, self.session);
            store.roll_back(tx);
        }
        store.hang_up(self.session);
    }

    /// As by `pg_terminate_backend`.
    pub(super) fn terminate(&mut self, store: &mut Store) {
        self.end(store);
        let why = "terminating connection due to administrator command";
        notice::error(&mut self.out, &Fault::fatal(SqlState::ADMIN_SHUTDOWN, why));
    }

    fn handle(&mut self, frame: &Frame, store: &mut Store) -> Did {
        let body = frame.body();
        let done = match frame.tag {
            frontend::PARSE => Parse::read(body).map_err(malformed).and_then(|parse| self.parse(parse)),
            frontend::BIND => Bind::read(body.clone()).map_err(malformed).and_then(|bind| self.bind(bind)),
            frontend::DESCRIBE => Named::read(body).map_err(malformed).and_then(|named| self.describe(&named)),
            frontend::CLOSE => Named::read(body).map_err(malformed).map(|named| self.close(&named)),
            frontend::EXECUTE => match Execute::read(body).map_err(malformed).and_then(|e| self.execute(&e, store)) {
                Ok(()) => return self.go_on(store),
                Err(error) => Err(error),
            },
            frontend::QUERY => {
                let text = frontend::read_query(body).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let mut statements: Vec<String> = text.split(';').map(|s| s.trim().to_owned()).collect();
                statements.retain(|statement| !statement.is_empty());
                statements.reverse();
                self.next_of_query(statements, store);
                return if self.running.is_some() { self.go_on(store) } else { Did::Statement(text) };
            }
            frontend::SYNC => {
                self.sync(store);
                return Did::Statement("Sync".into());
            }
            frontend::TERMINATE => {
                self.end(store);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.fail(&error, store);
            self.skips = true;
        }
        Did::Nothing
    }

    fn parse(&mut self, parse: Parse) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&parse.sql).into_owned();
        let statement = read(&text).ok_or_else(|| error("42601", "syntax error"))?;
        self.refuse_if_failed(&statement)?;
        if !parse.name.is_empty() && self.statements.contains_key(&parse.name) {
            return Err(error("42P05", format!("{:?} already exists", parse.name)));
        }
        self.statements.insert(parse.name, statement);
        backend::bare(&mut self.out, backend::PARSE_COMPLETE);
        Ok(())
    }

    fn refuse_if_failed(&self, statement: &Statement) -> Result<(), Error> {
        let ends = matches!(statement, Statement::Commit { .. } | Statement::Rollback | Statement::RollbackTo(_));
        if self.failed && !ends {
            return Err(error("25P02", "current transaction is aborted"));
        }
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Error> {
        let known = self.statements.get(&bind.statement).cloned();
        let statement = known.ok_or_else(|| error("26000", format!("{:?} is not there", bind.statement)))?;
        self.refuse_if_failed(&statement)?;
        let (parameters, raw) = match *statement {
            Statement::Apply => (Vec::new(), bind.parameters),
            _ => (answer::parameters(&bind.parameters).map_err(malformed)?, Bytes::new()),
        };
        self.portals.insert(bind.portal, Portal { statement, parameters, raw, formats: bind.result_formats });
        backend::bare(&mut self.out, backend::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, named: &Named) -> Result<(), Error> {
        let statement = match named.target {
            Target::Statement => self.statements.get(&named.name).cloned(),
            Target::Portal => self.portals.get(&named.name).map(|portal| portal.statement.clone()),
        };
        let statement = statement.ok_or_else(|| error("34000", "nothing to describe"))?;
        if named.target == Target::Statement {
            frontend::message(&mut self.out, backend::PARAMETER_DESCRIPTION, |body| body.extend_from_slice(&[0, 0]));
        }
        match answer::width(&statement) {
            0 => backend::bare(&mut self.out, backend::NO_DATA),
            width => answer::describe(&mut self.out, width),
        }
        Ok(())
    }

    fn close(&mut self, named: &Named) {
        match named.target {
            Target::Statement => drop(self.statements.remove(&named.name)),
            Target::Portal => drop(self.portals.remove(&named.name)),
        }
        backend::bare(&mut self.out, backend::CLOSE_COMPLETE);
    }

    fn execute(&mut self, execute: &Execute, store: &mut Store) -> Result<(), Error> {
        let portal = self.portals.get(&execute.portal).cloned().ok_or_else(|| error("34000", "no such portal"))?;
        self.begin(portal, None, store)
    }

    fn begin(&mut self, portal: Portal, rest: Option<Vec<String>>, store: &mut Store) -> Result<(), Error> {
        self.refuse_if_failed(&portal.statement)?;
        let mut snapshot = 0;
        if portal.statement.needs_transaction() {
            let tx = self.tx.get_or_insert_with(|| store.begin(Level::ReadCommitted));
            snapshot = store.snapshot(tx);
        }
        let (selecting, writing, applying) = (Selecting::default(), Writing::default(), Applying::default());
        self.running = Some(Running { portal, snapshot, selecting, writing, applying, rest, waits: None });
        Ok(())
    }

    /// Begins the next statement of a Query, or ends it.
    fn next_of_query(&mut self, mut statements: Vec<String>, store: &mut Store) {
        let Some(text) = statements.pop() else { return self.sync(store) };
        let begun = read(&text).ok_or_else(|| error("42601", "syntax error")).and_then(|statement| {
            self.begin(
                Portal { statement, parameters: Vec::new(), raw: Bytes::new(), formats: Vec::new() },
                Some(statements),
                store,
            )
        });
        if let Err(error) = begun {
            self.fail(&error, store);
            self.sync(store);
        }
    }

    fn go_on(&mut self, store: &mut Store) -> Did {
        let Some(mut running) = self.running.take() else { return Did::Nothing };
        let id = self.tx.as_ref().map(|tx| tx.id);
        running.waits = None;
        id.into_iter().for_each(|id| store.waits_no_more(id, self.session));
        let stopped = match self.run(&mut running, store) {
            Ok(answer) => {
                answer.write(&mut self.out, &running.portal.formats, running.rest.is_some());
                self.executed(running.rest, store);
                return Did::Statement(answer.summary());
            }
            Err(stopped) => stopped,
        };
        let failure = match (stopped, id) {
            (Stop::Wait(holder), Some(id)) if store.wait(id, self.session, holder) => {
                running.waits = Some(store.releases);
                self.running = Some(running);
                return Did::Waits(holder);
            }
            (Stop::Wait(_), _) => error("40P01", "deadlock detected"),
            (Stop::Fail(failure), _) => failure,
        };
        self.fail(&failure, store);
        match running.rest {
            Some(_) => self.sync(store),
            None => self.skips = true,
        }
        Did::Statement(format!("{} {}", failure.state, failure.message))
    }

    fn executed(&mut self, rest: Option<Vec<String>>, store: &mut Store) {
        if let Some(rest) = rest {
            self.next_of_query(rest, store);
        }
    }

    fn run(&mut self, running: &mut Running, store: &mut Store) -> Result<Answer, Stop> {
        let statement = running.portal.statement.clone();
        let Running { portal: Portal { parameters, raw, .. }, snapshot, selecting, writing, applying, .. } = running;
        match (&*statement, &mut self.tx) {
            (Statement::Select(select), Some(tx)) => {
                selecting.go(select, &mut Context { store, tx, snapshot: *snapshot, parameters })?;
                Ok(Answer::selected(select, std::mem::take(&mut selecting.rows)))
            }
            (Statement::Write(write), Some(tx)) => {
                writing.go(write, &mut Context { store, tx, snapshot: *snapshot, parameters })?;
                Ok(Answer::written(write, writing.count, std::mem::take(&mut writing.rows)))
            }
            (Statement::Flush, Some(tx)) => {
                for told in captured::flush(store, tx, store.telling) {
                    captured::info(&mut self.out, &told);
                }
                Ok(Answer::void())
            }
            (Statement::Apply, Some(tx)) => {
                applying.go(raw, &mut Context { store, tx, snapshot: *snapshot, parameters })?;
                Ok(Answer::void())
            }
            (Statement::Advisory(call), Some(tx)) => store.advise(tx, self.session, *call).map(Answer::one),
            (Statement::TakeAgain(keys), Some(_)) => store.take_again(self.session, keys).map(Answer::one),
            _ => self.control(&statement, store).map_err(Stop::Fail),
        }
    }
}

fn malformed(fault: crate::wire::Malformed) -> Error {
    error("08P01", fault.to_string())
}
