//! The client is told the same, and the followers get the same, however bytes are cut and whatever comes first.

use bytes::BytesMut;
use lockstep_core::wire::frontend;
use proptest::collection::vec;
use proptest::prelude::*;

use super::stage::{Event, STEPS, Stage, Step};

/// Pieces of conversations, each complete in itself: what comes before it decides what it means.
pub const PIECES: &[fn(&mut BytesMut)] = &[
    |out| frontend::query(out, b"SELECT 1"),
    |out| frontend::query(out, b"INSERT INTO tree VALUES (1), (2) RETURNING id"),
    |out| frontend::query(out, b"INSERT INTO tree VALUES (3); SELECT 1; DELETE FROM tree"),
    |out| frontend::query(out, b"INSERT INTO tree VALUES (4); COMMIT; INSERT INTO tree VALUES (5)"),
    |out| frontend::query(out, b"SELECT 1/0"),
    |out| frontend::query(out, b"DELETE FROM tree; SELECT 1/0"),
    |out| frontend::query(out, b"BEGIN"),
    |out| frontend::query(out, b"COMMIT"),
    |out| frontend::query(out, b"ROLLBACK"),
    |out| frontend::query(out, b""),
    |out| frontend::query(out, b"PREPARE p AS INSERT INTO tree VALUES (6)"),
    |out| frontend::query(out, b"EXECUTE p"),
    |out| frontend::query(out, b"DEALLOCATE p"),
    |out| {
        executes(out, b"", b"DELETE FROM tree RETURNING id", 0);
        frontend::sync(out);
    },
    |out| {
        executes(out, b"", b"INSERT INTO tree VALUES (7), (8), (9) RETURNING id", 2);
        frontend::execute(out, b"", 0);
        executes(out, b"", b"SELECT 1/0", 0);
        frontend::parse(out, b"lost", b"SELECT 1", &[]);
        frontend::sync(out);
    },
    |out| {
        executes(out, b"", b"INSERT INTO tree VALUES (10)", 0);
        executes(out, b"", b"COMMIT", 0);
        executes(out, b"", b"INSERT INTO tree VALUES (11)", 0);
        frontend::sync(out);
    },
    |out| {
        executes(out, b"", b"INSERT INTO tree VALUES (12)", 0);
        frontend::query(out, b"SELECT 1");
    },
    |out| {
        frontend::bind(out, b"", b"p", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
        frontend::flush(out);
        frontend::sync(out);
    },
    |out| {
        frontend::parse(out, b"s", b"INSERT INTO tree VALUES (13)", &[]);
        frontend::bind(out, b"", b"s", frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, b"", 0);
        frontend::close(out, frontend::Target::Statement, b"s");
        frontend::sync(out);
    },
    |out| frontend::query(out, b"SELECT pg_advisory_lock(14)"),
    |out| {
        executes(out, b"", b"SELECT pg_advisory_lock(15), set_config('app.tenant', 'x', false)", 1);
        executes(out, b"", b"SELECT set_config('app.tenant', 'y', true)", 0);
        executes(out, b"", b"SELECT pg_try_advisory_lock(16)", 0);
        frontend::sync(out);
    },
];

fn executes(out: &mut BytesMut, portal: &[u8], sql: &[u8], rows: i32) {
    frontend::parse(out, b"", sql, &[]);
    frontend::bind(out, portal, b"", frontend::NO_PARAMETERS, &[]);
    frontend::execute(out, portal, rows);
}

fn waiting(pieces: &[usize]) -> Stage {
    let mut stage = Stage::new();
    for piece in pieces {
        stage.sends(PIECES[*piece]);
    }
    stage
}

/// A conversation in which everything happens as soon as it can.
fn undisturbed(pieces: &[usize]) -> Stage {
    let mut stage = waiting(pieces);
    stage.settle();
    stage
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_and_any_order_give_the_same_answers(
        pieces in vec(0..PIECES.len(), 1..7),
        steps in vec((0..STEPS.len(), 1..60usize), 0..400),
    ) {
        let expected = undisturbed(&pieces);
        let mut stage = waiting(&pieces);
        for (step, bytes) in steps {
            stage.step(STEPS[step], bytes);
        }
        stage.settle();
        prop_assert_eq!(&stage.told, &expected.told);
        prop_assert_eq!(&stage.events, &expected.events);
    }

    #[test]
    fn a_changing_schema_changes_no_answer(
        pieces in vec(0..PIECES.len(), 1..5),
        steps in vec((0..STEPS.len(), 1..60usize, any::<bool>()), 0..200),
    ) {
        let expected = undisturbed(&pieces);
        let mut stage = waiting(&pieces);
        for (step, bytes, change) in steps {
            stage.step(STEPS[step], bytes);
            if change {
                stage.schema_changes();
            }
        }
        stage.settle();
        prop_assert_eq!(&stage.told, &expected.told);
        prop_assert_eq!(&stage.events, &expected.events);
    }

    #[test]
    fn the_leader_never_commits_a_write_before_the_follower(
        pieces in vec(0..PIECES.len(), 1..7),
        steps in vec((0..STEPS.len(), 1..60usize), 0..400),
    ) {
        let mut stage = waiting(&pieces);
        for (step, bytes) in steps {
            stage.step(STEPS[step], bytes);
        }
        stage.settle();
        for pair in stage.events.chunks(2) {
            let in_order = matches!(pair, [Event::FollowerCommitted(_), Event::LeaderCommitted(_)]);
            prop_assert!(in_order, "{:?}", stage.events);
        }
    }
}

#[test]
fn what_is_not_known_here_is_refused_by_the_present_schema_alone() {
    for (changes, state) in [(false, "0A000"), (true, "40001")] {
        let mut stage = Stage::new();
        let begin: fn(&mut BytesMut) = |out| frontend::query(out, b"BEGIN");
        stage.sends(begin).settle();
        stage.sends(|out| frontend::query(out, b"INSERT INTO unheard_of VALUES (1)"));
        while stage.step(Step::ClientSends, usize::MAX) || stage.step(Step::LeaderReads, usize::MAX) {}
        if changes {
            stage.schema_changes();
        }
        assert!(String::from_utf8_lossy(&stage.settle()).contains(state), "{state}");
    }
}
