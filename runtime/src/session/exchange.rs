//! One batch on one follower connection: written while the answer is read, so that neither side waits for the other.
//!
//! At once, or in two parts ([`play_ahead`](super::ahead)): all of it but the COMMIT, and that.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use lockstep_core::effect::TemplateId;
use lockstep_core::unit::Batch;
use lockstep_core::unit::batch::{Answer, AnswerFault, BatchResult};

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
    let part = if std::mem::take(&mut follower.open) { Part::Commit } else { Part::Whole };
    let source = Source::new(&batch, part, spill.as_deref());
    match run(&mut follower, source, |input| answer.feed(input)).await {
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

/// Plays the batch up to its COMMIT: whether all of it was done.
pub async fn ahead(follower: &mut Follower, batch: &Batch, spill: Option<&Spill>) -> Result<bool, String> {
    let mut answer = Answer::default();
    let played = run(follower, Source::new(batch, Part::Ahead, spill), |input| answer.feed_ahead(input)).await?;
    follower.open = played;
    Ok(played)
}

async fn run<T>(
    follower: &mut Follower,
    mut source: Source<'_>,
    mut feed: impl FnMut(&mut BytesMut) -> Result<Option<T>, AnswerFault>,
) -> Result<T, String> {
    let mut out = source.begin(&follower.known);
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
        if let Some(result) = feed(&mut input).map_err(|e| e.to_string())? {
            return Ok(result);
        }
        if read == Read::End {
            return Err("it closed the connection".into());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Ahead,
    Commit,
}

/// What is still to be sent: the spilled part, the rest of the log, the end.
struct Source<'a> {
    batch: &'a Batch,
    part: Part,
    spill: Option<&'a Spill>,
    at: u64,
    ended: bool,
}

impl<'a> Source<'a> {
    fn new(batch: &'a Batch, part: Part, spill: Option<&'a Spill>) -> Self {
        Self { batch, part, spill, at: 0, ended: part == Part::Commit }
    }

    fn begin(&self, known: &HashSet<TemplateId>) -> BytesMut {
        if self.part == Part::Commit { self.batch.end() } else { self.batch.head(known) }
    }

    fn more(&mut self, out: &mut BytesMut) -> io::Result<()> {
        if self.at < self.batch.spilled() {
            let spill = self.spill.ok_or(io::ErrorKind::NotFound)?;
            let length = (self.batch.spilled() - self.at).min(PIECE as u64) as usize;
            spill.read(self.at, length, out)?;
            self.at += length as u64;
            return Ok(());
        }
        out.extend_from_slice(self.batch.tail());
        out.extend_from_slice(&if self.part == Part::Ahead { self.batch.pause() } else { self.batch.end() });
        self.ended = true;
        Ok(())
    }
}
