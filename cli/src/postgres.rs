//! Connections of the command line's own, to a node or through the proxy, and what their errors mean in words.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// Whom to reach, and as whom.
#[derive(Clone)]
pub struct Login {
    /// A host name, an address, or a socket directory.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// How long the login, and then any single answer, may take.
    pub timeout: Duration,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// Why an answer did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server answered with an error.
    #[error("{state} {message}")]
    Answer { state: String, message: String, fatal: bool },
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {}", crate::show::time(*.0))]
    Late(Duration),
}

impl Failure {
    /// Whether the connection is of no use after this.
    pub fn ends_the_connection(&self) -> bool {
        !matches!(self, Self::Answer { fatal: false, .. })
    }

    /// What is counted together: the message may hold numbers that differ every time.
    pub fn kind(&self) -> String {
        match self {
            Self::Answer { state, message, .. } => format!("{state} {message}"),
            Self::Broken(reason) => reason.clone(),
            Self::Late(_) => "no answer in time".into(),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Self::Answer {
                state: answer.code().code().into(),
                message: answer.message().into(),
                fatal: answer.severity() != "ERROR",
            };
        }
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self::Broken(cause)
    }
}

/// An open connection. Its driver runs as a task and ends when this is dropped.
pub struct Connection {
    client: Client,
    timeout: Duration,
}

/// Rows as text; a NULL is `None`.
pub type Rows = Vec<Vec<Option<String>>>;

impl Login {
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("lockstep cli");
        if let Some(password) = &self.password {
            config.password(password);
        }
        let (client, connection) = within(self.timeout, config.connect(NoTls)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the command line ended");
            }
        });
        Ok(Connection { client, timeout: self.timeout })
    }

    pub fn database(&self, name: &str) -> Self {
        Self { database: name.into(), ..self.clone() }
    }
}

impl Connection {
    /// Any text, any number of statements; the rows of all of them.
    pub async fn query(&self, sql: &str) -> Result<Rows, Failure> {
        let messages = within(self.timeout, self.client.simple_query(sql)).await?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first column of the first row.
    pub async fn value(&self, sql: &str) -> Result<Option<String>, Failure> {
        Ok(self.query(sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    pub async fn client<T>(
        &self,
        call: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        within(self.timeout, call(&self.client)).await
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

async fn within<T>(time: Duration, call: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
    tokio::time::timeout(time, call).await.map_err(|_| Failure::Late(time))?.map_err(Failure::from)
}

/// `'…'`, whatever is in it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
