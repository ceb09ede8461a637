//! Inserts of ids that nobody else has, in every way to commit. Even ids go to a table with a key, odd ones to one without,
//! where nothing but the proxy keeps them from being there twice.

use super::session::Session;
use crate::chance::Chance;
use crate::chaos::ledger::Ledger;
use crate::chaos::trouble::Trouble;

pub async fn operation(
    session: &mut Session,
    chance: &mut Chance,
    ledger: &Ledger,
) -> Result<(), (&'static str, Trouble)> {
    // Prepared before an id is taken: what fails here has sent nothing of it.
    let keyed = session.prepared(KEYED).await.map_err(|trouble| ("prepare", trouble))?;
    let bag = session.prepared(BAG).await.map_err(|trouble| ("prepare", trouble))?;
    let id = ledger.id();
    let (name, outcome) = match chance.below(5) {
        0 => {
            let statement = if id.is_multiple_of(2) { keyed } else { bag };
            let done = session.client.execute(&statement, &[&(id as i64)]).await;
            ("prepared insert", done.map(drop).map_err(Trouble::at_commit))
        }
        1 => ("insert", autocommit(session, &insert(id)).await),
        2 => {
            let sql = format!("BEGIN; {}; {}; COMMIT", insert(id), note(id));
            let outcome = autocommit(session, &sql).await;
            if outcome.is_err() {
                // It may be in the block that the string has begun.
                let _ = session.client.batch_execute("ROLLBACK").await;
            }
            ("insert in one message", outcome)
        }
        3 => {
            let filler = format!("repeat('x', {})", chance.below(3_000));
            let sql = format!("INSERT INTO {} (id, filler) SELECT {id}, {filler}", table(id));
            ("insert of a query", autocommit(session, &sql).await)
        }
        _ => ("insert in a transaction", block(session, id, chance).await),
    };
    ledger.id_ended(id, &outcome);
    outcome.map_err(|trouble| (name, trouble))
}

/// The table of an id.
pub fn table(id: u64) -> &'static str {
    if id.is_multiple_of(2) { "keyed" } else { "bag" }
}

const KEYED: &str = "INSERT INTO keyed (id) VALUES ($1)";
const BAG: &str = "INSERT INTO bag (id) VALUES ($1)";

fn insert(id: u64) -> String {
    format!("INSERT INTO {} (id) VALUES ({id})", table(id))
}

/// A change that has to be captured.
fn note(id: u64) -> String {
    format!("UPDATE noted SET n = n + 1 WHERE id = {}", id % 5)
}

async fn autocommit(session: &Session, sql: &str) -> Result<(), Trouble> {
    session.client.batch_execute(sql).await.map_err(Trouble::at_commit)
}

/// With a savepoint, and now and then one that is gone back to.
async fn block(session: &mut Session, id: u64, chance: &mut Chance) -> Result<(), Trouble> {
    let mut transaction = session.client.transaction().await?;
    if chance.one_in(2) {
        let savepoint = transaction.savepoint("s").await?;
        savepoint.batch_execute(&insert(id)).await?;
        savepoint.rollback().await?;
    }
    transaction.batch_execute(&insert(id)).await?;
    transaction.batch_execute(&note(id)).await?;
    transaction.commit().await.map_err(Trouble::at_commit)
}
