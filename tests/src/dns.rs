//! A name server for one name, on the loopback: it answers what it is told to, or not at all.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::chance::Chance;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
/// A response, recursion desired and available; the rest of the second byte says what has gone wrong.
const RESPONSE: [u8; 2] = [0x81, 0x80];
const SERVER_FAILURE: u8 = 2;
/// For one question.
const PACKETS_OF_NONSENSE: usize = 20;

/// What it says of every name that it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    Addresses(Vec<Ipv4Addr>),
    Nothing,
    /// That it cannot find it out.
    Failure,
    /// Packets that are broken in many ways.
    Nonsense,
}

#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub fn start(says: Says) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").expect("a port for the name server"), says)
    }

    pub fn on(socket: UdpSocket, says: Says) -> Self {
        socket.set_read_timeout(Some(LOOK)).expect("a time-out");
        let address = socket.local_addr().expect("the name server's address");
        let (says, over) = (Arc::new(Mutex::new(says)), Arc::new(AtomicBool::new(false)));
        let asked = Arc::<AtomicUsize>::default();
        let (said, ends, counted) = (says.clone(), over.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            let (mut packet, mut chance) = ([0; 512], Chance::new(53));
            while !ends.load(Ordering::Acquire) {
                let Ok((length, client)) = socket.recv_from(&mut packet) else { continue };
                let says = said.lock().expect("no test panics while it holds this").clone();
                for answer in answers(&packet[..length], &says, &mut chance) {
                    let _ = socket.send_to(&answer, client);
                }
                counted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { address, says, asked, over, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn says(&self, says: Says) {
        *self.says.lock().expect("no thread panics while it holds this") = says;
    }

    /// How many questions it has had.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

fn answers(question: &[u8], says: &Says, chance: &mut Chance) -> Vec<Vec<u8>> {
    match says {
        Says::Nothing => Vec::new(),
        Says::Addresses(addresses) => answer(question, addresses, 0).into_iter().collect(),
        Says::Failure => answer(question, &[], SERVER_FAILURE).into_iter().collect(),
        Says::Nonsense => {
            let Some(sane) = answer(question, &[Ipv4Addr::LOCALHOST; 3], 0) else { return Vec::new() };
            (0..PACKETS_OF_NONSENSE).map(|_| broken(sane.clone(), chance)).collect()
        }
    }
}

/// Its first two bytes say which question it answers: without them nobody would read on.
fn broken(mut packet: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    let mut place = |packet: &[u8]| 2 + chance.below(packet.len() as u64 - 2) as usize;
    let (cut, pointer) = (place(&packet), place(&packet));
    for _ in 0..6 {
        let (at, from) = (place(&packet), place(&packet));
        packet[at] = packet[from];
    }
    // A name that goes on at itself, or anywhere.
    packet[pointer] = 0xc0;
    if chance.one_in(2) {
        packet.truncate(cut);
    }
    packet
}

/// The layout is that of RFC 1035, section 4: the question is repeated, and each answer points to its name.
fn answer(question: &[u8], addresses: &[Ipv4Addr], failure: u8) -> Option<Vec<u8>> {
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(HEADER..HEADER + name + 4)?;
    let addresses = if asked[name..name + 2] == TYPE_A { addresses } else { &[] };
    let mut answer = question[..2].to_vec();
    // One question, so many answers.
    answer.extend_from_slice(&[RESPONSE[0], RESPONSE[1] | failure, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend_from_slice(asked);
    for address in addresses {
        // The name at offset 12, type A, class IN, to be kept for no time, four bytes.
        answer.extend_from_slice(&[0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    Some(answer)
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
