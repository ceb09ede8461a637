//! Text that functions, triggers and DO blocks run by EXECUTE: what is watched, and where that is not enough.

use bytes::Bytes;
use lockstep_core::catalog::{Catalog, Loader, SearchPath};
use lockstep_core::plan::explain::explain;
use lockstep_core::plan::policy::{Capturing, Inexact, Policy};
use lockstep_core::plan::{Action, Answer, Captured, Context, Plan, PlanCache};

use std::sync::Arc;

/// Functions and their bodies; `audit` is a trigger of the table `watched`, which has ours, as has `plain`.
const BODIES: &[(u32, &str, &str, &str)] = &[
    (90_001, "runs", "v", "BEGIN EXECUTE $1; RETURN 1; END"),
    (90_002, "audit", "v", "BEGIN EXECUTE format('INSERT INTO %I SELECT $1.*', tg_argv[0]) USING new; RETURN new; END"),
    (90_003, "literal", "v", "BEGIN EXECUTE 'INSERT INTO plain VALUES (1)'; RETURN 1; END"),
    (90_004, "literal_ddl", "v", "BEGIN EXECUTE 'DROP TABLE plain'; RETURN 1; END"),
    (90_005, "through", "v", "BEGIN RETURN runs('x'); END"),
    (90_006, "reads_text", "s", "BEGIN EXECUTE $1; RETURN 1; END"),
    (90_007, "mixed", "v", "BEGIN EXECUTE $1; PERFORM lo_create(1); RETURN 1; END"),
    (90_008, "guessed", "v", "BEGIN EXECUTE 'INSERT INTO fresh SELECT ' || $1; RETURN 1; END"),
];

fn rows(more: &[&str]) -> Vec<String> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let function = |(oid, name, kind, body): &(u32, &str, &str, &str)| {
        let returns = if *name == "audit" { 't' } else { 'f' };
        format!("3 {oid} public {name} {returns} {kind} \\N f plpgsql {} 25 f \\N", hex(body))
    };
    let mut rows: Vec<String> = BODIES.iter().map(function).collect();
    for (oid, name) in [(91_001, "watched"), (91_002, "plain"), (91_003, "fresh")] {
        rows.push(format!("5 {oid} public {name} r f f f"));
        rows.push(format!("6 {oid} 1 id 23 t - - \\N"));
        rows.push(format!("7 {oid} {} t id pg_catalog = t", oid + 1000));
    }
    rows.push("8 91_001 audit 5 90_002 \\N f O".replace('_', ""));
    // Functions of the common schema write to `heap`.
    rows.extend([91_001, 91_002, 16_571].map(|oid| format!("8 {oid} lockstep_capture 29 92000 \\N t O")));
    rows.extend(more.iter().map(|row| (*row).to_owned()));
    rows
}

fn catalog(more: &[&str]) -> Catalog {
    let mut loader = Loader::new();
    let known = include_str!("catalog.tsv").lines().map(|line| line.split('\t').map(str::to_owned).collect());
    let ours = rows(more);
    let ours =
        ours.iter().map(|row| row.split(' ').map(|v| if v == "-" { String::new() } else { v.to_owned() }).collect());
    let mut all: Vec<Vec<String>> = known.chain(ours).collect();
    all.sort_by_key(|row| row[0].parse::<usize>().unwrap());
    for row in all {
        let values = row[1..].iter().map(|c| (c != "\\N").then(|| Bytes::from(c.replace("\\\\", "\\")))).collect();
        loader.row(row[0].parse().unwrap(), values).unwrap();
    }
    let mut catalog = loader.finish().unwrap();
    catalog.version = 1;
    catalog
}

fn plan_on(catalog: &Catalog, policy: Policy, sql: &str) -> Arc<Plan> {
    let path = SearchPath::new(["pg_catalog", "public"]);
    let context = Context { catalog: Some(catalog), search_path: Some(&path), converts: Some(false), policy };
    match PlanCache::new(1 << 20).script(sql, &context) {
        Answer::Ready(mut script) => script.statements.remove(0).plan,
        other => panic!("{sql}: {other:?}"),
    }
}

fn planned(catalog: &Catalog, sql: &str) -> Arc<Plan> {
    plan_on(catalog, Policy::default(), sql)
}

#[track_caller]
fn captured(plan: &Plan) -> &Captured {
    match &plan.action {
        Action::Captured(captured) => captured,
        Action::Prepare { inner, .. } => captured(inner),
        other => panic!("{other:?}"),
    }
}

fn refusal(plan: &Plan) -> Option<String> {
    match &plan.action {
        Action::Refuse(fault) => Some(fault.message.to_string()),
        _ => None,
    }
}

