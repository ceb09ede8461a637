//! A connection with its prepared statements.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{NoTls, Statement};

use crate::chaos::DATABASE;
use crate::chaos::trouble::Trouble;
use crate::postgres::conninfo;
use crate::users::APP;

/// Longer than clients are held when no node serves.
const LOGIN: Duration = Duration::from_secs(40);

pub struct Session {
    pub client: tokio_postgres::Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
    prepared: HashMap<&'static str, Statement>,
}

impl Session {
    pub async fn open(port: u16) -> Result<Self, Trouble> {
        let info = conninfo(port, &APP, DATABASE);
        let connecting = tokio::time::timeout(LOGIN, tokio_postgres::connect(&info, NoTls));
        let (client, connection) = match connecting.await {
            Ok(connected) => connected.map_err(|error| Trouble::at_login(&error))?,
            Err(_) => return Err(Trouble { in_doubt: false, ..Trouble::no_answer() }),
        };
        Ok(Self { client, driver: tokio::spawn(connection), prepared: HashMap::new() })
    }

    /// Prepared once for each connection, as drivers do.
    pub async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
