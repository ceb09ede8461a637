//! The actor on a node that behaves as it is told.

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;

use lockstep_core::cluster::Member;
use lockstep_core::cluster::health::{Death, Observation};
use lockstep_core::id::Epoch;
use tokio::sync::watch;

use super::*;
use crate::cluster::Command;

/// What the next attempts meet; when there is nothing more, the node answers.
#[derive(Default)]
struct Script {
    standing: StdMutex<VecDeque<Turn>>,
    fresh: StdMutex<VecDeque<Turn>>,
}

enum Turn {
    Sees(Observation),
    Panics,
}

fn play(turns: &StdMutex<VecDeque<Turn>>) -> Observation {
    let turn = turns.lock().unwrap().pop_front();
    match turn {
        Some(Turn::Sees(seen)) => seen,
        Some(Turn::Panics) => panic!("as the script says"),
        None => Observation::Answered,
    }
}

impl Probe for Script {
    async fn standing(&self) -> Observation {
        play(&self.standing)
    }

    async fn fresh(&self, _: bool) -> Observation {
        play(&self.fresh)
    }

    async fn rest(&self) {}
}

const NODE: NodeId = NodeId(0);

struct Stage {
    script: Arc<Script>,
    handle: NodeHandle,
    reports: mpsc::Receiver<Command>,
    _guardian: Guardian,
}

fn stage(standing: Vec<Turn>, fresh: Vec<Turn>) -> Stage {
    let member = Member {
        name: "a".into(),
        address: String::new(),
        weight: 1,
        state: MemberState::Active,
        reason: String::new(),
        since: 0,
    };
    let membership = Arc::new(Membership { epoch: Epoch(1), members: vec![member], leading: Some(NODE) });
    let (cluster, reports) = ClusterClient::new(watch::Sender::new(membership.clone()).subscribe(), Arc::default());
    let health = LiveHealth::new(crate::config::Health {
        interval: Duration::from_millis(5),
        timeout: Duration::from_secs(1),
        retries: 2,
        disk_timeout: Duration::from_secs(10),
        lock_timeout: Duration::from_secs(5),
        strangers: lockstep_core::unit::stall::Strangers::End,
    });
    let membership = Arc::new(ArcSwap::new(membership));
    let surroundings = Surroundings { node: NODE, health, membership, pulses: Arc::default(), cluster };
    let script = Arc::new(Script { standing: StdMutex::new(standing.into()), fresh: StdMutex::new(fresh.into()) });
    let (handle, guardian) = start(&actix::Arbiter::current(), surroundings, script.clone());
    Stage { script, handle, reports, _guardian: guardian }
}

fn silent() -> Turn {
    Turn::Sees(Observation::Silent("reset".into()))
}

fn refused() -> Turn {
    Turn::Sees(Observation::Down("refused".into()))
}

#[actix::test]
async fn a_killed_socket_is_a_redial() {
    let stage = stage(vec![silent()], vec![]);
    while !stage.script.standing.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.handle.judge().await, Some(Judgement::Alive));
    assert!(stage.reports.is_empty(), "nobody is told of a broken connection");
}

#[actix::test]
async fn silence_of_the_standing_connection_and_of_a_login_is_death() {
    let mut stage = stage(vec![silent()], vec![silent()]);
    assert!(matches!(stage.reports.recv().await, Some(Command::Judged { node: NODE, judgement: Judgement::Dead(_) })));
}

#[actix::test]
async fn a_panic_in_the_actor_ends_in_a_judgement_all_the_same() {
    let mut stage = stage(vec![Turn::Panics, Turn::Panics], vec![refused()]);
    assert!(matches!(stage.reports.recv().await, Some(Command::Judged { judgement: Judgement::Dead(_), .. })));
}

#[actix::test]
async fn whoever_asked_an_actor_that_failed_is_told_to_ask_again() {
    let stage = stage(vec![], vec![Turn::Panics]);
    assert_eq!(stage.handle.judge().await, None);
    assert_eq!(stage.handle.judge().await, Some(Judgement::Alive));
}

#[actix::test]
async fn askers_at_the_same_time_share_one_look() {
    let stage = stage(vec![], vec![refused()]);
    let (first, second) = tokio::join!(stage.handle.judge(), stage.handle.judge());
    assert_eq!(first, Some(Judgement::Dead(Death::Gone("refused".into()))));
    assert_eq!(first, second);
}
