//! What the leader has reported of its settings (ParameterStatus).
//!
//! Some are asked for at every text: those are kept as what they mean. Invariant: `insert` is the only way in.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Parameters {
    all: BTreeMap<Bytes, Bytes>,
    client_encoding: Bytes,
    server_encoding: Bytes,
    /// A backslash in a literal is a backslash.
    standard_strings: bool,
    as_replica: bool,
}

impl Parameters {
    pub fn new(reported: Vec<(Bytes, Bytes)>) -> Self {
        let utf8 = Bytes::from_static(b"UTF8");
        let mut parameters = Self {
            all: BTreeMap::new(),
            client_encoding: utf8.clone(),
            server_encoding: utf8,
            standard_strings: true,
            as_replica: false,
        };
        reported.into_iter().for_each(|(name, value)| parameters.insert(name, value));
        parameters
    }

    pub fn insert(&mut self, name: Bytes, value: Bytes) {
        match &name[..] {
            b"client_encoding" => self.client_encoding = value.clone(),
            b"server_encoding" => self.server_encoding = value.clone(),
            b"standard_conforming_strings" => self.standard_strings = value != "off",
            _ => {}
        }
        self.all.insert(name, value);
    }

    pub fn get(&self, name: &[u8]) -> Option<&Bytes> {
        self.all.get(name)
    }

    pub fn client_encoding(&self) -> &Bytes {
        &self.client_encoding
    }

    pub fn server_encoding(&self) -> &Bytes {
        &self.server_encoding
    }

    /// Servers do not report it: it is asked for.
    pub fn note_replication_role(&mut self, role: &[u8]) {
        self.as_replica = role == b"replica";
    }

    /// Why nothing that this session says can be taken for what it seems to be.
    pub fn unfit(&self) -> Option<&'static str> {
        match (self.standard_strings, self.as_replica) {
            (false, _) => Some("standard_conforming_strings is off, so that texts cannot be read reliably"),
            (_, true) => Some("session_replication_role is replica, so that triggers and foreign keys do nothing"),
            _ => None,
        }
    }
}
