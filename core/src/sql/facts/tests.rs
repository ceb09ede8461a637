use super::*;
use crate::sql::parse::scan;

fn facts(sql: &str) -> Facts {
    scan(sql).unwrap().parse(|parsed| Facts::of(&parsed.statements[0].node)).unwrap()
}

fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(Name::to_string).collect()
}

#[test]
fn functions_are_found_wherever_they_are_called() {
    let sql = "WITH w AS (SELECT a(1) FROM s.b(2) AS x) SELECT DISTINCT ON (c()) d(VARIADIC array[e()]), \
        sum(f()) FILTER (WHERE g()) OVER (PARTITION BY h() ORDER BY i() ROWS BETWEEN j() PRECEDING AND CURRENT ROW), \
        CASE WHEN k() THEN l() ELSE m() END, (n()).x, (o())[p()], ROW(q()), r() COLLATE \"C\" \
        FROM w TABLESAMPLE bernoulli (s()) JOIN LATERAL (SELECT t()) AS y ON u() \
        WHERE v() IN (SELECT w()) AND x() BETWEEN y() AND z() GROUP BY GROUPING SETS ((aa()), (ab())) \
        HAVING ac() WINDOW win AS (ORDER BY ad()) ORDER BY ae() LIMIT af() OFFSET ag()";
    let mut found = names(&facts(sql).functions);
    found.sort();
    let mut expected: Vec<String> = "a c d e f g h i j k l m n o p q r s t u v w x y z aa ab ac ad ae af ag sum s.b"
        .split(' ')
        .map(str::to_owned)
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn operators_types_relations_and_fields_are_found() {
    let facts = facts(
        "SELECT a OPERATOR(s.+) b::my.t, (x).f FROM t1, s.t2 t WHERE a <> ALL (SELECT y FROM t3) ORDER BY 1 USING <",
    );
    assert_eq!(names(&facts.operators), ["s.+", "<>", "<"]);
    assert_eq!(names(&facts.types), ["my.t"]);
    assert_eq!(names(&facts.relations), ["t1", "s.t2", "t3"]);
    assert_eq!(facts.attributes, ["a", "b", "x", "f", "a", "y"]);
}

#[test]
fn the_setting_that_set_config_sets_is_known_only_from_a_literal() {
    let sql =
        "SELECT set_config('a', 'x', true), set_config($1, 'b', true), pg_catalog.set_config('c'||'d', '', false)";
    assert_eq!(facts(sql).settings, [Some("a".to_owned()), None, None]);
}

#[test]
fn literals_that_mean_the_time_of_day_are_found() {
    assert!(facts("SELECT 'Now'::timestamptz").temporal_words);
    assert!(facts("SELECT timestamp ' today 12:00'").temporal_words);
    assert!(!facts("SELECT 'nowhere', 'epoch', 1").temporal_words);
    assert!(facts("SELECT current_date").values_of_server);
}

#[test]
fn the_proxys_own_schema_is_known_however_it_is_written() {
    for sql in ["SELECT * FROM lockstep.members", "SELECT * FROM U&\"\\006cockstep\".members", "DROP SCHEMA LockStep"] {
        assert!(facts(sql).own_name, "{sql}");
    }
    assert!(!facts("SELECT 'lockstep'").own_name && facts("SELECT E'\\x6cockstep.members'").own_literal);
    assert!(facts("SET search_path = public, lockstep").own_literal);
    for sql in ["SELECT 'lockstep_probe'", "SELECT 'my_lockstep.x'", "SELECT 'lockstep2.members'", "SELECT 'ölockstep'"]
    {
        assert!(!facts(sql).own_literal, "{sql}");
    }
    assert!(facts(r#"SELECT '"Lockstep".x'"#).own_literal && facts("SELECT 'a lockstep'").own_literal);
}

#[test]
fn statements_within_statements_are_found() {
    assert_eq!(facts("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d").statements, ["SelectStmt", "DeleteStmt"]);
    assert!(facts("SELECT 1 INTO t").into);
    let sql = "WITH a AS (DELETE FROM s.t USING x RETURNING *), b AS (UPDATE u SET c = 1 FROM y) \
        INSERT INTO v SELECT * FROM a JOIN z ON true";
    assert_eq!(names(&facts(sql).targets), ["v", "s.t", "u"]);
    assert_eq!(names(&facts("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE").targets), ["t"]);
    assert_eq!(names(&facts("DROP TABLE a.b, c").lists), ["a.b", "c"]);
}
