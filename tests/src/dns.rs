//! A name server for one name, on the loopback: it answers what it is told to, or not at all.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// What it says of every name that it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    Addresses(Vec<Ipv4Addr>),
    Nothing,
}

#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port for the name server");
        socket.set_read_timeout(Some(LOOK)).expect("a time-out");
        let address = socket.local_addr().expect("the name server's address");
        let (says, over) = (Arc::new(Mutex::new(says)), Arc::new(AtomicBool::new(false)));
        let (said, ends) = (says.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 512];
            while !ends.load(Ordering::Acquire) {
                let Ok((length, client)) = socket.recv_from(&mut packet) else { continue };
                let says = said.lock().expect("no test panics while it holds this").clone();
                if let Some(answer) = answer(&packet[..length], &says) {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { address, says, over, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn says(&self, says: Says) {
        *self.says.lock().expect("no thread panics while it holds this") = says;
    }
}

/// The layout is that of RFC 1035, section 4: the question is repeated, and each answer points to its name.
fn answer(question: &[u8], says: &Says) -> Option<Vec<u8>> {
    let Says::Addresses(addresses) = says else { return None };
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(HEADER..HEADER + name + 4)?;
    let addresses = if asked[name..name + 2] == TYPE_A { &addresses[..] } else { &[] };
    let mut answer = question[..2].to_vec();
    // A response, recursion desired and available, no error; one question, so many answers.
    answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
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
