//! The queries that read the catalog, and the model of their rows.
//!
//! They run as the client's own role: pg_catalog is readable by everybody. Everything is qualified, for the search path
//! is the client's.

use bytes::Bytes;

use super::{Catalog, CatalogFault, Column, DefaultKind, Events, Reaction, Referrer, Relation, RelationKind, Unique};
use crate::quote::quote_name;
use crate::wire::frontend::Format;

/// The effective search path, each name in hexadecimal.
pub const SEARCH_PATH_QUERY: &str = "SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(s, 'UTF8'), 'hex'), ',' ORDER BY n) \
     FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS p(s, n)";

const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, n.oid = pg_catalog.pg_my_temp_schema(), c.relrowsecurity, \
     EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
     AND (n.nspname !~ '^pg_(toast_)?temp_' OR n.oid = pg_catalog.pg_my_temp_schema())";

/// A binary form means the same on every node when it holds no OIDs: built-in types that are not OIDs themselves, their
/// arrays, enums (sent as labels), and domains over them.
const COLUMNS: &str = "SELECT a.attrelid, a.attname, tn.nspname, t.typname, \
     CASE WHEN e.typtype = 'e' OR (e.oid < 16384 AND e.typreceive::oid <> 0 AND e.typtype IN ('b', 'r', 'm') \
       AND e.typname !~ '^_?(reg|oid$|aclitem|pg_|txid|gtsvector)') THEN 'b' ELSE 't' END, \
     a.attgenerated <> '', a.attidentity <> '', \
     CASE WHEN a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\\(' THEN 's' \
       WHEN d.adbin IS NULL THEN 'c' \
       WHEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^(''([^'']|'''')*''|[-(]*[0-9.]+\\)?|true|false|NULL)(::[a-z \"_.]+(\\([0-9, ]+\\))?(\\[\\])?)*$' THEN 'c' \
       ELSE 'o' END, \
     a.attnotnull, e.typcategory = 'D' \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace \
     JOIN pg_catalog.pg_type e ON e.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
     AND (n.nspname !~ '^pg_(toast_)?temp_' OR n.oid = pg_catalog.pg_my_temp_schema()) ORDER BY a.attrelid, a.attnum";

const UNIQUES: &str = "SELECT i.indrelid, i.indexrelid, i.indisprimary, \
     i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL, a.attname \
     FROM pg_catalog.pg_index i LEFT JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(n) ON true \
     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n] AND a.attnum > 0 \
     WHERE i.indisunique AND i.indrelid >= 16384 ORDER BY i.indrelid, i.indexrelid, k.n";

/// Bits of tgtype: 4 INSERT, 8 DELETE, 16 UPDATE (src/include/catalog/pg_trigger.h).
const TRIGGERS: &str = "SELECT tgrelid, pg_catalog.bool_or(tgtype & 4 <> 0), pg_catalog.bool_or(tgtype & 16 <> 0), \
     pg_catalog.bool_or(tgtype & 8 <> 0) FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' GROUP BY tgrelid";

const FOREIGN_KEYS: &str =
    "SELECT confrelid, conrelid, confdeltype, confupdtype FROM pg_catalog.pg_constraint WHERE contype = 'f'";

const DEFERRABLE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE condeferrable OR contype = 't')";

const CHILDREN: &str = "SELECT i.inhparent, i.inhrelid, c.relispartition FROM pg_catalog.pg_inherits i \
     JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind IN ('r', 'p', 'f')";

/// Functions that may write: volatile ones of users, but for those of extensions that are known to only compute; and
/// others that name one of them or run SQL text.
const WRITERS: &str = "WITH volatile AS (SELECT p.oid, p.proname FROM pg_catalog.pg_proc p \
       LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e' \
       LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
       WHERE p.oid >= 16384 AND p.provolatile = 'v' AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype \
       AND coalesce(e.extname, '') NOT IN ('pgcrypto', 'uuid-ossp', 'pg_trgm', 'fuzzystrmatch', 'tablefunc', 'unaccent', \
         'pg_stat_statements', 'pgstattuple', 'pageinspect', 'pg_buffercache')) \
     SELECT proname FROM volatile UNION SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
       WHERE p.oid >= 16384 AND p.provolatile <> 'v' AND l.lanname NOT IN ('c', 'internal') AND (p.prosrc ~* '\\mexecute\\M' \
         OR EXISTS (SELECT FROM volatile v WHERE pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(v.proname)) > 0))";

