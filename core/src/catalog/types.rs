//! How a column's type is named and travels.

use std::collections::{HashMap, HashSet};

use super::model::{FIRST_USER_OID, Oid};
use crate::wire::frontend::Format;

#[derive(Debug)]
pub(super) struct Type {
    pub schema: String,
    pub name: String,
    pub kind: Kind,
    /// For an array or a range; else 0.
    pub element: Oid,
    /// For a domain; else 0.
    pub base: Oid,
    pub has_receive: bool,
    /// For a composite type.
    pub fields: Vec<Oid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Base,
    Composite,
    Domain,
    Enum,
    Range,
    Pseudo,
}

/// Domains upon domains beyond this depth are not followed.
const MOST_DOMAINS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Types(pub HashMap<Oid, Type>);

impl Types {
    pub fn get(&self, oid: Oid) -> Option<&Type> {
        self.0.get(&oid)
    }

    /// What a domain is made of in the end.
    fn base(&self, oid: Oid) -> Option<(Oid, &Type)> {
        let mut oid = oid;
        for _ in 0..MOST_DOMAINS {
            let found = self.0.get(&oid)?;
            if found.kind != Kind::Domain {
                return Some((oid, found));
            }
            oid = found.base;
        }
        None
    }

    /// All domains that a value of this type goes through, itself or what is in it.
    pub fn domains(&self, oid: Oid) -> Vec<Oid> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            let Some(t) = self.0.get(&oid).filter(|_| seen.insert(oid)) else { continue };
            if t.kind == Kind::Domain {
                found.push(oid);
            }
            next.extend([t.element, t.base].into_iter().chain(t.fields.iter().copied()));
        }
        found
    }

    /// Binary only where the binary form holds no OID of a user's object: arrays of user types and rows with fields of
    /// user types do (src/backend/utils/adt/arrayfuncs.c, rowtypes.c), and what stands for an object *is* one.
    pub fn format(&self, oid: Oid) -> Format {
        match self.base(oid) {
            Some((oid, base)) if self.travels_in_binary(oid, base) => Format::Binary,
            _ => Format::Text,
        }
    }

    fn travels_in_binary(&self, oid: Oid, base: &Type) -> bool {
        if !base.has_receive {
            return false;
        }
        match base.kind {
            Kind::Enum => true,
            // A type of an extension, in a form of its own: no such form has the number of an object in it.
            Kind::Base if base.element == 0 => !is_reference(&base.name),
            Kind::Base => self.is_system_in_binary(base.element),
            // No OID of the bounds' type is in it.
            Kind::Range if base.element != 0 => self.format(base.element) == Format::Binary,
            Kind::Range => oid < FIRST_USER_OID,
            Kind::Composite => !base.fields.is_empty() && base.fields.iter().all(|f| self.is_system_in_binary(*f)),
            Kind::Domain | Kind::Pseudo => false,
        }
    }

    fn is_system_in_binary(&self, oid: Oid) -> bool {
        oid < FIRST_USER_OID && self.format(oid) == Format::Binary
    }

    /// Whether a value's text means the same under other settings: no date or time, no fraction that is cut, and no name
    /// that a search path makes short.
    pub fn text_is_exact(&self, oid: Oid) -> bool {
        let Some((oid, base)) = self.base(oid) else { return false };
        match base.kind {
            Kind::Enum => true,
            Kind::Base if base.element != 0 => self.text_is_exact(base.element),
            Kind::Base if oid >= FIRST_USER_OID => EXACT_OF_EXTENSIONS.contains(&base.name.as_str()),
            Kind::Base => !is_date_or_time(&base.name) && !is_inexact(&base.name),
            Kind::Range => base.element != 0 && self.text_is_exact(base.element),
            Kind::Composite => !base.fields.is_empty() && base.fields.iter().all(|f| self.text_is_exact(*f)),
            Kind::Domain | Kind::Pseudo => false,
        }
    }

    /// Whether a value, as it travels, has letters that are converted to the client's encoding.
    pub fn has_letters(&self, oid: Oid) -> bool {
        let Some((oid, base)) = self.base(oid) else { return true };
        if self.format(oid) == Format::Text {
            return true;
        }
        match base.kind {
            Kind::Base | Kind::Range if base.element != 0 => self.has_letters(base.element),
            Kind::Base => oid >= FIRST_USER_OID || LETTERS.contains(&base.name.as_str()),
            Kind::Range => oid >= FIRST_USER_OID,
            Kind::Composite => base.fields.iter().any(|field| self.has_letters(*field)),
            Kind::Enum | Kind::Domain | Kind::Pseudo => true,
        }
    }

    pub fn is_padded(&self, oid: Oid) -> bool {
        self.base(oid).is_some_and(|(oid, base)| oid < FIRST_USER_OID && base.name == "bpchar")
    }

    /// Whether turning a value into text and back depends on nothing, and holds nothing that could differ.
    pub fn text_is_plain(&self, oid: Oid) -> bool {
        let Some((oid, base)) = self.base(oid) else { return false };
        match base.kind {
            Kind::Enum => true,
            Kind::Base if base.element != 0 => self.text_is_plain(base.element),
            Kind::Base => oid < FIRST_USER_OID && PLAIN.contains(&base.name.as_str()) || base.name == "citext",
            _ => false,
        }
    }

    /// Whether text is read as the same value on every node, under the same DateStyle, IntervalStyle and TimeZone: no
    /// number of an object, no name that a search path finds, and no currency.
    pub fn reads_alike(&self, oid: Oid) -> bool {
        let Some((oid, base)) = self.base(oid) else { return false };
        match base.kind {
            Kind::Enum => true,
            Kind::Base | Kind::Range if base.element != 0 => self.reads_alike(base.element),
            Kind::Base if oid >= FIRST_USER_OID => true,
            Kind::Base => base.name != "money" && !is_reference(&base.name),
            Kind::Range => oid < FIRST_USER_OID,
            Kind::Composite => !base.fields.is_empty() && base.fields.iter().all(|f| self.reads_alike(*f)),
            Kind::Domain | Kind::Pseudo => false,
        }
    }

    /// Date and time, and what may hold one.
    pub fn is_temporal(&self, oid: Oid) -> bool {
        let Some((oid, base)) = self.base(oid) else { return true };
        if base.element != 0 {
            return self.is_temporal(base.element);
        }
        match base.kind {
            Kind::Composite if !base.fields.is_empty() => base.fields.iter().any(|f| self.is_temporal(*f)),
            Kind::Base => oid >= FIRST_USER_OID || is_date_or_time(&base.name),
            Kind::Enum => false,
            Kind::Range => {
                oid >= FIRST_USER_OID || matches!(base.name.as_str(), n if n.starts_with("ts") || n.starts_with("date"))
            }
            Kind::Composite | Kind::Pseudo | Kind::Domain => true,
        }
    }
}

