//! The proxy's own connections to nodes, under the service role: health, lineage, comparison, levelling, recovery.
//!
//! Sessions and pools have connections of another kind (`session`, `pool`): theirs move clients' bytes.

use std::io;
use std::ops::Deref;
use std::time::Duration;

use lockstep_core::cluster::health::Observation;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::config::{Node, Service};
use crate::session::link::watch;

mod bounded;
mod knock;

pub use knock::knock;

use bounded::Bounded;

/// What was sent and is not acknowledged is waited for no longer than an answer to a keep-alive (tcp(7), `TCP_USER_TIMEOUT`),
/// on both sides: so the guard of a proxy that has lost its power is let go in the midst of an answer, too. Either side of these
/// connections reads at all times; not so a client's ([`crate::session::link`]).
const UNHEARD: Duration = Duration::from_secs(11);

/// Why a node could not be reached or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFault {
    #[error("the name {host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("nobody leads")]
    NobodyLeads,
    #[error("the node is not active any more")]
    Left,
    #[error("the journal can be neither written nor removed")]
    NoJournal,
}

impl ServiceFault {
    /// What the failure says about the node's health.
    pub fn observation(&self) -> Observation {
        match self {
            // A name server that fails says nothing about the node behind the name.
            Self::Resolve { .. } | Self::NobodyLeads | Self::Left | Self::NoJournal => {
                Observation::Local(self.to_string())
            }
            Self::Connect { source, .. } => match Observation::from_io(source) {
                Observation::Down(_) => Observation::Down(self.to_string()),
                Observation::Local(_) => Observation::Local(self.to_string()),
                _ => Observation::Silent(self.to_string()),
            },
            Self::Timeout(_) => Observation::Silent(self.to_string()),
            Self::Postgres(error) => match error.as_db_error() {
                Some(db) => Observation::from_sqlstate(db.code().code(), db.message()),
                None => Observation::Silent(self.to_string()),
            },
        }
    }

    pub fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(state))
    }
}

/// The server's own words where there are some: the outer error says only `db error`.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// A logged-in service connection. Dropping it closes the socket at once, also when the node hangs.
#[derive(Debug)]
pub struct Line {
    client: Client,
    driver: JoinHandle<()>,
    parting: watch::Receiver<Parting>,
}

/// How the server has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// Not at all, as far as it was heard.
    None,
    Silent,
    /// It said why.
    Word,
}

impl Line {
    pub fn parting(&self) -> watch::Receiver<Parting> {
        self.parting.clone()
    }
}

impl Deref for Line {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Logs in to `database` on `node`, in no more than `limit`.
pub async fn dial(service: &Service, node: &Node, database: &str, limit: Duration) -> Result<Line, ServiceFault> {
    within(limit, async {
        if node.host.starts_with('/') {
            let path = socket_path(node);
            let stream = UnixStream::connect(&path).await;
            log_in(service, database, stream.map_err(|source| ServiceFault::Connect { address: path, source })?).await
        } else {
            log_in(service, database, connect(node).await?).await
        }
    })
    .await
}

fn socket_path(node: &Node) -> String {
    format!("{}/.s.PGSQL.{}", node.host, node.port)
}

/// Fails with [`ServiceFault::Timeout`] when `work` takes longer than `limit`.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ServiceFault>>,
) -> Result<T, ServiceFault> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ServiceFault::Timeout(limit)))
}

/// Tries each address of the name; the last failure counts.
async fn connect(node: &Node) -> Result<TcpStream, ServiceFault> {
    let resolve = |source| ServiceFault::Resolve { host: node.host.clone(), source };
    let addresses = tokio::net::lookup_host((node.host.as_str(), node.port)).await.map_err(resolve)?;
    let mut failure = resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let refused = |source| ServiceFault::Connect { address: address.to_string(), source };
                watch(&stream).map_err(refused)?;
                socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNHEARD)).map_err(refused)?;
                return Ok(stream);
            }
            Err(source) => failure = ServiceFault::Connect { address: address.to_string(), source },
        }
    }
    Err(failure)
}

async fn log_in<S>(service: &Service, database: &str, stream: S) -> Result<Line, ServiceFault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = tokio_postgres::Config::new();
    config.user(&service.user).dbname(database).application_name(application_name());
    if let Some(password) = &service.password {
        config.password(password);
    }
    // What a role, a database or postgresql.conf sets for ordinary sessions must not change what the service does.
    config.options(
        "-c search_path= -c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off \
         -c synchronous_commit=local -c client_min_messages=warning \
         -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=11000",
    );
    let (stream, bound) = Bounded::new(stream);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    bound.lift();
    let (parts, parting) = watch::channel(Parting::None);
    let driver = tokio::spawn(async move {
        let ended = connection.await;
        if let Err(error) = &ended {
            tracing::debug!(%error, "service connection ended");
        }
        let word = ended.is_err_and(|error| error.as_db_error().is_some());
        parts.send_replace(if word { Parting::Word } else { Parting::Silent });
    });
    Ok(Line { client, driver, parting })
}

/// How the proxy shows in `pg_stat_activity`, so that whoever finds it there knows which process it is.
fn application_name() -> String {
    format!("lockstep {}", std::process::id())
}
