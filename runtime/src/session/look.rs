//! A unit's look at the commits in flight before its batches go out ([`lockstep_core::inflight`]), and what others see of it
//! when they look.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use lockstep_core::inflight::Flight;
use lockstep_core::limits;
use lockstep_core::session::CommitNumber;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::drive::Driver;

/// A connection as somebody sees it who does not read from it. It stays open as long as this is kept.
#[derive(Debug, Clone)]
pub enum Lookout {
    Tcp(Arc<tcp::OwnedWriteHalf>),
    Unix(Arc<unix::OwnedWriteHalf>),
}

impl Lookout {
    /// Whether nothing has come that was not read yet, not even the end.
    ///
    /// By a peek and not by poll(2): what comes while another thread is in a call on the socket is put aside by the kernel,
    /// and only who takes the socket's lock is sure to see it.
    fn is_quiet(&self) -> bool {
        let mut first = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Tcp(half) => SockRef::from(AsRef::<TcpStream>::as_ref(&**half)).peek(&mut first),
            Self::Unix(half) => SockRef::from(AsRef::<UnixStream>::as_ref(&**half)).peek(&mut first),
        };
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Takes all that has come, whether the reactor knows of it yet or not, up to a bound.
    pub(super) fn take(&self, into: &mut BytesMut) {
        let mut piece = [0; 4096];
        while into.len() < limits::LOG_IN_MEMORY {
            let taken = match self {
                Self::Tcp(half) => (&*SockRef::from(AsRef::<TcpStream>::as_ref(&**half))).read(&mut piece),
                Self::Unix(half) => (&*SockRef::from(AsRef::<UnixStream>::as_ref(&**half))).read(&mut piece),
            };
            match taken {
                Ok(0) | Err(_) => return,
                Ok(length) => into.extend_from_slice(&piece[..length]),
            }
        }
    }
}

impl Driver {
    /// The unit is about to send its batches.
    pub(super) fn enter_flight(&mut self, of: CommitNumber) {
        let Some(leader) = &self.leader else { return };
        let trusted = self.session.trusts_leader();
        self.held.flight = Some(self.server.shared().in_flight.enter(leader.peer.lookout(), trusted));
        self.busy = !trusted;
        self.looks = Some(of);
        let _ = self.poll_look(&mut Context::from_waker(Waker::noop()));
    }

    /// Goes on with the unit when it is clear.
    pub(super) fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Some(of), Some(flight)) = (self.looks, self.held.flight.as_ref()) else { return Poll::Pending };
        ready!(flight.poll_clear(context, Lookout::is_quiet));
        self.looks = None;
        let membership = self.server.shared().membership.load_full();
        if let Some(answers) = self.session.answers(of) {
            answers.clear(&membership);
        }
        Poll::Ready(())
    }

    /// Something is about to be taken off the leader's connection, or it is lost: others wait for what comes of it.
    pub(super) fn be_busy(&mut self) {
        self.busy = true;
        self.held.flight.iter().for_each(Flight::busy);
    }

    /// What was taken has been worked off.
    pub(super) fn be_trusted(&mut self) {
        if self.busy && self.session.trusts_leader() {
            self.busy = false;
            self.held.flight.iter().for_each(Flight::trusted);
        }
    }
}
