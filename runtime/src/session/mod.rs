//! Sessions: one actor for each client.
//!
//! The actor owns the client's socket and the leader connection, and borrows follower connections of its arbiter's pool at
//! commit. Its mailbox carries control only (cancel, drain); bytes never cross a mailbox. It is not supervised: when it
//! ends, its client's connection ends.
//!
//! | file | |
//! | --- | --- |
//! | `login` | from the first byte to a session |
//! | `drive`, `wait`, `leave` | the driver: turn, flush, wait; and its end |
//! | `perform` | what the core wants done, and what comes of it |
//! | `oncall` | what seldom has anything |
//! | `peer` | one socket |
//! | `look` | whether anybody's leader connection has something to say |
//! | `link` | a node connection |
//! | `pool`, `exchange` | follower connections, and one batch on one of them |
//! | `ahead` | a batch that followers play before the commit lock is taken |
//! | `watchdog` | a batch that a follower does not answer |
//! | `beat` | when it is time to look |
//! | `commands` | which backends run commands outside transactions |
//! | `reattach` | what a DETACH has left that failed halfway |
//! | `spill` | the file of a large unit |
//! | `local` | what the sessions of one arbiter share |

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use lockstep_core::fault::{Fault, SqlState};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::server::Server;

mod ahead;
mod beat;
mod commands;
mod drive;
mod exchange;
mod leave;
pub(crate) mod link;
mod local;
mod login;
mod look;
mod oncall;
mod peer;
mod perform;
mod pool;
mod reattach;
mod spill;
mod wait;
mod watchdog;

pub use commands::Commands;
pub use local::{beat, vacate};
pub use look::Lookout;
pub use peer::StdPeer;

use drive::Driver;
use local::Local;
use login::{Arrival, arrive};

/// What others may ask of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Control {
    /// Cancel the statement that runs.
    Cancel,
    /// End as soon as no transaction is open.
    Drain,
    /// End, whatever is open; a commit that is under way is finished first.
    End,
}

/// Asks that wait; more are dropped, for a session needs no more than to be asked once.
const CONTROLS: usize = 4;

pub struct SessionActor {
    socket: Option<StdPeer>,
    server: Arc<Server>,
    controls: mpsc::Sender<Control>,
    inbox: Option<mpsc::Receiver<Control>>,
    /// Its place among all connections of clients, logged in or not.
    _place: OwnedSemaphorePermit,
}

impl SessionActor {
    pub fn new(socket: StdPeer, server: Arc<Server>, place: OwnedSemaphorePermit) -> Self {
        let (controls, inbox) = mpsc::channel(CONTROLS);
        Self { socket: Some(socket), server, controls, inbox: Some(inbox), _place: place }
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (Some(socket), Some(inbox)) = (self.socket.take(), self.inbox.take()) else { return ctx.stop() };
        // A task of its own, so that the actor is not woken for every message of the client's; it ends with it, whatever
        // ended it.
        let life = tokio::task::spawn_local(live(socket, self.server.clone(), inbox, ctx.address()));
        ctx.spawn(life.into_actor(self).map(|_, _, ctx| ctx.stop()));
    }
}

impl Handler<Control> for SessionActor {
    type Result = ();

    fn handle(&mut self, control: Control, _: &mut Self::Context) {
        // A full inbox holds the same already.
        let _ = self.controls.try_send(control);
    }
}

async fn live(
    socket: StdPeer,
    server: Arc<Server>,
    inbox: mpsc::Receiver<Control>,
    address: actix::Addr<SessionActor>,
) {
    let local = Local::of_this_thread();
    let Ok(peer) = socket.register() else { return };
    match arrive(peer, &server, &local).await {
        Arrival::Over => {}
        Arrival::Cancel { pid, key } => {
            if let Some(session) = server.by_cancel_key(pid, key) {
                session.do_send(Control::Cancel);
            }
        }
        Arrival::Session(logged_in) => {
            let id = server.new_session();
            let key = (logged_in.link.pid, logged_in.link.cancel_key.clone());
            server.enter(id, key.clone(), address);
            let _left = Leaving { server: &server, id, key };
            Box::pin(Driver::new(id, *logged_in, server.clone(), local, inbox).run()).await;
        }
    }
}

/// Takes a session off the lists however it ends.
struct Leaving<'a> {
    server: &'a Server,
    id: lockstep_core::id::SessionId,
    key: (u32, bytes::Bytes),
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.server.leave(self.id, &self.key);
    }
}

/// What a client is told when the proxy stops, or the service has gone elsewhere.
fn ended(server: &Server) -> Fault {
    let why = server.shared().intake.elsewhere();
    Fault::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        .with_detail(why.unwrap_or_else(|| "Lockstep is being stopped.".into()))
}
