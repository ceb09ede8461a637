//! What can be said only when all rows are there.

use std::collections::{HashMap, HashSet};

use sha2::Digest;

use super::effects::{Behind, Effects};
use super::load::{Index, Loader};
use super::model::{Call, Key, KeyColumn, Oid, Place};
use super::{Catalog, CatalogFault};

impl Loader {
    pub fn finish(mut self) -> Result<Catalog, CatalogFault> {
        for index in std::mem::take(&mut self.indexes) {
            self.finish_index(index);
        }
        self.catalog.foreign_keys = std::mem::take(&mut self.foreign_keys).into_values().collect();
        self.catalog.foreign_keys.sort_by_key(|k| (k.referred, k.referring));
        self.catalog.sequences.sort();
        let digest = std::mem::take(&mut self.digest).finalize();
        self.catalog.fingerprint = digest.iter().take(16).fold(0, |print, byte| print << 8 | u128::from(*byte));
        self.calls_of_domains();
        let effects = Effects {
            catalog: &mut self.catalog,
            types: &self.types,
            sources: &self.sources,
            operators: &self.operators,
            casts: &self.casts,
            changeable: &self.changeable,
        };
        effects.spread();
        self.what_writes();
        Ok(self.catalog)
    }

    /// A column's domain brings its checks and its default with it.
    fn calls_of_domains(&mut self) {
        for relation in self.catalog.relations.values_mut() {
            let domains: Vec<Oid> = relation.columns.iter().flat_map(|c| self.types.domains(c.type_oid)).collect();
            for (place, callees) in
                [(Place::Check, &self.catalog.calling_domains), (Place::Default, &self.domain_defaults)]
            {
                let called = domains.iter().filter_map(|domain| callees.get(domain)).flatten();
                relation.calls.extend(called.map(|callee| Call { place, callee: callee.clone() }));
            }
        }
    }

    /// What may write though no statement calls it by name.
    fn what_writes(&mut self) {
        let writes = |behind: &&Behind| self.catalog.effect_of(&behind.function).writes;
        let mut operators: HashMap<String, Vec<String>> = HashMap::new();
        let mut implicit = None;
        for Behind { schema, name, implicit: unnamed, .. } in self.operators.iter().filter(writes) {
            operators.entry(name.clone()).or_default().push(schema.clone());
            implicit = implicit.or_else(|| unnamed.then(|| format!("the operator {schema}.{name}")));
        }
        let mut types = HashSet::new();
        for Behind { name, implicit: unnamed, .. } in self.casts.iter().filter(writes) {
            types.insert(name.clone());
            implicit = implicit.or_else(|| unnamed.then(|| format!("the cast to {name}")));
        }
        for (domain, calls) in &self.catalog.calling_domains {
            if calls.iter().any(|callee| self.catalog.effect_of(callee).writes)
                && let Some(domain) = self.types.get(*domain)
            {
                types.insert(domain.name.clone());
                implicit = implicit.or_else(|| Some(format!("the domain {}", domain.name)));
            }
        }
        let odd = |behind: &&Behind| !self.catalog.is_same_everywhere(&behind.function);
        let odd_operators = self.operators.iter().filter(odd).map(|o| o.name.clone()).collect();
        let odd_casts = self.casts.iter().filter(odd).map(|c| c.name.clone()).collect();
        (self.catalog.odd_operators, self.catalog.odd_casts) = (odd_operators, odd_casts);
        self.catalog.writing_operators = operators;
        self.catalog.writing_types = types;
        self.catalog.implicit_writer = implicit;
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
