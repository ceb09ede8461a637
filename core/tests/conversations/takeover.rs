//! The leader goes, at any moment of a conversation.

use lockstep_core::cluster::Verdict;
use lockstep_core::journal::{Touched, Unknown};
use lockstep_core::wire::{backend, frontend, take_frame};
use proptest::collection::vec;
use proptest::prelude::*;

use super::order::PIECES;
use super::rules::{executes, query, tags};
use super::stage::{Event, FOLLOWER, LEADER, STEPS, Stage, Step};

/// The session goes on as if nothing were: it is idle, and what it writes is committed.
fn goes_on(stage: &mut Stage) {
    stage.sends(frontend::sync).sends(query("ROLLBACK"));
    stage.settle();
    let before = stage.events.len();
    let told = stage.sends(query("INSERT INTO tree VALUES (99)")).settle();
    assert_eq!(tags(&told), "CZ", "{:?}", String::from_utf8_lossy(&told));
    assert_eq!(told.last(), Some(&b'I'));
    assert!(stage.session.is_idle());
    let committed = stage.events[before..].iter().filter(|event| matches!(event, Event::LeaderCommitted(_))).count();
    assert_eq!(committed, 1);
}

#[test]
fn half_an_answer_of_the_old_leader_is_not_taken_for_the_new_ones() {
    let mut stage = Stage::before_the_catalog_is_read();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    let on_its_way = |stage: &Stage| stage.leader.out.windows(10).any(|text| text == b"pg_catalog");
    while !on_its_way(&stage) {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    assert!(stage.step(Step::LeaderAnswers, 4000), "some of the catalog's rows have come");
    stage.leader_dies();
    stage.catalog_is_read();
    let told = stage.settle();
    assert_eq!(tags(&told), "CZ", "{:?}", String::from_utf8_lossy(&told));
}

/// What a transaction has done with it cannot go on under another leader.
const TIE: &str = "SELECT pg_notify('a', 'b'), pg_sleep(0)";

/// It may lack what the new leader has committed without it.
#[test]
fn a_catalog_of_a_leader_that_leads_no_more_is_not_shared() {
    let mut stage = Stage::before_the_catalog_is_read();
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    while stage.leader.out.len() < 10_000 {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    stage.follower_leads();
    assert!(stage.step(Step::LeaderAnswers, usize::MAX));
    assert!(stage.catalogs.current().is_none());
}

/// Sends the client's messages and lets things happen until the follower has committed what they write.
fn until_the_follower_has_committed(stage: &mut Stage) {
    while !stage.events.iter().any(|event| matches!(event, Event::FollowerCommitted(_))) {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
}

/// The command tags that the client was told.
fn commands(told: &[u8]) -> Vec<String> {
    let mut rest = bytes::BytesMut::from(told);
    let frames = std::iter::from_fn(|| take_frame(&mut rest, 1 << 20).expect("whole messages"));
    let complete = frames.filter(|frame| frame.tag == backend::COMMAND_COMPLETE);
    complete.map(|frame| String::from_utf8_lossy(&frame.body()[..frame.body().len() - 1]).into_owned()).collect()
}

#[test]
fn a_commit_that_the_follower_has_made_is_one_and_ends_the_block() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query("COMMIT"));
    until_the_follower_has_committed(&mut stage);
    stage.leader_dies();
    stage.settle();
    assert_eq!(commands(&stage.told), ["BEGIN", "INSERT 0 1", "COMMIT"]);
    assert_eq!(stage.told.last(), Some(&b'I'));
    goes_on(&mut stage);
}

#[test]
fn a_block_that_was_chained_to_such_a_commit_is_lost() {
    for chained in [query("COMMIT AND CHAIN"), query("COMMIT AND CHAIN; SELECT 1")] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(chained);
        until_the_follower_has_committed(&mut stage);
        stage.leader_dies();
        stage.settle();
        assert_eq!(stage.told.last(), Some(&b'E'));
        let told = stage.sends(query("INSERT INTO tree VALUES (2)")).settle();
        assert_eq!(tags(&told), "EZ");
        goes_on(&mut stage);
    }
}

const OTHER_LEVELS: [&str; 2] = ["BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"];

