//! What the operator has chosen for statements that are not exact, and for capture.

use std::sync::Arc;

use lockstep_core::plan::explain::explain;
use lockstep_core::plan::policy::{Capturing, Inexact, Policy, Way};
use lockstep_core::plan::{Action, Plan};

use crate::{plan, script_by};

fn plan_by(inexact: Inexact, capture: Capturing, sql: &str) -> Arc<Plan> {
    script_by(Policy { inexact, capture }, &["public"], sql).remove(0).plan
}

fn allowed(sql: &str) -> Arc<Plan> {
    plan_by(Inexact::Warn, Capturing::Auto, sql)
}

#[test]
fn what_may_do_anything_runs_on_the_leader_and_is_never_sent_as_text() {
    for sql in ["SELECT runs_text('x')", "SELECT lo_import('x')", "DO $$ BEGIN EXECUTE 'x'; END $$"] {
        assert!(matches!(plan(sql).action, Action::Refuse(_)), "{sql}");
        let plan = allowed(sql);
        let waived = plan.waived.as_ref().expect(sql);
        assert!(waived.warns && waived.way == Way::Leader && plan.marks.settings && plan.marks.sequences, "{sql}");
        assert!(!matches!(plan.action, Action::Ddl(_) | Action::Refuse(_)), "{sql}: {:?}", plan.action);
        let explained = explain(&plan, sql);
        assert!(explained.kind == "unsafe" && !explained.is_bad(), "{explained:?}");
        assert!(!explained.followers.iter().any(|text| text == sql), "{explained:?}");
    }
}

#[test]
fn definitions_that_are_not_exact_go_as_text() {
    for sql in ["CREATE TABLE fresh (at timestamptz DEFAULT 'now')", "CREATE INDEX ON users (says_immutable(id))"] {
        assert!(matches!(plan(sql).action, Action::Refuse(_)), "{sql}");
        let plan = plan_by(Inexact::Allow, Capturing::Auto, sql);
        let waived = plan.waived.as_ref().expect(sql);
        assert!(!waived.warns && waived.way == Way::Text && matches!(plan.action, Action::Ddl(_)), "{sql}");
    }
}

#[test]
fn what_the_proxy_could_not_follow_stays_refused() {
    for sql in [
        "SELECT * FROM lockstep.lineage",
        "SET session_replication_role = replica",
        "SELECT set_config(runs_text('x')::text, '', false)",
        "SELECT runs_text('x'), set_config('session_replication_role', 'replica', true)",
        "WITH w AS (UPDATE pg_class SET relname = 'x') SELECT runs_text('x')",
        "PREPARE TRANSACTION 'x'",
        "PREPARE p AS SELECT runs_text('x')",
        "DECLARE c CURSOR FOR SELECT runs_text('x')",
        "UPDATE pg_catalog.pg_class SET relname = 'x'",
        "EXPLAIN ANALYZE CREATE TABLE fresh AS SELECT runs_text('x')",
        "CREATE TABLE fresh AS EXECUTE p",
    ] {
        let plan = allowed(sql);
        assert!(plan.waived.is_none(), "{sql}");
        assert!(!matches!(plan.action, Action::Leader | Action::Ddl(_) | Action::Captured(_)), "{sql}: {plan:?}");
    }
}

#[test]
fn what_is_exact_is_planned_as_if_nothing_were_allowed() {
    for sql in ["SELECT 1", "INSERT INTO users VALUES (1)", "SELECT writes()", "CREATE TABLE fresh (id int)", "COMMIT"]
    {
        assert_eq!(*allowed(sql), *plan(sql), "{sql}");
    }
}

#[test]
fn without_capture_what_needs_it_is_refused_and_with_all_everything_needs_it() {
    let off = plan_by(Inexact::Reject, Capturing::Off, "SELECT writes()");
    assert!(matches!(&off.action, Action::Refuse(fault) if fault.message.contains("capture")), "{off:?}");
    let sql = "INSERT INTO users VALUES (1)";
    assert!(matches!(plan_by(Inexact::Reject, Capturing::Off, sql).action, Action::Write(_)));
    let all = plan_by(Inexact::Reject, Capturing::All, sql);
    assert!(matches!(&all.action, Action::Capture(tables) if tables.iter().any(|t| t.contains("users"))), "{all:?}");
}
