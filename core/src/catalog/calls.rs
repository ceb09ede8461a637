//! Rows about functions, and about what calls them.

use super::body::{Body, Language};
use super::effects::{Behind, Source, SourceKind};
use super::load::Loader;
use super::model::{Call, Callee, Effect, Function, Oid, Place};
use super::path::from_hex;
use super::row::{CatalogFault, Row};

impl Loader {
    pub(super) fn function(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a function";
        let (oid, schema, name): (Oid, _, _) = (row.number()?, row.text()?, row.text()?);
        let (kind, volatility) = (row.letter()?, row.letter()?);
        let (extension, by_attribute, language) = (row.optional()?, row.bool()?, row.text()?);
        let body = row.optional()?.and_then(|hex| from_hex(&hex));
        let (arguments, path_fixed, parts) = (row.text()?, row.bool()?, row.optional()?);
        let kind = match (kind, language.as_str(), body) {
            _ if extension.is_some() => SourceKind::Believed,
            (b'a', _, _) => SourceKind::Aggregate(oids(&parts.unwrap_or_default())),
            (_, "sql", Some(body)) => read(&body, Language::Sql),
            (_, "plpgsql", Some(body)) => read(&body, Language::PlPgSql),
            (_, "internal", Some(names)) => SourceKind::BuiltIn(names.split(' ').map(str::to_owned).collect()),
            _ => SourceKind::Unknown,
        };
        let (immutable, volatile) = (volatility == b'i', volatility == b'v');
        let arguments = oids(&arguments);
        self.catalog.functions_by_name.entry(name.clone()).or_default().push(oid);
        let (effect, why) = (Effect::default(), String::new());
        let targets = match &kind {
            SourceKind::Read(body) => body.targets.clone(),
            _ => Vec::new(),
        };
        let mut source = Source { kind, immutable, volatile, path_fixed, arguments, opaque: false };
        source.opaque = source.is_opaque(&language, extension.as_deref());
        let function = Function { schema, name, extension, by_attribute, effect, why, targets, same_everywhere: false };
        self.catalog.functions.insert(oid, function);
        self.sources.insert(oid, source);
        Ok(())
    }

    pub(super) fn changeable(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a function";
        self.changeable.insert(row.text()?);
        Ok(())
    }

    pub(super) fn operator(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "an operator";
        let (function, schema, name) = (callee(row)?, row.text()?, row.text()?);
        let implicit = ["=", "<", ">", "<=", ">="].contains(&name.as_str());
        self.operators.push(Behind { function, schema, name, implicit });
        Ok(())
    }

    pub(super) fn cast(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a cast";
        let (function, schema, name, implicit) = (callee(row)?, row.text()?, row.text()?, row.bool()?);
        self.casts.push(Behind { function, schema, name, implicit });
        Ok(())
    }

    pub(super) fn call(&mut self, row: &mut Row<'_>) -> Result<(), CatalogFault> {
        row.what = "a call";
        let place = row.letter()?;
        let (owner, callee): (Oid, Callee) = (row.number()?, callee(row)?);
        let place = match place {
            b'd' => Place::Default,
            b'g' => Place::Generated,
            b'c' => Place::Check,
            b'i' => Place::Index,
            b'v' => Place::View,
            b'p' => Place::Policy,
            b'r' => Place::Rule,
            b'w' => Place::When,
            b't' => {
                self.catalog.calling_domains.entry(owner).or_default().push(callee);
                return Ok(());
            }
            b'D' => {
                self.domain_defaults.entry(owner).or_default().push(callee);
                return Ok(());
            }
            _ => return Err(row.fault()),
        };
        if let Some(relation) = self.catalog.relations.get_mut(&owner) {
            relation.calls.push(Call { place, callee });
        }
        Ok(())
    }
}

fn read(body: &str, language: Language) -> SourceKind {
    let whole = body.chars().count() <= LONGEST_BODY;
    Body::read(body, language).filter(|_| whole).map_or(SourceKind::Unknown, |body| SourceKind::Read(Box::new(body)))
}

/// Characters; the query cuts one behind it.
const LONGEST_BODY: usize = 65_536;

pub(super) fn callee(row: &mut Row<'_>) -> Result<Callee, CatalogFault> {
    let oid = row.number()?;
    Ok(row.optional()?.map_or(Callee::User(oid), Callee::BuiltIn))
}

fn oids(list: &str) -> Vec<Oid> {
    // What is no number stands for nothing that is known.
    list.split_ascii_whitespace().map(|oid| oid.parse().unwrap_or(0)).collect()
}
