//! `lockstep recover`: a node comes back by a copy, whatever state it was in, or is left as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_core::cluster::MemberState::{Active, Degraded};
use lockstep_core::id::NodeId;
use lockstep_runtime::cluster::{Report, Running, compare_nodes};
use lockstep_runtime::config::Config;
use lockstep_runtime::door::protocol::{Reply, Request};
use lockstep_runtime::shared::Shared;
use tokio_postgres::Client;

use crate::servers::{Pair, ask, start, start_with, states, until};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

async fn recover(running: &Running) -> Reply {
    ask(running, Request::Recover { node: "b".into() }).await
}

async fn assert_equal(pair: &Pair) {
    let found = compare_nodes(&Arc::new(pair.config()), &[A, B], &Report::nobody()).await.expect("compare");
    assert_eq!(found.differences, [""; 0]);
}

/// A proxy that has lost node b.
async fn degraded(pair: &Pair, config: Config) -> Running {
    let running = start_with(config).await;
    pair.servers[1].kill();
    until("b is out", async || states(&running) == [Active, Degraded]).await;
    running
}

#[actix::test]
async fn a_dead_node_comes_back_equal_on_its_own_port_with_its_own_settings() {
    let pair = Pair::start();
    pair.servers[1].run("ALTER SYSTEM RESET ALL").await;
    pair.on_both(
        "CREATE TABLE t (id serial, v text); CREATE UNLOGGED TABLE u (id int GENERATED ALWAYS AS IDENTITY, twice int)",
    )
    .await;
    let running = degraded(&pair, pair.config()).await;
    pair.servers[0]
        .run("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 1000); INSERT INTO u (twice) VALUES (7)")
        .await;

    let reply = recover(&running).await;
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    assert_eq!(states(&running), [Active, Active]);
    assert_equal(&pair).await;
    let b = &pair.servers[1];
    assert_eq!(b.text("SELECT count(*)::text FROM u").await, "1");
    assert_eq!(b.text("SELECT pg_is_in_recovery()::text || current_setting('primary_conninfo')").await, "false");
    assert_eq!(pair.servers[0].text("SELECT count(*)::text FROM pg_replication_slots").await, "0");
    let conf = fs::read_to_string(b.data.join("postgresql.conf")).expect("read b's settings");
    assert!(conf.contains(&format!("port = {}", b.port)) && !conf.contains("lockstep"), "b keeps its own settings");
    assert!(!b.data.with_extension("lockstep-old").exists(), "the old data is gone");
    running.stop().await;
    let running = start(&pair).await;
    assert_eq!(states(&running), [Active, Active]);
    running.stop().await;
}

#[actix::test]
async fn a_node_without_data_gets_some() {
    let pair = Pair::start();
    let running = degraded(&pair, pair.config()).await;
    fs::remove_dir_all(&pair.servers[1].data).expect("lose the data");
    let reply = recover(&running).await;
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    assert_equal(&pair).await;
    running.stop().await;
}

#[actix::test]
async fn a_running_node_that_diverged_is_replaced() {
    let pair = Pair::start();
    let running = start(&pair).await;
    pair.servers[1].run("CREATE TABLE stray (a int)").await;
    running.shared().cluster.diverged(B, "it has a table of its own".into()).await;
    let reply = recover(&running).await;
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    assert_equal(&pair).await;
    running.stop().await;
}

