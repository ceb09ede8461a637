//! Plans, and what they need to be known: the catalog, the search path, the settings of the session.
//!
//! All of it is asked on the session's own leader connection, in the middle of the client's pipeline if need be, under a
//! statement name of ours. The client's message waits ([`super::AfterDrain::Frame`]) and is handled again.

use std::sync::Arc;

use bytes::Bytes;

use super::client::OWN_NAME;
use super::encoding::Encoding;
use super::role::Role;
use super::segment::Segment;
use super::{AfterDrain, Session, World};
use crate::catalog::{self, Catalog, Loader, SearchPath};
use crate::cluster::{MemberState, Membership};
use crate::fault::{Fault, SqlState};
use crate::plan::policy::{Capturing, Policy};
use crate::plan::{Action, Answer, Context, Planned, Script as Plans, unplanned};
use crate::quote::quote_literal;
use crate::reply::{Execution, Owed, Own, To, Undo, What};
use crate::unit::Order;
use crate::wire::backend::Status;
use crate::wire::frontend::{self, Target};

/// The settings that DDL may depend on, and the role: what followers are told before its text. What only a superuser
/// may set is among them where a command outside transactions depends on it ([`super::done::OF_UTILITIES`]).
const SETTINGS_QUERY: &str = "SELECT name, setting FROM pg_catalog.pg_settings \
    WHERE source IN ('session', 'client') AND (context = 'user' OR name = 'allow_in_place_tablespaces') AND name NOT IN ('application_name', 'client_encoding', \
    'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
    'client_min_messages', 'synchronous_commit', 'transaction_isolation', 'transaction_read_only', \
    'transaction_deferrable', 'default_transaction_isolation', 'default_transaction_read_only', \
    'default_transaction_deferrable', 'session_authorization', 'role', 'is_superuser') \
    UNION ALL SELECT 'role', pg_catalog.current_setting('role') \
    UNION ALL SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.unnest('{search_path,password_encryption,TimeZone,DateStyle,IntervalStyle,extra_float_digits,xmloption,default_tablespace,default_table_access_method}'::text[]) AS fixed(name)";

/// What is known of a client's text.
pub(super) enum Planning {
    Known(Plans),
    /// The leader will refuse the first statement, whatever it is, or it ends the failed transaction and the others have
    /// to be planned after it.
    Needless(Plans),
    /// Something has to be asked first; then it is handled again.
    Asked,
}

impl Session {
    /// The plans of a text's statements; `None` when something has to be asked first: handle `then` when it is known.
    pub(super) fn plan(
        &mut self,
        text: &str,
        world: &mut World<'_>,
        then: impl FnOnce() -> AfterDrain,
    ) -> Option<Plans> {
        if let Some(why) = self.parameters.unfit() {
            let fault = Fault::fatal(SqlState::FEATURE_NOT_SUPPORTED, why);
            self.end(&fault.with_hint("Leave it at its default for the role, the database and the connection."));
            return None;
        }
        let fresh = !self.segment.open;
        let epoch = self.catalogs.epoch();
        self.planned_in = epoch;
        self.unit.began_in.get_or_insert(epoch);
        let catalog = self.catalog();
        let search_path = self.search_path.as_ref().filter(|(read_in, _)| *read_in == epoch).map(|(_, path)| path);
        let context =
            Context { catalog: catalog.as_deref(), search_path, converts: self.converts(), policy: self.policy() };
        match world.plans.script(text, &context) {
            Answer::Ready(mut plans) => {
                if !self.is_capturing(&mut plans, then) {
                    return None;
                }
                self.prepare_for(&plans, world);
                return Some(plans);
            }
            Answer::NeedCatalog => self.ask_catalog(),
            Answer::NeedSearchPath if self.search_path_is_asked() => {}
            Answer::NeedSearchPath => self.ask_search_path(),
        }
        if fresh {
            // The client's transaction must not begin with a question of ours.
            self.sync_ours();
        }
        self.drain(then());
        None
    }

    /// Where every table is to have our trigger, those that the unit itself has made get it afterwards, unless something in it
    /// needs the trigger.
    fn policy(&self) -> Policy {
        match self.policy.capture {
            Capturing::All if self.unit.own_schema => Policy { capture: Capturing::Auto, ..self.policy },
            _ => self.policy,
        }
    }

    /// What some statements need of the world.
    fn prepare_for(&mut self, plans: &Plans, world: &mut World<'_>) {
        for planned in &plans.statements {
            match &planned.plan.action {
                Action::Ddl(ddl) if ddl.password.is_some() => (world.random)(&mut self.salt),
                Action::ShowPoolNodes => self.pool_nodes = pool_nodes(world.membership),
                _ => {}
            }
        }
    }

