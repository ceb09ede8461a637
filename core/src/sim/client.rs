//! A client: what it asks for, what it was told, and what follows from that for the tables.

use bytes::{Bytes, BytesMut};

use super::belief::Beliefs;
use super::faults::Fault;
use super::rng::Rng;
use super::workload::{self, Meaning, Request};
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, Target};
use crate::wire::notice::Fields;
use crate::wire::take_frame;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Committed,
    Aborted,
    /// The connection ended before the answer, or the answer was that it is not known.
    Unknown,
}

/// A transaction, with what it has done that can be counted.
#[derive(Debug)]
pub(super) struct Unit {
    pub id: i64,
    pub outcome: Outcome,
    pub adds: Vec<(i64, i64)>,
    /// It has put itself into the ledger.
    pub entered: bool,
    /// What it has said, with the number of rows that the server told.
    pub said: Vec<(String, usize)>,
    /// It was said more than what was answered, with these among it: what it has done is not known.
    pub unheard: Option<Vec<(i64, i64)>>,
    marks: Vec<(usize, bool, usize)>,
}

#[derive(Debug)]
pub(super) struct Client {
    pub id: usize,
    rng: Rng,
    /// Units that are still to be begun.
    left: usize,
    /// Requests of the unit that are still to be made, the next one last.
    plan: Vec<Request>,
    /// Statements that are not answered yet.
    asked: Vec<(String, Meaning)>,
    answered: usize,
    failed: bool,
    /// The error was that the outcome is not known.
    doubtful: bool,
    pub waiting: bool,
    pub inbox: BytesMut,
    pub units: Vec<Unit>,
    pub tickets: Vec<i64>,
    /// What it has read to write it back.
    read: i64,
    /// What it writes may be made to look like something else.
    fault: Option<Fault>,
    /// SQLSTATE and message of errors that are still to be judged.
    pub errors: Vec<(String, String)>,
    pub said_goodbye: bool,
    pub locks: Beliefs,
    /// As it was last told.
    status: Status,
    /// The moment, by the world's count.
    pub now: u64,
}

impl Client {
    /// `keys`: what decides about its advisory locks.
    pub(super) fn new(id: usize, mut rng: Rng, keys: Option<Rng>, fault: Option<Fault>) -> Self {
        let left = 2 + rng.below(4);
        Self {
            id,
            rng,
            left,
            plan: Vec::new(),
            asked: Vec::new(),
            answered: 0,
            failed: false,
            doubtful: false,
            waiting: false,
            inbox: BytesMut::new(),
            units: Vec::new(),
            tickets: Vec::new(),
            read: 0,
            fault,
            errors: Vec::new(),
            said_goodbye: false,
            locks: Beliefs::new(keys),
            status: Status::Idle,
            now: 0,
        }
    }

    fn next_id(&self) -> i64 {
        (self.id * 100 + self.units.len()) as i64
    }

    fn begin(&mut self) {
        self.units.push(Unit {
            id: self.next_id(),
            outcome: Outcome::Open,
            adds: Vec::new(),
            entered: false,
            said: Vec::new(),
            unheard: None,
            marks: Vec::new(),
        });
    }

    /// The next message, and its text for the history.
    pub(super) fn speak(&mut self, out: &mut BytesMut) -> String {
        if let Some(call) = self.next_call() {
            return self.ask(call, out);
        }
        if self.plan.is_empty() {
            if self.left == 0 {
                self.said_goodbye = true;
                frontend::terminate(out);
                return "Terminate".into();
            }
            self.left -= 1;
            let id = self.next_id();
            self.plan = workload::unit(&mut self.rng, id, self.id);
            self.plan.reverse();
            self.begin();
        }
        let Some(mut request) = self.plan.pop() else { return String::new() };
        for (text, _) in &mut request.statements {
            *text = text.replace(workload::READ, &self.read.to_string());
            let hidden = match self.fault {
                Some(Fault::LocksUnseen) if text.starts_with("SELECT") => "FOR UPDATE",
                Some(Fault::LevelUnseen) => "ISOLATION LEVEL SERIALIZABLE",
                _ => continue,
            };
            *text = text.replace(hidden, &format!("/*{hidden}*/"));
        }
        self.ask(request, out)
    }