const LETTERS: [&str; 12] =
    ["bpchar", "char", "cstring", "json", "jsonb", "jsonpath", "name", "text", "tsquery", "tsvector", "varchar", "xml"];

const PLAIN: [&str; 16] = [
    "bool", "int2", "int4", "int8", "numeric", "oid", "text", "varchar", "bpchar", "char", "name", "uuid", "json",
    "jsonb", "inet", "cidr",
];

fn is_date_or_time(name: &str) -> bool {
    matches!(name, "date" | "time" | "timetz" | "timestamp" | "timestamptz" | "abstime")
}

/// Types of extensions whose text depends on no setting.
const EXACT_OF_EXTENSIONS: [&str; 22] = [
    "citext",
    "ean13",
    "geography",
    "geometry",
    "halfvec",
    "hstore",
    "isbn",
    "isbn13",
    "ismn",
    "ismn13",
    "issn",
    "issn13",
    "lquery",
    "ltree",
    "ltxtquery",
    "query_int",
    "raster",
    "seg",
    "semver",
    "sparsevec",
    "upc",
    "vector",
];

/// Types whose text depends on a setting. Roles and schemas are never made short.
fn is_inexact(name: &str) -> bool {
    matches!(
        name,
        "float4" | "float8" | "interval" | "point" | "box" | "lseg" | "path" | "polygon" | "line" | "circle" | "money"
    ) || (name.starts_with("reg") && !matches!(name, "regrole" | "regnamespace"))
}

