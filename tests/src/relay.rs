//! A wire between two programs, with what happens to wires: delay each way, a cut, silence, noise.
//!
//! Each direction of a connection has a reader, which stamps what arrived with the time at which it is due, and a writer,
//! which waits for that time: a delay adds to latency and leaves throughput alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::tap::{Ear, Tap};

/// Chunks under way in one direction; beyond that the sender is held back, as by a full window.
const IN_FLIGHT: usize = 1024;

/// Which way bytes go: `Up` to the server, `Down` to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

#[derive(Debug)]
struct State {
    up: RangeInclusive<Duration>,
    down: RangeInclusive<Duration>,
    /// Nothing is passed on, and nothing is closed.
    hung: bool,
    /// New connections are closed at once.
    cut: bool,
    /// After so many, new connections stand open and nobody is there.
    lets_in: Option<usize>,
    /// What the server says arrives as nonsense.
    garbled: bool,
    stopped: bool,
    open: Vec<TcpStream>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of a relay panics")
    }
}

/// Listens beside one server and passes on to it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay to `target`, without delay at first.
    pub fn to(target: String) -> Self {
        Self::heard_by(None, target)
    }

    /// A relay to the node at this position, whose connections are listened to.
    pub fn tapped(target: String, tap: Tap, node: usize) -> Self {
        Self::heard_by(Some((tap, node)), target)
    }

    fn heard_by(tap: Option<(Tap, usize)>, target: String) -> Self {
        // At another address of this machine, but on the server's own port: a recovery starts the server on that.
        let port = target.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let beside = |port: u16| TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port));
        let listener = beside(port).or_else(|_| beside(0)).expect("listen for a relay");
        let address = listener.local_addr().expect("its address");
        let none = Duration::ZERO..=Duration::ZERO;
        let state = State {
            up: none.clone(),
            down: none,
            hung: false,
            cut: false,
            lets_in: None,
            garbled: false,
            stopped: false,
            open: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &target, tap.as_ref(), &accepting));
        Self { address, shared }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same delay each way, for what arrives from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.set_delays(delay..=delay, delay..=delay);
    }

    /// Each chunk takes a time from the range of its way; chunks never overtake each other.
    pub fn set_delays(&self, up: RangeInclusive<Duration>, down: RangeInclusive<Duration>) {
        let mut state = self.shared.state();
        (state.up, state.down) = (up, down);
    }

    /// Closes every connection and refuses new ones until [`Relay::mend`].
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.cut = true;
        close(&mut state);
    }

    /// Closes the connections that are open now; new ones work.
    pub fn reset_connections(&self) {
        close(&mut self.shared.state());
    }

    /// Lets nothing through, while every connection looks open; until [`Relay::mend`].
    pub fn hang(&self) {
        self.shared.state().hung = true;
    }

    /// Lets so many more in, and those who come later hear nothing, while all that are open go on; until [`Relay::mend`].
    pub fn let_in(&self, connections: usize) {
        self.shared.state().lets_in = Some(connections);
    }

    /// Turns what the server says into nonsense until [`Relay::mend`].
    pub fn garble(&self) {
        self.shared.state().garbled = true;
    }

    pub fn mend(&self) {
        let mut state = self.shared.state();
        (state.cut, state.hung, state.garbled, state.lets_in) = (false, false, false, None);
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopped = true;
        close(&mut state);
        drop(state);
        self.shared.changed.notify_all();
        // The acceptor looks at `stopped` when it is woken by a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn close(state: &mut State) {
    for stream in state.open.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, target: &str, tap: Option<&(Tap, usize)>, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let mut state = shared.state();
        if state.stopped {
            return;
        }
        if state.cut {
            continue;
        }
        if let Some(left) = state.lets_in.as_mut() {
            if *left == 0 {
                state.open.push(client);
                continue;
            }
            *left -= 1;
        }
        let Ok(server) = TcpStream::connect(target) else { continue };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            state.open.extend(stream.try_clone());
        }
        drop(state);
        let ear = tap.map(|(tap, node)| tap.connection(*node));
        pump(&client, &server, Way::Up, ear.clone(), shared);
        pump(&server, &client, Way::Down, ear, shared);
    }
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    /// The tap's clock reading that travels with it.
    reading: usize,
}

fn pump(from: &TcpStream, to: &TcpStream, way: Way, ear: Option<Ear>, shared: &Arc<Shared>) {
    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
    let (sender, receiver) = sync_channel(IN_FLIGHT);
    let (reading, writing) = (Arc::clone(shared), Arc::clone(shared));
    let listening = ear.clone();
    std::thread::spawn(move || read(from, way, &sender, listening.as_ref(), &reading));
    std::thread::spawn(move || write(to, way, &receiver, ear.as_ref(), &writing));
}

fn read(mut from: TcpStream, way: Way, sender: &SyncSender<Chunk>, ear: Option<&Ear>, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let mut bytes = buffer[..count].to_vec();
        let reading = ear.map_or(0, |ear| if way == Way::Up { ear.sent(&bytes) } else { ear.answered() });
        if way == Way::Down && shared.state().garbled {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        let chunk = Chunk { due: Instant::now() + delay(way, shared), bytes, reading };
        if sender.send(chunk).is_err() {
            return;
        }
    }
}

fn delay(way: Way, shared: &Shared) -> Duration {
    let state = shared.state();
    let range = if way == Way::Up { &state.up } else { &state.down };
    let spread = range.end().saturating_sub(*range.start());
    range.start().saturating_add(spread.mul_f64(f64::from(random_byte()) / 255.0))
}

fn random_byte() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("random bytes of the system");
    byte[0]
}

/// Ends when the reader has ended and all that it read is written; then the other side learns of the end.
fn write(mut to: TcpStream, way: Way, receiver: &Receiver<Chunk>, ear: Option<&Ear>, shared: &Shared) {
    while let Ok(chunk) = receiver.recv() {
        std::thread::sleep(chunk.due.saturating_duration_since(Instant::now()));
        let state = shared.state();
        drop(shared.changed.wait_while(state, |state| state.hung && !state.stopped));
        match (ear, way) {
            (Some(ear), Way::Up) => ear.delivered(chunk.reading),
            (Some(ear), Way::Down) => ear.heard(chunk.reading),
            (None, _) => {}
        }
        if to.write_all(&chunk.bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
