//! Nodes that live, die, diverge and come back, under a running proxy.

use std::time::Duration;

use lockstep_core::cluster::{MemberState, Verdict};
use lockstep_core::id::NodeId;
use lockstep_runtime::cluster::Running;

use lockstep_runtime::door::protocol::{Reply, Request};

use crate::servers::{Pair, ask, start, states, until};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
use MemberState::{Active, Degraded, New, Unreachable};

fn leader(running: &Running) -> Option<NodeId> {
    running.shared().membership.load().leader()
}

fn state_file(pair: &Pair) -> String {
    std::fs::read_to_string(pair.config().cluster.state_dir.join("membership.json")).expect("read the state file")
}

#[actix::test]
async fn equal_nodes_of_a_new_cluster_are_all_active() {
    let pair = Pair::start();
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Active]);
    assert_eq!(leader(&running), Some(A));
    for server in &pair.servers {
        assert_eq!(server.text("SELECT active::text FROM lockstep.lineage").await, "{a,b}");
    }
    running.stop().await;
}

#[actix::test]
async fn a_different_node_of_a_new_cluster_is_new_and_the_remedy_is_named() {
    let pair = Pair::start();
    pair.servers[0].run("CREATE TABLE only_here (a int)").await;
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, New]);
    let reason = running.shared().membership.load().member(B).reason.clone();
    assert!(reason.contains("public.only_here is on a, not on b") && reason.contains("lockstep recover b"), "{reason}");
    running.stop().await;
}

#[actix::test]
async fn a_dead_follower_is_out_and_on_disk_when_a_suspicion_is_answered() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[1].kill();
    let cluster = &running.shared().cluster;
    let (first, second) = tokio::join!(cluster.suspect(B, "reset".into()), cluster.suspect(B, "reset".into()));
    assert_eq!((first, second), (Verdict::Out, Verdict::Out));
    assert_eq!(states(&running), [Active, Degraded]);
    assert!(state_file(&pair).contains(r#""state": "degraded""#));
    assert_eq!(pair.servers[0].text("SELECT active::text FROM lockstep.lineage").await, "{a}");
    running.stop().await;
}

#[actix::test]
async fn health_finds_a_dead_node_without_anybody_asking() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[0].kill();
    until("b leads", async || leader(&running) == Some(B)).await;
    assert_eq!(states(&running), [Degraded, Active]);
    running.stop().await;
}

#[actix::test]
async fn a_broken_connection_is_not_a_dead_node() {
    let pair = Pair::start();
    let running = start(&pair).await;
    let others =
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name ~ '^lockstep'";
    assert_ne!(pair.servers[1].text(others).await, "0");
    assert_eq!(running.shared().cluster.suspect(B, "terminated".into()).await, Verdict::Alive);
    let standing = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'";
    until("the guard is back", async || pair.servers[1].text(standing).await == "1").await;
    assert_eq!(states(&running), [Active, Active]);
    running.stop().await;
}

#[actix::test]
async fn a_node_that_diverged_is_out_although_it_lives() {
    let pair = Pair::start();
    let running = start(&pair).await;
    running.shared().cluster.diverged(B, "an UPDATE found no row".into()).await;
    assert_eq!(states(&running), [Active, Degraded]);
    assert!(state_file(&pair).contains("an UPDATE found no row"));
    running.stop().await;
}

#[actix::test]
async fn only_the_last_current_node_comes_back_by_itself() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[1].kill();
    until("b is out", async || states(&running) == [Active, Degraded]).await;
    pair.servers[0].kill();
    until("a is missed", async || states(&running) == [Unreachable, Degraded]).await;
    pair.servers[1].start();
    let seen = running.shared().membership.load_full();
    pair.servers[0].start();
    let cluster = &running.shared().cluster;
    cluster.changed(&seen).await;
    assert_eq!(cluster.leader().await, A);
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn when_all_nodes_are_lost_at_once_none_is_left_behind() {
    let pair = Pair::start();
    let running = start(&pair).await;
    for server in pair.servers.iter().rev() {
        server.pause();
    }
    until("nobody serves", async || states(&running) == [Unreachable, Unreachable]).await;
    pair.servers.iter().for_each(|server| server.resume());
    until("both were compared", async || states(&running) == [Active, Active]).await;
    assert_eq!(leader(&running), Some(A));
    running.stop().await;
}

#[actix::test]
async fn the_preferred_node_follows_when_it_joins_and_leads_when_all_is_quiet() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[0].kill();
    until("b leads", async || leader(&running) == Some(B)).await;
    pair.servers[0].start();
    until("a is equal", async || matches!(ask(&running, attach_a()).await, Reply::Done { .. })).await;
    assert_eq!((states(&running), leader(&running)), (vec![Active, Active], Some(B)));
    let busy = pair.servers[1].connect().await;
    busy.batch_execute("BEGIN").await.expect("begin");
    tokio::time::timeout(Duration::from_secs(7), running.shared().cluster.changed(&running.shared().membership.load()))
        .await
        .expect_err("a transaction is open on b");
    busy.batch_execute("COMMIT").await.expect("commit");
    until("a leads", async || leader(&running) == Some(A)).await;
    running.stop().await;
}

fn attach_a() -> Request {
    Request::Attach { node: "a".into() }
}

#[actix::test]
async fn a_takeover_moves_marked_sequences_past_what_was_given_out() {
    let pair = Pair::start();
    pair.on_both("CREATE SEQUENCE s; CREATE SEQUENCE down INCREMENT -1; CREATE SEQUENCE small MAXVALUE 50").await;
    let running = start(&pair).await;
    pair.servers[0].run("SELECT nextval('s'), nextval('down'), nextval('small')").await;
    running.shared().cluster.sequences_moved("postgres");
    pair.servers[0].kill();
    until("b leads", async || leader(&running) == Some(B)).await;
    let next = pair.servers[1]
        .text("SELECT concat_ws(' ', nextval('s') > 1000, nextval('down') < -1000, nextval('small') > 20)");
    assert_eq!(next.await, "t t t");
    running.stop().await;
}

#[actix::test]
async fn marked_sequences_are_level_soon_after() {
    let pair = Pair::start();
    pair.on_both("CREATE SEQUENCE s").await;
    let running = start(&pair).await;
    let position = "SELECT concat_ws(' ', last_value, is_called) FROM s";
    for (moved, expected) in [("SELECT nextval('s'), nextval('s')", "2 t"), ("SELECT setval('s', 1, false)", "1 f")] {
        pair.servers[0].run(moved).await;
        running.shared().cluster.sequences_moved("postgres");
        until("b's sequence is level", async || pair.servers[1].text(position).await == expected).await;
    }
    running.stop().await;
}
