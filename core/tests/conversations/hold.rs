//! Clients are held: what is under way goes on to its end, and nothing else begins.

use lockstep_core::wire::frontend;

use super::rules::{executes, query, tags};
use super::stage::{STEPS, Stage, Step};

#[test]
fn a_statement_that_comes_while_clients_are_held_waits_until_they_are_let_go() {
    let mut stage = Stage::new();
    stage.sends(query("SELECT 1"));
    assert_eq!(tags(&stage.settle()), "TDCZ");
    stage.holds(true);
    assert!(stage.session.stands_still());
    stage.sends(query("INSERT INTO tree VALUES (1)")).sends(query("SELECT 1"));
    assert_eq!(tags(&stage.settle()), "");
    assert_eq!(stage.events, []);
    assert!(stage.session.stands_still() && stage.session.is_idle(), "nothing is lost when it is ended now");
    assert_eq!(tags(&stage.holds(false)), "CZTDCZ");
}

#[test]
fn a_transaction_that_is_open_comes_to_its_end_and_the_next_one_waits() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN"));
    stage.settle();
    stage.holds(true);
    assert!(!stage.session.stands_still());
    stage.sends(query("INSERT INTO tree VALUES (1)"));
    assert_eq!(tags(&stage.settle()), "CZ");
    assert!(!stage.session.stands_still());
    stage.sends(query("COMMIT")).sends(query("BEGIN"));
    assert_eq!(tags(&stage.settle()), "CZ");
    assert!(stage.session.stands_still());
    assert_eq!(tags(&stage.holds(false)), "CZ");
}