/// Types whose values are OIDs of objects, by whatever name.
fn is_reference(name: &str) -> bool {
    name.starts_with("reg") || name == "aclitem"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Types {
        let mut types = Types::default();
        let mut add = |oid, name: &str, kind, element, base, fields: &[Oid]| {
            let schema = if oid < FIRST_USER_OID { "pg_catalog" } else { "public" };
            let (schema, name, fields) = (schema.into(), name.into(), fields.to_vec());
            types.0.insert(oid, Type { schema, name, kind, element, base, has_receive: true, fields });
        };
        add(23, "int4", Kind::Base, 0, 0, &[]);
        add(701, "float8", Kind::Base, 0, 0, &[]);
        add(1007, "_int4", Kind::Base, 23, 0, &[]);
        add(1184, "timestamptz", Kind::Base, 0, 0, &[]);
        add(2205, "regclass", Kind::Base, 0, 0, &[]);
        add(2210, "_regclass", Kind::Base, 2205, 0, &[]);
        add(3904, "int4range", Kind::Range, 23, 0, &[]);
        add(4451, "int4multirange", Kind::Range, 0, 0, &[]);
        add(20000, "mood", Kind::Enum, 0, 0, &[]);
        add(20001, "_mood", Kind::Base, 20000, 0, &[]);
        add(20002, "positive", Kind::Domain, 0, 23, &[]);
        add(20003, "more", Kind::Domain, 0, 20002, &[]);
        add(20004, "pair", Kind::Composite, 0, 0, &[23, 1184]);
        add(20005, "_positive", Kind::Base, 20002, 0, &[]);
        add(20006, "moods", Kind::Range, 20000, 0, &[]);
        add(20007, "citext", Kind::Base, 0, 0, &[]);
        add(20008, "felt", Kind::Composite, 0, 0, &[23, 20000]);
        add(20009, "when", Kind::Composite, 0, 0, &[1184, 20000]);
        add(20010, "_pair", Kind::Base, 20004, 0, &[]);
        types
    }

    #[test]
    fn only_what_holds_no_oid_of_a_user_travels_in_binary() {
        let types = types();
        for oid in [23, 1007, 1184, 3904, 4451, 20000, 20002, 20003, 20004, 20006, 20007] {
            assert_eq!(types.format(oid), Format::Binary, "{oid}");
        }
        for oid in [2205, 2210, 20001, 20005, 20008, 20009, 20010, 99999] {
            assert_eq!(types.format(oid), Format::Text, "{oid}");
        }
    }

    #[test]
    fn text_that_depends_on_settings_is_known() {
        let types = types();
        for exact in [20001, 20005, 20007, 20008] {
            assert!(types.text_is_exact(exact), "{exact}");
        }
        for inexact in [2205, 2210, 20009, 20010, 99999] {
            assert!(!types.text_is_exact(inexact), "{inexact}");
        }
    }

    #[test]
    fn text_that_each_server_reads_in_its_own_way_is_known() {
        let types = types();
        for alike in [23, 701, 1184, 3904, 4451, 20000, 20001, 20005, 20009, 20010] {
            assert!(types.reads_alike(alike), "{alike}");
        }
        for other in [2205, 2210, 99999] {
            assert!(!types.reads_alike(other), "{other}");
        }
    }

    #[test]
    fn what_may_hold_a_time_is_temporal() {
        let types = types();
        assert!(types.is_temporal(1184) && types.is_temporal(20004) && types.is_temporal(99999));
        assert!(!types.is_temporal(23) && !types.is_temporal(20001) && !types.is_temporal(20003));
    }
}
