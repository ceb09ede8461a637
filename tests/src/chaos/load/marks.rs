//! Read your writes: a row that one client alone writes holds what that client was last told, or what is in doubt since.

use tokio_postgres::types::Type;

use super::session::Session;
use crate::chance::Chance;
use crate::chaos::ledger::Ledger;
use crate::chaos::trouble::Trouble;

const WRITE: &str = "INSERT INTO mark (client, value) VALUES ($1, $2) ON CONFLICT (client) DO UPDATE SET value = $2";
const READ: &str = "SELECT value FROM mark WHERE client = $1";

pub async fn operation(
    session: &mut Session,
    chance: &mut Chance,
    ledger: &Ledger,
    client: i32,
) -> Result<(), (&'static str, Trouble)> {
    if chance.one_in(2) {
        return read(session, ledger, client).await.map_err(|trouble| ("read", trouble));
    }
    let value = ledger.mark_begins(client);
    let outcome = match chance.one_in(2) {
        true => write(session, client, value).await,
        false => write_and_look(session, ledger, client, value).await,
    };
    ledger.mark_ended(client, value, &outcome);
    outcome.map_err(|trouble| ("write", trouble))
}

async fn read(session: &Session, ledger: &Ledger, client: i32) -> Result<(), Trouble> {
    let rows = session.client.query_typed(READ, &[(&client, Type::INT4)]).await?;
    let value = rows.first().map_or(0, |row| row.get(0));
    let mark = ledger.entries().marks.get(&client).cloned().unwrap_or_default();
    if !mark.may_be(value) {
        ledger.wrong(format!("client {client} reads {value}, and was told of {mark:?}"));
    }
    Ok(())
}

async fn write(session: &Session, client: i32, value: i64) -> Result<(), Trouble> {
    let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&client, Type::INT4), (&value, Type::INT8)];
    session.client.query_typed(WRITE, parameters).await.map(drop).map_err(Trouble::at_commit)
}

/// In a transaction, which sees what it has written itself.
async fn write_and_look(session: &mut Session, ledger: &Ledger, client: i32, value: i64) -> Result<(), Trouble> {
    let (write, read) = (session.prepared(WRITE).await?, session.prepared(READ).await?);
    let transaction = session.client.transaction().await?;
    transaction.execute(&write, &[&client, &value]).await?;
    let seen: i64 = transaction.query_one(&read, &[&client]).await?.get(0);
    if seen != value {
        ledger.wrong(format!("client {client} has written {value} and reads {seen} in the same transaction"));
    }
    transaction.commit().await.map_err(Trouble::at_commit)
}
