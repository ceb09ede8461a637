//! An imitation of PostgreSQL: as much of its protocol and of its transactions as a session can tell from the real one.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use lockstep_core::catalog::{QUERIES, SEARCH_PATH_QUERY};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::wire::backend::{self, Column, Status};
use lockstep_core::wire::frontend::{self, Bind, Execute, Named, Parse, Target};
use lockstep_core::wire::{Frame, notice, take_frame};

use super::stage::catalog_rows;

/// Texts that a server does not understand.
const NONSENSE: [&str; 3] = ["lockstep ", "lockstep:", "SELEC "];

fn refuse_nonsense(sql: &str) -> std::result::Result<(), Fault> {
    match NONSENSE.iter().any(|nonsense| sql.starts_with(nonsense)) {
        true => Err(Fault::error(SqlState("42601"), "syntax error")),
        false => Ok(()),
    }
}

#[derive(Debug, Default)]
pub struct Leader {
    inbox: BytesMut,
    pub out: BytesMut,
    statements: HashMap<Bytes, String>,
    portals: HashMap<Bytes, Portal>,
    block: bool,
    failed: bool,
    /// An error in the extended protocol: everything up to Sync is passed over.
    skips: bool,
    /// Writes of the transaction.
    open: Vec<String>,
    /// Writes of each transaction that has been committed.
    pub committed: Vec<Vec<String>>,
    /// Texts by the simple protocol.
    pub queries: Vec<String>,
}

#[derive(Debug)]
struct Portal {
    sql: String,
    rows_left: Option<usize>,
}

/// What a statement gives: its rows' number and width, and its tag.
struct Result {
    rows: usize,
    columns: usize,
    command: &'static str,
}

impl Leader {
    /// Takes what the session has sent and answers it.
    pub fn take(&mut self, bytes: &mut BytesMut) {
        self.inbox.extend_from_slice(&bytes.split());
        while let Ok(Some(frame)) = take_frame(&mut self.inbox, 1 << 20) {
            if !self.skips || frame.tag == frontend::SYNC {
                self.handle(&frame);
            }
        }
    }

    fn handle(&mut self, frame: &Frame) {
        let body = frame.body();
        let done = match frame.tag {
            frontend::PARSE => self.parse(Parse::read(body).expect("Parse")),
            frontend::BIND => self.bind(Bind::read(body).expect("Bind")),
            frontend::DESCRIBE => self.describe(&Named::read(body).expect("Describe")),
            frontend::EXECUTE => self.execute(&Execute::read(body).expect("Execute")),
            frontend::CLOSE => self.close(&Named::read(body).expect("Close")),
            frontend::QUERY => return self.query(frontend::read_query(body).expect("Query")),
            frontend::SYNC => return self.sync(),
            frontend::FLUSH | frontend::TERMINATE | frontend::COPY_FAIL => Ok(()),
            other => panic!("a message of type {:?}", char::from(other)),
        };
        if let Err(fault) = done {
            self.error(&fault);
            self.skips = true;
        }
    }

    fn error(&mut self, fault: &Fault) {
        self.failed = self.block;
        if !self.block {
            self.open.clear();
        }
        notice::error(&mut self.out, fault);
    }

    fn refuse_if_failed(&self, sql: &str) -> std::result::Result<(), Fault> {
        if self.failed && !["COMMIT", "ROLLBACK"].iter().any(|end| sql.starts_with(end)) {
            return Err(Fault::error(SqlState::IN_FAILED_TRANSACTION, "the transaction is aborted"));
        }
        Ok(())
    }

