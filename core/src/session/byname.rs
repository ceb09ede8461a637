//! What has a name in a session: prepared statements, portals. The unnamed one, which most clients use for each of their
//! statements, has a place of its own, where it is found without hashing and put without a copy of its name.

use std::collections::HashMap;

use bytes::Bytes;

#[derive(Debug)]
pub(super) struct ByName<T> {
    unnamed: Option<T>,
    named: HashMap<Bytes, T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { unnamed: None, named: HashMap::new() }
    }
}

impl<T> ByName<T> {
    pub fn get(&self, name: &[u8]) -> Option<&T> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// The name is copied: it may be part of a message, whose memory is not to be kept with it.
    pub fn insert(&mut self, name: &[u8], value: T) {
        if name.is_empty() {
            self.unnamed = Some(value);
        } else {
            self.named.insert(Bytes::copy_from_slice(name), value);
        }
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<T> {
        if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) }
    }

    pub fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }

    pub fn len(&self) -> usize {
        self.named.len() + usize::from(self.unnamed.is_some())
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.unnamed.iter_mut().chain(self.named.values_mut())
    }

    pub fn iter(&self) -> impl Iterator<Item = (Bytes, &T)> {
        let unnamed = self.unnamed.iter().map(|value| (Bytes::new(), value));
        unnamed.chain(self.named.iter().map(|(name, value)| (name.clone(), value)))
    }
}
