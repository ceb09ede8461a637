//! One thing that a client does.

use std::fmt;

use lockstep_core::wire::backend::COPY_IN_RESPONSE;
use lockstep_core::wire::frontend;
use lockstep_tests::raw::{Answer, Client, Failure};

#[derive(Debug)]
pub enum Step {
    Simple(String),
    Extended(&'static str, Vec<String>),
    /// By the extended protocol, without parameters.
    Alone(String),
    /// COPY FROM STDIN, with its data.
    Copy(&'static str, String),
    /// Several that belong into one transaction.
    Script(Vec<Step>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(sql) | Self::Alone(sql) => f.write_str(sql),
            Self::Extended(sql, parameters) => write!(f, "{sql} {parameters:?}"),
            Self::Copy(sql, data) => write!(f, "{sql} {data:?}"),
            Self::Script(steps) => steps.iter().try_for_each(|step| write!(f, "{step}; ")),
        }
    }
}

/// What failed, and how.
pub type Outcome = Result<(), (String, Failure)>;

impl Step {
    pub fn run(&self, client: &mut Client) -> Outcome {
        let answer = match self {
            Self::Simple(sql) => client.try_query(sql),
            Self::Alone(sql) => client.try_execute(sql, &[]),
            Self::Extended(sql, parameters) => {
                let parameters: Vec<Option<&str>> = parameters.iter().map(|p| Some(p.as_str())).collect();
                client.try_execute(sql, &parameters)
            }
            Self::Copy(sql, data) => copy(client, sql, data),
            Self::Script(steps) => return steps.iter().try_for_each(|step| step.run(client)),
        };
        answer.map(drop).map_err(|failure| (self.to_string(), failure))
    }

    /// In a transaction of its own.
    pub fn run_alone(&self, client: &mut Client) -> Outcome {
        let Self::Script(_) = self else { return self.run(client) };
        ask(client, "BEGIN")?;
        self.run(client)?;
        ask(client, "COMMIT")
    }
}

pub fn ask(client: &mut Client, sql: &str) -> Outcome {
    client.try_query(sql).map(drop).map_err(|failure| (sql.to_owned(), failure))
}

fn copy(client: &mut Client, sql: &str, data: &str) -> Result<Answer, Failure> {
    client.put(|out| frontend::query(out, sql.as_bytes())).try_flush()?;
    let started = client.until_any(&[COPY_IN_RESPONSE, b'E'])?;
    if started.tag != COPY_IN_RESPONSE {
        client.answer()?;
        return Err(Failure::of_frame(&started));
    }
    data.as_bytes().chunks(50).for_each(|piece| {
        client.put(|out| frontend::copy_data(out, piece));
    });
    client.put(frontend::copy_done).try_flush()?;
    client.answer()
}
