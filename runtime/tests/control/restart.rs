//! What a restart of the proxy does and does not bring back; what the operator can bring back.

use lockstep_core::cluster::MemberState::{Active, Degraded, Detached, New};
use lockstep_core::id::NodeId;
use lockstep_runtime::cluster::{self, StartFault};
use lockstep_runtime::door::protocol::{Reply, Request, VerifyScope};

use crate::servers::{Pair, ask, start, states, until};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

fn lose_journal(pair: &Pair) {
    std::fs::remove_file(pair.config().cluster.state_dir.join("journal")).expect("lose the journal");
}

#[actix::test]
async fn after_an_orderly_stop_all_active_nodes_are_active_at_once() {
    let pair = Pair::start();
    start(&pair).await.stop().await;
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Active]);
    running.stop().await;
}

#[actix::test]
async fn a_copy_of_a_node_from_before_an_orderly_stop_is_not_taken_for_the_node() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[1].run("CHECKPOINT").await;
    pair.servers[1].copy_aside();
    pair.on_both("CREATE TABLE later (a int)").await;
    running.stop().await;
    pair.servers[1].kill();
    pair.servers[1].put_copy_back();
    pair.servers[1].start();
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Degraded]);
    let reason = running.shared().membership.load().member(B).reason.clone();
    assert!(reason.contains("an older state was restored"), "{reason}");
    running.stop().await;
}

#[actix::test]
async fn a_restart_brings_no_degraded_node_back() {
    let pair = Pair::start();
    let running = start(&pair).await;
    running.shared().cluster.diverged(B, "an UPDATE found no row".into()).await;
    running.stop().await;
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn after_an_unclean_stop_with_nothing_under_way_all_nodes_are_active_at_once() {
    let pair = Pair::start();
    start(&pair).await.abandon().await;
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Active]);
    running.stop().await;
}

#[actix::test]
async fn without_a_journal_the_preferred_node_serves_and_an_equal_one_joins() {
    let pair = Pair::start();
    start(&pair).await.abandon().await;
    lose_journal(&pair);
    let running = start(&pair).await;
    assert_eq!(running.shared().membership.load().leader(), Some(A));
    until("b was compared", async || states(&running) == [Active, Active]).await;
    running.stop().await;
}

#[actix::test]
async fn without_a_journal_a_different_node_stays_out() {
    let pair = Pair::start();
    start(&pair).await.abandon().await;
    lose_journal(&pair);
    pair.servers[1].run("CREATE TABLE half_done (a int)").await;
    let running = start(&pair).await;
    let reason = || running.shared().membership.load().member(B).reason.clone();
    until("b was compared", async || reason().contains("half_done is on b, not on a")).await;
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn a_second_proxy_is_told_who_serves() {
    let pair = Pair::start();
    let running = start(&pair).await;
    let mut other = pair.config();
    other.cluster.state_dir.set_extension("other");
    other.control.socket.set_extension("other");
    match cluster::start(other).await {
        Err(StartFault::AnotherProxy { node, who }) => {
            assert_eq!(node, "a");
            assert!(who.contains(&std::process::id().to_string()), "{who}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two proxies serve"),
    }
    running.stop().await;
}

#[actix::test]
async fn a_lost_state_file_is_made_up_from_the_nodes() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[1].kill();
    until("b is out", async || states(&running) == [Active, Degraded]).await;
    running.stop().await;
    std::fs::remove_dir_all(pair.config().cluster.state_dir).expect("lose the state");
    pair.servers[1].start();
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn a_detached_node_is_attached_only_when_it_is_equal() {
    let pair = Pair::start();
    let running = start(&pair).await;
    let name = || "b".to_owned();
    assert!(matches!(ask(&running, Request::Detach { node: name() }).await, Reply::Done { .. }));
    assert_eq!(states(&running), [Active, Detached]);
    assert!(matches!(ask(&running, Request::Detach { node: "a".into() }).await, Reply::Failed { .. }));

    pair.servers[0].run("CREATE TABLE t (a serial)").await;
    match ask(&running, Request::Attach { node: name() }).await {
        Reply::Failed { message, .. } => assert!(message.contains("lockstep recover b"), "{message}"),
        other => panic!("{other:?}"),
    }
    pair.servers[1].run("CREATE TABLE t (a serial)").await;
    pair.servers[0].run("SELECT nextval('t_a_seq')").await;
    assert!(matches!(ask(&running, Request::Attach { node: name() }).await, Reply::Done { .. }));
    assert_eq!(states(&running), [Active, Active]);
    assert_eq!(pair.servers[1].text("SELECT last_value::text FROM t_a_seq").await, "1");
    running.stop().await;
}

#[actix::test]
async fn verify_levels_what_sessions_moved_and_sees_what_nobody_may_have_moved() {
    let pair = Pair::start();
    pair.on_both("CREATE SEQUENCE s; CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let running = start(&pair).await;
    pair.servers[0].run("SELECT nextval('s')").await;
    running.shared().cluster.sequences_moved("postgres");
    match ask(&running, Request::Verify(VerifyScope::default())).await {
        Reply::Verified(verified) => {
            assert_eq!(verified.differences, [""; 0]);
            assert_eq!((verified.tables, verified.rows), (1, 1));
        }
        other => panic!("{other:?}"),
    }
    pair.servers[1].run("SELECT nextval('s'); UPDATE t SET a = 2").await;
    match ask(&running, Request::Verify(VerifyScope::default())).await {
        Reply::Verified(verified) => assert_eq!(verified.differences.len(), 2, "{verified:?}"),
        other => panic!("{other:?}"),
    }
    running.stop().await;
}

#[actix::test]
async fn without_the_preferred_node_a_new_cluster_waits_for_it() {
    let pair = Pair::start();
    pair.servers[0].kill();
    let running = start(&pair).await;
    assert_eq!(states(&running), [New, New]);
    pair.servers[0].start();
    assert_eq!(running.shared().cluster.leader().await, A);
    until("b was compared", async || states(&running) == [Active, Active]).await;
    running.stop().await;
}