/// Tables and views whose defaults, checks, rules or indexes call a volatile function of a user.
const CALLERS: &str = "SELECT DISTINCT x.relid FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid AND p.provolatile = 'v' AND p.oid >= 16384 \
     CROSS JOIN LATERAL (SELECT adrelid FROM pg_catalog.pg_attrdef WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND oid = d.objid \
       UNION ALL SELECT conrelid FROM pg_catalog.pg_constraint WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND oid = d.objid \
       UNION ALL SELECT ev_class FROM pg_catalog.pg_rewrite WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND oid = d.objid \
       UNION ALL SELECT indrelid FROM pg_catalog.pg_index WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND indexrelid = d.objid) AS x(relid) \
     WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.relid <> 0";

const VIEW_READS: &str = "SELECT DISTINCT r.ev_class, d.refobjid FROM pg_catalog.pg_rewrite r \
     JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid \
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class WHERE r.ev_class >= 16384";

const SEQUENCES: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' ORDER BY 1, 2";

/// To be run in this order; each row goes to [`Loader::row`] with its query's position.
pub const QUERIES: &[&str] = &[
    RELATIONS,
    COLUMNS,
    UNIQUES,
    TRIGGERS,
    FOREIGN_KEYS,
    DEFERRABLE,
    CHILDREN,
    WRITERS,
    CALLERS,
    VIEW_READS,
    SEQUENCES,
];

/// Makes a catalog of rows.
#[derive(Debug, Default)]
pub struct Loader {
    catalog: Catalog,
    last_index: Option<u32>,
}

/// The fields of a row, read in order.
struct Fields<'a> {
    query: usize,
    row: std::slice::Iter<'a, Option<Bytes>>,
}

impl Fields<'_> {
    fn optional(&mut self) -> Result<Option<String>, CatalogFault> {
        let value = self.row.next().ok_or(CatalogFault::Row(self.query))?;
        // A name in another encoding than the client's own cannot be shown; it is matched by nothing then.
        Ok(value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned()))
    }

    fn text(&mut self) -> Result<String, CatalogFault> {
        self.optional()?.ok_or(CatalogFault::Row(self.query))
    }

    fn oid(&mut self) -> Result<u32, CatalogFault> {
        self.text()?.parse().map_err(|_| CatalogFault::Row(self.query))
    }

    fn flag(&mut self) -> Result<bool, CatalogFault> {
        Ok(self.optional()?.is_some_and(|v| v == "t"))
    }
}

impl Loader {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn row(&mut self, query: usize, row: Vec<Option<Bytes>>) -> Result<(), CatalogFault> {
        let mut fields = Fields { query, row: row.iter() };
        let f = &mut fields;
        match QUERIES.get(query).copied() {
            Some(RELATIONS) => self.relation(f),
            Some(COLUMNS) => self.column(f),
            Some(UNIQUES) => self.unique(f),
            Some(TRIGGERS) => self.trigger(f),
            Some(FOREIGN_KEYS) => self.foreign_key(f),
            Some(DEFERRABLE) => {
                self.catalog.deferrable = f.flag()?;
                Ok(())
            }
            Some(CHILDREN) => self.child(f),
            Some(WRITERS) => {
                self.catalog.writers.insert(f.text()?);
                Ok(())
            }
            Some(CALLERS) => {
                let oid = f.oid()?;
                self.with(oid, |r| r.calls_writers = true);
                Ok(())
            }
            Some(VIEW_READS) => {
                let (view, read) = (f.oid()?, f.oid()?);
                self.with(view, |r| r.reads.push(read));
                Ok(())
            }
            Some(SEQUENCES) => {
                let sequence = (f.text()?, f.text()?);
                self.catalog.sequences.push(sequence);
                Ok(())
            }
            _ => Err(CatalogFault::Row(query)),
        }
    }

