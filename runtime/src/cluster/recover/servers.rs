//! The two servers of a recovery: what is asked of them.

use std::time::Duration;

use lockstep_core::cluster::recovery::{CatchUp, Chase, Source};
use lockstep_core::cluster::{Event, MemberState};
use lockstep_core::id::NodeId;
use tokio_postgres::types::PgLsn;

use super::unlogged;
use super::{Failure, Recovery};
use crate::clock;
use crate::cluster::lineage;
use crate::service::{self, Line, ServiceFault, within};

/// For a single question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at a standby that is far behind, and at one that commits wait for.
const FAR_PAUSE: Duration = Duration::from_millis(250);
const HELD_PAUSE: Duration = Duration::from_millis(5);
/// Commits are not held for longer than this for a standby that should have been near.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// Seconds that PostgreSQL may take for a promotion.
const PROMOTION: i32 = 60;

/// Service connections to both.
pub struct Both {
    source: Line,
    target: Line,
}

impl Recovery<'_> {
    pub async fn source_major(&self) -> Result<u32, Failure> {
        let line = self.dial(self.source).await?;
        let row = line.query_one("SELECT current_setting('server_version_num')::integer / 10000", &[]).await?;
        Ok(u32::try_from(row.get::<_, i32>(0))?)
    }

    pub async fn measure_source(&self) -> Result<Source, Failure> {
        let line = self.dial(self.source).await?;
        let sql = "SELECT sum(pg_database_size(oid))::bigint, \
            EXISTS (SELECT FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) FROM pg_database";
        let row = within(PATIENCE * 6, async { Ok(line.query_one(sql, &[]).await?) }).await?;
        let bytes = u64::try_from(row.get::<_, i64>(0))?;
        Ok(Source { bytes, major: self.source_major().await?, has_tablespaces: row.get(1) })
    }

    /// The source may have been taken out while it was copied: then the copy is of a node that is not current.
    pub fn check_source(&self) -> Result<(), Failure> {
        match self.cluster.state(self.source) {
            MemberState::Active => Ok(()),
            state => Err(Failure(format!("{} became {}", self.cluster.name(self.source), state.name()))),
        }
    }

    pub async fn drop_slot(&self) -> Result<(), Failure> {
        let line = self.dial(self.source).await?;
        // A standby that was stopped a moment ago may still be seen on it.
        let sql = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots \
            WHERE slot_name = $1 AND active_pid IS NOT NULL";
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        within(PATIENCE, async {
            line.query(sql, &[&self.slot]).await?;
            line.query(drop, &[&self.slot]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Waits until little is left to be replayed.
    pub async fn catch_up(&self) -> Result<Both, Failure> {
        let both = Both { source: self.dial(self.source).await?, target: self.dial(self.node).await? };
        let begun = clock::now();
        let mut chase = CatchUp::new(begun.elapsed());
        loop {
            self.check_source()?;
            let written = both.written().await?;
            let replayed = both.replayed().await?;
            match chase.observe(replayed, written, begun.elapsed()) {
                Chase::Near => return Ok(both),
                Chase::Stuck => return Err(Failure(both.why_stuck().await)),
                Chase::Behind => {
                    let text = format!("{} MB behind", written.saturating_sub(replayed.unwrap_or(0)) >> 20);
                    self.report.phase(self.step.get().name(), text);
                    tokio::time::sleep(FAR_PAUSE).await;
                }
            }
        }
    }

    /// Commits are held: what the source has written by now is all there is.
    pub async fn drain(&self, both: &Both) -> Result<(), Failure> {
        let flush = "SELECT pg_logical_emit_message(true, 'lockstep', '')";
        within(PATIENCE, async { Ok(both.source.simple_query(flush).await?) }).await?;
        let last = both.written().await?;
        let begun = clock::now();
        while both.replayed().await?.is_none_or(|replayed| replayed < last) {
            if begun.elapsed() > DRAIN_PATIENCE {
                return Err(Failure(both.why_stuck().await));
            }
            tokio::time::sleep(HELD_PAUSE).await;
        }
        Ok(())
    }

    pub async fn promote(&self, both: &Both) -> Result<(), Failure> {
        let patience = PATIENCE + Duration::from_secs(PROMOTION.unsigned_abs().into());
        let sql = "SELECT pg_promote(true, $1)";
        let row = within(patience, async { Ok(both.target.query_one(sql, &[&PROMOTION]).await?) }).await?;
        if !row.get::<_, bool>(0) {
            return Err(Failure(format!("it was not promoted within {PROMOTION} s; see the server's log")));
        }
        // Each on its own: ALTER SYSTEM does not run in a transaction.
        for sql in ["primary_conninfo", "primary_slot_name"].map(|name| format!("ALTER SYSTEM RESET {name}")) {
            within(PATIENCE, async { Ok(both.target.batch_execute(&sql).await?) }).await?;
        }
        Ok(())
    }

    /// What a physical copy does not bring.
    pub async fn level(&self, both: &Both) -> Result<(), Failure> {
        let config = &self.cluster.shared.config;
        within(PATIENCE, async { Ok(both.target.simple_query("SELECT pg_reload_conf()").await?) }).await?;
        unlogged::copy(config, self.source, self.node).await?;
        self.cluster.leveller.level_joining(&self.cluster.shared.membership.load(), self.node).await?;
        Ok(())
    }

    /// The copy has its source's lineage, which must be the present one; then the node is active.
    pub async fn join(&self, both: &Both) -> Result<(), Failure> {
        let (ours, sources) =
            tokio::try_join!(lineage::read(&both.target, PATIENCE), lineage::read(&both.source, PATIENCE))?;
        let epoch = self.cluster.shared.membership.load().epoch;
        if ours.is_none() || ours != sources || ours.as_ref().is_some_and(|lineage| lineage.epoch != epoch) {
            return Err(Failure(format!("its lineage is {ours:?}, the source's {sources:?}, the epoch {epoch}")));
        }
        self.check_source()?;
        let how = format!("recovered from {}", self.cluster.name(self.source));
        self.cluster.registry.change(Event::Joined { node: self.node, how }).await?;
        Ok(())
    }

    async fn dial(&self, node: NodeId) -> Result<Line, ServiceFault> {
        let config = &self.cluster.shared.config;
        service::dial(&config.service, &config.nodes[usize::from(node.0)], &config.service.database, PATIENCE).await
    }
}

impl Both {
    async fn written(&self) -> Result<u64, ServiceFault> {
        let sql = "SELECT pg_current_wal_flush_lsn()";
        let row = within(PATIENCE, async { Ok(self.source.query_one(sql, &[]).await?) }).await?;
        Ok(row.get::<_, PgLsn>(0).into())
    }

    async fn replayed(&self) -> Result<Option<u64>, ServiceFault> {
        let sql = "SELECT pg_last_wal_replay_lsn()";
        let row = within(PATIENCE, async { Ok(self.target.query_one(sql, &[]).await?) }).await?;
        Ok(row.get::<_, Option<PgLsn>>(0).map(u64::from))
    }

    async fn why_stuck(&self) -> String {
        let sql = "SELECT coalesce((SELECT status FROM pg_stat_wal_receiver), 'is not connected to the source')";
        let state = within(PATIENCE, async { Ok(self.target.query_one(sql, &[]).await?) }).await;
        let state = state.map_or_else(|fault| fault.to_string(), |row| row.get(0));
        format!("the standby does not get on; its receiver: {state}; see the log of the target's server")
    }
}
