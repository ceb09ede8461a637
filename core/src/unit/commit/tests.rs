//! Which tasks follow from which answers.

use super::*;

const LEADER: NodeId = NodeId(0);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn drain(commit: &mut Commit) -> Vec<Task> {
    std::iter::from_fn(|| commit.poll()).collect()
}

fn sent_to_both() -> Commit {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    commit.reserved(A);
    commit.reserved(B);
    commit.clear();
    drain(&mut commit);
    commit
}

pub(super) fn refused() -> BatchResult {
    BatchResult::Refused { state: "23505".into(), message: "duplicate".into() }
}

pub(super) fn other_names() -> BatchResult {
    let message = "invalid input syntax for type integer: \"lockstep: other names than public.t_id_seq1\"";
    BatchResult::Refused { state: "22P02".into(), message: message.into() }
}

#[test]
fn the_leader_commits_after_all_followers_and_never_before() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    assert_eq!(drain(&mut commit), [A, B].map(|node| Task::Reserve { node, fresh: false }));
    commit.reserved(A);
    assert_eq!(drain(&mut commit), [], "nothing is sent before both are reserved");
    commit.reserved(B);
    assert_eq!(drain(&mut commit), [Task::Look]);
    commit.clear();
    assert_eq!(drain(&mut commit), [A, B].map(|node| Task::Send { node }));
    commit.answered(B, BatchResult::Committed);
    assert_eq!(drain(&mut commit), []);
    commit.answered(A, BatchResult::Committed);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
    commit.leader_committed();
    assert_eq!(drain(&mut commit), [Task::Finished(Outcome::Committed { leader_out: false })]);
}

#[test]
fn nothing_is_sent_before_a_look_that_came_after_all_were_reserved() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    commit.clear();
    commit.reserved(A);
    commit.not_reserved(B, ReserveFault::Broken("reset".into()));
    assert!(matches!(&drain(&mut commit)[2..], [Task::Suspect { .. }]), "nobody is looked for yet");
    commit.verdict(B, Verdict::Out);
    assert_eq!(drain(&mut commit), [Task::Look]);
    commit.leader_lost();
    assert!(matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(_))]));
    commit.clear();
    assert_eq!(drain(&mut commit), []);
}

#[test]
fn a_look_that_found_nobody_left_to_send_to_does_not_count_for_who_comes_later() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    commit.not_reserved(B, ReserveFault::Broken("reset".into()));
    commit.reserved(A);
    commit.out(A);
    commit.clear();
    commit.verdict(B, Verdict::Alive);
    drain(&mut commit);
    commit.reserved(B);
    assert_eq!(drain(&mut commit), [Task::Look]);
    commit.clear();
    assert_eq!(drain(&mut commit), [Task::Send { node: B }]);
}

#[test]
fn when_all_nodes_are_lost_nothing_is_acknowledged_and_what_was_sent_may_be_there() {
    let mut unsent = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    let mut committed = sent_to_both();
    committed.answered(A, BatchResult::Committed);
    for (commit, state) in
        [(&mut unsent, SqlState::SERIALIZATION_FAILURE), (&mut committed, SqlState::CONNECTION_FAILURE)]
    {
        drain(commit);
        commit.nobody_leads();
        commit.leader_committed();
        let tasks = drain(commit);
        let [Task::Finished(Outcome::Aborted(fault))] = &tasks[..] else { panic!("{tasks:?}") };
        assert_eq!(fault.state, state);
    }
}

#[test]
fn the_leader_is_trusted_until_it_is_lost_or_refuses() {
    let mut commit = sent_to_both();
    assert!(commit.trusts_leader());
    commit.answered(A, BatchResult::Committed);
    commit.answered(B, BatchResult::Committed);
    assert!(commit.trusts_leader(), "it was asked");
    commit.leader_refused("disk full".into());
    assert!(!commit.trusts_leader());
    let mut commit = sent_to_both();
    commit.leader_lost();
    assert!(!commit.trusts_leader());
}

#[test]
fn without_followers_the_leader_commits_at_once() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, []);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
}

#[test]
fn a_full_follower_aborts_the_unit_while_nothing_is_sent() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    commit.reserved(A);
    drain(&mut commit);
    commit.not_reserved(B, ReserveFault::Full("53300".into()));
    assert!(
        matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(f))] if f.state == SqlState::TOO_MANY_CONNECTIONS)
    );
}

