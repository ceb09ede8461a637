//! How a session's driver waits: for all that may happen to it at once, and for one thing at a time.
//!
//! By hand and not by `select!`, for this is where a session spends its life: nothing is made, queued and dropped again for
//! each source at each wait.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::drive::Driver;
use super::peer::Read;

/// How long a client that does not take what it is sent may keep us, when the proxy stops.
const DEAF: Duration = Duration::from_secs(5);

impl Driver {
    /// Waits until something happens, and tells the core.
    pub(super) async fn wait(&mut self) {
        self.mind_idleness();
        self.mind_deafness();
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(Some(event)) =
            self.pending.poll(context, |pending, context| pending.poll_next_unpin(context))
        {
            self.happened(event);
            return Poll::Ready(());
        }
        if self.poll_leader(context).is_ready()
            || self.poll_client(context).is_ready()
            || self.poll_room(context).is_ready()
            || self.poll_look(context).is_ready()
        {
            return Poll::Ready(());
        }
        if let Some(until) = &mut self.idle_until
            && until.as_mut().poll(context).is_ready()
        {
            self.idle_until = None;
            self.session.idled_too_long();
            return Poll::Ready(());
        }
        if let Some(until) = &mut self.deaf_until
            && until.as_mut().poll(context).is_ready()
        {
            self.deaf_until = None;
            tracing::warn!(after = ?DEAF, "a client that takes nothing is cut off, for the proxy stops");
            self.client_gone();
            return Poll::Ready(());
        }
        if let Poll::Ready(Some(control)) = self.inbox.poll(context, mpsc::Receiver::poll_recv) {
            self.control(control);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Its time begins when it is the client's turn in an open transaction, and ends when that has sent a whole message.
    fn mind_idleness(&mut self) {
        if !self.session.idles_in_transaction() {
            self.idle_until = None;
        } else if self.idle_until.is_none()
            && let Some(limit) = self.server.config().limits.now().idle_in_transaction_timeout
        {
            self.idle_until = Some(Box::pin(tokio::time::sleep(limit)));
        }
    }

    /// Its time begins anew with all that the client takes.
    fn mind_deafness(&mut self) {
        if !self.waits_for_client_to_leave() {
            self.deaf_until = None;
        } else if self.deaf_until.is_none() {
            self.deaf_until = Some(Box::pin(tokio::time::sleep(DEAF)));
        }
    }

    fn poll_leader(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.held.flight.is_some() && !self.busy {
            // Bytes are taken only under the eyes of others.
            let Some(leader) = &self.leader else { return Poll::Pending };
            if ready!(leader.peer.poll_readable(context)).is_ok() {
                self.be_busy();
            }
        }
        let Some(leader) = self.leader.as_mut().filter(|_| self.session.wants_leader()) else { return Poll::Pending };
        let Poll::Ready(read) = leader.peer.poll_read(context, &mut self.session.leader_in) else {
            self.be_trusted();
            return Poll::Pending;
        };
        match read {
            Ok(Read::Some) => {}
            Ok(Read::End) => self.leader_ended(),
            Err(error) => self.leader_lost(error.to_string()),
        }
        Poll::Ready(())
    }

    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.client_open || !self.session.wants_client() {
            return Poll::Pending;
        }
        match ready!(self.client.poll_read(context, &mut self.session.client_in)) {
            Ok(Read::Some) => {}
            Ok(Read::End) | Err(_) => self.client_gone(),
        }
        Poll::Ready(())
    }

    /// Whether something that could not be written can be now.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.session.to_leader().is_some()
            && let Some(leader) = &self.leader
            && let Poll::Ready(room) = leader.peer.poll_writable(context)
        {
            if let Err(error) = room {
                self.leader_lost(error.to_string());
            }
            return Poll::Ready(());
        }
        if self.client_open
            && !self.session.client_out.is_empty()
            && let Poll::Ready(room) = self.client.poll_writable(context)
        {
            if room.is_err() {
                self.client_gone();
            }
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
