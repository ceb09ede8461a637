//! The registry by hand, and between real threads.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread;

use super::{Flight, InFlight};

/// A connection on which something may be there to be read.
type Wire = Rc<Cell<bool>>;

fn quiet() -> Wire {
    Wire::default()
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks once; whether it is clear, and the bell that is rung when it is worth looking again.
fn look(flight: &Flight<Wire>) -> (bool, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    (flight.poll_clear(&Context::from_waker(&waker), |wire| !wire.get()).is_ready(), bell)
}

fn rings(bell: &Bell) -> usize {
    bell.0.load(Ordering::Relaxed)
}

#[test]
fn a_commit_goes_on_while_all_connections_are_quiet() {
    let registry = InFlight::new();
    let [one, other] = [quiet(), quiet()].map(|wire| registry.enter(wire, true));
    assert!(look(&one).0 && look(&other).0);
}

#[test]
fn everybody_waits_while_one_connection_is_not_quiet_its_owner_too() {
    let registry = InFlight::new();
    let wire = quiet();
    let [one, other] = [quiet(), wire.clone()].map(|wire| registry.enter(wire, true));
    wire.set(true);
    assert!(!look(&one).0 && !look(&other).0);
}

#[test]
fn one_who_is_busy_is_waited_for_until_he_is_trusted_again() {
    let registry = InFlight::new();
    let [one, other] = [quiet(), quiet()].map(|wire| registry.enter(wire, true));
    other.busy();
    let (clear, bell) = look(&one);
    assert!(!clear && rings(&bell) == 0);
    other.trusted();
    assert_eq!(rings(&bell), 1);
    assert!(look(&one).0);
}

#[test]
fn one_who_enters_with_a_last_word_in_his_hand_is_not_trusted() {
    let registry = InFlight::new();
    let flight = registry.enter(quiet(), false);
    assert!(!look(&flight).0);
    flight.trusted();
    assert!(look(&flight).0);
}

#[test]
fn one_who_has_lost_his_leader_is_waited_for_until_he_has_left() {
    let registry = InFlight::new();
    let [one, other] = [quiet(), quiet()].map(|wire| registry.enter(wire, true));
    other.busy();
    let (clear, bell) = look(&one);
    assert!(!clear);
    drop(other);
    assert_eq!(rings(&bell), 1);
    assert!(look(&one).0);
}

#[test]
fn one_who_waits_for_his_own_connection_looks_again_when_it_was_read() {
    let registry = InFlight::new();
    let wire = quiet();
    let flight = registry.enter(wire.clone(), true);
    wire.set(true);
    let (clear, bell) = look(&flight);
    assert!(!clear);
    flight.busy();
    wire.set(false);
    flight.trusted();
    assert_eq!(rings(&bell), 1);
    assert!(look(&flight).0);
}

#[test]
fn the_connection_is_let_go_of_when_its_commit_leaves() {
    let registry = InFlight::new();
    let wire = quiet();
    drop(registry.enter(wire.clone(), true));
    assert_eq!(Rc::strong_count(&wire), 1);
}

/// Of all who run, each owner of a row is ended once while another takes the row: with real threads, and a mutex that
/// stands for the kernel's lock of each socket.
#[test]
fn between_threads_too_nobody_sends_beside_one_who_was_ended_and_has_sent() {
    const ROUNDS: usize = 3_000;
    type Socket = Arc<Mutex<bool>>;
    let look = |flight: &Flight<Socket>| {
        let is_quiet = |socket: &Socket| !*socket.lock().unwrap_or_else(PoisonError::into_inner);
        flight.poll_clear(&Context::from_waker(Waker::noop()), is_quiet).is_ready()
    };
    for _ in 0..ROUNDS {
        let (registry, socket) = (InFlight::new(), Socket::default());
        thread::scope(|scope| {
            let ended = scope.spawn(|| {
                let flight = registry.enter(socket.clone(), true);
                let sends = look(&flight);
                (flight, sends)
            });
            *socket.lock().unwrap_or_else(PoisonError::into_inner) = true;
            let flight = registry.enter(Socket::default(), true);
            let sends = look(&flight);
            let (_settles_later, has_sent) = ended.join().expect("it does not panic");
            assert!(!(sends && has_sent));
        });
    }
}
