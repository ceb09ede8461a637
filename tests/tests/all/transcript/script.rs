//! Scripts: steps of a client, and playing them at a door.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use lockstep_core::wire::frontend::{self, Target};
use lockstep_core::wire::{Frame, backend};
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::{Client, transcript};
use lockstep_tests::users::APP;
use lockstep_tests::wait;

/// So long may one message take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A parameter in a format of its own.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    Text(&'static str),
    Binary(&'static [u8]),
    Null,
}

/// What a client does. Messages wait in a buffer, so that they leave together, until a step sends them.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A simple query, with everything that waited before it; reads up to the last ReadyForQuery that is owed.
    Query(&'static str),
    /// A simple query that waits in the buffer.
    Ask(&'static str),
    /// Name and text.
    Parse(&'static str, &'static str),
    /// Name, text and OIDs of the parameters' types.
    ParseTyped(&'static str, &'static str, &'static [u32]),
    /// Portal, statement, parameters in text form; text results.
    Bind(&'static str, &'static str, &'static [&'static str]),
    /// Portal, statement, parameters, formats of the results.
    BindAs(&'static str, &'static str, &'static [Value], &'static [i16]),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    Execute(&'static str),
    /// Portal and the most rows to return.
    ExecuteRows(&'static str, i32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    /// OID of a function, arguments, format of the result.
    Call(u32, &'static [Value], i16),
    CopyData(&'static [u8]),
    CopyDone,
    CopyFail(&'static str),
    Flush,
    Sync,
    /// Sends, and reads until every ReadyForQuery that is owed has come.
    Ready,
    /// Sends, and reads up to the first message with this tag.
    Until(u8),
    /// Another session at the same door runs this to its end.
    Elsewhere(&'static str),
    /// Sends, waits until the server is at work, and cancels it.
    Cancel,
}

/// Where a script is played.
pub struct Door<'a> {
    pub address: String,
    /// The server that does the work there.
    pub leader: &'a Server,
    pub database: &'a str,
    pub schema: &'a str,
}

impl Door<'_> {
    fn connect(&self) -> Client {
        let schema = [("search_path", self.schema)];
        Client::try_connect(&self.address, &APP, self.database, &schema)
            .unwrap_or_else(|e| panic!("{}: {e}", self.address))
    }
}

/// No message came where one was due; with all that came before.
#[derive(Debug)]
pub struct Silence(pub Vec<String>);

/// The steps and the messages that answered them.
pub fn play(door: &Door, script: &[Step]) -> Result<Vec<String>, Silence> {
    let mut client = door.connect();
    client.set_deadline(PATIENCE);
    let greeting = transcript::lines(&client.greeting);
    let mut player = Player { door, client, lines: greeting, owed: 0 };
    let played = script.iter().try_for_each(|step| player.step(*step)).and_then(|()| player.ready());
    match played {
        Ok(()) => Ok(player.lines),
        Err(why) => Err(Silence([player.lines, vec![why]].concat())),
    }
}

struct Player<'a> {
    door: &'a Door<'a>,
    client: Client,
    lines: Vec<String>,
    /// ReadyForQuery messages that must still come.
    owed: usize,
}

impl Player<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        self.lines.push(format!("> {step:?}"));
        if matches!(step, Step::Query(_) | Step::Ask(_) | Step::Sync | Step::Call(..)) {
            self.owed += 1;
        }
        match step {
            Step::Ready => self.ready(),
            Step::Until(tag) => self.read_until(|frame| frame.tag == tag),
            Step::Elsewhere(sql) => {
                self.door.connect().query(sql);
                Ok(())
            }
            Step::Cancel => {
                self.client.flush();
                self.wait_until_busy();
                self.client.cancel();
                Ok(())
            }
            message => {
                self.client.put(|out| write(out, message));
                if matches!(message, Step::Query(_)) { self.ready() } else { Ok(()) }
            }
        }
    }

    fn ready(&mut self) -> Result<(), String> {
        self.client.flush();
        while self.owed > 0 {
            self.read_until(|frame| frame.tag == backend::READY_FOR_QUERY)?;
        }
        Ok(())
    }

    fn read_until(&mut self, found: impl Fn(&Frame) -> bool) -> Result<(), String> {
        self.client.flush();
        let mut frames = Vec::new();
        let end = loop {
            match self.client.try_read() {
                Ok(Some(frame)) => {
                    self.owed = self.owed.saturating_sub(usize::from(frame.tag == backend::READY_FOR_QUERY));
                    frames.push(frame);
                    if frames.last().is_some_and(&found) {
                        break Ok(());
                    }
                }
                Ok(None) => break Err("(the connection was closed)".into()),
                Err(error) => break Err(format!("(no message: {:?})", error.kind())),
            }
        };
        self.lines.extend(transcript::lines(&frames));
        end
    }

    fn wait_until_busy(&self) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = '{}' AND usename = '{}' AND state = 'active' AND wait_event = 'PgSleep'",
            self.door.database, APP.name
        );
        let mut observer = self.door.leader.connect("postgres");
        wait::until(PATIENCE, "the statement to cancel sleeps", || (observer.value(&sql) == "1").then_some(()));
    }
}