#[actix::test]
async fn writers_go_on_during_a_recovery_and_nothing_is_lost() {
    let pair = Pair::start();
    pair.on_both("CREATE TABLE t (id int PRIMARY KEY)").await;
    let running = degraded(&pair, pair.config()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let leader = pair.servers[0].connect().await;
    let port = pair.servers[1].port;
    let writer = actix::spawn(write(running.shared().clone(), leader, port, stop.clone()));
    let reply = recover(&running).await;
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("write");
    assert!(written > 10, "{written} rows were written");
    assert_eq!(pair.servers[1].text("SELECT count(*)::text FROM t").await, written.to_string());
    assert_equal(&pair).await;
    running.stop().await;
}

/// Writes as a session would: under the commit lock, on every active node, the leader last.
async fn write(shared: Arc<Shared>, leader: Client, follower: u16, stop: Arc<AtomicBool>) -> i32 {
    let mut row = 0;
    let mut second: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let _pass = shared.commit_lock.shared().await;
        row += 1;
        if shared.membership.load().followers().next().is_some() {
            if second.is_none() {
                second = Some(crate::servers::connect(follower).await);
            }
            let follower = second.as_ref().expect("just connected");
            follower.execute("INSERT INTO t VALUES ($1)", &[&row]).await.expect("write to the follower");
        }
        leader.execute("INSERT INTO t VALUES ($1)", &[&row]).await.expect("write to the leader");
    }
    row
}

#[actix::test]
async fn a_directory_that_is_not_postgresqls_is_left_alone() {
    let pair = Pair::start();
    let mut config = pair.config();
    let precious = config.cluster.state_dir.with_file_name("precious");
    fs::create_dir(&precious).expect("make a directory");
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o777)).expect("let postgres write");
    fs::write(precious.join("letter"), "dear").expect("write a file");
    config.nodes[1].recovery.as_mut().expect("a recovery").data_directory = precious.clone();
    let running = degraded(&pair, config).await;
    match recover(&running).await {
        Reply::Failed { message, hint } => {
            assert!(message.contains("neither empty nor PostgreSQL's"), "{message}");
            assert!(hint.is_some_and(|hint| hint.contains("lockstep recover b")));
        }
        other => panic!("{other:?}"),
    }
    assert!(precious.join("letter").exists());
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn the_data_directory_of_another_node_is_left_alone() {
    let pair = Pair::start();
    let mut config = pair.config();
    config.nodes[1].recovery.as_mut().expect("a recovery").data_directory = pair.servers[0].data.clone();
    let running = degraded(&pair, config).await;
    match recover(&running).await {
        Reply::Failed { message, .. } => assert!(message.contains("listens on port"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.servers[0].text("SELECT 'alive'").await, "alive");
    assert_eq!(states(&running), [Active, Degraded]);
    running.stop().await;
}

#[actix::test]
async fn nothing_is_touched_when_the_source_does_not_let_itself_be_copied() {
    let pair = Pair::start();
    let running = degraded(&pair, pair.config()).await;
    let hba = pair.servers[0].data.join("pg_hba.conf");
    let rules = fs::read_to_string(&hba).expect("read the rules");
    fs::write(&hba, rules.replace("replication", "nobody")).expect("write the rules");
    pair.servers[0].run("SELECT pg_reload_conf()").await;
    match recover(&running).await {
        Reply::Failed { message, .. } => assert!(message.contains("no pg_hba.conf entry for replication"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(pair.servers[1].data.join("PG_VERSION").exists());
    assert_eq!(states(&running), [Active, Degraded]);
    fs::write(&hba, rules).expect("write the rules");
    pair.servers[0].run("SELECT pg_reload_conf()").await;
    assert!(matches!(recover(&running).await, Reply::Done { .. }), "it can be run again");
    running.stop().await;
}

#[actix::test]
async fn a_failed_copy_puts_the_old_data_back() {
    let pair = Pair::start();
    let mut config = pair.config();
    let settings = config.nodes[1].recovery.as_mut().expect("a recovery");
    settings.backup = Some("touch \"$DATA/half\"; echo 'the line is cut' >&2; exit 3".into());
    let running = degraded(&pair, config).await;
    match recover(&running).await {
        Reply::Failed { message, .. } => assert!(message.contains("the line is cut"), "{message}"),
        other => panic!("{other:?}"),
    }
    let data = &pair.servers[1].data;
    assert!(data.join("PG_VERSION").exists() && !data.join("half").exists());
    assert_eq!(states(&running), [Active, Degraded]);
    pair.servers[1].start();
    running.stop().await;
}
