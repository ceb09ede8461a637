//! Plain questions for tests to which bytes do not matter.

use std::fmt;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use lockstep_core::wire::notice::Fields;
use lockstep_core::wire::{Frame, backend, frontend};

use super::Client;

/// Values in text form.
pub type Row = Vec<Option<String>>;

/// What one simple query or one extended statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub rows: Vec<Row>,
    /// Command tags, one for each statement.
    pub tags: Vec<String>,
    /// What else the server had to say.
    pub notices: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server said so.
    Refused { state: String, message: String },
    /// The connection is gone, or nothing came in time.
    Lost(String),
}

impl Failure {
    fn of(fields: &Fields) -> Self {
        let state = String::from_utf8_lossy(fields.state()).into_owned();
        Self::Refused { state, message: fields.message() }
    }

    /// What an ErrorResponse says.
    pub fn of_frame(frame: &Frame) -> Self {
        Self::of(&Fields::read(frame.body()).expect("the fields of an error"))
    }

    pub fn closed() -> Self {
        Self::Lost("the server closed the connection".into())
    }

    /// The SQLSTATE; 08006 for a lost connection, as drivers call it.
    pub fn state(&self) -> &str {
        match self {
            Self::Refused { state, .. } => state,
            Self::Lost(_) => "08006",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { state, message } => write!(f, "{state}: {message}"),
            Self::Lost(why) => write!(f, "connection lost: {why}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Client {
    /// Runs a string of statements by the simple protocol; the first error is the answer.
    pub fn try_query(&mut self, sql: &str) -> Result<Answer, Failure> {
        self.put(|out| frontend::query(out, sql.as_bytes())).try_flush()?;
        self.answer()
    }

    /// Sends a last query, if there is one, and is gone without a word before it is answered.
    pub fn vanish(&mut self, last: Option<&str>) {
        if let Some(sql) = last {
            let _ = self.put(|out| frontend::query(out, sql.as_bytes())).try_flush();
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    pub fn query(&mut self, sql: &str) -> Answer {
        self.try_query(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}"))
    }

    /// The rows of a query.
    pub fn rows(&mut self, sql: &str) -> Vec<Row> {
        self.query(sql).rows
    }

    /// The only value of the only row.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        let [row] = &rows[..] else { panic!("{sql}: {} rows where one was expected", rows.len()) };
        row[0].clone().unwrap_or_else(|| panic!("{sql}: NULL"))
    }

    /// Runs one statement by the extended protocol, unnamed, with parameters in text form.
    pub fn try_execute(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<Answer, Failure> {
        self.put(|out| frontend::parse(out, b"", sql.as_bytes(), &[]));
        self.try_execute_prepared("", parameters)
    }

    pub fn execute(&mut self, sql: &str, parameters: &[Option<&str>]) -> Answer {
        self.try_execute(sql, parameters).unwrap_or_else(|failure| panic!("{sql}: {failure}"))
    }

    /// Prepares a statement under a name.
    pub fn try_prepare(&mut self, name: &str, sql: &str) -> Result<(), Failure> {
        self.put(|out| frontend::parse(out, name.as_bytes(), sql.as_bytes(), &[])).put(frontend::sync).try_flush()?;
        self.answer().map(drop)
    }

    pub fn try_execute_prepared(&mut self, name: &str, parameters: &[Option<&str>]) -> Result<Answer, Failure> {
        let parameters = text_parameters(parameters);
        self.put(|out| frontend::bind(out, b"", name.as_bytes(), &parameters, &[]))
            .put(|out| frontend::execute(out, b"", 0))
            .put(frontend::sync)
            .try_flush()?;
        self.answer()
    }

    /// Reads up to ReadyForQuery; the first error is the answer.
    pub fn answer(&mut self) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        let mut failure = None;
        loop {
            let frame = match self.try_read() {
                Ok(Some(frame)) => frame,
                // A FATAL error says why better than the end of the connection does.
                Ok(None) => return Err(failure.unwrap_or(Failure::closed())),
                Err(error) => return Err(failure.unwrap_or(error.into())),
            };
            match frame.tag {
                backend::DATA_ROW => answer.rows.push(row(&frame)),
                backend::COMMAND_COMPLETE => answer.tags.push(tag(&frame)),
                backend::NOTICE_RESPONSE => {
                    answer.notices.push(Fields::read(frame.body()).expect("the fields of a notice").message());
                }
                backend::ERROR_RESPONSE if failure.is_none() => {
                    failure = Some(Failure::of_frame(&frame));
                }
                backend::READY_FOR_QUERY => return failure.map_or(Ok(answer), Err),
                _ => {}
            }
        }
    }
}

/// Formats and values of a Bind whose parameters are all text.
pub fn text_parameters(values: &[Option<&str>]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(0);
    out.put_u16(values.len() as u16);
    values.iter().for_each(|value| backend::put_value(&mut out, value.map(str::as_bytes)));
    out.freeze()
}

fn row(frame: &Frame) -> Row {
    let values = backend::read_data_row(frame.body()).expect("a DataRow");
    values.into_iter().map(|v| v.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())).collect()
}

fn tag(frame: &Frame) -> String {
    let tag = backend::read_command_complete(frame.body()).expect("a CommandComplete");
    String::from_utf8_lossy(&tag).into_owned()
}
