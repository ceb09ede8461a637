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
}

impl Parameters {
    pub fn new(reported: Vec<(Bytes, Bytes)>) -> Self {
        let utf8 = Bytes::from_static(b"UTF8");
        let mut parameters =
            Self { all: BTreeMap::new(), client_encoding: utf8.clone(), server_encoding: utf8, standard_strings: true };
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

    pub fn standard_strings(&self) -> bool {
        self.standard_strings
    }
}