    fn parse(&mut self, parse: Parse) -> std::result::Result<(), Fault> {
        let sql = String::from_utf8(parse.sql.to_vec()).expect("UTF-8");
        refuse_nonsense(&sql)?;
        self.refuse_if_failed(&sql)?;
        if !parse.name.is_empty() && self.statements.contains_key(&parse.name) {
            return Err(Fault::error(SqlState("42P05"), format!("{:?} already exists", parse.name)));
        }
        self.statements.insert(parse.name, sql);
        backend::bare(&mut self.out, backend::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> std::result::Result<(), Fault> {
        let missing = || Fault::error(SqlState::UNDEFINED_STATEMENT, format!("{:?} is not there", bind.statement));
        let sql = self.statements.get(&bind.statement).ok_or_else(missing)?.clone();
        self.refuse_if_failed(&sql)?;
        if sql.contains("1/0") {
            // Of constants: found by the planner.
            return Err(division());
        }
        self.portals.insert(bind.portal, Portal { sql, rows_left: None });
        backend::bare(&mut self.out, backend::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, named: &Named) -> std::result::Result<(), Fault> {
        let sql = match named.target {
            Target::Statement => self.statements.get(&named.name).cloned(),
            Target::Portal => self.portals.get(&named.name).map(|portal| portal.sql.clone()),
        };
        let sql = sql.ok_or_else(|| Fault::error(SqlState("34000"), "nothing to describe"))?;
        if named.target == Target::Statement {
            frontend::message(&mut self.out, backend::PARAMETER_DESCRIPTION, |body| body.extend_from_slice(&[0, 0]));
        }
        self.row_description(result(&self.executed_text(&sql)).columns);
        Ok(())
    }

    fn row_description(&mut self, columns: usize) {
        let column = Column {
            name: Bytes::from_static(b"c"),
            table: 0,
            attribute: 0,
            type_oid: 23,
            type_len: 4,
            type_modifier: -1,
            format: 0,
        };
        match columns {
            0 => backend::bare(&mut self.out, backend::NO_DATA),
            _ => backend::row_description(&mut self.out, &vec![column; columns]),
        }
    }

    fn close(&mut self, named: &Named) -> std::result::Result<(), Fault> {
        match named.target {
            Target::Statement => drop(self.statements.remove(&named.name)),
            Target::Portal => drop(self.portals.remove(&named.name)),
        }
        backend::bare(&mut self.out, backend::CLOSE_COMPLETE);
        Ok(())
    }

    fn execute(&mut self, execute: &Execute) -> std::result::Result<(), Fault> {
        let missing = || Fault::error(SqlState::UNDEFINED_PORTAL, "no such portal");
        let (sql, left) = match self.portals.get(&execute.portal) {
            Some(portal) => (portal.sql.clone(), portal.rows_left),
            None => return Err(missing()),
        };
        let result = match left {
            None => self.run(&sql)?,
            Some(rows) => Result { rows, ..result(&self.executed_text(&sql)) },
        };
        let limit = usize::try_from(execute.max_rows).unwrap_or(0);
        let given = if limit == 0 { result.rows } else { limit.min(result.rows) };
        self.rows(&sql, given, result.columns);
        if limit > 0 && given == limit {
            backend::bare(&mut self.out, backend::PORTAL_SUSPENDED);
        } else {
            self.complete(&result, given);
        }
        if let Some(portal) = self.portals.get_mut(&execute.portal) {
            portal.rows_left = Some(result.rows - given);
        }
        Ok(())
    }

    fn rows(&mut self, sql: &str, rows: usize, columns: usize) {
        if sql == SEARCH_PATH_QUERY {
            // In its notation: pg_catalog, public; the client's encoding; the role; the level of transactions.
            let values: [&[u8]; 4] = [b"70675f636174616c6f67 7075626c6963", b"UTF8", b"none", b"read committed"];
            return backend::data_row(&mut self.out, values.into_iter().map(Some));
        }
        if let Some(query) = QUERIES.iter().position(|query| *query == sql) {
            for (_, row) in catalog_rows().filter(|(number, _)| *number == query) {
                backend::data_row(&mut self.out, row.iter().map(|value| value.as_deref()));
            }
            return;
        }
        let value: &[u8] = if sql.contains("transaction_isolation") { b"read committed" } else { b"1" };
        (0..rows).for_each(|_| backend::data_row(&mut self.out, (0..columns).map(|_| Some(value))));
    }

    fn complete(&mut self, result: &Result, rows: usize) {
        let tag = match result.command {
            "INSERT" => format!("INSERT 0 {rows}"),
            counted @ ("SELECT" | "UPDATE" | "DELETE") => format!("{counted} {rows}"),
            other => other.to_owned(),
        };
        backend::command_complete(&mut self.out, &tag);
    }

    fn query(&mut self, text: Bytes) {
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        self.statements.remove(&b""[..]);
        self.queries.push(text.clone());
        for sql in text.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            match self.run(sql) {
                Ok(result) => {
                    if result.columns > 0 {
                        self.row_description(result.columns);
                        self.rows(sql, result.rows, result.columns);
                    }
                    self.complete(&result, result.rows);
                }
                Err(fault) => {
                    self.error(&fault);
                    break;
                }
            }
        }
        self.sync();
    }

    /// The end of a Query, or Sync.
    fn sync(&mut self) {
        self.skips = false;
        if !self.block {
            self.commit();
        }
        let status = match (self.block, self.failed) {
            (false, _) => Status::Idle,
            (true, false) => Status::InTransaction,
            (true, true) => Status::Failed,
        };
        backend::ready_for_query(&mut self.out, status);
    }

    fn commit(&mut self) {
        self.portals.clear();
        let writes = std::mem::take(&mut self.open);
        if !writes.is_empty() {
            self.committed.push(writes);
        }
    }

    fn end_block(&mut self, commit: bool, sql: &str) {
        let chained = self.block && sql.ends_with("AND CHAIN");
        if !commit || self.failed {
            self.open.clear();
        }
        (self.block, self.failed) = (false, false);
        self.commit();
        self.block = chained;
    }

    fn run(&mut self, sql: &str) -> std::result::Result<Result, Fault> {
        refuse_nonsense(sql)?;
        let failed = self.failed;
        let mut result = result(&self.executed_text(sql));
        match result.command {
            "BEGIN" => self.block = true,
            "COMMIT" => {
                self.end_block(true, sql);
                result.command = if failed { "ROLLBACK" } else { "COMMIT" };
            }
            "ROLLBACK" => self.end_block(false, sql),
            _ if failed => self.refuse_if_failed(sql)?,
            "PREPARE" => {
                let (name, inner) = sql["PREPARE ".len()..].split_once(" AS ").expect("PREPARE name AS …");
                self.statements.insert(name.trim_matches('"').to_owned().into(), inner.to_owned());
            }
            "DEALLOCATE" => drop(self.statements.remove(&sql.as_bytes()["DEALLOCATE ".len()..])),
            "INSERT" | "UPDATE" | "DELETE" => self.open.push(self.executed_text(sql)),
            _ if sql.contains("1/0") => return Err(division()),
            _ => {}
        }
        Ok(result)
    }

    /// What EXECUTE runs.
    fn executed_text(&self, sql: &str) -> String {
        let named = sql.strip_prefix("EXECUTE ").map(|name| name.trim_matches('"').as_bytes());
        named.and_then(|name| self.statements.get(name)).map_or(sql, String::as_str).to_owned()
    }
}

fn division() -> Fault {
    Fault::error(SqlState("22012"), "division by zero")
}

/// Every write changes as many rows as its text has brackets of values; every query gives one.
fn result(sql: &str) -> Result {
    let command = ["SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "ROLLBACK", "PREPARE", "DEALLOCATE"]
        .into_iter()
        .find(|command| sql.trim_start().starts_with(command))
        .unwrap_or("SET");
    let columns = match (command, sql.split_once(" RETURNING ")) {
        ("PREPARE", _) => 0,
        (_, Some((_, list))) => list.split(", ").count(),
        ("SELECT", None) => 1,
        _ => 0,
    };
    let rows = match (command, columns) {
        (_, 0) => 0,
        ("SELECT", _) => 1,
        _ => sql.matches("), (").count() + 1,
    };
    Result { rows, columns, command }
}
