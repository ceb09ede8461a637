//! What can be said only when all rows are there.

use std::collections::HashMap;

use sha2::Digest;

use super::effects::{Behind, Effects};
use super::load::{Index, Loader};
use super::model::{Call, Effect, Key, KeyColumn, Oid, Place};
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
        self.what_is_behind();
        self.catalog.touched = self.catalog.find_touched();
        self.catalog.unseen = self.catalog.find_unseen(&self.sources, &self.lent);
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

    /// What is called by a sign, by a cast, or though nothing of a statement names it.
    fn what_is_behind(&mut self) {
        let mut operators: HashMap<String, Vec<(String, Effect)>> = HashMap::new();
        let mut types: HashMap<String, Effect> = HashMap::new();
        let mut unnamed = Unnamed::default();
        for Behind { function, schema, name, implicit } in &self.operators {
            let effect = self.catalog.effect_of(function);
            operators.entry(name.clone()).or_default().push((schema.clone(), effect));
            unnamed.add(effect, *implicit, || format!("the operator {schema}.{name}"));
        }
        for Behind { function, name, implicit, .. } in &self.casts {
            let effect = self.catalog.effect_of(function);
            *types.entry(name.clone()).or_default() |= effect;
            unnamed.add(effect, *implicit, || format!("the cast to {name}"));
        }
        for (domain, callee) in
            self.catalog.calling_domains.iter().flat_map(|(d, calls)| calls.iter().map(move |c| (d, c)))
        {
            let Some(domain) = self.types.get(*domain) else { continue };
            let effect = self.catalog.effect_of(callee);
            *types.entry(domain.name.clone()).or_default() |= effect;
            unnamed.add(effect, true, || format!("the domain {}", domain.name));
        }
        let odd = |behind: &&Behind| !self.catalog.is_same_everywhere(&behind.function);
        let odd_operators = self.operators.iter().filter(odd).map(|o| o.name.clone()).collect();
        let odd_casts = self.casts.iter().filter(odd).map(|c| c.name.clone()).collect();
        (self.catalog.odd_operators, self.catalog.odd_casts) = (odd_operators, odd_casts);
        (self.catalog.operators, self.catalog.converted) = (operators, types);
        (self.catalog.unnamed, self.catalog.implicit_writer) = (unnamed.effect, unnamed.writer);
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

/// What may happen though no statement names it.
#[derive(Default)]
struct Unnamed {
    effect: Effect,
    writer: Option<String>,
}

impl Unnamed {
    fn add(&mut self, effect: Effect, implicit: bool, what: impl FnOnce() -> String) {
        match (implicit, effect.writes) {
            (false, _) => {}
            (true, false) => self.effect |= effect,
            (true, true) => {
                self.writer.get_or_insert_with(what);
            }
        }
    }
}
