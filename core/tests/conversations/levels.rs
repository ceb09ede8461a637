//! A setval is on every node before the client is told.

use lockstep_core::wire::frontend;

use crate::rules::{query, tags};
use crate::stage::Stage;

#[test]
fn the_end_of_a_setval_is_told_when_followers_sequences_are_there() {
    let mut stage = Stage::new();
    assert_eq!(tags(&stage.sends(query("SELECT setval('s', 5)")).settle()), "TD");
    let told = stage.is_levelled(stage.levels[0]);
    assert_eq!(tags(&told), "CZ");
    assert_eq!(
        tags(&stage.sends(query("SELECT nextval('s')")).settle()),
        "TDCZ",
        "values that are drawn wait for nobody"
    );
    assert_eq!(stage.levels.len(), 1);
}

#[test]
fn each_setval_of_a_pipeline_is_asked_for_when_it_is_over() {
    let mut stage = Stage::new();
    stage.sends(|out| {
        frontend::parse(out, b"", b"SELECT setval('s', 5)", &[]);
        [b"a", b"b"].iter().for_each(|portal| frontend::bind(out, *portal, b"", frontend::NO_PARAMETERS, &[]));
        [b"a", b"b"].iter().for_each(|portal| frontend::execute(out, *portal, 0));
        frontend::sync(out);
    });
    assert_eq!(tags(&stage.settle()), "122D");
    let told = stage.is_levelled(stage.levels[0]);
    assert_eq!(tags(&told), "CD");
    let told = stage.is_levelled(stage.levels[0]);
    assert_eq!(tags(&told), "", "that was the answer to the first");
    let told = stage.is_levelled(stage.levels[1]);
    assert_eq!(tags(&told), "CZ");
}

#[test]
fn the_answer_to_a_setval_whose_leader_was_lost_is_not_that_to_the_next() {
    let mut stage = Stage::new();
    stage.sends(query("SELECT setval('s', 5)")).settle();
    stage.told.clear();
    stage.loses_its_leader();
    stage.another_node_leads();
    stage.settle();
    assert_eq!(tags(&stage.told), "EZ", "its row was told");
    stage.sends(query("SELECT setval('s', 6)")).settle();
    let told = stage.is_levelled(stage.levels[0]);
    assert_eq!(tags(&told), "");
    let told = stage.is_levelled(stage.levels[1]);
    assert_eq!(tags(&told), "CZ");
}
