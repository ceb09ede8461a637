//! Supervision: a worker is an actor whose life is one future; when that ends or panics, it is made anew.
//!
//! actix' own supervisor neither survives a panic nor waits between restarts. Here the future runs as a task of its own,
//! so that a panic in it ends that task and nothing else; the actor notices, waits longer each time, and starts it again.
//! What a worker must not lose (its inbox) lives outside the future, in whatever `make` captures.

use std::any::Any;
use std::pin::Pin;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervisor,
    WrapFuture,
};
use tokio::task::{AbortHandle, JoinError};

use crate::clock;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A worker that has lived this long has recovered: the next failure counts as its first.
const SETTLED: Duration = Duration::from_secs(30);

pub type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Makes a worker's future; called on the worker's arbiter at every start.
pub type Make = Box<dyn FnMut() -> Life + Send>;

/// Keeps the worker alive; dropping it ends the worker where it stands, and its supervisor with it.
#[derive(Debug)]
pub struct Guardian {
    worker: Addr<Worker>,
}

impl Guardian {
    /// Starts a worker on `arbiter`.
    pub fn start(arbiter: &ArbiterHandle, name: String, make: Make) -> Self {
        let worker = Worker { name, make, failures: 0, running: None, halted: false };
        Self { worker: Supervisor::start_in_arbiter(arbiter, move |_| worker) }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.worker.do_send(Halt);
    }
}

struct Worker {
    name: String,
    make: Make,
    failures: u32,
    running: Option<AbortHandle>,
    halted: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Halt;

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.halted {
            return;
        }
        let pause = pause(self.failures);
        let life = (self.make)();
        let begun = clock::now();
        let task = actix::spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            life.await;
        });
        self.running = Some(task.abort_handle());
        ctx.spawn(task.into_actor(self).map(move |outcome, worker, ctx| {
            worker.ended(outcome, begun.elapsed());
            ctx.stop();
        }));
    }
}

impl actix::Supervised for Worker {
    /// Every field is as it should be for [`Actor::started`], which comes next.
    fn restarting(&mut self, _: &mut Self::Context) {}
}

impl Handler<Halt> for Worker {
    type Result = ();

    fn handle(&mut self, _: Halt, ctx: &mut Self::Context) {
        self.halted = true;
        if let Some(running) = self.running.take() {
            running.abort();
        }
        ctx.stop();
    }
}

impl Worker {
    fn ended(&mut self, outcome: Result<(), JoinError>, lived: Duration) {
        self.failures = if lived > SETTLED { 1 } else { self.failures.saturating_add(1) };
        let why = match outcome {
            Ok(()) => "it ended".to_owned(),
            Err(error) if error.is_panic() => panic_text(error.into_panic()),
            Err(error) => error.to_string(),
        };
        tracing::error!(worker = self.name, failures = self.failures, why, "a worker failed; it is started again");
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_PAUSE),
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map_or_else(|_| "it panicked".to_owned(), |text| text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[actix::test]
    async fn a_worker_that_panics_is_started_again_and_its_inbox_is_kept() {
        let (send, receive) = mpsc::channel::<u32>(4);
        let (answer, mut answers) = mpsc::channel(4);
        let inbox = std::sync::Arc::new(tokio::sync::Mutex::new(receive));
        let make: Make = Box::new(move || {
            let (inbox, answer) = (inbox.clone(), answer.clone());
            Box::pin(async move {
                while let Some(n) = inbox.lock().await.recv().await {
                    assert_ne!(n, 13, "thirteen");
                    answer.send(n).await.unwrap();
                }
            })
        });
        let guardian = Guardian::start(&actix::Arbiter::current(), "test".into(), make);
        for n in [1, 13, 2] {
            send.send(n).await.unwrap();
        }
        assert_eq!(answers.recv().await, Some(1));
        assert_eq!(answers.recv().await, Some(2));
        drop(guardian);
        assert_eq!(answers.recv().await, None, "a halted worker lets go of what it held");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(pause(0), Duration::ZERO);
        assert!(pause(1) < pause(2));
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
