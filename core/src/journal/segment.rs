//! Writing: what is to be put at the end of the file next.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{CLOSE, FINDER, HEADER, MAGIC, NOTE, OPEN, ORIGIN, Origin, Outlives, Touch, Touched, UnitNumber, digest};
use crate::effect::{Change, Finder, FoundBy};
use crate::id::Epoch;
use crate::wire::frontend::Format;

/// One file, from its first byte on.
#[derive(Debug)]
pub struct Segment {
    out: BytesMut,
    records: u64,
    /// Finders that the file knows, by their numbers.
    finders: HashMap<Arc<Finder>, u32>,
}

impl Segment {
    pub fn new(origin: &Origin) -> Self {
        let mut segment = Self { out: BytesMut::from(&MAGIC[..]), records: 0, finders: HashMap::new() };
        segment.record(ORIGIN, |out| {
            put_text(out, &origin.cluster);
            put_text(out, &origin.boot);
            out.put_u8(u8::from(origin.outlives == Outlives::Machine));
        });
        segment
    }

    /// `node` is active in this epoch, and runs since `start`.
    pub fn note(&mut self, node: &str, epoch: Epoch, start: &str) {
        self.record(NOTE, |out| {
            put_text(out, node);
            out.put_u64(epoch.0);
            put_text(out, start);
        });
    }

    pub fn open(&mut self, unit: UnitNumber, database: &str, touched: &Touched) {
        let numbers: Vec<u32> = touched.rows().iter().map(|touch| self.number(touch)).collect();
        self.record(OPEN, |out| {
            out.put_u64(unit.0);
            put_text(out, database);
            match touched {
                Touched::Unknown(unknown) => out.put_u8(*unknown as u8),
                Touched::Rows(touches) => {
                    out.put_u8(0);
                    touches.iter().zip(numbers).for_each(|(touch, number)| put_touch(out, touch, number));
                }
            }
        });
    }

    pub fn close(&mut self, unit: UnitNumber) {
        self.record(CLOSE, |out| out.put_u64(unit.0));
    }

    /// What is to be written behind all that was taken before.
    pub fn take(&mut self) -> BytesMut {
        self.out.split()
    }

    fn number(&mut self, touch: &Touch) -> u32 {
        let Touch::ByKey { finder, .. } = touch else { return 0 };
        if let Some(number) = self.finders.get(finder) {
            return *number;
        }
        let number = self.finders.len() as u32 + 1;
        self.finders.insert(finder.clone(), number);
        self.record(FINDER, |out| put_finder(out, finder));
        number
    }

    fn record(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        let start = self.out.len();
        self.out.put_bytes(0, HEADER);
        self.out.put_u8(kind);
        body(&mut self.out);
        let length = (self.out.len() - start - HEADER) as u32;
        let digest = digest(self.records, &self.out[start + HEADER..]);
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.out[start + 4..start + HEADER].copy_from_slice(&digest);
        self.records += 1;
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Number 0 stands for captured rows.
fn put_touch(out: &mut BytesMut, touch: &Touch, number: u32) {
    out.put_u32(number);
    match touch {
        Touch::ByKey { keys, .. } => put_bytes(out, keys),
        Touch::Captured(rows) => put_bytes(out, rows),
    }
}

fn put_finder(out: &mut BytesMut, finder: &Finder) {
    put_text(out, &finder.table);
    let (code, text) = match &finder.by {
        FoundBy::Key(condition) => (b'k', condition),
        FoundBy::Image(row) => (b'i', row),
    };
    out.put_u8(code);
    put_text(out, text);
    out.put_u16(finder.width);
    out.put_u16(finder.parameters.len() as u16);
    for (position, format) in &finder.parameters {
        out.put_u16(*position);
        out.put_u8(u8::from(*format == Format::Binary));
    }
    match &finder.change {
        Change::Inserted => out.put_u8(b'i'),
        Change::Deleted => out.put_u8(b'd'),
        Change::Updated(columns) => {
            out.put_u8(b'u');
            columns.iter().for_each(|column| put_text(out, column));
        }
    }
}