#[test]
fn a_follower_that_refuses_twice_is_degraded_and_the_commit_goes_on() {
    let mut commit = sent_to_both();
    commit.answered(B, BatchResult::Committed);
    commit.answered(A, refused());
    assert_eq!(drain(&mut commit), [Task::Reserve { node: A, fresh: true }]);
    commit.reserved(A);
    assert_eq!(drain(&mut commit), [Task::Send { node: A }]);
    commit.answered(A, refused());
    assert!(matches!(&drain(&mut commit)[..], [Task::Degrade { node: A, .. }]), "degraded before the leader commits");
    commit.degraded(A);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
}

#[test]
fn a_unit_whose_names_are_others_on_all_followers_is_to_be_repeated_and_nobody_is_out() {
    let mut commit = sent_to_both();
    commit.answered(A, other_names());
    assert_eq!(drain(&mut commit), [], "the other one has not said what it has");
    commit.answered(B, other_names());
    let tasks = drain(&mut commit);
    let [Task::Finished(Outcome::Aborted(fault))] = &tasks[..] else { panic!("{tasks:?}") };
    assert_eq!(fault.state, SqlState::SERIALIZATION_FAILURE);
    assert!(fault.message.contains("public.t_id_seq1"), "{fault:?}");
}

#[test]
fn a_follower_that_is_alone_with_its_names_is_out_and_the_commit_goes_on() {
    let mut commit = sent_to_both();
    commit.answered(A, other_names());
    commit.answered(B, BatchResult::Committed);
    assert!(matches!(&drain(&mut commit)[..], [Task::Degrade { node: A, .. }]));
    commit.degraded(A);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
}

#[test]
fn of_a_leader_that_went_first_a_follower_with_other_names_is_out() {
    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A]);
    commit.reserved(A);
    commit.leader_committed();
    drain(&mut commit);
    for _ in 0..2 {
        commit.answered(A, other_names());
        commit.reserved(A);
    }
    assert!(drain(&mut commit).iter().any(|task| matches!(task, Task::Degrade { node: A, .. })));
}

#[test]
fn a_dead_follower_is_waited_for_only_until_it_is_known_to_be_out() {
    let mut commit = sent_to_both();
    commit.answered(A, BatchResult::Committed);
    commit.broken(B, "reset".into());
    assert!(matches!(&drain(&mut commit)[..], [Task::Suspect { node: B, .. }]));
    commit.verdict(B, Verdict::Out);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
}

#[test]
fn a_follower_that_hangs_is_waited_for_only_until_it_is_no_member() {
    let mut commit = sent_to_both();
    commit.answered(A, BatchResult::Committed);
    commit.out(B);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
    commit.broken(B, "reset at last".into());
    commit.stuck(B, "it waits for a stranger".into());
    assert_eq!(drain(&mut commit), [], "what it says later changes nothing");
}

#[test]
fn answers_to_an_earlier_commit_change_nothing() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A]);
    drain(&mut commit);
    commit.degraded(B);
    commit.verdict(B, Verdict::Out);
    commit.broken(B, "reset at last".into());
    commit.stuck(B, "it waits for a stranger".into());
    commit.answered(A, BatchResult::Committed);
    commit.reserved(A);
    commit.clear();
    assert_eq!(drain(&mut commit), [Task::Look, Task::Send { node: A }]);
    commit.reserved(A);
    commit.not_reserved(A, ReserveFault::Full("53300".into()));
    assert_eq!(drain(&mut commit), [], "the batch is sent once");
}

