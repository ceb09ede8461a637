//! What must hold of every plan.

use bytes::Bytes;
use lockstep_core::catalog::{Catalog, Loader, SearchPath};
use lockstep_core::plan::{Action, Answer, Context, CopyRows, PlanCache, Planned, Policy, Write};
use lockstep_core::sql::scan;
use pg_query::NodeEnum;
use pg_query::protobuf::ReturningClause;

thread_local! {
    static CATALOG: Catalog = catalog();
}

fn catalog() -> Catalog {
    let mut loader = Loader::new();
    for line in include_str!("../../core/tests/plans/catalog.tsv").lines() {
        let mut columns = line.split('\t');
        let query = columns.next().and_then(|c| c.parse().ok()).expect("a number");
        let values = columns.map(|c| (c != "\\N").then(|| Bytes::from(c.replace("\\\\", "\\")))).collect();
        loader.row(query, values).expect("a row");
    }
    loader.finish().expect("a catalog")
}

pub fn check(text: &str) {
    let path = SearchPath::new(["pg_catalog", "public"]);
    CATALOG.with(|catalog| {
        let context = Context {
            catalog: Some(catalog),
            search_path: Some(&path),
            converts: Some(false),
            policy: Policy::default(),
        };
        let mut plans = PlanCache::new(1 << 20);
        let first = statements(plans.script(text, &context));
        let again = statements(plans.script(text, &context));
        assert_eq!(first.len(), again.len());
        let mut end = 0;
        for (one, other) in first.iter().zip(&again) {
            assert_eq!((&one.span, &one.plan), (&other.span, &other.plan));
            assert!(end <= one.span.start && text.get(one.span.clone()).is_some());
            end = one.span.end;
            match &one.plan.action {
                Action::Write(write) => check_write(&text[one.span.clone()], write),
                Action::CopyRows(copy) => check_copy(&text[one.span.clone()], copy),
                _ => {}
            }
        }
    });
}

fn statements(answer: Answer) -> Vec<Planned> {
    match answer {
        Answer::Ready(script) => script.statements,
        other => panic!("catalog and search path are known: {other:?}"),
    }
}

/// The leader runs the client's statement with some more columns in RETURNING, and followers are sent valid SQL.
fn check_write(text: &str, write: &Write) {
    for sql in [&*write.effect.single.sql, &*write.effect.multi(3).sql] {
        assert!(tree(sql).is_some(), "{sql}");
    }
    let mut asked = tree(text).expect("it has a plan");
    let mut sent = tree(&format!("{text}{}", write.append)).expect("the leader must understand it");
    let ours = write.effect.columns.len();
    let returning = returning(&mut sent).as_mut().expect("our columns");
    returning.exprs.truncate(returning.exprs.len() - ours);
    if self::returning(&mut asked).is_none() {
        assert!(returning.exprs.is_empty());
        *self::returning(&mut sent) = None;
    }
    assert_eq!(asked, sent);
}

/// The leader runs the client's COPY with another table and without its WHERE, and an INSERT with that WHERE.
fn check_copy(text: &str, copy: &CopyRows) {
    let texts = copy.texts(text.as_bytes(), text).expect("the text that was planned");
    let copied = |text: &str| match tree(text) {
        Some(NodeEnum::CopyStmt(copy)) => copy,
        other => panic!("not a COPY: {text} is {other:?}"),
    };
    let (asked, sent) = (copied(text), copied(utf8(&texts.copy)));
    assert_eq!((asked.is_from, asked.options.len()), (sent.is_from, sent.options.len()));
    let into = sent.relation.map(|table| (table.schemaname, table.relname));
    assert_eq!(into, Some(("pg_temp".into(), "lockstep_landing".into())));
    assert!(sent.where_clause.is_none());
    let Some(NodeEnum::InsertStmt(insert)) = tree(utf8(&texts.insert)) else { panic!("not an INSERT") };
    let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.and_then(|s| s.node) else {
        panic!("without a SELECT")
    };
    assert_eq!(select.where_clause.is_some(), asked.where_clause.is_some());
    assert!(insert.returning_clause.is_some());
    assert!(tree(&copy.create).is_some(), "{}", copy.create);
}

fn utf8(text: &[u8]) -> &str {
    std::str::from_utf8(text).expect("made of text")
}

fn tree(sql: &str) -> Option<NodeEnum> {
    let nodes = scan(sql).ok()?.parse(|parsed| parsed.statements.iter().map(|s| s.node.clone()).collect::<Vec<_>>());
    let mut nodes = nodes.ok()?;
    (nodes.len() == 1).then(|| nodes.remove(0))
}

fn returning(node: &mut NodeEnum) -> &mut Option<ReturningClause> {
    match node {
        NodeEnum::InsertStmt(s) => &mut s.returning_clause,
        NodeEnum::UpdateStmt(s) => &mut s.returning_clause,
        NodeEnum::DeleteStmt(s) => &mut s.returning_clause,
        other => panic!("not a write: {other:?}"),
    }
}