#[test]
fn a_transaction_that_is_chained_to_one_with_a_snapshot_does_not_go_on_without_it() {
    for begin in OTHER_LEVELS {
        for empty in [true, false] {
            let mut stage = Stage::new();
            stage.sends(query(begin));
            if !empty {
                stage.sends(query("INSERT INTO tree VALUES (1)"));
            }
            stage.sends(query("COMMIT AND CHAIN")).sends(query("INSERT INTO tree VALUES (2)"));
            stage.settle();
            stage.leader_dies();
            let told = stage.sends(query("COMMIT")).settle();
            assert!(String::from_utf8_lossy(&told).contains("40001"), "{begin}");
            goes_on(&mut stage);
        }
    }
}

#[test]
fn of_a_transaction_that_is_chained_to_a_serializable_one_the_leader_judges_first() {
    for empty in [true, false] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN ISOLATION LEVEL SERIALIZABLE"));
        if !empty {
            stage.sends(query("INSERT INTO tree VALUES (1)"));
        }
        stage.sends(query("COMMIT AND CHAIN")).sends(query("INSERT INTO tree VALUES (2)")).sends(query("COMMIT"));
        stage.settle();
        assert!(stage.events.len() >= 2);
        for pair in stage.events.chunks(2) {
            assert!(matches!(pair, [Event::LeaderCommitted(_), Event::FollowerCommitted(_)]), "{:?}", stage.events);
        }
    }
}

/// It may have read what that transaction has written.
#[test]
fn nobody_goes_on_who_was_open_when_a_commit_was_lost_that_the_leader_made_ahead_of_the_others() {
    let mut stage = Stage::new();
    let other = stage.heirs.enter(LEADER);
    stage.sends(query("BEGIN ISOLATION LEVEL SERIALIZABLE")).sends(query("INSERT INTO tree VALUES (1)"));
    stage.sends(query("COMMIT"));
    while !stage.events.iter().any(|event| matches!(event, Event::LeaderCommitted(_))) {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    stage.leader_dies();
    while STEPS.iter().any(|step| stage.step(*step, usize::MAX)) {
        assert!(other.hindrance(FOLLOWER, &Touched::Unknown(Unknown::Statement)).is_some());
    }
    assert!(String::from_utf8_lossy(&stage.told).contains("40001"));
}

#[test]
fn the_commit_of_a_transaction_that_was_lost_is_an_error_and_ends_the_block() {
    for by_query in [true, false] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query(TIE));
        stage.settle();
        stage.leader_dies();
        if by_query {
            stage.sends(query("COMMIT"));
        } else {
            stage.sends(executes("COMMIT", 0)).sends(executes("SELECT 1", 0)).sends(frontend::sync);
        }
        let told = stage.settle();
        assert_eq!(tags(&told), if by_query { "EZ" } else { "12EZ" });
        assert!(String::from_utf8_lossy(&told).contains("40001"));
        assert_eq!(told.last(), Some(&b'I'));
        goes_on(&mut stage);
    }
}

#[test]
fn the_commit_and_chain_of_a_transaction_that_was_lost_is_an_error_and_begins_none() {
    for (way, told_as) in [("by query", "EZ"), ("extended", "12EZ"), ("in a string", "EZ")] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query(TIE));
        stage.settle();
        stage.leader_dies();
        match way {
            "by query" => stage.sends(query("COMMIT AND CHAIN")),
            "extended" => stage.sends(executes("COMMIT AND CHAIN", 0)).sends(frontend::sync),
            _ => stage.sends(query("COMMIT AND CHAIN; SELECT 1")),
        };
        let told = stage.settle();
        assert_eq!(tags(&told), told_as, "{way}");
        assert!(String::from_utf8_lossy(&told).contains("40001"), "{way}");
        assert_eq!(told.last(), Some(&b'I'), "{way}");
        let told = stage.sends(query("INSERT INTO tree VALUES (2)")).settle();
        assert_eq!(tags(&told), "CZ", "{way}");
        assert_eq!(told.last(), Some(&b'I'), "{way}");
    }
}