#[test]
fn a_follower_whose_commit_is_in_doubt_is_asked_and_believed() {
    let asked = || {
        let mut commit = sent_to_both();
        commit.answered(A, BatchResult::Committed);
        commit.broken(B, "reset".into());
        drain(&mut commit);
        commit.verdict(B, Verdict::Alive);
        assert_eq!(drain(&mut commit), [Task::Ask { node: B }]);
        assert_eq!(commit.abandoned(), [A, B]);
        commit
    };
    let mut commit = asked();
    commit.told(B, Fate::Committed);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
    let mut commit = asked();
    commit.told(B, Fate::NotThere);
    assert_eq!(drain(&mut commit), [Task::Reserve { node: B, fresh: true }]);
    assert_eq!(commit.abandoned(), [A]);
    let mut commit = asked();
    commit.told(B, Fate::Repeatable);
    assert_eq!(drain(&mut commit), [Task::Reserve { node: B, fresh: true }]);
    assert_eq!(commit.abandoned(), [A, B], "it may be there all the same");
    let mut commit = asked();
    commit.told(B, Fate::Unknown("no row of it tells".into()));
    assert!(matches!(&drain(&mut commit)[..], [Task::Degrade { node: B, .. }]));
    let mut commit = asked();
    commit.out(B);
    commit.told(B, Fate::NotThere);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
}

#[test]
fn a_connection_that_broke_before_anything_was_sent_is_made_again() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A]);
    drain(&mut commit);
    commit.not_reserved(A, ReserveFault::Broken("reset".into()));
    assert!(matches!(&drain(&mut commit)[..], [Task::Suspect { node: A, .. }]));
    commit.verdict(A, Verdict::Alive);
    assert_eq!(drain(&mut commit), [Task::Reserve { node: A, fresh: true }]);
    commit.reserved(A);
    commit.clear();
    assert_eq!(drain(&mut commit), [Task::Look, Task::Send { node: A }]);
}

#[test]
fn a_leader_lost_before_anything_was_sent_aborts_with_a_retryable_state() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A]);
    drain(&mut commit);
    commit.leader_lost();
    assert!(
        matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(f))] if f.state == SqlState::SERIALIZATION_FAILURE)
    );
}

#[test]
fn a_leader_lost_after_a_follower_committed_is_out_and_the_commit_stands() {
    let mut commit = sent_to_both();
    commit.answered(A, BatchResult::Committed);
    commit.leader_lost();
    commit.answered(B, BatchResult::Committed);
    assert!(matches!(&drain(&mut commit)[..], [Task::Degrade { node: LEADER, .. }]));
    commit.degraded(LEADER);
    assert_eq!(drain(&mut commit), [Task::Finished(Outcome::Committed { leader_out: true })]);
}

/// The leader is the last one then, and stays in whatever it has done with the COMMIT that it was sent.
#[test]
fn of_a_unit_whose_followers_went_out_after_its_leader_was_lost_in_commit_nothing_is_claimed() {
    let mut commit = sent_to_both();
    commit.out(B);
    commit.answered(A, BatchResult::Committed);
    commit.leader_lost();
    assert!(matches!(&drain(&mut commit)[..], [Task::LeaderCommit, Task::Degrade { node: LEADER, .. }]));
    commit.out(A);
    commit.degraded(LEADER);
    assert!(
        matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(f))] if f.state == SqlState::CONNECTION_FAILURE)
    );
}

#[test]
fn a_leader_that_refuses_what_followers_have_committed_is_out() {
    let mut commit = sent_to_both();
    commit.answered(A, BatchResult::Committed);
    commit.answered(B, BatchResult::Committed);
    drain(&mut commit);
    commit.leader_refused("disk full".into());
    assert!(matches!(&drain(&mut commit)[..], [Task::Degrade { node: LEADER, .. }]));
    commit.degraded(LEADER);
    assert_eq!(drain(&mut commit), [Task::Finished(Outcome::Committed { leader_out: true })]);
}

#[test]
fn where_the_leader_judges_it_commits_first_and_its_refusal_reaches_nobody_else() {
    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A]);
    drain(&mut commit);
    commit.reserved(A);
    assert_eq!(drain(&mut commit), [Task::LeaderCommit]);
    commit.leader_refused("40001".into());
    assert_eq!(drain(&mut commit), [Task::Finished(Outcome::LeaderRefused)]);

    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A]);
    commit.reserved(A);
    drain(&mut commit);
    commit.leader_committed();
    assert_eq!(drain(&mut commit), [Task::Send { node: A }]);
    commit.answered(A, BatchResult::Committed);
    assert_eq!(drain(&mut commit), [Task::Finished(Outcome::Committed { leader_out: false })]);
}