#[test]
fn a_pipeline_that_has_begun_goes_on_to_its_sync() {
    let mut stage = Stage::new();
    stage.sends(|out| frontend::parse(out, b"s", b"INSERT INTO tree VALUES (1)", &[]));
    stage.settle();
    stage.holds(true);
    assert!(!stage.session.stands_still());
    stage.sends(|out| {
        frontend::bind(out, b"", b"s", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
        frontend::sync(out);
    });
    assert_eq!(tags(&stage.settle()), "2CZ");
    assert!(stage.session.stands_still());
    assert_eq!(tags(&stage.holds(false)), "Z");
}

#[test]
fn a_client_that_is_held_does_not_notice_that_the_leader_has_gone() {
    let mut stage = Stage::new();
    stage.holds(true);
    stage.sends(query("SELECT 1"));
    stage.leader_dies();
    assert!(stage.session.stands_still());
    assert_eq!(tags(&stage.settle()), "");
    assert!(stage.session.stands_still());
    assert_eq!(tags(&stage.holds(false)), "TDCZ");
}

#[test]
fn only_a_transaction_of_the_clients_own_can_be_idle() {
    let mut stage = Stage::new();
    assert!(!stage.session.idles_in_transaction());
    stage.sends(query("BEGIN"));
    stage.settle();
    assert!(stage.session.idles_in_transaction());
    stage.sends(query("SELECT 1"));
    assert!(stage.step(Step::ClientSends, usize::MAX) && !stage.session.idles_in_transaction());
    stage.settle();
    assert!(stage.session.idles_in_transaction());
    stage.sends(query("COMMIT"));
    stage.settle();
    assert!(!stage.session.idles_in_transaction());
}

#[test]
fn a_transaction_that_was_idle_for_too_long_ends_with_its_session() {
    let mut stage = Stage::new();
    stage.sends(query("BEGIN")).sends(query("INSERT INTO tree VALUES (1)"));
    stage.settle();
    stage.session.idled_too_long();
    let told = stage.holds(false);
    assert!(String::from_utf8_lossy(&told).contains("25P03"));
    assert!(stage.closed);
    assert_eq!(stage.events, []);
}

fn cancels(stage: &mut Stage) -> String {
    assert!(stage.session.cancel_waiting());
    let told = stage.holds(stage.held);
    assert_eq!(String::from_utf8_lossy(&told).contains("57014"), !told.is_empty());
    tags(&told)
}

#[test]
fn a_held_statement_is_given_up_when_it_is_cancelled_and_those_behind_it_wait_on() {
    let mut stage = Stage::new();
    stage.holds(true);
    assert_eq!(cancels(&mut stage), "", "nothing waits");
    stage.sends(query("INSERT INTO tree VALUES (1)")).sends(query("SELECT 1"));
    stage.settle();
    assert_eq!(cancels(&mut stage), "EZ");
    assert!(stage.session.stands_still());
    assert_eq!(tags(&stage.holds(false)), "TDCZ");
    assert_eq!(stage.events, []);
}

#[test]
fn of_a_held_pipeline_that_is_cancelled_nothing_is_run_up_to_its_sync() {
    let mut stage = Stage::new();
    stage.holds(true);
    let pipeline = |out: &mut bytes::BytesMut| {
        frontend::parse(out, b"", b"INSERT INTO tree VALUES (1)", &[]);
        frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
    };
    stage.sends(pipeline).sends(frontend::sync);
    stage.settle();
    assert_eq!(cancels(&mut stage), "EZ");
    stage.sends(pipeline);
    stage.settle();
    assert_eq!(cancels(&mut stage), "E", "its Sync has not come yet");
    assert_eq!(tags(&stage.sends(pipeline).sends(frontend::sync).settle()), "Z");
    assert!(stage.session.stands_still());
    stage.sends(query("SELECT 1"));
    assert_eq!(tags(&stage.holds(false)), "TDCZ");
    assert_eq!(stage.events, []);
}

/// A commit that waits for the commit lock.
fn waits_for_the_lock(statements: &[&'static str]) -> Stage {
    let mut stage = Stage::new();
    for statement in statements {
        stage.settle();
        stage.sends(query(statement));
    }
    let steps = [Step::ClientSends, Step::LeaderReads, Step::LeaderAnswers];
    while steps.iter().any(|step| stage.step(*step, usize::MAX)) {}
    assert!(stage.session.is_committing());
    stage
}

#[test]
fn a_commit_that_waits_for_the_commit_lock_is_rolled_back_when_it_is_cancelled() {
    let block = ["BEGIN", "INSERT INTO tree VALUES (1)", "COMMIT"];
    for statements in [&["INSERT INTO tree VALUES (1)"][..], &block] {
        let mut stage = waits_for_the_lock(statements);
        assert_eq!(cancels(&mut stage), "EZ");
        assert_eq!(stage.told.last(), Some(&b'I'));
        assert_eq!(stage.events, []);
        assert_eq!(tags(&stage.sends(query("INSERT INTO tree VALUES (2)")).settle()), "CZ");
        assert_eq!(stage.events.len(), 2);
    }
}

#[test]
fn a_commit_that_has_been_sent_to_a_follower_is_not_cancelled() {
    let mut stage = waits_for_the_lock(&["INSERT INTO tree VALUES (1)"]);
    assert!(stage.step(Step::WorldAnswers, usize::MAX));
    assert!(!stage.session.cancel_waiting() && !stage.session.cancellable());
    assert_eq!(tags(&stage.settle()), "CZ");
}

/// Another session's definition is being committed: by what is read of the schema meanwhile nobody plans.
fn cannot_be_planned(sends: impl FnOnce(&mut bytes::BytesMut)) -> Stage {
    let mut stage = Stage::before_the_catalog_is_read();
    stage.catalogs.begin_change();
    stage.sends(sends);
    (0..15).for_each(|_| assert!(STEPS.iter().any(|step| stage.step(*step, usize::MAX)), "it asks and asks"));
    stage
}

#[test]
fn a_statement_that_waits_for_anothers_definition_is_given_up_when_it_is_cancelled() {
    let extended = |out: &mut bytes::BytesMut| {
        executes("INSERT INTO tree VALUES (1)", 0)(out);
        frontend::sync(out);
    };
    let simple = cannot_be_planned(query("INSERT INTO tree VALUES (1)"));
    let script = cannot_be_planned(query("INSERT INTO tree VALUES (1); DELETE FROM tree"));
    for mut stage in [simple, script, cannot_be_planned(extended)] {
        assert_eq!(tags(&stage.told), "");
        stage.session.cancel_waiting();
        let told = stage.settle();
        assert!(String::from_utf8_lossy(&told).contains("57014"));
        assert_eq!((tags(&told).as_str(), told.last()), ("EZ", Some(&b'I')));
        stage.catalogs.end_change();
        stage.catalog_is_read();
        assert_eq!(tags(&stage.sends(query("INSERT INTO tree VALUES (2)")).settle()), "CZ");
        assert_eq!(stage.events.len(), 2);
    }
}

#[test]
fn a_transaction_whose_statement_is_cancelled_before_it_could_be_planned_has_failed() {
    let mut stage = cannot_be_planned(|out| {
        query("BEGIN")(out);
        query("INSERT INTO tree VALUES (1)")(out);
    });
    assert_eq!(tags(&stage.told), "CZ");
    stage.session.cancel_waiting();
    assert_eq!(tags(&stage.settle()), "EZ");
    assert_eq!(stage.told.last(), Some(&b'E'));
    assert_eq!(tags(&stage.sends(query("ROLLBACK")).settle()), "CZ");
}