#[test]
fn a_statement_that_runs_text_is_watched() {
    let catalog = catalog(&["8 91003 lockstep_capture 29 92000 \\N t O"]);
    for sql in [
        "SELECT runs('x')",
        "SELECT through()",
        "INSERT INTO watched VALUES (1)",
        "UPDATE watched SET id = 2",
        "INSERT INTO plain SELECT runs('x')",
        "COPY watched FROM STDIN",
        "PREPARE p AS SELECT runs($1)",
        "SELECT guessed('x')",
    ] {
        let plan = planned(&catalog, sql);
        let watch = captured(&plan).watch.as_ref().expect(sql);
        assert!(watch.begins.starts_with("SELECT lockstep.watch(false,") && watch.ends.contains("(true,"), "{watch:?}");
        if !matches!(plan.action, Action::Prepare { .. }) {
            assert!(plan.marks.sequences && plan.marks.locks && !plan.marks.settings, "{sql}");
            let explained = explain(&plan, sql);
            assert!(!explained.is_bad() && explained.why.contains("EXECUTE"), "{explained:?}");
        }
    }
    assert_eq!(captured(&planned(&catalog, "SELECT literal()")).watch, None);
    assert_eq!(captured(&planned(&catalog, "INSERT INTO plain VALUES (1)")).watch, None);
}

#[test]
fn tables_that_literals_name_get_their_trigger_beforehand() {
    let catalog = catalog(&[]);
    let expected: Arc<[String]> = [r#""public"."fresh""#.to_owned()].into();
    assert_eq!(planned(&catalog, "SELECT guessed('x')").action, Action::Capture(expected));
}

#[test]
fn text_stays_refused_where_nobody_waits_or_more_than_rows_is_sure() {
    let catalog = catalog(&["8 91003 lockstep_capture 29 92000 \\N t O"]);
    for (sql, why) in [
        ("SELECT literal_ddl()", "has the word DROP"),
        ("SELECT reads_text('x')", "is not VOLATILE"),
        ("SELECT mixed('x')", "uses lo_create"),
        ("DECLARE c CURSOR FOR SELECT runs('x')", "runs text by EXECUTE"),
        ("EXPLAIN ANALYZE SELECT runs('x')", "EXPLAIN ANALYZE"),
        ("CREATE TABLE y AS SELECT runs('x') AS a", "runs text by EXECUTE"),
    ] {
        let refused = refusal(&planned(&catalog, sql)).expect(sql);
        assert!(refused.contains(why), "{sql}: {refused}");
    }
    for policy in [
        Policy { inexact: Inexact::Reject, capture: Capturing::Off },
        Policy { inexact: Inexact::Allow, capture: Capturing::Auto },
    ] {
        let plan = plan_on(&catalog, policy, "SELECT runs('x')");
        assert!(refusal(&plan).is_some() || plan.waived.is_some(), "{plan:?}");
    }
}

#[test]
fn what_nobody_could_see_refuses_all_text() {
    for (row, why) in [
        ("3 93001 public reaches_out f v \\N f c \\N 25 f \\N", "public.reaches_out"),
        ("3 93001 public far f v \\N f plpython3u 00 25 f \\N", "public.far"),
        ("3 93001 public dblink_exec f v dblink f c \\N 25 f \\N", "public.dblink_exec"),
        ("3 93001 public saves f v \\N f internal 6c6f5f6578706f7274 25 f \\N", "public.saves"),
        ("5 93001 public elsewhere f f f f", "public.elsewhere"),
        ("19 f 90001", "the rights of its owner"),
        ("19 t 91001", "the rights of its owner"),
    ] {
        let catalog = catalog(&["8 91003 lockstep_capture 29 92000 \\N t O", row]);
        let refused = refusal(&planned(&catalog, "SELECT runs('x')")).expect(row);
        assert!(refused.contains(why) && refused.contains("EXECUTE"), "{row}: {refused}");
        assert_eq!(refusal(&planned(&catalog, "SELECT literal()")), None, "{row}");
    }
    for row in [
        "3 93001 public spelled f v \\N f plperl 00 25 f \\N",
        "3 93001 public support f v \\N f c \\N 2281 f \\N",
        "3 93001 public digest f v pgcrypto f c \\N 25 f \\N",
        "3 93001 public distance f i cube f c \\N 25 f \\N",
        "19 f 90003",
        "19 t 91002",
    ] {
        let catalog = catalog(&["8 91003 lockstep_capture 29 92000 \\N t O", row]);
        assert!(captured(&planned(&catalog, "SELECT runs('x')")).watch.is_some(), "{row}");
    }
}
