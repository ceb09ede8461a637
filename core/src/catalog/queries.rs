//! What the leader is asked, as any role, on a session's own connection.
//!
//! Everything is qualified, operators too, for the session's search path is the client's, and what one session reads
//! serves all of its database. Each answer is of text columns without arrays,
//! one item a row. Objects of the system are left out except where a rule of ours needs them: user objects have OIDs from
//! 16384 (src/include/access/transam.h, `FirstNormalObjectId`).

/// Shared by several queries: schemas whose relations may be written through the proxy, the session's own temporary one
/// included.
macro_rules! user_schemas {
    () => {
        "n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}') \
         AND (n.nspname OPERATOR(pg_catalog.!~) '^pg_(toast_)?temp_' OR n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
    };
}

pub const ENCODING: &str = "SELECT pg_catalog.current_setting('client_encoding')";

/// oid, schema, name, kind, temporary, row security, a partition
pub const RELATIONS: &str = concat!(
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence OPERATOR(pg_catalog.=) 't', c.relrowsecurity, \
     c.relispartition FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}') AND ",
    user_schemas!()
);

/// relation, number, name, type, not null, generated, identity, default
pub const COLUMNS: &str = concat!(
    "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.attnotnull, a.attgenerated, a.attidentity, \
     CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum \
     WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}') AND ",
    user_schemas!(),
    " ORDER BY a.attrelid, a.attnum"
);

/// oid, schema, name, kind, element or bound, base, can be received in binary, a domain with a default
pub const TYPES: &str = "SELECT t.oid, n.nspname, t.typname, t.typtype, \
     CASE WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' THEN t.typelem WHEN r.rngsubtype IS NOT NULL THEN r.rngsubtype \
     ELSE 0 END, t.typbasetype, t.typreceive OPERATOR(pg_catalog.<>) 0, \
     t.typtype OPERATOR(pg_catalog.=) 'd' AND t.typdefault IS NOT NULL \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
     LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid \
     LEFT JOIN pg_catalog.pg_range r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid WHERE t.typtype OPERATOR(pg_catalog.<>) 'c' OR (t.oid OPERATOR(pg_catalog.>=) 16384 AND c.relkind OPERATOR(pg_catalog.=) 'c')";

/// composite type, type of a field
pub const FIELDS: &str = "SELECT t.oid, a.atttypid FROM pg_catalog.pg_type t \
     JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid AND c.relkind OPERATOR(pg_catalog.=) 'c' \
     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
     WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND t.oid OPERATOR(pg_catalog.>=) 16384";

/// relation, index, primary, name of a column (null: an expression), schema and name of its equality operator, usable,
/// not deferrable; in the order of the columns
pub const KEYS: &str = concat!(
    "SELECT i.indrelid, i.indexrelid, i.indisprimary, a.attname, opn.nspname, op.oprname, \
     i.indisvalid AND i.indisready AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND am.amname OPERATOR(pg_catalog.=) 'btree' \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     JOIN pg_catalog.pg_class ic ON ic.oid OPERATOR(pg_catalog.=) i.indexrelid JOIN pg_catalog.pg_am am ON am.oid OPERATOR(pg_catalog.=) ic.relam \
     CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts OPERATOR(pg_catalog.-) 1) AS k(n) \
     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) i.indkey[k.n] AND a.attnum OPERATOR(pg_catalog.<>) 0 \
     LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid OPERATOR(pg_catalog.=) i.indclass[k.n] \
     LEFT JOIN pg_catalog.pg_amop ao ON ao.amopfamily OPERATOR(pg_catalog.=) oc.opcfamily AND ao.amoplefttype OPERATOR(pg_catalog.=) oc.opcintype \
     AND ao.amoprighttype OPERATOR(pg_catalog.=) oc.opcintype AND ao.amopstrategy OPERATOR(pg_catalog.=) 3 \
     LEFT JOIN pg_catalog.pg_operator op ON op.oid OPERATOR(pg_catalog.=) ao.amopopr \
     LEFT JOIN pg_catalog.pg_namespace opn ON opn.oid OPERATOR(pg_catalog.=) op.oprnamespace \
     WHERE (i.indisunique OR i.indisexclusion) AND ",
    user_schemas!(),
    " ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid, k.n"
);

/// relation, name, type bits. Before PostgreSQL 15 a partition's copy of its parent's trigger counts as internal.
pub const TRIGGERS: &str = "SELECT t.tgrelid, t.tgname, t.tgtype FROM pg_catalog.pg_trigger t \
     WHERE (NOT t.tgisinternal OR t.tgfoid OPERATOR(pg_catalog.>=) 16384 OR t.tgconstraint OPERATOR(pg_catalog.=) 0) \
     AND t.tgenabled OPERATOR(pg_catalog.=) ANY ('{O,A}')";

