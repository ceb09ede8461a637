//! One connection, kept as long as it lasts and made again when it has broken: what an application's driver does.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Error};

use crate::postgres::{Connection, Failure, Login};

pub struct Line {
    login: Login,
    connection: Option<Connection>,
    /// Logins but the first.
    reconnects: u64,
    used: bool,
}

impl Line {
    pub fn new(login: Login) -> Self {
        Self { login, connection: None, reconnects: 0, used: false }
    }

    /// One operation, with a new connection before it where there is none. What it gave, and how long it took.
    pub async fn call<T>(
        &mut self,
        operation: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<(T, Duration), Failure> {
        let begun = Instant::now();
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let given = connection.client(operation).await;
        if !given.as_ref().is_err_and(Failure::ends_the_connection) {
            self.connection = Some(connection);
        }
        given.map(|given| (given, begun.elapsed()))
    }

    /// The reconnects since the last time that somebody asked.
    pub fn take_reconnects(&mut self) -> u64 {
        std::mem::take(&mut self.reconnects)
    }

    async fn connect(&mut self) -> Result<Connection, Failure> {
        let connection = self.login.connect().await?;
        self.reconnects += u64::from(self.used);
        self.used = true;
        Ok(connection)
    }
}