    /// The same, but in a transaction that has failed: it answers everything but its end with an error, so that nothing has
    /// to be known.
    pub(super) fn plan_text(
        &mut self,
        text: &str,
        world: &mut World<'_>,
        then: impl FnOnce() -> AfterDrain,
    ) -> Planning {
        if !self.in_failed_block() {
            return self.plan(text, world, then).map_or(Planning::Asked, Planning::Known);
        }
        match world
            .plans
            .script(text, &Context { catalog: None, search_path: None, converts: None, policy: self.policy })
        {
            Answer::Ready(plans) => Planning::Known(plans),
            Answer::NeedCatalog | Answer::NeedSearchPath => Planning::Needless(unplanned(text)),
        }
    }

    pub(super) fn in_failed_block(&self) -> bool {
        self.status == Status::Failed && !self.segment.open
    }

    pub(super) fn catalog(&self) -> Option<Arc<Catalog>> {
        if !self.temporary && !self.unit.own_schema {
            return self.catalogs.current();
        }
        let epoch = self.catalogs.epoch();
        self.own_catalog.as_ref().filter(|(read_in, _)| *read_in == epoch).map(|(_, catalog)| catalog.clone())
    }

    pub(super) fn ask_catalog(&mut self) {
        self.loader = Some((self.catalogs.epoch(), Loader::new()));
        for (index, query) in catalog::QUERIES.iter().enumerate() {
            self.ask(query, Own::Catalog(index));
        }
        self.ask("SELECT pg_catalog.current_setting('transaction_isolation')", Own::Isolation);
    }

    pub(super) fn ask_settings(&mut self) {
        self.ask(SETTINGS_QUERY, Own::Settings);
    }

    pub(super) fn ask(&mut self, sql: &str, purpose: Own) {
        self.run_own(sql.as_bytes(), &[], Execution::Own(purpose));
    }

    /// Runs a statement of ours in the client's pipeline, under a name of ours, for the client may have an unnamed one.
    pub(super) fn run_own(&mut self, sql: &[u8], formats: &[i16], execution: Execution) {
        let ack = || What::Ack { to: To::Nobody, undo: Undo::Nothing };
        self.close_left();
        let out = &mut self.leader_out;
        frontend::parse(out, OWN_NAME, sql, &[]);
        frontend::bind(out, OWN_NAME, OWN_NAME, frontend::NO_PARAMETERS, formats);
        frontend::execute(out, OWN_NAME, 0);
        frontend::close(out, Target::Portal, OWN_NAME);
        frontend::close(out, Target::Statement, OWN_NAME);
        self.owe(ack(), 0);
        self.owe(ack(), 0);
        self.owe(What::Execution(execution), 0);
        self.owe(ack(), 0);
        self.owe(ack(), 0);
    }

    /// Closes a statement of ours that may be left on the leader connection.
    pub(super) fn close_left(&mut self) {
        if std::mem::take(&mut self.own_left) {
            frontend::close(&mut self.leader_out, Target::Statement, OWN_NAME);
            self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
        }
    }

    /// All rows of a query of ours have come.
    pub(super) fn asked(&mut self, purpose: Own) {
        let rows = std::mem::take(&mut self.collected);
        let learned = match purpose {
            Own::SearchPath => self.learn_search_path(&rows),
            Own::Catalog(index) => self.learn_catalog(index, rows),
            Own::Isolation => self.learn_isolation(&rows),
            Own::Settings => {
                self.settings = Some(rows);
                Ok(())
            }
            Own::Image => {
                self.image_found(rows);
                Ok(())
            }
            Own::Constraints => {
                self.ask_for_objects();
                Ok(())
            }
            Own::Objects => {
                self.objects_told();
                Ok(())
            }
            Own::Names => {
                self.names_told(&rows);
                Ok(())
            }
            Own::Flush => {
                self.flushed();
                Ok(())
            }
            Own::Triggers => {
                self.triggers_made();
                Ok(())
            }
            Own::Watch => {
                self.watch_begins(&rows);
                Ok(())
            }
            Own::Watched => {
                self.watched(&rows);
                Ok(())
            }
            Own::Landing => {
                self.landing_made();
                Ok(())
            }
            Own::Locks => {
                self.locks_counted(&rows);
                Ok(())
            }
            Own::Settle
            | Own::Begin
            | Own::Rollback
            | Own::Commit
            | Own::Prepare
            | Own::Again
            | Own::Intrusion
            | Own::Memory
            | Own::Play
            | Own::TakeLocks
            | Own::Leftover
            | Own::Refused => Ok(()),
        };
        if let Err(why) = learned {
            self.fail(format!("the leader's catalog could not be read: {why}"));
        }
    }

    /// What every session needs to know is asked while its client thinks of its first statement, and costs that nothing.
    pub(super) fn introduce(&mut self) {
        self.ask_search_path();
        self.sync_ours();
        self.segment = Segment::default();
    }

    pub(super) fn ask_search_path(&mut self) {
        self.path_asked_in = self.catalogs.epoch();
        self.ask(catalog::SEARCH_PATH_QUERY, Own::SearchPath);
    }