fn write(out: &mut BytesMut, step: Step) {
    match step {
        Step::Query(sql) | Step::Ask(sql) => frontend::query(out, sql.as_bytes()),
        Step::Parse(name, sql) => frontend::parse(out, name.as_bytes(), sql.as_bytes(), &[]),
        Step::ParseTyped(name, sql, types) => frontend::parse(out, name.as_bytes(), sql.as_bytes(), types),
        Step::Bind(portal, statement, values) => {
            let values: Vec<_> = values.iter().map(|text| Value::Text(text)).collect();
            frontend::bind(out, portal.as_bytes(), statement.as_bytes(), &parameters(&values), &[]);
        }
        Step::BindAs(portal, statement, values, results) => {
            frontend::bind(out, portal.as_bytes(), statement.as_bytes(), &parameters(values), results);
        }
        Step::DescribeStatement(name) => frontend::describe(out, Target::Statement, name.as_bytes()),
        Step::DescribePortal(name) => frontend::describe(out, Target::Portal, name.as_bytes()),
        Step::Execute(portal) => frontend::execute(out, portal.as_bytes(), 0),
        Step::ExecuteRows(portal, rows) => frontend::execute(out, portal.as_bytes(), rows),
        Step::CloseStatement(name) => frontend::close(out, Target::Statement, name.as_bytes()),
        Step::ClosePortal(name) => frontend::close(out, Target::Portal, name.as_bytes()),
        Step::Call(oid, arguments, result) => frontend::message(out, frontend::FUNCTION_CALL, |body| {
            body.put_u32(oid);
            body.put_slice(&parameters(arguments));
            body.put_i16(result);
        }),
        Step::CopyData(data) => frontend::copy_data(out, data),
        Step::CopyDone => frontend::copy_done(out),
        Step::CopyFail(why) => frontend::copy_fail(out, why),
        Step::Flush => frontend::flush(out),
        Step::Sync => frontend::sync(out),
        Step::Ready | Step::Until(_) | Step::Elsewhere(_) | Step::Cancel => unreachable!("{step:?} is no message"),
    }
}

/// Formats and values, each with their count.
fn parameters(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(values.len() as u16);
    values.iter().for_each(|value| out.put_i16(i16::from(matches!(value, Value::Binary(_)))));
    out.put_u16(values.len() as u16);
    for value in values {
        backend::put_value(
            &mut out,
            match value {
                Value::Text(text) => Some(text.as_bytes()),
                Value::Binary(bytes) => Some(bytes),
                Value::Null => None,
            },
        );
    }
    out.freeze()
}