/// relation, name, event
pub const RULES: &str = "SELECT r.ev_class, r.rulename, r.ev_type FROM pg_catalog.pg_rewrite r \
     WHERE r.ev_class OPERATOR(pg_catalog.>=) 16384 AND r.ev_type OPERATOR(pg_catalog.<>) '1' AND r.ev_enabled OPERATOR(pg_catalog.=) ANY ('{O,A}')";

/// child, parent
pub const INHERITANCE: &str = "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i";

/// referring relation, referred relation, on delete, on update, names of the referring and of the referred column
pub const FOREIGN_KEYS: &str = "SELECT k.oid, k.conrelid, k.confrelid, k.confdeltype, k.confupdtype, a.attname, fa.attname \
     FROM pg_catalog.pg_constraint k CROSS JOIN LATERAL ROWS FROM \
     (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS u(att, fatt) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) k.conrelid AND a.attnum OPERATOR(pg_catalog.=) u.att \
     JOIN pg_catalog.pg_attribute fa ON fa.attrelid OPERATOR(pg_catalog.=) k.confrelid AND fa.attnum OPERATOR(pg_catalog.=) u.fatt \
     WHERE k.contype OPERATOR(pg_catalog.=) 'f' ORDER BY k.oid";

/// oid, schema, name, kind, volatility, extension, takes a row as its only argument; support functions of an aggregate
/// count for the aggregate
pub const FUNCTIONS: &str = "SELECT p.oid, n.nspname, p.proname, p.prokind, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_aggregate g JOIN pg_catalog.pg_proc s \
     ON s.oid OPERATOR(pg_catalog.=) ANY (ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn, g.aggmtransfn, \
     g.aggminvtransfn, g.aggmfinalfn]::pg_catalog.oid[]) WHERE g.aggfnoid OPERATOR(pg_catalog.=) p.oid AND s.oid OPERATOR(pg_catalog.>=) 16384 AND s.provolatile OPERATOR(pg_catalog.=) 'v') \
     THEN 'v' ELSE p.provolatile END, e.extname, p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1 AND p.pronargs OPERATOR(pg_catalog.>=) 1 \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
     LEFT JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid \
     AND d.deptype OPERATOR(pg_catalog.=) 'e' LEFT JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid WHERE p.oid OPERATOR(pg_catalog.>=) 16384";

/// function, schema and name of an operator that calls it
pub const OPERATORS: &str = "SELECT o.oprcode::pg_catalog.oid, n.nspname, o.oprname FROM pg_catalog.pg_operator o \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace WHERE o.oprcode OPERATOR(pg_catalog.>=) 16384";

/// function, the name of the type to which it casts, only where it is asked for
pub const CASTS: &str = "SELECT c.castfunc, t.typname, c.castcontext OPERATOR(pg_catalog.=) 'e' FROM pg_catalog.pg_cast c \
     JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) c.casttarget WHERE c.castfunc OPERATOR(pg_catalog.>=) 16384";

/// what depends on a function: where it stands (`d` default, `g` generated column, `c` check, `i` index, `v` view,
/// `p` policy, `t` domain), the relation or type, the function
pub const CALLS: &str = "SELECT CASE WHEN a.attgenerated OPERATOR(pg_catalog.<>) '' THEN 'g' ELSE 'd' END, d.adrelid, x.refobjid \
     FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_attrdef d ON d.oid OPERATOR(pg_catalog.=) x.objid \
     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum \
     WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT CASE WHEN k.conrelid OPERATOR(pg_catalog.<>) 0 THEN 'c' ELSE 't' END, \
     CASE WHEN k.conrelid OPERATOR(pg_catalog.<>) 0 THEN k.conrelid ELSE k.contypid END, x.refobjid \
     FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_constraint k ON k.oid OPERATOR(pg_catalog.=) x.objid \
     WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'i', i.indrelid, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'v', r.ev_class, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'v', r.ev_class, o.oprcode::pg_catalog.oid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) x.objid JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) x.refobjid \
     WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oprcode OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'p', p.polrelid, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_policy p ON p.oid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.>=) 16384";

/// view, relation that it reads
pub const VIEWS: &str = "SELECT DISTINCT r.ev_class, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND r.ev_type OPERATOR(pg_catalog.=) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384 \
     AND x.refobjid OPERATOR(pg_catalog.>=) 16384 AND x.refobjid OPERATOR(pg_catalog.<>) r.ev_class";

/// what may be deferred: one row if there is anything
pub const DEFERRABLE: &str = "SELECT 1 WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE condeferrable) \
     OR EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgdeferrable AND NOT tgisinternal)";

/// name
pub const EVENT_TRIGGERS: &str =
    "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.=) ANY ('{O,A}')";

/// The schemas that are searched, in their order, each in hexadecimal UTF-8 and without doubt where it ends.
pub const SEARCH_PATH: &str = "SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(s.name::pg_catalog.text, \
     'UTF8'), 'hex'), ' ' ORDER BY s.n) FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS s(name, n)";
