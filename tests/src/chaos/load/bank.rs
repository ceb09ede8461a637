//! Transfers between accounts: whoever looks, whenever, finds the same sum.

use tokio_postgres::IsolationLevel;

use super::session::Session;
use crate::chance::Chance;
use crate::chaos::ledger::Ledger;
use crate::chaos::trouble::Trouble;

pub const ACCOUNTS: i32 = 20;
pub const TOTAL: i64 = 1_000 * ACCOUNTS as i64;

/// A transfer that the leader alone can judge; it may fail as on a plain server.
pub const SERIALIZABLE: &str = "serializable transfer";

const CHANGE: &str = "UPDATE account SET balance = balance + $2 WHERE id = $1";
const NOTE: &str = "INSERT INTO transfer (source, target, amount) VALUES ($1, $2, $3)";
const SUM: &str = "SELECT sum(balance)::bigint, count(*) FROM account";

pub async fn operation(
    session: &mut Session,
    chance: &mut Chance,
    ledger: &Ledger,
) -> Result<(), (&'static str, Trouble)> {
    match chance.below(6) {
        0 => look(session, ledger).await.map_err(|trouble| ("sum", trouble)),
        1 => transfer(session, chance, IsolationLevel::Serializable).await.map_err(|trouble| (SERIALIZABLE, trouble)),
        _ => transfer(session, chance, IsolationLevel::ReadCommitted).await.map_err(|trouble| ("transfer", trouble)),
    }
}

async fn look(session: &mut Session, ledger: &Ledger) -> Result<(), Trouble> {
    let row = session.client.query_one(SUM, &[]).await?;
    let (sum, count): (i64, i64) = (row.get(0), row.get(1));
    if (sum, count) != (TOTAL, i64::from(ACCOUNTS)) {
        ledger.wrong(format!("{count} accounts hold {sum}, and not {ACCOUNTS} of them {TOTAL}"));
    }
    Ok(())
}

async fn transfer(session: &mut Session, chance: &mut Chance, isolation: IsolationLevel) -> Result<(), Trouble> {
    let source = chance.below(ACCOUNTS as u64) as i32;
    let target = (source + 1 + chance.below(ACCOUNTS as u64 - 1) as i32) % ACCOUNTS;
    let amount = 1 + chance.below(100) as i64;
    let (change, note) = (session.prepared(CHANGE).await?, session.prepared(NOTE).await?);
    let transaction = session.client.build_transaction().isolation_level(isolation).start().await?;
    // In one order, so that no two of them meet crosswise.
    let mut changes = [(source + 1, -amount), (target + 1, amount)];
    changes.sort_unstable();
    for (account, amount) in changes {
        transaction.execute(&change, &[&account, &amount]).await?;
    }
    transaction.execute(&note, &[&(source + 1), &(target + 1), &amount]).await?;
    transaction.commit().await.map_err(Trouble::at_commit)
}