    /// Where a statement makes sense: not in a transaction that has failed, nor while one is being begun.
    fn next_call(&mut self) -> Option<Request> {
        let in_block = self.status == Status::InTransaction;
        let mut call = if in_block || self.plan.is_empty() { self.locks.call(in_block) } else { None }?;
        if self.fault == Some(Fault::HoldsUnseen) {
            let text = &mut call.statements[0].0;
            *text = text.replacen("SELECT ", "SELECT /*", 1) + "*/";
        }
        Some(call)
    }

    fn ask(&mut self, request: Request, out: &mut BytesMut) -> String {
        request.statements.iter().for_each(|(_, meaning)| self.locks.asks(*meaning));
        let texts: Vec<&str> = request.statements.iter().map(|(text, _)| text.as_str()).collect();
        let text = texts.join("; ");
        if request.simple {
            frontend::query(out, text.as_bytes());
        } else {
            for text in texts {
                frontend::parse(out, b"", text.as_bytes(), &[]);
                frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
                frontend::describe(out, Target::Portal, b"");
                frontend::execute(out, b"", 0);
            }
            frontend::sync(out);
        }
        (self.answered, self.failed, self.doubtful, self.waiting) = (0, false, false, true);
        self.asked = request.statements;
        text
    }

    /// Takes what has come. True: the request has been answered.
    pub(super) fn listen(&mut self) -> Result<bool, String> {
        let mut done = false;
        while let Some(frame) = take_frame(&mut self.inbox, 1 << 20).map_err(|fault| fault.to_string())? {
            match frame.tag {
                backend::DATA_ROW => {
                    let row = backend::read_data_row(frame.body()).map_err(|e| e.to_string())?;
                    self.row(&row);
                }
                backend::COMMAND_COMPLETE => {
                    let tag = backend::read_command_complete(frame.body()).map_err(|e| e.to_string())?;
                    self.complete(&String::from_utf8_lossy(&tag))?;
                }
                backend::ERROR_RESPONSE => {
                    let fields = Fields::read(frame.body()).map_err(|e| e.to_string())?;
                    self.failed = true;
                    self.doubtful |= fields.state() == b"08006";
                    self.errors.push((String::from_utf8_lossy(fields.state()).into_owned(), fields.message()));
                }
                backend::READY_FOR_QUERY => {
                    if !std::mem::take(&mut self.waiting) {
                        return Err("it was told twice that the server is ready".into());
                    }
                    self.ready(Status::read(frame.body()).map_err(|e| e.to_string())?)?;
                    done = true;
                }
                _ => {}
            }
        }
        Ok(done)
    }

