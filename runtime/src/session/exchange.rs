//! One batch on one follower connection: written while the answer is read, so that neither side waits for the other.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use lockstep_core::unit::Batch;
use lockstep_core::unit::batch::{Answer, BatchResult};

use super::peer::Read;
use super::pool::Follower;
use super::spill::Spill;

/// How a batch ended, with the connection if it can be used again.
pub enum Exchanged {
    Answered(BatchResult, Option<Box<Follower>>),
    /// The connection broke before the answer, without a word from the server.
    Broken(String),
    /// It is not waited for any longer.
    Stuck(String),
}

/// Bytes of the spilled part that are read at a time.
const PIECE: usize = 256 << 10;

pub async fn exchange(mut follower: Follower, batch: Batch, spill: Option<Rc<Spill>>) -> Exchanged {
    let mut answer = Answer::default();
    match run(&mut follower, &batch, spill.as_deref(), &mut answer).await {
        Ok(BatchResult::Committed) => {
            follower.known.extend(batch.templates());
            Exchanged::Answered(BatchResult::Committed, Some(Box::new(follower)))
        }
        Ok(refused) => Exchanged::Answered(refused, None),
        Err(why) => match answer.last_word() {
            Some(word) => Exchanged::Answered(word, None),
            None => Exchanged::Broken(why),
        },
    }
}

async fn run(
    follower: &mut Follower,
    batch: &Batch,
    spill: Option<&Spill>,
    answer: &mut Answer,
) -> Result<BatchResult, String> {
    let mut out = batch.head(&follower.known);
    let mut source = Source { batch, spill, at: 0, ended: false };
    let mut input = std::mem::take(&mut follower.link.rest);
    let peer = &mut follower.link.peer;
    loop {
        while !source.ended && out.len() < PIECE {
            source.more(&mut out).map_err(|e| format!("the unit's effects cannot be read back: {e}"))?;
        }
        peer.write(&mut out).map_err(|e| e.to_string())?;
        if out.is_empty() && !source.ended {
            // A socket that takes everything must not keep the other sessions of this arbiter waiting.
            tokio::task::yield_now().await;
            continue;
        }
        let writes = !out.is_empty();
        let read = poll_fn(|context| match peer.poll_read(context, &mut input) {
            Poll::Pending if writes => peer.poll_writable(context).map_ok(|()| Read::Some),
            read => read,
        });
        let read = read.await.map_err(|e| e.to_string())?;
        if let Some(result) = answer.feed(&mut input).map_err(|e| e.to_string())? {
            return Ok(result);
        }
        if read == Read::End {
            return Err("it closed the connection".into());
        }
    }
}

/// What is still to be sent: the spilled part, the rest of the log, the end.
struct Source<'a> {
    batch: &'a Batch,
    spill: Option<&'a Spill>,
    at: u64,
    ended: bool,
}

impl Source<'_> {
    fn more(&mut self, out: &mut BytesMut) -> io::Result<()> {
        if self.at < self.batch.spilled() {
            let spill = self.spill.ok_or(io::ErrorKind::NotFound)?;
            let length = (self.batch.spilled() - self.at).min(PIECE as u64) as usize;
            spill.read(self.at, length, out)?;
            self.at += length as u64;
            return Ok(());
        }
        out.extend_from_slice(self.batch.tail());
        out.extend_from_slice(&self.batch.end());
        self.ended = true;
        Ok(())
    }
}