    fn search_path_is_asked(&self) -> bool {
        let asked = |owed: &Owed| matches!(owed.what, What::Execution(Execution::Own(Own::SearchPath)));
        self.path_asked_in == self.catalogs.epoch() && self.owed.iter().any(asked)
    }

    /// As of when it was asked for: a schema that was made since may be missing in it.
    fn learn_search_path(&mut self, rows: &[Vec<Option<Bytes>>]) -> Result<(), String> {
        let row = rows.first().ok_or("no search path was returned")?;
        let path = SearchPath::from_row(row).map_err(|e| e.to_string())?;
        self.search_path = Some((self.path_asked_in, path));
        let role = row.get(2).cloned().flatten().and_then(|role| String::from_utf8(role.into()).ok());
        self.role = Role::Set(role.ok_or("the role's name is not understood")?);
        // A role and a database may have one, of which nobody says anything here.
        self.serializable_by_default = row.get(3).cloned().flatten().is_some_and(|level| level == "serializable");
        self.parameters.note_replication_role(row.get(4).and_then(Option::as_deref).unwrap_or_default());
        if self.serializable_by_default {
            self.unit.order = Order::LeaderFirst;
        }
        self.encoding = row.get(1).cloned().flatten().map_or(Encoding::Reported, Encoding::Read);
        Ok(())
    }

    fn learn_catalog(&mut self, index: usize, rows: Vec<Vec<Option<Bytes>>>) -> Result<(), String> {
        let Some((_, loader)) = &mut self.loader else { return Ok(()) };
        rows.into_iter().try_for_each(|row| loader.row(index, row)).map_err(|e| e.to_string())
    }

    /// The catalog is complete. It is everybody's when it shows what is committed, and only that, as of now; a
    /// transaction with a snapshot of its own may have read an older one, and so may a session whose leader leads no more.
    fn learn_isolation(&mut self, rows: &[Vec<Option<Bytes>>]) -> Result<(), String> {
        let Some((read_in, loader)) = self.loader.take() else { return Ok(()) };
        let mut catalog = loader.finish().map_err(|e| e.to_string())?;
        let current = matches!(rows, [row] if matches!(row.first(), Some(Some(level)) if level == "read committed" || level == "read uncommitted"));
        // One that has made temporary relations reads its own, be they gone or not.
        let shared = current && !self.unit.own_schema && !self.temporary && catalog.is_for_all();
        if shared {
            catalog.version = self.catalogs.version(read_in);
            if self.leads {
                self.catalogs.publish(read_in, Arc::new(catalog));
            }
            return Ok(());
        }
        self.unit.old_view |= !current && self.unit.began_in != Some(read_in);
        if !self.temporary && !catalog.has_temporary() {
            self.unit.own_schema = true;
        }
        self.temporary |= catalog.has_temporary();
        self.own_catalogs_made += 1;
        catalog.version = self.own_version();
        self.own_catalog = Some((read_in, Arc::new(catalog)));
        Ok(())
    }

    /// A version that no shared catalog and no other session has.
    fn own_version(&self) -> u64 {
        (1 << 63) | (self.id.0 << 20) | (self.own_catalogs_made & 0xf_ffff)
    }

    /// A fault for text that the parser does not understand but the leader does.
    pub(super) fn not_understood() -> Fault {
        Fault::error(
            SqlState::FEATURE_NOT_SUPPORTED,
            "this statement is refused: its syntax is not known, so it cannot be said what it would have to do on the other servers",
        )
    }

    /// The one statement of a prepared text, if it is one.
    pub(super) fn single(plans: Plans) -> Option<Planned> {
        let mut statements = plans.statements.into_iter();
        match (statements.next(), statements.next()) {
            (Some(planned), None) => Some(planned),
            _ => None,
        }
    }
}

/// The nodes as pgpool's `SHOW pool_nodes` shows them, as a query that any server answers.
fn pool_nodes(membership: &Membership) -> String {
    let leader = membership.leader();
    let weights: u32 = membership.active().map(|id| membership.member(id).weight).sum();
    let rows = membership.ids().map(|id| {
        let member = membership.member(id);
        let (host, port) = member.address.rsplit_once(':').unwrap_or((&member.address, ""));
        let status = if member.state == MemberState::Active { "up" } else { "down" };
        let role = if Some(id) == leader { "primary" } else { "standby" };
        let weight = f64::from(member.weight) / f64::from(weights.max(1));
        let values = [
            id.to_string(),
            host.into(),
            port.into(),
            status.into(),
            format!("{weight:.6}"),
            role.into(),
            member.name.clone(),
            member.state.name().into(),
            member.reason.clone(),
        ];
        format!("({})", values.map(|v| quote_literal(&v)).join(", "))
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "SELECT * FROM (VALUES {}) AS pool_nodes(node_id, hostname, port, status, lb_weight, role, name, state, reason)",
        rows.join(", ")
    )
}
