//! What holds in conversations of one kind each.

use lockstep_core::cluster::MemberState;
use lockstep_core::wire::frontend::{self, Target};
use lockstep_core::wire::take_frame;

use super::stage::{Event, STEPS, Stage, Step};

/// The types of the messages that the client was told, one letter each.
pub fn tags(told: &[u8]) -> String {
    let mut rest = bytes::BytesMut::from(told);
    let frames = std::iter::from_fn(|| take_frame(&mut rest, 1 << 20).expect("whole messages"));
    frames.map(|frame| char::from(frame.tag)).collect()
}

pub fn query(sql: &'static str) -> impl Fn(&mut bytes::BytesMut) {
    move |out| frontend::query(out, sql.as_bytes())
}

/// Parse, Bind and Execute without a name.
pub fn executes(sql: &'static str, rows: i32) -> impl Fn(&mut bytes::BytesMut) {
    move |out| {
        frontend::parse(out, b"", sql.as_bytes(), &[]);
        frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", rows);
    }
}

fn follower_then_leader(events: &[Event]) {
    for pair in events.chunks(2) {
        assert!(matches!(pair, [Event::FollowerCommitted(_), Event::LeaderCommitted(_)]), "{events:?}");
    }
}

#[test]
fn the_leader_commits_a_write_when_the_follower_has() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1)")).sends(executes("DELETE FROM tree", 0)).sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "CZ12CZ");
    assert_eq!(stage.events.len(), 4);
    follower_then_leader(&stage.events);
}

#[test]
fn the_client_is_told_of_a_write_in_a_string_when_it_is_committed_everywhere() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    while !stage.events.iter().any(|event| matches!(event, Event::FollowerCommitted(_))) {
        assert!(stage.told.is_empty());
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    assert!(stage.told.is_empty());
    assert_eq!(tags(&stage.settle()), "CZ");
}

#[test]
fn a_query_ends_the_transaction_of_a_pipeline_without_a_sync() {
    let mut stage = Stage::new();
    stage.sends(executes("INSERT INTO tree VALUES (1)", 0)).sends(query("SELECT 1"));
    assert_eq!(tags(&stage.settle()), "12CTDCZ");
    follower_then_leader(&stage.events);
    assert_eq!(stage.events.len(), 2);
}

#[test]
fn a_query_after_a_pipeline_that_failed_is_passed_over() {
    let mut stage = Stage::new();
    stage.sends(executes("SELECT 1/0", 0)).sends(query("INSERT INTO tree VALUES (1)")).sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "1EZ");
    assert_eq!(stage.events, []);
}

#[test]
fn rows_beyond_the_limit_of_an_execute_wait_for_the_next() {
    let mut stage = Stage::new();
    stage.sends(executes("INSERT INTO tree VALUES (1), (2), (3) RETURNING id", 2));
    stage.sends(|out| frontend::execute(out, b"", 2)).sends(|out| frontend::execute(out, b"", 0)).sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "12DDsDCCZ");
    follower_then_leader(&stage.events);
}

#[test]
fn a_write_without_rows_is_executed_once() {
    let mut stage = Stage::new();
    stage.sends(executes("INSERT INTO tree VALUES (1)", 0)).sends(|out| frontend::execute(out, b"", 0));
    stage.sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "12CEZ");
    assert_eq!(stage.events, []);
}

#[test]
fn a_statement_is_forgotten_when_the_leader_has_not_seen_its_parse() {
    let mut stage = Stage::new();
    stage.sends(executes("SELECT 1/0", 0)).sends(|out| frontend::parse(out, b"s", b"SELECT 1", &[]));
    stage.sends(frontend::sync).sends(|out| frontend::bind(out, b"", b"s", frontend::NO_PARAMETERS, &[]));
    stage.sends(frontend::sync).sends(|out| frontend::parse(out, b"s", b"SELECT 1", &[])).sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "1EZEZ1Z");
}

#[test]
fn what_sql_prepares_the_protocol_can_bind_and_its_rows_reach_the_follower() {
    let mut stage = Stage::new();
    stage.sends(query("PREPARE w AS INSERT INTO tree VALUES (1)"));
    stage.sends(|out| frontend::bind(out, b"", b"w", frontend::NO_PARAMETERS, &[]));
    stage.sends(|out| frontend::describe(out, Target::Portal, b"")).sends(|out| frontend::execute(out, b"", 0));
    stage.sends(frontend::sync).sends(query("EXECUTE w"));
    assert_eq!(tags(&stage.settle()), "CZ2nCZCZ");
    assert_eq!(stage.events.len(), 4);
    follower_then_leader(&stage.events);
}

#[test]
fn a_write_that_the_schema_has_overtaken_is_run_again_unseen() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    let on_its_way = |stage: &Stage| stage.session.leader_out.windows(11).any(|text| text == b"INSERT INTO");
    while !on_its_way(&stage) {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    stage.schema_changes();
    assert_eq!(tags(&stage.settle()), "CZ");
    assert_eq!(stage.events.len(), 2, "{:?}", stage.events);
    follower_then_leader(&stage.events);
}

#[test]
fn a_prepared_write_is_made_again_when_the_schema_is_another() {
    let mut stage = Stage::new();
    let runs = |out: &mut bytes::BytesMut| {
        frontend::bind(out, b"", b"s", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    };
    stage.sends(|out| frontend::parse(out, b"s", b"INSERT INTO tree VALUES (1)", &[])).sends(frontend::sync);
    stage.sends(runs);
    assert_eq!(tags(&stage.settle()), "1Z2CZ");
    stage.schema_changes();
    stage.sends(runs);
    assert_eq!(tags(&stage.settle()), "2CZ");
    follower_then_leader(&stage.events);
}

#[test]
fn an_error_is_told_once_and_the_session_goes_on() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1); SELECT 1/0; INSERT INTO tree VALUES (2)")).sends(query("SELECT 1"));
    let told = stage.settle();
    assert_eq!(tags(&told), "CEZTDCZ");
    assert_eq!(told.last(), Some(&b'I'));
    assert_eq!(stage.events, []);
    assert!(stage.session.is_idle());
}

