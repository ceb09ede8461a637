//! `SELECT … FOR UPDATE`, a sum made by the client, and a write: an increment is lost as soon as a lock is.

use tokio_postgres::Transaction;

use super::session::Session;
use crate::chance::Chance;
use crate::chaos::ledger::{COUNTERS, Ledger};
use crate::chaos::trouble::Trouble;

const LOCK: &str = "SELECT n FROM counter WHERE id = $1 FOR UPDATE";
const WRITE: &str = "UPDATE counter SET n = $2, changed = now() WHERE id = $1";

pub async fn operation(
    session: &mut Session,
    chance: &mut Chance,
    ledger: &Ledger,
) -> Result<(), (&'static str, Trouble)> {
    let counter = chance.below(COUNTERS as u64) as usize;
    increment(session, ledger, counter).await.map_err(|trouble| ("increment", trouble))
}

async fn increment(session: &mut Session, ledger: &Ledger, counter: usize) -> Result<(), Trouble> {
    let (lock, write) = (session.prepared(LOCK).await?, session.prepared(WRITE).await?);
    let row = counter as i32;
    let transaction = session.client.transaction().await?;
    let n: i64 = transaction.query_one(&lock, &[&row]).await?.get(0);
    transaction.execute(&write, &[&row, &(n + 1)]).await?;
    commit(transaction, ledger, counter).await
}

async fn commit(transaction: Transaction<'_>, ledger: &Ledger, counter: usize) -> Result<(), Trouble> {
    ledger.increment_begins(counter);
    let outcome = transaction.commit().await.map_err(Trouble::at_commit);
    ledger.increment_ended(counter, &outcome);
    outcome
}
