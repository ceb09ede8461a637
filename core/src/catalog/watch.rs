//! Whether all that text may do in a database, run by EXECUTE, can be found out afterwards.
//!
//! What it did in tables and in the system's own tables is counted by the server, and asked for when it has run
//! (`lockstep.watch` in `runtime/src/cluster/capture/watch.sql`, which also looks at who runs it). Here is looked for what
//! nothing counts: code outside of the server's hands, rows kept elsewhere, and functions that lend the rights by which
//! counting and triggers can be switched off for a while.

use std::collections::{HashMap, HashSet};

use super::Catalog;
use super::effects::{AUDITED, Source, SourceKind};
use super::load::Loader;
use super::model::{Oid, RelationKind};
use super::row::{CatalogFault, Row};

/// Languages whose functions do nothing but by statements of the server, which are seen.
const SEEN: [&str; 4] = ["sql", "plpgsql", "plperl", "pltcl"];

/// `internal`: no statement can call a function with an argument of this type (src/include/catalog/pg_type.dat).
const INTERNAL: Oid = 2281;

/// What runs with the rights of an owner who may do what is not seen.
#[derive(Debug, Default)]
pub(super) struct Lent {
    functions: HashSet<Oid>,
    tables: HashSet<Oid>,
}

impl Loader {
    pub(super) fn lent(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "an owner";
        let (kind, oid) = (row.letter()?, row.number()?);
        match kind {
            b'f' => self.lent.functions.insert(oid),
            _ => self.lent.tables.insert(oid),
        };
        Ok(())
    }
}

impl Source {
    /// Whether it may do what the server does not count.
    pub(super) fn is_opaque(&self, language: &str, extension: Option<&str>) -> bool {
        let elsewhere = !SEEN.contains(&language) && language != "internal" && !self.arguments.contains(&INTERNAL);
        match (&self.kind, extension) {
            (SourceKind::Aggregate(_), _) => false,
            (SourceKind::BuiltIn(names), _) => names.iter().any(|name| super::builtin::effect_of(name).writes),
            (_, Some(extension)) => elsewhere && self.volatile && !AUDITED.contains(&extension),
            (_, None) => elsewhere,
        }
    }
}

impl Catalog {
    /// Why it cannot be found out; `None`: it can.
    pub(super) fn find_unseen(&self, sources: &HashMap<Oid, Source>, lent: &Lent) -> Option<String> {
        let runs = |oid: &Oid| self.functions.get(oid).is_some_and(|f| f.effect.text || f.effect.beyond);
        let name = |oid: &Oid| self.functions.get(oid).map(|f| format!("{}.{}", f.schema, f.name));
        // The first by name, so that the same is said of the same database.
        let opaque = sources.iter().filter(|(_, source)| source.opaque).filter_map(|(oid, _)| name(oid)).min();
        let opaque = opaque.map(|name| format!("text may call the function {name}, whose doings are not seen"));
        let lending = lent.functions.iter().filter(|oid| runs(oid)).filter_map(name).min();
        let lending = lending
            .map(|name| format!("the function {name} does more than change rows, and with the rights of its owner"));
        let relations = |kept: &dyn Fn(&&super::Relation) -> bool| {
            self.relations.values().filter(kept).map(|r| format!("{}.{}", r.schema, r.name)).min()
        };
        let foreign = relations(&|r| r.kind == RelationKind::Foreign);
        let foreign = foreign.map(|name| format!("text may write to {name}, whose rows are not on these servers"));
        let sets_off = |r: &&super::Relation| {
            let effect = |t: &super::model::Trigger| self.effect_of(&t.function);
            lent.tables.contains(&r.oid) && r.triggers.iter().map(effect).any(|e| e.text || e.beyond)
        };
        let owned = relations(&sets_off).map(|name| {
            format!("foreign keys change rows of {name} with the rights of its owner, and its triggers run text")
        });
        opaque.or(lending).or(foreign).or(owned)
    }
}