#[test]
fn what_is_chained_to_a_transaction_that_was_lost_has_its_modes_and_is_not_lost() {
    const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    for early in [true, false] {
        let mut stage = Stage::new();
        stage.sends(query(BEGIN)).sends(query("SELECT 1")).settle();
        stage.leader_dies();
        if early {
            // The client knows it.
            assert_eq!(tags(&stage.sends(query("SELECT 1")).settle()), "EZ");
        }
        let told = stage.sends(query("ROLLBACK AND CHAIN")).settle();
        assert_eq!((tags(&told).as_str(), told.last()), ("CZ", Some(&b'T')));
        assert!(stage.leader.queries.iter().any(|sql| sql == BEGIN), "{:?}", stage.leader.queries);
        let told = stage.sends(query("SELECT 1")).sends(query("COMMIT")).settle();
        assert_eq!(commands(&told), ["SELECT 1", "COMMIT"]);
        goes_on(&mut stage);
    }
}

/// The next leader dies before the client was sent the answer.
#[test]
fn a_commit_that_the_follower_has_made_is_told_though_the_transaction_that_is_chained_to_it_is_lost_twice() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query("COMMIT AND CHAIN"));
    until_the_follower_has_committed(&mut stage);
    stage.leader_dies();
    while !stage.events.contains(&Event::Dialled) {
        assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)));
    }
    stage.session.leader_lost("it closed the connection".into());
    stage.settle();
    assert_eq!(commands(&stage.told), ["BEGIN", "INSERT 0 1", "COMMIT"]);
    assert!(!String::from_utf8_lossy(&stage.told).contains("40001"));
}

#[test]
fn what_follows_the_commit_of_a_lost_transaction_in_its_string_is_not_run() {
    for rest in [query("COMMIT; INSERT INTO tree VALUES (2)"), query("COMMIT; SELECT 1")] {
        let mut stage = Stage::new();
        stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query(TIE));
        stage.settle();
        stage.leader_dies();
        let told = stage.sends(rest).settle();
        assert_eq!(tags(&told), "EZ");
        assert_eq!(told.last(), Some(&b'I'));
        assert_eq!(stage.leader.committed, Vec::<Vec<String>>::new());
        goes_on(&mut stage);
    }
}

#[test]
fn the_loss_of_a_transaction_is_told_in_that_transaction_alone() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("SELECT 1"));
    stage.settle();
    stage.leader_dies();
    stage.sends(query("ROLLBACK")).sends(query("BEGIN")).sends(query("SELECT 1/0")).sends(query("SELECT 1"));
    let told = String::from_utf8_lossy(&stage.settle()).into_owned();
    assert!(told.contains("25P02") && !told.contains("40001"), "{told}");
}

#[test]
fn the_loss_of_a_transaction_is_told_also_when_the_next_leader_is_lost_before_anybody_asks() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)")).sends(query(TIE));
    stage.settle();
    for _ in 0..2 {
        stage.loses_its_leader();
        stage.is_led_again();
        stage.settle();
    }
    let told = String::from_utf8_lossy(&stage.sends(query("SELECT 1")).settle()).into_owned();
    assert!(told.contains("40001") && !told.contains("25P02"), "{told}");
    let told = String::from_utf8_lossy(&stage.sends(query("SELECT 1")).settle()).into_owned();
    assert!(told.contains("25P02") && !told.contains("40001"), "{told}");
    stage.loses_its_leader();
    stage.is_led_again();
    let told = String::from_utf8_lossy(&stage.sends(query("SELECT 1")).settle()).into_owned();
    assert!(told.contains("25P02") && !told.contains("40001"), "it was told before: {told}");
    goes_on(&mut stage);
}

#[test]
fn locks_of_the_session_are_taken_again_before_anything_else() {
    for idle in [true, false] {
        let mut stage = Stage::new();
        stage.sends(query("SET a.b = 'c'")).sends(query("SELECT pg_advisory_lock(5)"));
        if !idle {
            stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)"));
        }
        stage.sends(query("SELECT pg_advisory_lock(6), pg_advisory_lock(5)"));
        stage.settle();
        stage.leader_dies();
        stage.settle();
        let first = &stage.leader.queries[0];
        let again = |key: u8| first.matches(&format!("pg_try_advisory_lock('{key}'::pg_catalog.int8)")).count();
        assert_eq!((again(5), again(6)), (2, 1), "{first}");
        goes_on(&mut stage);
    }
}