#[test]
fn a_query_in_a_block_that_waits_for_the_leader_is_answered_when_the_leader_is_lost() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("SELECT 1"));
    assert_eq!(tags(&stage.settle()), "CZTDCZ");
    // What the names in it mean has to be asked first.
    stage.schema_changes();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    assert!(stage.step(Step::ClientSends, usize::MAX));
    let before = stage.told.len();
    stage.loses_its_leader();
    assert_eq!(tags(&stage.told[before..]), "EZ");
}

#[test]
fn a_block_that_is_committed_without_its_leader_is_over() {
    for by_query in [true, false] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)"));
        assert_eq!(tags(&stage.settle()), "CZCZ");
        if by_query {
            stage.sends(query("COMMIT"));
        } else {
            stage.sends(executes("COMMIT", 0)).sends(frontend::sync);
        }
        while !stage.events.iter().any(|event| matches!(event, Event::FollowerCommitted(_))) {
            assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
        }
        stage.loses_its_leader_in_commit();
        stage.settle();
        assert!(stage.told.ends_with(b"COMMIT\0Z\0\0\0\x05I"), "{:?}", stage.told);
        assert_eq!(stage.leader.committed, Vec::<Vec<String>>::new());
    }
}

#[test]
fn a_sync_that_comes_by_itself_reaches_the_leader_also_right_after_the_login() {
    let mut stage = Stage::new();
    // Before the leader has answered what every session asks it at first.
    stage.sends(executes("BEGIN", 0));
    assert!(stage.step(Step::ClientSends, usize::MAX));
    // Nothing is told: a server, too, waits for the Sync.
    assert_eq!(tags(&stage.settle()), "");
    stage.sends(frontend::sync);
    assert_eq!(tags(&stage.settle()), "12CZ");
    assert!(stage.told.ends_with(b"Z\0\0\0\x05T"), "{:?}", stage.told);
}

#[test]
fn a_leader_that_is_lost_before_it_knows_what_the_session_was_is_one_more() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("SELECT 1"));
    assert_eq!(tags(&stage.settle()), "CZTDCZ");
    let before = stage.told.len();
    for _ in 0..2 {
        stage.loses_its_leader();
        stage.is_led_again();
    }
    assert_eq!(tags(&stage.told[before..]), "", "nothing was asked");
    stage.sends(query("ROLLBACK"));
    assert_eq!(tags(&stage.settle()), "CZ");
}

#[test]
fn what_a_former_leader_still_says_in_a_commit_is_passed_over() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)"));
    stage.settle();
    // Its Parse is the leader's, and is not answered yet.
    stage.sends(executes("COMMIT", 0)).sends(frontend::sync);
    // Lock, connection and look are there; the batch is under way.
    let world = [Step::WorldAnswers; 3];
    for step in [Step::ClientSends].into_iter().chain(world).chain([Step::LeaderReads]) {
        assert!(stage.step(step, usize::MAX), "{step:?}");
    }
    stage.another_node_leads();
    assert!(stage.step(Step::LeaderAnswers, usize::MAX));
    stage.settle();
    stage.loses_its_leader_in_commit();
    stage.settle();
    assert!(stage.told.ends_with(b"COMMIT\0Z\0\0\0\x05I"), "{:?}", stage.told);
}

#[test]
fn what_a_follower_says_to_a_commit_that_is_over_is_not_its_answer_to_the_next() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    let first = stage.until_a_batch_is_sent();
    stage.follower_becomes(MemberState::Degraded);
    assert_eq!(tags(&stage.settle()), "CZ");
    stage.follower_becomes(MemberState::Active);
    stage.sends(query("INSERT INTO tree VALUES (2)"));
    let second = stage.until_a_batch_is_sent();
    stage.follower_has_committed(first);
    assert_eq!(tags(&stage.settle()), "", "it has said nothing of the second");
    stage.follower_has_committed(second);
    assert_eq!(tags(&stage.settle()), "CZ");
}

#[test]
fn a_commit_of_a_named_statement_leaves_the_clients_unnamed_one_alone() {
    for unnamed in [true, false] {
        let mut stage = Stage::new();
        for (name, sql) in [("b", "BEGIN"), ("i", "INSERT INTO tree VALUES (1)"), ("c", "COMMIT")] {
            stage.sends(|out| frontend::parse(out, name.as_bytes(), sql.as_bytes(), &[]));
        }
        if unnamed {
            stage.sends(|out| frontend::parse(out, b"", b"SELECT 1", &[]));
        }
        stage.sends(frontend::sync).settle();
        for name in ["b", "i", "c"] {
            stage.sends(runs(name)).sends(frontend::sync).settle();
        }
        assert!(stage.told.ends_with(b"COMMIT\0Z\0\0\0\x05I"), "{:?}", stage.told);
        follower_then_leader(&stage.events);
        // By a Query it costs the leader less.
        assert_eq!(stage.leader.queries.iter().any(|sql| sql == "COMMIT"), !unnamed);
        let told = stage.sends(runs("")).sends(frontend::sync).settle();
        assert_eq!(tags(&told), if unnamed { "2DCZ" } else { "EZ" });
    }
}

/// Bind and Execute of a prepared statement.
fn runs(name: &'static str) -> impl Fn(&mut bytes::BytesMut) {
    move |out| {
        frontend::bind(out, b"", name.as_bytes(), frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
    }
}
