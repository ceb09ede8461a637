//! What the planner must know of one database: keys, defaults, triggers, rules, function volatility, sequences.
//!
//! A [`Catalog`] is read from the leader by [`QUERIES`], whose rows a [`Loader`] takes, and never changes afterwards.
//! [`Cell`] shares one among all sessions of a database. Nothing here knows a statement.
//!
//! Invariant: what could not be read for certain is marked (`unreadable`, `None`) and never taken for harmless.

use std::collections::{BTreeSet, HashMap, HashSet};

mod body;
pub mod builtin;
mod calls;
mod capture;
pub mod cell;
mod effects;
mod finish;
mod load;
pub mod model;
mod path;
mod queries;
mod row;
mod run;
mod types;
mod watch;

pub use capture::DoBlock;
pub use cell::{Cell, SchemaEpoch};
pub use load::{Loader, QUERIES};
pub use model::{Column, Event, Function, Key, Oid, Relation, RelationKind};
pub use path::SearchPath;
pub use queries::SEARCH_PATH as SEARCH_PATH_QUERY;
pub use row::CatalogFault;

use crate::quote::quote_identifier;
use model::{Callee, Effect, ForeignKey};

#[derive(Debug, Default)]
pub struct Catalog {
    /// Who loads it counts with this.
    pub version: u64,
    /// Of all that was read: tells this catalog from every other, of any database, that does not say the same.
    pub(crate) fingerprint: u128,
    pub(crate) relations: HashMap<Oid, Relation>,
    /// Schema, then name.
    pub(crate) relations_by_name: HashMap<String, HashMap<String, Oid>>,
    pub(crate) functions: HashMap<Oid, Function>,
    /// Functions of users by name, in whatever schema.
    pub(crate) functions_by_name: HashMap<String, Vec<Oid>>,
    /// What operators of users do: by name, then by schema.
    pub(crate) operators: HashMap<String, Vec<(String, Effect)>>,
    /// What casts of users, and checks of domains, do: by the name of the type that they make.
    pub(crate) converted: HashMap<String, Effect>,
    /// Names of operators of users, and of types to which users have made casts, that may give another value elsewhere.
    pub(crate) odd_operators: HashSet<String>,
    pub(crate) odd_casts: HashSet<String>,
    /// What may write though no statement names it: an implicit cast, an operator that the system uses, a domain.
    pub(crate) implicit_writer: Option<String>,
    /// What else may happen though no statement names it, short of that.
    pub(crate) unnamed: Effect,
    /// Names of domains with a default of their own.
    pub(crate) domains_with_default: HashSet<String>,
    /// What the checks of domains call.
    pub(crate) calling_domains: HashMap<Oid, Vec<Callee>>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    pub(crate) event_triggers: Vec<String>,
    /// Tables whose rows may be changed by triggers, rules and functions, and what changes with them.
    pub(crate) touched: BTreeSet<Oid>,
    /// Why it cannot be found out what text has done that functions run ([`watch`]).
    pub(crate) unseen: Option<String>,
    /// Relations of which constraints or triggers can be deferred.
    pub(crate) deferrable: HashSet<Oid>,
    pub(crate) sequences: Vec<String>,
    pub(crate) temporary: bool,
    /// It was read in an encoding in which some name is not understood: others may understand it.
    pub(crate) unreadable: bool,
}

impl Catalog {
    /// Whether it shows temporary relations of the session that read it.
    pub fn has_temporary(&self) -> bool {
        self.temporary
    }

    /// Whether every session of the database may plan with it.
    pub fn is_for_all(&self) -> bool {
        !self.temporary && !self.unreadable
    }

    /// Schema-qualified, quoted names of all sequences that are not temporary.
    pub fn sequences(&self) -> impl Iterator<Item = &str> {
        self.sequences.iter().map(String::as_str)
    }

    pub fn relation(&self, oid: Oid) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    pub fn relation_in(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(self.relations_by_name.get(schema)?.get(name)?)
    }