#[test]
fn a_session_ends_with_locks_that_cannot_be_taken_again() {
    for locks in ["SELECT pg_advisory_lock(id) FROM tree", "SELECT pg_advisory_lock(5)"] {
        let mut stage = Stage::new();
        stage.sends(query(locks));
        stage.settle();
        if locks.contains("FROM") {
            stage.leader_dies();
        } else {
            // Its connection alone has broken, and the server may have let go of them.
            stage.session.leader_lost("reset".into());
            stage.leader_is_judged(Verdict::Alive);
            stage.is_led_again();
        }
        let told = String::from_utf8_lossy(&stage.settle()).into_owned();
        assert!(stage.closed && String::from_utf8_lossy(&stage.told).contains("57P01"), "{told}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    Death,
    TakeOver,
}

fn happen(stage: &mut Stage, steps: &[(usize, usize)]) {
    for (step, bytes) in steps {
        stage.step(STEPS[*step], *bytes);
    }
}

fn lose(stage: &mut Stage, loss: Loss) {
    match loss {
        Loss::Death => stage.leader_dies(),
        Loss::TakeOver => stage.follower_takes_over(),
    }
}

fn some_steps() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((0..STEPS.len(), 1..60usize), 0..300)
}

fn some_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![Just(Loss::Death), Just(Loss::TakeOver)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_session_goes_on_whenever_its_leader_is_lost(
        pieces in vec(0..PIECES.len(), 1..5),
        before in some_steps(),
        loss in some_loss(),
        after in some_steps(),
    ) {
        let mut stage = Stage::new();
        for piece in &pieces {
            stage.sends(PIECES[*piece]);
        }
        happen(&mut stage, &before);
        lose(&mut stage, loss);
        happen(&mut stage, &after);
        stage.settle();
        // Half a message had been passed on: nothing can follow it.
        if !stage.closed {
            goes_on(&mut stage);
        }
    }

    #[test]
    fn what_the_client_was_told_is_committed_is_so_on_who_leads_then(
        writes in 1..6usize,
        before in some_steps(),
        loss in some_loss(),
        after in some_steps(),
    ) {
        let mut stage = Stage::new();
        for _ in 0..writes {
            stage.sends(query("INSERT INTO tree VALUES (1)"));
        }
        happen(&mut stage, &before);
        lose(&mut stage, loss);
        happen(&mut stage, &after);
        stage.settle();
        let mut dialled = false;
        let mut committed = 0;
        for event in &stage.events {
            dialled |= matches!(event, Event::Dialled);
            committed += usize::from(matches!(event, Event::FollowerCommitted(_)) || dialled && matches!(event, Event::LeaderCommitted(_)));
        }
        let told = tags(&stage.told);
        prop_assert!(told.matches('C').count() <= committed, "{told} {:?}", stage.events);
        prop_assert_eq!(told.matches('Z').count(), writes);
        prop_assert!(told.matches('E').count() <= 1, "{}", told);
    }
}

fn is_cancelled(told: &[u8]) -> bool {
    String::from_utf8_lossy(told).contains("57014")
}

#[test]
fn a_statement_that_is_cancelled_while_it_has_no_leader_is_not_run_on_the_next_one() {
    let mut stage = Stage::new();
    stage.sends(query("INSERT INTO tree VALUES (1)")).sends(query("SELECT 1"));
    assert!(stage.step(Step::ClientSends, usize::MAX));
    stage.leader_dies();
    assert!(stage.session.cancel_waiting());
    let told = stage.settle();
    assert!(is_cancelled(&told));
    assert_eq!(tags(&told), "EZTDCZ");
    goes_on(&mut stage);
}

#[test]
fn a_transaction_whose_statement_is_cancelled_while_it_has_no_leader_has_failed() {
    let mut stage = Stage::new();
    for statement in ["BEGIN", "INSERT INTO tree VALUES (1)"] {
        stage.sends(query(statement)).settle();
    }
    stage.sends(query("INSERT INTO tree VALUES (2)"));
    assert!(stage.step(Step::ClientSends, usize::MAX));
    stage.leader_dies();
    assert!(stage.session.cancel_waiting());
    let told = stage.settle();
    assert!(is_cancelled(&told));
    assert_eq!((tags(&told).as_str(), told.last()), ("EZ", Some(&b'E')));
    assert_eq!(tags(&stage.sends(query("INSERT INTO tree VALUES (3)")).settle()), "EZ");
    let before = stage.events.len();
    let told = stage.sends(query("ROLLBACK")).settle();
    assert_eq!((tags(&told).as_str(), told.last()), ("CZ", Some(&b'I')));
    assert_eq!(stage.events.len(), before);
    goes_on(&mut stage);
}
