//! A unit's batch on a follower connection.

use std::collections::HashSet;

use bytes::BytesMut;

use super::faults::Fault;
use super::node::Link;
use super::world::World;
use crate::effect::TemplateId;
use crate::id::NodeId;
use crate::session::CommitNumber;
use crate::unit::Batch;
use crate::unit::batch::{Answer, BatchResult};
use crate::wire::frontend;

#[derive(Debug)]
pub(super) struct Follower {
    pub link: Link,
    pub known: HashSet<TemplateId>,
}

#[derive(Debug)]
pub(super) struct Exchange {
    of: CommitNumber,
    pub follower: Follower,
    batch: Batch,
    answer: Answer,
    input: BytesMut,
    /// The session has been told already: a fault of ours.
    told: bool,
}

impl World {
    pub(super) fn send_batch(&mut self, seat: usize, of: CommitNumber, node: NodeId, batch: Batch) {
        let Some(follower) = self.seats[seat].reserved.remove(&node) else {
            return self.answers(seat, of, |a| a.broken(node, "its connection was not there any more".into()));
        };
        self.seats[seat].sent_to.insert(node, follower.link.backend);
        let bytes = self.batch_bytes(seat, &batch, &follower);
        let backend = self.backend(follower.link);
        backend.inbox.extend_from_slice(&bytes);
        let told = self.fault == Some(Fault::AllAtOnce);
        let exchange = Exchange { of, follower, batch, answer: Answer::default(), input: BytesMut::new(), told };
        self.seats[seat].exchanges.push(exchange);
        if told {
            self.answers(seat, of, |answers| answers.answered(node, BatchResult::Committed));
        }
    }

    fn batch_bytes(&self, seat: usize, batch: &Batch, follower: &Follower) -> BytesMut {
        let mut out = BytesMut::new();
        let said = self.seats[seat].client.said();
        let text = |out: &mut BytesMut, text: &str| {
            frontend::parse(out, b"", text.as_bytes(), &[]);
            frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
            frontend::execute(out, b"", 0);
        };
        if self.fault == Some(Fault::QueriesRepeated) {
            said.iter().filter(|(said, _)| !said.starts_with("SELECT")).for_each(|(said, _)| text(&mut out, said));
            frontend::sync(&mut out);
            return out;
        }
        out.extend_from_slice(&batch.head(&follower.known));
        out.extend_from_slice(&self.seats[seat].spill[..usize::try_from(batch.spilled()).unwrap_or(0)]);
        out.extend_from_slice(batch.tail());
        if self.fault == Some(Fault::ZeroRowsSent) {
            let idle = said.iter().filter(|(said, count)| *count == 0 && said.starts_with("UPDATE"));
            idle.for_each(|(said, _)| text(&mut out, said));
        }
        out.extend_from_slice(&batch.end());
        out
    }

    pub(super) fn exchange_can_step(&self, exchange: &Exchange) -> bool {
        let backend = self.backend_of(exchange.follower.link);
        !backend.out.is_empty() || backend.ended
    }

    /// What a follower has said is read, or its end.
    pub(super) fn step_exchange(&mut self, seat: usize, number: usize) {
        let link = self.seats[seat].exchanges[number].follower.link;
        let (node, backend) = (NodeId(link.node as u16), self.backend(link));
        let (piece, ended) = (backend.out.split(), backend.ended);
        let exchange = &mut self.seats[seat].exchanges[number];
        exchange.input.extend_from_slice(&piece);
        let input = &mut exchange.input;
        let result = match exchange.answer.feed(input) {
            Ok(Some(result)) => Ok(result),
            Ok(None) if !ended => return,
            Ok(None) => exchange.answer.last_word().ok_or_else(|| "it closed the connection".to_owned()),
            Err(fault) => Err(fault.to_string()),
        };
        let exchange = self.seats[seat].exchanges.remove(number);
        self.exchanged(seat, node, exchange, result);
    }

    /// The connection has broken.
    pub(super) fn broken_exchange(&mut self, seat: usize, node: NodeId, exchange: Exchange) {
        let word = exchange.answer.last_word();
        self.abandon(exchange.follower.link);
        self.exchanged(seat, node, exchange, word.ok_or_else(|| "reset".to_owned()));
    }

    fn exchanged(&mut self, seat: usize, node: NodeId, exchange: Exchange, result: Result<BatchResult, String>) {
        let Exchange { of, mut follower, batch, told, .. } = exchange;
        match &result {
            Ok(BatchResult::Committed) => {
                let backend = self.backend_of(follower.link);
                if !(backend.abandoned || backend.ended) {
                    follower.known.extend(batch.templates());
                    self.pool.push(follower);
                }
            }
            Ok(BatchResult::Refused { state, message }) => {
                self.refused_by_follower(seat, node, state, message);
                self.abandon(follower.link);
            }
            Err(_) => self.abandon(follower.link),
        }
        if told {
            return;
        }
        match self.fault {
            Some(Fault::WrittenDownLate) => self.write_down(seat),
            Some(Fault::ClosedEarly) => {
                self.seats[seat].unit.take().into_iter().for_each(|unit| self.paper.close(unit));
            }
            _ => {}
        }
        self.answers(seat, of, |answers| match result {
            Ok(result) => answers.answered(node, result),
            Err(why) => answers.broken(node, why),
        });
        self.turn(seat);
    }
}