    /// The relation that an unqualified name means.
    pub fn relation_on(&self, path: &SearchPath, name: &str) -> Option<&Relation> {
        path.schemas().find_map(|schema| self.relation_in(schema, name))
    }

    /// The schema of the session's temporary relations is also called `pg_temp`.
    pub fn temporary_relation(&self, name: &str) -> Option<&Relation> {
        self.relations.values().find(|r| r.temporary && r.name == name)
    }

    /// Relations of this name in all schemas.
    pub fn relations_named(&self, name: &str) -> impl Iterator<Item = &Relation> {
        let oids = self.relations_by_name.values().filter_map(move |schema| schema.get(name));
        oids.filter_map(|oid| self.relations.get(oid))
    }

    /// All of them, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// All functions of users, in no order.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// Functions of users of this name in all schemas.
    pub fn functions_named(&self, name: &str) -> impl Iterator<Item = &Function> {
        let oids = self.functions_by_name.get(name).map_or(&[][..], Vec::as_slice);
        oids.iter().filter_map(|oid| self.functions.get(oid))
    }

    pub fn function(&self, oid: Oid) -> Option<&Function> {
        self.functions.get(&oid)
    }

    pub fn effect_of(&self, callee: &Callee) -> Effect {
        match callee {
            // What is not known is not harmless.
            Callee::User(oid) => self.functions.get(oid).map_or(Effect::WRITES, |f| f.effect),
            Callee::BuiltIn(name) => builtin::effect_of(name),
        }
    }

    /// Whether it drops large objects, of which PostgreSQL's own locks tell.
    pub fn drops_objects(&self, callee: &Callee) -> bool {
        let Callee::User(oid) = callee else { return false };
        self.functions.get(oid).is_some_and(|f| f.extension.as_deref() == Some("lo") && f.name == "lo_manage")
    }

    /// Whether it gives the same for the same arguments on every server. What of the server's own is named here does not.
    pub fn is_same_everywhere(&self, callee: &Callee) -> bool {
        match callee {
            Callee::User(oid) => self.functions.get(oid).is_some_and(|f| f.same_everywhere),
            Callee::BuiltIn(_) => false,
        }
    }

    /// For people.
    pub fn name_of(&self, callee: &Callee) -> String {
        match callee {
            Callee::User(oid) => {
                self.functions.get(oid).map_or_else(|| "of a user".into(), |f| format!("{}.{}", f.schema, f.name))
            }
            Callee::BuiltIn(name) => name.clone(),
        }
    }

    /// Whether the column's type is a domain that has a default; one of another schema with the same name counts, too.
    pub fn has_domain_default(&self, column: &Column) -> bool {
        self.domains_with_default.iter().any(|name| column.type_name.ends_with(&format!(".{}", quote_identifier(name))))
    }

    /// Foreign keys of other tables, or the table's own, that refer to it.
    pub fn references_to(&self, oid: Oid) -> impl Iterator<Item = &ForeignKey> {
        self.foreign_keys.iter().filter(move |k| k.referred == oid)
    }

    /// Whether something of what changes with the relation's rows may be judged only at the end of the transaction: of its
    /// own, of its partitions, or of what is reached by foreign keys.
    pub fn defers(&self, relation: &Relation) -> bool {
        let mut seen: HashSet<Oid> = HashSet::new();
        let mut next = vec![relation.oid];
        while let Some(oid) = next.pop() {
            if !seen.insert(oid) {
                continue;
            }
            if self.deferrable.contains(&oid) {
                return true;
            }
            next.extend(self.references_to(oid).map(|key| key.referring));
            next.extend(self.relations.get(&oid).into_iter().flat_map(|r| r.children.iter().copied()));
        }
        false
    }

    /// A relation with all its partitions or heirs, itself first.
    pub fn family(&self, oid: Oid) -> Vec<&Relation> {
        let mut found: Vec<&Relation> = Vec::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            if let Some(relation) = self.relations.get(&oid)
                && !found.iter().any(|r| r.oid == oid)
            {
                found.push(relation);
                next.extend(&relation.children);
            }
        }
        found
    }
}