#[test]
fn a_leader_lost_while_it_commits_ahead_of_its_followers_is_out_for_it_may_have_more_than_they() {
    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A]);
    commit.reserved(A);
    assert_eq!(drain(&mut commit)[1..], [Task::LeaderCommit]);
    commit.leader_lost();
    assert!(matches!(drain(&mut commit)[..], [Task::Degrade { node: LEADER, .. }]));
    commit.degraded(LEADER);
    assert!(
        matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(f))] if f.state == SqlState::SERIALIZATION_FAILURE)
    );
}

#[test]
fn a_commit_that_nobody_goes_on_with_leaves_no_follower_that_may_have_more_than_the_leader() {
    let mut commit = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    commit.reserved(A);
    assert_eq!(commit.abandoned(), [], "nothing was sent");
    let mut commit = sent_to_both();
    commit.answered(B, BatchResult::Committed);
    assert_eq!(commit.abandoned(), [A, B]);
    commit.out(A);
    assert_eq!(commit.abandoned(), [B]);
    commit.leader_committed();
    assert_eq!(commit.abandoned(), []);
}

#[test]
fn a_leader_first_commit_that_nobody_goes_on_with_leaves_no_follower_that_may_have_less() {
    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A, B]);
    assert_eq!(commit.abandoned(), [], "the leader was not asked");
    commit.reserved(A);
    commit.reserved(B);
    assert_eq!(commit.abandoned(), [A, B]);
    commit.leader_committed();
    commit.answered(A, BatchResult::Committed);
    assert_eq!(commit.abandoned(), [B]);
}

#[test]
fn nobody_is_out_for_what_nothing_depends_on() {
    let sent = || {
        let mut commit = Commit::of_upkeep(LEADER, [A, B]);
        commit.reserved(A);
        commit.reserved(B);
        commit.leader_committed();
        drain(&mut commit);
        commit
    };
    let finished = [Task::Finished(Outcome::Committed { leader_out: false })];
    let mut commit = sent();
    commit.answered(A, refused());
    commit.stuck(B, "it waits".into());
    assert_eq!(drain(&mut commit), finished);
    let mut commit = sent();
    commit.answered(A, BatchResult::Committed);
    commit.broken(B, "reset".into());
    commit.verdict(B, Verdict::Alive);
    let tasks = drain(&mut commit);
    assert!(matches!(&tasks[..], [Task::Suspect { .. }, last] if [last.clone()] == finished), "{tasks:?}");
    let mut commit = Commit::of_upkeep(LEADER, [A]);
    commit.reserved(A);
    assert_eq!(commit.abandoned(), []);
    commit.leader_lost();
    let tasks = drain(&mut commit);
    assert!(
        matches!(&tasks[..], [Task::Reserve { .. }, Task::LeaderCommit, Task::Finished(Outcome::Aborted(_))]),
        "{tasks:?}"
    );
}

#[test]
fn a_leader_on_which_a_failed_command_cannot_be_undone_is_out() {
    let mut commit = Commit::new(Order::LeaderFirst, LEADER, [A]);
    commit.reserved(A);
    drain(&mut commit);
    commit.leader_differs("half done".into());
    assert_eq!(drain(&mut commit), [Task::Degrade { node: LEADER, why: "half done".into() }]);
    commit.degraded(LEADER);
    assert!(matches!(&drain(&mut commit)[..], [Task::Finished(Outcome::Aborted(_))]));
}

#[test]
fn whoever_lacks_what_the_leader_has_committed_alone_is_put_out_before_the_client_is_told() {
    let mut after = sent_to_both();
    for node in [A, B] {
        after.answered(node, BatchResult::Committed);
    }
    let mut ahead = Commit::new(Order::LeaderFirst, LEADER, [A, B]);
    for node in [A, B] {
        ahead.reserved(node);
    }
    let unsent = Commit::new(Order::FollowersFirst, LEADER, [A, B]);
    for mut commit in [after, ahead, unsent] {
        drain(&mut commit);
        commit.leader_committed_alone("rows");
        assert_eq!(drain(&mut commit), [A, B].map(|node| Task::Degrade { node, why: "rows".into() }));
        commit.degraded(A);
        assert_eq!(drain(&mut commit), []);
        commit.degraded(B);
        assert_eq!(drain(&mut commit), [Task::Finished(Outcome::Committed { leader_out: false })]);
    }
}
