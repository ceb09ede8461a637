//! Definitions: what a server's databases share (roles, grants, settings), and what each database defines.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use lockstep_core::cluster::compare::{self, Inventory, Thing};
use tokio_postgres::SimpleQueryRow;

use super::Verification;
use super::look::{Lines, Look};
use crate::cluster::command::Trouble;
use crate::cluster::compare::inventory;
use crate::service::ServiceFault;

/// Whoever has something locked may be waiting for its own commit, which is held.
const NOT_WAITING: &str = "SET LOCAL lock_timeout = '1s'";

impl Verification<'_> {
    /// What all databases of a server share. Gives the names of the databases.
    pub async fn server(&self) -> Result<Vec<String>, Trouble> {
        let config = &self.cluster.shared.config;
        let lines = self.dial(&config.service.database).await.map_err(|failed| self.cannot_look(failed))?;
        if self.scope.database.is_none() && self.scope.tables.is_empty() {
            self.report.phase("compare", "roles, grants and settings");
            let look = self.look(&config.service.database).await.map_err(|failed| self.cannot_look(failed))?;
            let sql = inventory::server(&config.service.user, self.all_have_settings(&lines).await?);
            self.definitions(None, &lines, &look, &sql).await?;
        }
        let databases = lines.ask(0, inventory::DATABASES).await.map_err(|fault| self.unreadable(0, &fault))?;
        Ok(databases.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
    }

    /// Grants on settings are compared where every node can have them.
    async fn all_have_settings(&self, lines: &Lines) -> Result<bool, Trouble> {
        for node in 0..lines.0.len() {
            let answer =
                lines.ask(node, inventory::HAS_SETTINGS).await.map_err(|fault| self.unreadable(node, &fault))?;
            if answer.first().and_then(|row| row.get(0)) != Some("t") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Compares what `sql` lists. PostgreSQL's functions show a definition as of now and not of the snapshot: what seems
    /// to differ is read again while nothing can change.
    pub async fn definitions(
        &self,
        database: Option<&str>,
        lines: &Lines,
        look: &Look,
        sql: &str,
    ) -> Result<(), Trouble> {
        let sql = sql.trim_end().trim_end_matches(';');
        if let Ok(answers) = look.ask_all(lines, sql).await
            && self.parting(database, &answers).is_empty()
        {
            return Ok(());
        }
        let sql = format!("BEGIN; {NOT_WAITING}; {sql}; COMMIT");
        let again = join_all((0..lines.0.len()).map(|node| lines.ask(node, &sql)));
        let answers = self
            .held(database.unwrap_or("all"), "definitions that seemed to differ", again)
            .await
            .ok_or("commits or utility commands under way did not end in time")?
            .ok_or("definitions could not be read in time")?;
        let answers: Result<Vec<_>, (usize, ServiceFault)> =
            answers.into_iter().enumerate().map(|(node, answer)| answer.map_err(|fault| (node, fault))).collect();
        let answers = answers.map_err(|(node, fault)| self.unreadable(node, &fault))?;
        for (node, sentence) in self.parting(database, &answers) {
            self.differs(node, sentence);
        }
        Ok(())
    }

    /// Each difference with the follower that it is of.
    fn parting(&self, database: Option<&str>, answers: &[Vec<SimpleQueryRow>]) -> Vec<(usize, String)> {
        let inventories: Vec<_> = answers.iter().map(|rows| inventory_of(database, rows)).collect();
        let against = |follower: usize| {
            let (leader, name) = self.names(follower);
            let pair = [(leader, &inventories[0]), (name, &inventories[follower])];
            compare::differences(&pair).into_iter().map(move |sentence| (follower, sentence))
        };
        (1..inventories.len()).flat_map(against).collect()
    }
}

fn inventory_of(database: Option<&str>, rows: &[SimpleQueryRow]) -> Inventory {
    let text = |row: &SimpleQueryRow, column| row.get(column).unwrap_or_default().to_owned();
    let definition = |row: &SimpleQueryRow| {
        let thing = Thing { database: database.map(str::to_owned), kind: text(row, 0), name: text(row, 1) };
        (thing, text(row, 2))
    };
    let schema: BTreeMap<_, _> = rows.iter().map(definition).collect();
    Inventory { schema, ..Inventory::default() }
}
