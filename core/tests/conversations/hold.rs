//! Clients are held: what is under way goes on to its end, and nothing else begins.

use lockstep_core::wire::frontend;

use super::rules::{query, tags};
use super::stage::{Stage, Step};

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