    fn row(&mut self, row: &[Option<Bytes>]) {
        let [Some(value)] = row else { return };
        if let Some((_, Meaning::Lock(_))) = self.asked.get(self.answered) {
            return self.locks.answer(value);
        }
        let Some(value) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) else { return };
        match self.asked.get(self.answered) {
            Some((_, Meaning::Ticket)) => self.tickets.push(value),
            Some((_, Meaning::Look)) => self.read = value,
            _ => {}
        }
    }

    fn complete(&mut self, tag: &str) -> Result<(), String> {
        let Some((text, meaning)) = self.asked.get(self.answered).cloned() else {
            return Err(format!("it was told {tag}, and had asked for nothing"));
        };
        self.answered += 1;
        if let Meaning::Lock(call) = meaning {
            return self.locks.complete(call, self.now);
        }
        let Some(unit) = self.units.last_mut() else { return Ok(()) };
        let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        match meaning {
            Meaning::Add { account, amount } if count == 1 => unit.adds.push((account, amount)),
            Meaning::Enter => unit.entered = true,
            Meaning::Savepoint => unit.marks = vec![(unit.adds.len(), unit.entered, unit.said.len())],
            Meaning::RollbackTo => {
                if let Some((adds, entered, said)) = unit.marks.first() {
                    unit.adds.truncate(*adds);
                    unit.entered = *entered;
                    unit.said.truncate(*said);
                }
            }
            Meaning::Commit => {
                unit.outcome = if tag == "COMMIT" { Outcome::Committed } else { Outcome::Aborted };
            }
            Meaning::Chain => {
                unit.outcome = if tag == "COMMIT" { Outcome::Committed } else { Outcome::Aborted };
                self.begin();
                return Ok(());
            }
            Meaning::Rollback => unit.outcome = Outcome::Aborted,
            _ => {}
        }
        if !meaning.is_control() {
            unit.said.push((text, count));
        }
        Ok(())
    }

    /// Statements that do something and were not answered.
    fn unheard(&self) -> Option<Vec<(i64, i64)>> {
        let unheard = || self.asked.iter().skip(self.answered).filter(|(_, meaning)| !meaning.is_control());
        let adds = unheard().filter_map(|(_, meaning)| match *meaning {
            Meaning::Add { account, amount } => Some((account, amount)),
            _ => None,
        });
        unheard().next().is_some().then(|| adds.collect())
    }

    fn ready(&mut self, status: Status) -> Result<(), String> {
        self.status = status;
        if status != Status::InTransaction {
            self.locks.transaction_ends();
        }
        let unheard = self.unheard();
        let Some(unit) = self.units.last_mut() else { return Ok(()) };
        if !self.failed && self.answered != self.asked.len() {
            return Err(format!("it was answered {} of {} statements", self.answered, self.asked.len()));
        }
        if unit.outcome == Outcome::Committed && status != Status::Idle {
            return Err(format!("its transaction is committed and yet open: {status:?}"));
        }
        match status {
            Status::Idle if unit.outcome == Outcome::Open => {
                unit.unheard = unheard;
                unit.outcome = match (self.failed, self.doubtful) {
                    (false, _) => Outcome::Committed,
                    (true, false) => Outcome::Aborted,
                    (true, true) => Outcome::Unknown,
                };
                self.plan.clear();
            }
            Status::Idle => self.plan.clear(),
            Status::InTransaction => {}
            Status::Failed => {
                // Back to the savepoint if there is one, now and then; else the end, whatever it is called.
                if !unit.marks.is_empty() && self.rng.one_in(2) {
                    // What was to be written back may not have been read, or its lock is gone.
                    let writes_back = |request: &Request| request.statements[0].0.contains(workload::READ);
                    self.plan.retain(|request| !request.is(Meaning::Savepoint) && !writes_back(request));
                    if let Some(chain) = self.plan.iter().position(|request| request.is(Meaning::Chain)) {
                        self.plan.drain(1..=chain);
                    }
                    self.plan.push(Request::one("ROLLBACK TO SAVEPOINT s", Meaning::RollbackTo));
                } else {
                    self.plan.retain(|request| request.is(Meaning::Commit) || request.is(Meaning::Rollback));
                }
            }
        }
        Ok(())
    }

    /// The connection is over.
    pub(super) fn cut_off(&mut self) {
        let outcome = if self.waiting { Outcome::Unknown } else { Outcome::Aborted };
        let unheard = self.unheard();
        for unit in self.units.iter_mut().filter(|unit| unit.outcome == Outcome::Open) {
            (unit.outcome, unit.unheard) = (outcome, unheard.clone());
        }
        self.waiting = false;
        self.said_goodbye = true;
        self.locks.session_ends();
        self.status = Status::Idle;
    }

    /// It will connect again, and has something left to ask.
    pub(super) fn comes_back(&mut self) {
        self.plan.clear();
        self.asked.clear();
        self.inbox.clear();
        (self.answered, self.failed, self.doubtful, self.said_goodbye) = (0, false, false, false);
        self.left = self.left.max(1);
    }

    /// What was said in the unit, and what is being said and not answered.
    pub(super) fn said(&self) -> Vec<(String, usize)> {
        let before = self.units.last().map(|unit| unit.said.clone()).unwrap_or_default();
        let now = self.asked.iter().skip(self.answered).filter(|(_, meaning)| !meaning.is_control());
        before.into_iter().chain(now.map(|(text, _)| (text.clone(), 1))).collect()
    }
}
