//! What statements mean for replication, on the catalog of `plans/schema.sql` as a real server gave it.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_core::catalog::{Catalog, Loader, SearchPath};
use lockstep_core::plan::{Action, Answer, Context, Plan, PlanCache, Planned, Policy};

mod plans {
    mod calls;
    mod copy;
    mod ddl;
    mod explained;
    mod objects;
    mod policy;
    mod reads;
    mod session;
    mod watch;
    mod writes;
}

pub fn catalog() -> Catalog {
    let mut loader = Loader::new();
    for line in include_str!("plans/catalog.tsv").lines() {
        let mut columns = line.split('\t');
        let query = columns.next().unwrap().parse().unwrap();
        let values = columns.map(|c| (c != "\\N").then(|| Bytes::from(c.replace("\\\\", "\\")))).collect();
        loader.row(query, values).unwrap();
    }
    let mut catalog = loader.finish().unwrap();
    catalog.version = 1;
    catalog
}

thread_local! {
    static CATALOG: Catalog = catalog();
}

pub fn script(sql: &str) -> Vec<Planned> {
    script_under(&["public"], sql)
}

fn script_under(path: &[&str], sql: &str) -> Vec<Planned> {
    script_by(Policy::default(), path, sql)
}

fn script_by(policy: Policy, path: &[&str], sql: &str) -> Vec<Planned> {
    let path = SearchPath::new(["pg_catalog"].iter().chain(path).copied());
    CATALOG.with(|catalog| {
        let context = Context { catalog: Some(catalog), search_path: Some(&path), converts: Some(false), policy };
        match PlanCache::new(1 << 20).script(sql, &context) {
            Answer::Ready(script) => script.statements,
            other => panic!("{sql}: {other:?}"),
        }
    })
}

pub fn plan(sql: &str) -> Arc<Plan> {
    let mut statements = script(sql);
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0).plan
}

pub fn refused(sql: &str) -> String {
    reason(sql, &plan(sql))
}

pub fn assert_refused_under(path: &[&str], sql: &str, why: &str) {
    let message = reason(sql, &script_under(path, sql).remove(0).plan);
    assert!(message.contains(why), "{sql}: {message}");
}

fn reason(sql: &str, plan: &Plan) -> String {
    match &plan.action {
        Action::Refuse(fault) => {
            assert_eq!(fault.state.0, "0A000", "{sql}");
            assert!(fault.hint.is_some(), "{sql}");
            fault.message.to_string()
        }
        other => panic!("{sql}: {other:?}"),
    }
}

pub fn assert_refused(sql: &str, why: &str) {
    let message = refused(sql);
    assert!(message.contains(why), "{sql}: {message}");
}

/// By capture, whether its tables have the trigger for it or get it first.
pub fn assert_captured(sql: &str) {
    let action = &plan(sql).action;
    assert!(matches!(action, Action::Capture(_) | Action::Captured(_)), "{sql}: {action:?}");
}

pub fn assert_leader(sql: &str) {
    assert_eq!(plan(sql).action, Action::Leader, "{sql}");
}
