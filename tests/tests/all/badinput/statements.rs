//! SQL that is too deep or too long.

use std::time::{Duration, Instant};

use lockstep_tests::cluster::Cluster;

use super::Bystander;

const DEPTH: usize = 100_000;

/// Ways to nest, each as a beginning, a middle and an end that are repeated.
const SHAPES: &[(&str, &str, &str)] = &[
    ("SELECT (", "1", ")"),
    ("SELECT -(", "1", ")"),
    ("SELECT NOT (", "true", ")"),
    ("SELECT ARRAY[", "1", "]"),
    ("SELECT abs(", "1", ")"),
    ("SELECT CASE WHEN true THEN ", "1", " END"),
    ("SELECT (SELECT ", "1", ")"),
    ("SELECT * FROM (", "SELECT 1", ") x"),
    ("INSERT INTO missing VALUES (", "1", ")"),
];

#[test]
fn nested_a_hundred_thousand_deep_is_54001() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    let mut client = cluster.connect("postgres");
    for (shape, middle, end) in SHAPES {
        let (head, repeated) = shape.split_once(' ').expect("a keyword and what is repeated");
        let sql = format!("{head} {}{middle}{}", repeated.repeat(DEPTH), end.repeat(DEPTH));
        let failure = client.try_query(&sql).expect_err("too deep");
        assert_eq!(failure.state(), "54001", "{shape} by a simple query: {failure}");
        let failure = client.try_execute(&sql, &[]).expect_err("too deep");
        assert_eq!(failure.state(), "54001", "{shape} by the extended protocol: {failure}");
        assert_eq!(client.value("SELECT 1"), "1");
    }
    bystander.noticed_nothing();
}

#[test]
fn long_chains_are_an_answer_or_54001() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    let mut client = cluster.connect("postgres");
    let chains = [
        format!("SELECT 1{}", " + 1".repeat(DEPTH)),
        format!("SELECT true{}", " AND true".repeat(DEPTH)),
        format!("SELECT 'a'{}", " || 'a'".repeat(DEPTH)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(DEPTH)),
        format!("SELECT 1 IN (1{})", ", 1".repeat(DEPTH)),
        "SELECT 1;".repeat(DEPTH / 10),
        ";".repeat(DEPTH),
        format!("{}1", "SELECT 1 AS a, ".repeat(DEPTH)),
    ];
    for sql in chains {
        if let Err(failure) = client.try_query(&sql) {
            let state = failure.state();
            assert!(["54001", "42601", "54011"].contains(&state), "{}…: {failure}", &sql[..30]);
        }
        assert_eq!(client.value("SELECT 1"), "1", "after {}…", &sql[..30]);
    }
    bystander.noticed_nothing();
}

/// PostgreSQL's own scanner needs a time that grows with the square of such a text: seconds for this one.
#[test]
fn a_text_that_takes_long_to_read_holds_up_nobody_else() {
    let cluster = Cluster::shared();
    let mut others: Vec<_> = (0..4).map(|_| cluster.connect("postgres")).collect();
    let mut client = cluster.connect("postgres");
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || client.try_query(&format!("SELECT 1 {}", "/*".repeat(30_000))));
        while !slow.is_finished() {
            for other in &mut others {
                let start = Instant::now();
                assert_eq!(other.value("SELECT 1"), "1");
                assert!(start.elapsed() < Duration::from_secs(3), "another session waited {:?}", start.elapsed());
            }
        }
        assert_eq!(slow.join().expect("a client").expect_err("an unfinished comment").state(), "42601");
    });
}

#[test]
fn a_text_of_40_megabytes_is_an_answer_or_54000() {
    let cluster = Cluster::shared();
    let mut client = cluster.connect("postgres");
    let sql = format!("SELECT length('{}')", "x".repeat(40 << 20));
    match client.try_query(&sql) {
        Ok(answer) => assert_eq!(answer.rows[0][0].as_deref(), Some("41943040")),
        Err(failure) => assert_eq!(failure.state(), "54000"),
    }
    assert_eq!(client.value("SELECT 1"), "1");
}
