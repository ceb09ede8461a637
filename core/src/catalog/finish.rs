//! What can be said only when all rows are there.

use std::collections::HashSet;

use sha2::Digest;

use super::load::{Index, Loader};
use super::model::{Call, Key, KeyColumn, Oid, Place};
use super::{Catalog, CatalogFault};

impl Loader {
    pub fn finish(mut self) -> Result<Catalog, CatalogFault> {
        for index in std::mem::take(&mut self.indexes) {
            self.finish_index(index);
        }
        self.catalog.foreign_keys = self.foreign_keys.into_values().collect();
        self.catalog.foreign_keys.sort_by_key(|k| (k.referred, k.referring));
        self.catalog.sequences.sort();
        let digest = self.digest.finalize();
        self.catalog.fingerprint = digest.iter().take(16).fold(0, |print, byte| print << 8 | u128::from(*byte));
        let domains: HashSet<Oid> = self.catalog.calling_domains.keys().copied().collect();
        for relation in self.catalog.relations.values_mut() {
            let called = relation.columns.iter().flat_map(|c| self.types.domains(c.type_oid));
            let called = called.filter(|domain| domains.contains(domain));
            let functions = called.flat_map(|domain| self.catalog.calling_domains[&domain].clone());
            let calls: Vec<Call> = functions.map(|function| Call { place: Place::Check, function }).collect();
            relation.calls.extend(calls);
        }
        Ok(self.catalog)
    }

    fn finish_index(&mut self, index: Index) {
        let Some(relation) = self.catalog.relations.get_mut(&index.relation) else { return };
        match index.names.into_iter().collect::<Option<Vec<String>>>().filter(|_| index.usable) {
            Some(names) => {
                if let Some(unique) = &mut relation.unique_columns {
                    unique.extend(names);
                }
            }
            None => relation.unique_columns = None,
        }
        let Some(columns) = index.columns.into_iter().collect::<Option<Vec<KeyColumn>>>() else { return };
        let not_null = |k: &KeyColumn| relation.column(&k.name).is_some_and(|c| c.not_null);
        if index.usable && (index.primary || columns.iter().all(not_null)) {
            relation.keys.push(Key { columns });
        }
    }
}