    pub fn finish(mut self) -> Catalog {
        self.catalog.mark_writing_views();
        self.catalog
    }

    fn with(&mut self, oid: u32, change: impl FnOnce(&mut Relation)) {
        if let Some(relation) = self.catalog.relations.get_mut(&oid) {
            change(relation);
        }
    }

    fn relation(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let (oid, schema, name) = (f.oid()?, f.text()?, f.text()?);
        let kind = match f.text()?.as_str() {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "v" => RelationKind::View,
            "m" => RelationKind::Materialized,
            _ => RelationKind::Foreign,
        };
        self.catalog.names.entry(schema.clone()).or_default().insert(name.clone(), oid);
        let relation = Relation {
            oid,
            schema,
            name,
            kind,
            temporary: f.flag()?,
            row_security: f.flag()?,
            rules: f.flag()?,
            columns: Vec::new(),
            uniques: Vec::new(),
            triggers: Events::default(),
            has_children: false,
            partitions: Vec::new(),
            referrers: Vec::new(),
            calls_writers: false,
            reads: Vec::new(),
        };
        self.catalog.relations.insert(oid, relation);
        Ok(())
    }

    fn column(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let (oid, name, schema, type_name) = (f.oid()?, f.text()?, f.text()?, f.text()?);
        let format = if f.text()? == "b" { Format::Binary } else { Format::Text };
        let (generated, identity) = (f.flag()?, f.flag()?);
        let default = match f.text()?.as_str() {
            "c" => DefaultKind::Constant,
            "s" => DefaultKind::Sequence,
            _ => DefaultKind::Expression,
        };
        let (not_null, temporal) = (f.flag()?, f.flag()?);
        let type_name = format!("{}.{}", quote_name(&schema), quote_name(&type_name));
        let column = Column { name, type_name, format, temporal, generated, identity, default, not_null };
        self.with(oid, |r| r.columns.push(column));
        Ok(())
    }

    /// One row for each column of an index; an index of expressions alone has one without a name.
    fn unique(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let (table, index, primary, identifies, column) = (f.oid()?, f.oid()?, f.flag()?, f.flag()?, f.optional()?);
        let begins = self.last_index.replace(index) != Some(index);
        self.with(table, |r| {
            if begins {
                r.uniques.push(Unique { primary, columns: Vec::new(), identifies });
            }
            if let Some(unique) = r.uniques.last_mut() {
                unique.columns.extend(column);
            }
        });
        Ok(())
    }

    fn trigger(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let oid = f.oid()?;
        let events = Events { insert: f.flag()?, update: f.flag()?, delete: f.flag()? };
        self.with(oid, |r| r.triggers = events);
        Ok(())
    }

    fn foreign_key(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let (referred, table, on_delete, on_update) = (f.oid()?, f.oid()?, f.text()?, f.text()?);
        let referrer = Referrer { table, on_delete: reaction(&on_delete), on_update: reaction(&on_update) };
        self.with(referred, |r| r.referrers.push(referrer));
        Ok(())
    }

    fn child(&mut self, f: &mut Fields<'_>) -> Result<(), CatalogFault> {
        let (parent, child, partition) = (f.oid()?, f.oid()?, f.flag()?);
        self.with(parent, |r| {
            if partition {
                r.partitions.push(child);
            } else {
                r.has_children = true;
            }
        });
        Ok(())
    }
}

/// `pg_constraint.confdeltype` and `confupdtype`.
fn reaction(code: &str) -> Reaction {
    match code {
        "c" => Reaction::Cascade,
        "n" => Reaction::SetNull,
        "d" => Reaction::SetDefault,
        _ => Reaction::Refuse,
    }
}
