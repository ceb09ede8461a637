//! Names that a server chooses: of sequences that serial and identity columns have, of indexes and constraints.
//!
//! Followers run DDL as text and choose for themselves. PostgreSQL takes the first name that is free, and what is free differs
//! between nodes while others make or drop something of that name: for a relation the leader sees what they have not committed
//! (`ChooseRelationName`, src/backend/commands/indexcmds.c), for a constraint it does not see what they have committed on
//! followers since (`ChooseConstraintName`, src/backend/catalog/pg_constraint.c). So the leader tells, at the end of a unit,
//! what this has made or touched, and each follower looks in its own batch whether all of it is there.
//!
//! That is enough: nodes were equal before, both have made as many objects, and a name that was new to the leader was new to
//! the follower. What an object belongs to is told with it, for two may have changed names.

use bytes::Bytes;

/// What has a name that a server may have chosen: that name, all that tells it, and the transaction that has written it.
///
/// Left out is what a leader may have alone: temporary objects, constraint triggers (ours are among them), the constraints that
/// newer servers make of NOT NULL, and indexes that a failed command has left behind.
macro_rules! objects {
    () => {
        "SELECT m.name, ARRAY[m.kind, n.nspname::pg_catalog.text, m.name::pg_catalog.text, p.relname::pg_catalog.text, \
         (SELECT pg_catalog.string_agg(COALESCE(a.attname::pg_catalog.text, '-'), ',' ORDER BY k.place) \
         FROM pg_catalog.unnest(m.columns) WITH ORDINALITY AS k (number, place) LEFT JOIN pg_catalog.pg_attribute a \
         ON a.attrelid OPERATOR(pg_catalog.=) m.parent AND a.attnum OPERATOR(pg_catalog.=) k.number)] AS object, m.made_by \
         FROM (SELECT 'index'::pg_catalog.text AS kind, c.relnamespace AS schema, c.relname AS name, i.indrelid AS parent, \
         i.indkey::pg_catalog.int2[] AS columns, c.xmin AS made_by \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid \
         WHERE i.indisvalid OR c.relkind OPERATOR(pg_catalog.=) 'I' \
         UNION ALL SELECT 'sequence', c.relnamespace, c.relname, d.refobjid, ARRAY[d.refobjsubid::pg_catalog.int2], c.xmin \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 1259 \
         AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.refclassid OPERATOR(pg_catalog.=) 1259 \
         AND d.deptype OPERATOR(pg_catalog.=) ANY ('{a,i}') WHERE c.relkind OPERATOR(pg_catalog.=) 'S' \
         UNION ALL SELECT 'constraint', k.connamespace, k.conname, k.conrelid, k.conkey, k.xmin \
         FROM pg_catalog.pg_constraint k WHERE k.contype OPERATOR(pg_catalog.<>) ALL ('{t,n}')) m \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) m.schema \
         LEFT JOIN pg_catalog.pg_class p ON p.oid OPERATOR(pg_catalog.=) m.parent \
         WHERE n.nspname OPERATOR(pg_catalog.!~) '^pg_' AND n.nspname OPERATOR(pg_catalog.<>) 'lockstep'"
    };
}

/// What the unit has made or touched, one object a row, in digits: so the client's encoding does not matter. What others have
/// committed since it began may be told too, which is on followers as well.
pub const MADE: &str = concat!(
    "SELECT pg_catalog.encode(pg_catalog.convert_to(made.object::pg_catalog.text, pg_catalog.getdatabaseencoding()), 'hex') \
     FROM (",
    objects!(),
    ") AS made WHERE pg_catalog.age(made.made_by) OPERATOR(pg_catalog.<=) 0"
);

/// What the error of a follower begins with, behind its own words.
const MARK: &str = "lockstep: other names than ";

/// `OFFSET 0` has it look for each object by name, instead of making a list of all there are.
const MISSING: &str = concat!(
    "AS told (digits) CROSS JOIN LATERAL (SELECT pg_catalog.convert_from(pg_catalog.decode(told.digits, 'hex'), \
     pg_catalog.getdatabaseencoding())::pg_catalog.text[] AS object) wanted WHERE NOT EXISTS (SELECT FROM (",
    objects!(),
    ") AS here WHERE here.name OPERATOR(pg_catalog.=) wanted.object[3]::pg_catalog.name \
     AND here.object OPERATOR(pg_catalog.=) wanted.object OFFSET 0) HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0"
);

/// What fails on a follower that lacks one of the objects that the leader has told. `None`: it has told none.
pub fn check<'a>(told: impl IntoIterator<Item = &'a Bytes>) -> Option<String> {
    let told: Vec<_> = told.into_iter().map(|digits| String::from_utf8_lossy(digits)).collect();
    (!told.is_empty()).then(|| {
        format!(
            "SELECT ('{MARK}' OPERATOR(pg_catalog.||) \
             pg_catalog.string_agg(wanted.object[2] OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) wanted.object[3], ', '))\
             ::pg_catalog.int4 FROM pg_catalog.unnest('{{{}}}'::pg_catalog.text[]) {MISSING}",
            told.join(",")
        )
    })
}

/// The leader's names that are others on the follower, if that is what its error says.
pub fn missing<'a>(state: &str, message: &'a str) -> Option<&'a str> {
    let (_, names) = message.split_once(MARK).filter(|_| state == "22P02")?;
    Some(names.strip_suffix('"').unwrap_or(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_followers_error_tells_which_names_it_lacks_and_no_other_error_does() {
        let said = "invalid input syntax for type integer: \"lockstep: other names than s.a_id_seq1, s.\"Ä\"\"";
        assert_eq!(missing("22P02", said), Some("s.a_id_seq1, s.\"Ä\""));
        assert_eq!(missing("22012", said), None);
        assert_eq!(missing("22P02", "invalid input syntax for type integer: \"x\""), None);
    }

    #[test]
    fn what_followers_are_asked_is_a_text_of_digits_and_names_of_the_catalog() {
        assert_eq!(check([]), None);
        let told = [Bytes::from_static(b"7b61"), Bytes::from_static(b"7b62")];
        assert!(check(&told).is_some_and(|sql| sql.contains("unnest('{7b61,7b62}'::pg_catalog.text[]) AS told")));
    }
}
