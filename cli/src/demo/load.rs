//! The application of the demo: a small shop with several clients that place, pay and read orders without a pause.
//!
//! Each client knows what was acknowledged to it, and takes a read that does not show it for a failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::postgres::{Failure, Login};
use crate::probe::{Gap, Line, Outcome, Tally};

pub const PRODUCTS: i32 = 20;

pub const SCHEMA: &str = "
CREATE TABLE products (
    id    integer PRIMARY KEY,
    name  text NOT NULL,
    stock integer NOT NULL
);
CREATE TABLE orders (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product   integer NOT NULL REFERENCES products,
    quantity  integer NOT NULL,
    state     text NOT NULL DEFAULT 'new',
    placed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO products SELECT n, 'product ' || n, 1000000 FROM generate_series(1, 20) AS n;
";

/// What a customer needs to think.
const THINK: Duration = Duration::from_millis(5);

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Held shared during an operation: whoever holds it alone sees a quiet moment.
    gate: RwLock<()>,
    tally: Mutex<Tally>,
    confirmed: AtomicU64,
    unsure: AtomicU64,
    done: AtomicBool,
}

/// How many orders there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    pub confirmed: u64,
    /// Failed before the answer came: it may be there, or not.
    pub unsure: u64,
}

impl Orders {
    pub fn fit(self, found: u64) -> bool {
        (self.confirmed..=self.confirmed + self.unsure).contains(&found)
    }
}

impl Load {
    pub fn start(login: &Login, clients: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |number| tokio::spawn(Customer::new(number, login.clone(), shared.clone()).work());
        Self { clients: (0..clients).map(client).collect(), shared: shared.clone() }
    }

    /// What was counted since the last time that somebody asked.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.shared.tally())
    }

    /// No operation runs until the guard is dropped.
    pub async fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().await
    }

    pub fn orders(&self) -> Orders {
        Orders {
            confirmed: self.shared.confirmed.load(Ordering::Relaxed),
            unsure: self.shared.unsure.load(Ordering::Relaxed),
        }
    }

    /// Lets every client finish what it does. Gives whether all of them were still at work.
    pub async fn stop(mut self) -> bool {
        self.shared.done.store(true, Ordering::Relaxed);
        let mut well = true;
        for client in self.clients.drain(..) {
            well &= client.await.is_ok();
        }
        well
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for client in &self.clients {
            client.abort();
        }
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Customer {
    number: u64,
    line: Line,
    shared: Arc<Shared>,
    gap: Gap,
    /// The newest order that was acknowledged, and its state.
    order: Option<(i64, &'static str)>,
}

impl Customer {
    fn new(number: u16, login: Login, shared: Arc<Shared>) -> Self {
        Self { number: number.into(), line: Line::new(login), shared, gap: Gap::starting(Instant::now()), order: None }
    }

    async fn work(mut self) {
        let shared = self.shared.clone();
        for turn in 0_u64.. {
            {
                let _quiet_moments_wait = shared.gate.read().await;
                if shared.done.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = self.operation(turn).await;
                self.count(&outcome);
            }
            tokio::time::sleep(THINK).await;
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        let reconnects = self.line.take_reconnects();
        let mut tally = self.shared.tally();
        tally.add(outcome);
        tally.reconnects += reconnects;
        self.gap.seen(outcome.is_ok(), Instant::now(), &mut tally);
    }

    async fn operation(&mut self, turn: u64) -> Outcome {
        match (turn % 4, self.order) {
            (1, Some((order, _))) => self.pay(order).await,
            (2, Some((order, state))) => self.look_up(order, state).await,
            (3, _) => self.browse().await,
            _ => self.place((self.number + turn) as i32 % PRODUCTS + 1).await,
        }
    }

    /// A transaction over two tables, with a foreign key, an identity column and a default.
    async fn place(&mut self, product: i32) -> Outcome {
        let placed = self.line.call(async |client| {
            transaction(client, async || {
                let insert = "INSERT INTO orders (product, quantity) VALUES ($1, 1) RETURNING id";
                let rows = client.query_typed(insert, &[(&product, Type::INT4)]).await?;
                let order = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
                let stock = "UPDATE products SET stock = stock - 1 WHERE id = $1";
                client.query_typed(stock, &[(&product, Type::INT4)]).await?;
                Ok(order)
            })
            .await
        });
        match placed.await {
            Ok((order, time)) => {
                self.order = Some((order, "new"));
                self.shared.confirmed.fetch_add(1, Ordering::Relaxed);
                Ok(time)
            }
            Err(failure) => {
                self.shared.unsure.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    async fn pay(&mut self, order: i64) -> Outcome {
        let paid = self.line.call(async |client| {
            client
                .query_typed("UPDATE orders SET state = 'paid' WHERE id = $1", &[(&order, Type::INT8)])
                .await
                .map(drop)
        });
        match paid.await {
            Ok(((), time)) => {
                self.order = Some((order, "paid"));
                Ok(time)
            }
            Err(failure) => {
                self.order = None; // Paid or not: nobody said.
                Err(failure)
            }
        }
    }

    async fn look_up(&mut self, order: i64, expected: &str) -> Outcome {
        let found = self.line.call(async |client| {
            let rows = client.query_typed("SELECT state FROM orders WHERE id = $1", &[(&order, Type::INT8)]).await?;
            rows.first().map(|row| row.try_get(0)).transpose()
        });
        let (state, time): (Option<String>, _) = found.await?;
        if state.as_deref() != Some(expected) {
            return Err(Failure::Broken("an acknowledged write is missing".into()));
        }
        Ok(time)
    }

    /// In the simple protocol, as scripts and poolers send it.
    async fn browse(&mut self) -> Outcome {
        let browsed = self.line.call(async |client| {
            client.simple_query("SELECT name, stock FROM products ORDER BY stock DESC LIMIT 10").await.map(drop)
        });
        Ok(browsed.await?.1)
    }
}

async fn transaction<T>(client: &Client, statements: impl AsyncFnOnce() -> Result<T, Error>) -> Result<T, Error> {
    client.batch_execute("BEGIN").await?;
    match statements().await {
        Ok(given) => client.batch_execute("COMMIT").await.map(|()| given),
        Err(error) => {
            // The first error is the one to tell; a connection that is gone needs no ROLLBACK.
            let _ = client.batch_execute("ROLLBACK").await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_fit_when_none_is_lost_and_none_is_invented() {
        let orders = Orders { confirmed: 10, unsure: 2 };
        assert_eq!([9, 10, 12, 13].map(|found| orders.fit(found)), [false, true, true, false]);
    }

    #[tokio::test]
    async fn nothing_runs_while_it_is_paused_and_a_stop_ends_it() {
        let login = Login {
            host: "127.0.0.1".into(),
            port: 1,
            user: "app".into(),
            password: None,
            database: "shop".into(),
            timeout: Duration::from_secs(5),
        };
        let load = Load::start(&login, 2);
        let quiet = load.pause().await;
        load.take();
        tokio::time::sleep(THINK * 4).await;
        assert_eq!(load.take().operations(), 0);
        drop(quiet);
        assert!(load.stop().await);
    }
}
