//! The lock between real threads, driven by a `block_on` that parks.
#![expect(clippy::disallowed_methods, reason = "threads and time are what is tested here")]

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::{CommitLock, Pass};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn shared_passes_go_together_and_an_exclusive_one_goes_alone() {
    let lock = CommitLock::new();
    let passes: Vec<Pass> = (0..3).filter_map(|_| lock.try_shared()).collect();
    assert_eq!(passes.len(), 3);
    let mut exclusive = lock.exclusive();
    assert!(poll_once(&mut exclusive).is_pending());
    drop(passes);
    let Poll::Ready(alone) = poll_once(&mut exclusive) else { panic!("the room is empty") };
    assert!(lock.try_shared().is_none());
    drop(alone);
    assert!(lock.try_shared().is_some());
}

#[test]
fn a_newcomer_does_not_pass_an_exclusive_request_that_waits() {
    let lock = CommitLock::new();
    let inside = lock.try_shared();
    let mut exclusive = lock.exclusive();
    assert!(poll_once(&mut exclusive).is_pending());
    assert!(lock.try_shared().is_none());
    assert!(poll_once(&mut lock.shared()).is_pending());
    drop(exclusive);
    assert!(lock.try_shared().is_some());
    drop(inside);
}

#[test]
fn a_request_that_was_never_polled_holds_nobody_up() {
    let lock = CommitLock::new();
    let _asked = lock.exclusive();
    assert!(lock.try_shared().is_some());
}

#[test]
fn a_request_wakes_the_task_that_polled_it_last_and_only_once() {
    let lock = CommitLock::new();
    let inside = block_on(lock.exclusive());
    let [first, last] = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    let mut request = lock.shared();
    for bell in [&first, &last] {
        let waker = Waker::from(Arc::clone(bell));
        assert!(pin!(&mut request).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(inside);
    assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 1));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 1), "no waker is kept");
    assert!(poll_once(&mut request).is_ready());
}

#[test]
fn a_pass_may_be_dropped_on_another_thread() {
    let lock = CommitLock::new();
    let pass = lock.try_shared();
    thread::scope(|scope| {
        scope.spawn(|| drop(pass));
        drop(block_on(lock.exclusive()));
    });
}

#[test]
fn threads_that_come_go_and_give_up_leave_the_lock_free_and_never_meet_an_exclusive_holder() {
    const ROUNDS: usize = 4_000;
    /// Far more than there are threads; what an exclusive holder adds to the count of those inside.
    const ALONE: usize = 1_000;

    let lock = CommitLock::new();
    let inside = AtomicUsize::new(0);
    let visit = |pass: Pass, weight: usize| {
        let before = inside.fetch_add(weight, Ordering::SeqCst);
        assert!(if weight == ALONE { before == 0 } else { before < ALONE }, "{before} inside, {weight} enters");
        thread::yield_now();
        inside.fetch_sub(weight, Ordering::SeqCst);
        drop(pass);
    };
    thread::scope(|scope| {
        for seed in 0..4 {
            let (lock, visit) = (&lock, &visit);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    match (round * 7 + seed) % 5 {
                        0 => visit(block_on(lock.exclusive()), ALONE),
                        1 => drop(poll_once(&mut lock.exclusive())),
                        2 => drop(poll_once(&mut lock.shared())),
                        3 => lock.try_shared().into_iter().for_each(|pass| visit(pass, 1)),
                        _ => visit(block_on(lock.shared()), 1),
                    }
                }
            });
        }
    });
    drop(block_on(lock.exclusive()));
}

#[test]
fn those_who_wait_enter_in_the_order_in_which_they_came() {
    let lock = CommitLock::new();
    let gate = block_on(lock.exclusive());
    let (entered, order) = mpsc::channel();
    let mut requests: Vec<_> = (0..5).map(|_| lock.exclusive()).collect();
    assert!(requests.iter_mut().all(|request| poll_once(request).is_pending()));
    thread::scope(|scope| {
        for (number, request) in requests.into_iter().enumerate() {
            let entered = entered.clone();
            scope.spawn(move || {
                let pass = block_on(request);
                entered.send(number).expect("the receiver lives");
                drop(pass);
            });
        }
        drop((gate, entered));
        assert_eq!(order.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    });
}

#[test]
#[ignore = "prints a measurement: cargo test --release -p lockstep-core commitlock -- --ignored --nocapture"]
fn cost_of_an_uncontended_shared_pass() {
    const PASSES: u32 = 10_000_000;
    let lock = CommitLock::new();
    let start = Instant::now();
    for _ in 0..PASSES {
        drop(std::hint::black_box(&lock).try_shared());
    }
    println!("{:.1} ns to take and give back a shared pass", start.elapsed().as_nanos() as f64 / f64::from(PASSES));
}
