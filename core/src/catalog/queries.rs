//! What the leader is asked, as any role, on a session's own connection.
//!
//! Everything is qualified, operators too, for the session's search path is the client's, and what one session reads
//! serves all of its database. Each answer is of text columns without arrays,
//! one item a row. Objects of the system are left out except where a rule of ours needs them: user objects have OIDs from
//! 16384 (src/include/access/transam.h, `FirstNormalObjectId`).

use super::builtin::writers;

/// Shared by several queries: schemas whose relations may be written through the proxy, the session's own temporary one
/// included.
macro_rules! user_schemas {
    () => {
        "n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}') \
         AND (n.nspname OPERATOR(pg_catalog.!~) '^pg_(toast_)?temp_' OR n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
    };
}

/// Of a type `t` and its relation `c`: made by CREATE TYPE, or the row type of a table that something else is of.
macro_rules! has_values {
    () => {
        "(c.relkind OPERATOR(pg_catalog.=) 'c' \
         OR EXISTS (SELECT FROM pg_catalog.pg_attribute u WHERE u.attrelid OPERATOR(pg_catalog.>=) 16384 AND u.atttypid OPERATOR(pg_catalog.=) t.oid) \
         OR EXISTS (SELECT FROM pg_catalog.pg_attribute u WHERE u.attrelid OPERATOR(pg_catalog.>=) 16384 AND u.atttypid OPERATOR(pg_catalog.=) t.typarray) \
         OR EXISTS (SELECT FROM pg_catalog.pg_type d WHERE d.typbasetype OPERATOR(pg_catalog.=) t.oid))"
    };
}

pub const ENCODING: &str = "SELECT pg_catalog.current_setting('client_encoding')";

/// oid, schema, name, kind, temporary, row security, a partition. Of indexes those of partitioned tables, and those of
/// temporary tables: what is done to them is the leader's alone.
pub const RELATIONS: &str = concat!(
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence OPERATOR(pg_catalog.=) 't', c.relrowsecurity, \
     c.relispartition FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE (c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S,I}') \
     OR c.relpersistence OPERATOR(pg_catalog.=) 't' AND c.relkind OPERATOR(pg_catalog.=) 'i') AND ",
    user_schemas!()
);

/// relation, number, name, type, not null, generated, identity, default
///
/// A default names no column, so `pg_get_expr` needs no relation; given one, it would lock it, and everybody who reads this
/// would wait for whoever has locked any table.
pub const COLUMNS: &str = concat!(
    "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.attnotnull, a.attgenerated, a.attidentity, \
     CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) '' THEN pg_catalog.pg_get_expr(d.adbin, 0) END \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum \
     WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}') AND ",
    user_schemas!(),
    " ORDER BY a.attrelid, a.attnum"
);

/// oid, schema, name, kind, element or bound, base, can be received in binary, a domain with a default
pub const TYPES: &str = concat!(
    "SELECT t.oid, n.nspname, t.typname, t.typtype, \
     CASE WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' THEN t.typelem WHEN r.rngsubtype IS NOT NULL THEN r.rngsubtype \
     ELSE 0 END, t.typbasetype, t.typreceive OPERATOR(pg_catalog.<>) 0, \
     t.typtype OPERATOR(pg_catalog.=) 'd' AND t.typdefault IS NOT NULL \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
     LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid \
     LEFT JOIN pg_catalog.pg_range r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid WHERE t.typtype OPERATOR(pg_catalog.<>) 'c' OR (t.oid OPERATOR(pg_catalog.>=) 16384 AND ",
    has_values!(),
    ")"
);

/// composite type, type of a field
pub const FIELDS: &str = concat!(
    "SELECT t.oid, a.atttypid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid \
     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
     WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND t.oid OPERATOR(pg_catalog.>=) 16384 AND ",
    has_values!()
);

/// relation, index, primary, name of a column (null: an expression), schema and name of its equality operator (null where
/// the index compares under another collation than the column, and so tells rows apart that the operator would not), usable,
/// not deferrable; in the order of the columns
pub const KEYS: &str = concat!(
    "SELECT i.indrelid, i.indexrelid, i.indisprimary, a.attname, opn.nspname, op.oprname, \
     i.indisvalid AND i.indisready AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND am.amname OPERATOR(pg_catalog.=) 'btree' \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     JOIN pg_catalog.pg_class ic ON ic.oid OPERATOR(pg_catalog.=) i.indexrelid JOIN pg_catalog.pg_am am ON am.oid OPERATOR(pg_catalog.=) ic.relam \
     CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey), pg_catalog.unnest(i.indclass), pg_catalog.unnest(i.indcollation)) \
     WITH ORDINALITY AS k(att, class, collated, n) \
     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) k.att AND a.attnum OPERATOR(pg_catalog.<>) 0 \
     LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid OPERATOR(pg_catalog.=) k.class AND k.collated OPERATOR(pg_catalog.=) a.attcollation \
     LEFT JOIN pg_catalog.pg_amop ao ON ao.amopfamily OPERATOR(pg_catalog.=) oc.opcfamily AND ao.amoplefttype OPERATOR(pg_catalog.=) oc.opcintype \
     AND ao.amoprighttype OPERATOR(pg_catalog.=) oc.opcintype AND ao.amopstrategy OPERATOR(pg_catalog.=) 3 \
     LEFT JOIN pg_catalog.pg_operator op ON op.oid OPERATOR(pg_catalog.=) ao.amopopr \
     LEFT JOIN pg_catalog.pg_namespace opn ON opn.oid OPERATOR(pg_catalog.=) op.oprnamespace \
     WHERE (i.indisunique OR i.indisexclusion) AND k.n OPERATOR(pg_catalog.<=) i.indnkeyatts AND ",
    user_schemas!(),
    " ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid, k.n"
);

/// relation, name, type bits, function, its name if it is the server's, the trigger that captures rows, when it fires. Before
/// PostgreSQL 15 a partition's copy of its parent's trigger counts as internal.
pub const TRIGGERS: &str = "SELECT t.tgrelid, t.tgname, t.tgtype, p.oid, \
     CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384 THEN p.proname END, \
     n.nspname OPERATOR(pg_catalog.=) 'lockstep' AND p.proname OPERATOR(pg_catalog.=) 'capture' \
     AND t.tgname OPERATOR(pg_catalog.=) 'lockstep_capture', t.tgenabled \
     FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
     WHERE (NOT t.tgisinternal OR t.tgfoid OPERATOR(pg_catalog.>=) 16384 OR t.tgconstraint OPERATOR(pg_catalog.=) 0 \
     OR t.tgenabled OPERATOR(pg_catalog.=) ANY ('{A,R}')) AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'";

/// relation, name, event, when it fires
pub const RULES: &str = "SELECT r.ev_class, r.rulename, r.ev_type, r.ev_enabled FROM pg_catalog.pg_rewrite r \
     WHERE r.ev_class OPERATOR(pg_catalog.>=) 16384 AND r.ev_type OPERATOR(pg_catalog.<>) '1' AND r.ev_enabled OPERATOR(pg_catalog.<>) 'D'";

/// relation with a rule, relation that the rule names
pub const RULE_TARGETS: &str = "SELECT DISTINCT r.ev_class, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND r.ev_type OPERATOR(pg_catalog.<>) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384 \
     AND x.refobjid OPERATOR(pg_catalog.>=) 16384 AND x.refobjid OPERATOR(pg_catalog.<>) r.ev_class";

/// child, parent
pub const INHERITANCE: &str = "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i";

/// referring relation, referred relation, on delete, on update, names of the referring and of the referred column
pub const FOREIGN_KEYS: &str = "SELECT k.oid, k.conrelid, k.confrelid, k.confdeltype, k.confupdtype, a.attname, fa.attname \
     FROM pg_catalog.pg_constraint k CROSS JOIN LATERAL ROWS FROM \
     (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS u(att, fatt) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) k.conrelid AND a.attnum OPERATOR(pg_catalog.=) u.att \
     JOIN pg_catalog.pg_attribute fa ON fa.attrelid OPERATOR(pg_catalog.=) k.confrelid AND fa.attnum OPERATOR(pg_catalog.=) u.fatt \
     WHERE k.contype OPERATOR(pg_catalog.=) 'f' ORDER BY k.oid";

/// oid, schema, name, kind (`t`: for triggers), volatility, extension, takes a row as its only argument, language, body of a function that is
/// read (the server's own bytes in hexadecimal; a body beyond 64 KiB is cut, and so not understood; one that runs under settings
/// by which triggers do not fire or its text means something else is left out) or other names of one
/// that is built in, types of its arguments, its names do not depend on the search path, support functions of users of an aggregate
pub const FUNCTIONS: &str = "WITH built_in(prosrc, names) AS MATERIALIZED (SELECT b.prosrc, pg_catalog.string_agg(b.proname::pg_catalog.text, ' ') \
     FROM pg_catalog.pg_proc b JOIN pg_catalog.pg_language i ON i.oid OPERATOR(pg_catalog.=) b.prolang \
     WHERE b.oid OPERATOR(pg_catalog.<) 16384 AND i.lanname OPERATOR(pg_catalog.=) 'internal' GROUP BY b.prosrc) \
     SELECT p.oid, n.nspname, p.proname, \
     CASE WHEN p.prorettype OPERATOR(pg_catalog.=) ANY ('{trigger,event_trigger}'::pg_catalog.regtype[]) THEN 't' ELSE p.prokind END, p.provolatile, e.extname, \
     p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1 AND p.pronargs OPERATOR(pg_catalog.>=) 1, l.lanname, \
     CASE WHEN e.extname IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c OPERATOR(pg_catalog.~) '^(transaction_isolation|default_transaction_isolation|session_replication_role|standard_conforming_strings|session_authorization|allow_system_table_mods)=') AND l.lanname OPERATOR(pg_catalog.=) ANY ('{sql,plpgsql,internal}') THEN pg_catalog.encode(pg_catalog.convert_to( \
     CASE WHEN l.lanname OPERATOR(pg_catalog.=) 'internal' THEN (SELECT b.names FROM built_in b WHERE b.prosrc OPERATOR(pg_catalog.=) p.prosrc) \
     WHEN p.prosqlbody IS NULL THEN pg_catalog.left(p.prosrc, 65537) ELSE pg_catalog.left(pg_catalog.pg_get_function_sqlbody(p.oid), 65537) END, \
     pg_catalog.getdatabaseencoding()), 'hex') END, p.proargtypes::pg_catalog.text, \
     p.prosqlbody IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c OPERATOR(pg_catalog.~) '^search_path='), \
     (SELECT pg_catalog.string_agg(s.id::pg_catalog.text, ' ' ORDER BY s.id) FROM pg_catalog.pg_aggregate g CROSS JOIN LATERAL pg_catalog.unnest(\
     ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::pg_catalog.oid[]) AS s(id) \
     WHERE g.aggfnoid OPERATOR(pg_catalog.=) p.oid AND s.id OPERATOR(pg_catalog.>=) 16384) \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
     JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
     LEFT JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid \
     AND d.deptype OPERATOR(pg_catalog.=) 'e' LEFT JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid WHERE p.oid OPERATOR(pg_catalog.>=) 16384 \
     AND n.nspname OPERATOR(pg_catalog.<>) 'lockstep'";

/// name of a function of the server that is not IMMUTABLE; none where no function of a user says that it is
pub const CHANGEABLE: &str = "SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.<) 16384 \
     AND p.provolatile OPERATOR(pg_catalog.<>) 'i' AND EXISTS (SELECT FROM pg_catalog.pg_proc u JOIN pg_catalog.pg_language l \
     ON l.oid OPERATOR(pg_catalog.=) u.prolang WHERE u.oid OPERATOR(pg_catalog.>=) 16384 AND u.provolatile OPERATOR(pg_catalog.=) 'i' \
     AND l.lanname OPERATOR(pg_catalog.=) ANY ('{sql,plpgsql,internal}'))";

/// function, its name if it is the server's, schema and name of an operator of users that calls it
pub const OPERATORS: &str = "SELECT p.oid, CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384 THEN p.proname END, n.nspname, o.oprname \
     FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode::pg_catalog.oid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace WHERE o.oid OPERATOR(pg_catalog.>=) 16384";

/// function, its name if it is the server's, the schema and name of the type to which it casts, not only where it is
/// asked for
pub const CASTS: &str = "SELECT p.oid, CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384 THEN p.proname END, n.nspname, t.typname, \
     c.castcontext OPERATOR(pg_catalog.<>) 'e' FROM pg_catalog.pg_cast c \
     JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) c.castfunc JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) c.casttarget \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace WHERE c.oid OPERATOR(pg_catalog.>=) 16384";

/// What a definition calls: where it stands (`d` default, `g` generated column, `c` check, `i` index or partition key, `v`
/// view, `p` policy, `r` rule, `w` condition of a trigger, `t` check of a domain, `D` default of a domain), the relation or domain, the function, its name if it
/// is the server's. Of the server's functions, those that do more than compute, and in checks and keys those that depend
/// on more than their arguments; so do the time and the role, which are no functions, and texts of times and fractions.
///
/// The trees are read as text, for the server notes no dependence on what is its own.
pub const CALLS: &str = concat!(
    "WITH definition(place, owner, tree) AS (SELECT CASE WHEN a.attgenerated OPERATOR(pg_catalog.<>) '' THEN 'g' ELSE 'd' END, d.adrelid, \
     d.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a \
     ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum WHERE d.adrelid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT CASE WHEN k.conrelid OPERATOR(pg_catalog.<>) 0 THEN 'c' ELSE 't' END, \
     CASE WHEN k.conrelid OPERATOR(pg_catalog.<>) 0 THEN k.conrelid ELSE k.contypid END, k.conbin::pg_catalog.text \
     FROM pg_catalog.pg_constraint k WHERE k.conbin IS NOT NULL AND k.oid OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'i', i.indrelid, pg_catalog.concat(i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text) FROM pg_catalog.pg_index i \
     WHERE i.indexrelid OPERATOR(pg_catalog.>=) 16384 AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) \
     UNION ALL SELECT 'i', k.partrelid, k.partexprs::pg_catalog.text FROM pg_catalog.pg_partitioned_table k WHERE k.partexprs IS NOT NULL \
     UNION ALL SELECT 'v', r.ev_class, r.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite r \
     WHERE r.ev_type OPERATOR(pg_catalog.=) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'p', p.polrelid, pg_catalog.concat(p.polqual::pg_catalog.text, p.polwithcheck::pg_catalog.text) FROM pg_catalog.pg_policy p \
     UNION ALL SELECT 'r', r.ev_class, pg_catalog.concat(r.ev_action::pg_catalog.text, r.ev_qual::pg_catalog.text) FROM pg_catalog.pg_rewrite r \
     WHERE r.ev_type OPERATOR(pg_catalog.<>) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384 \
     UNION ALL SELECT 'w', g.tgrelid, g.tgqual::pg_catalog.text FROM pg_catalog.pg_trigger g WHERE g.tgqual IS NOT NULL \
     UNION ALL SELECT 'D', t.oid, t.typdefaultbin::pg_catalog.text FROM pg_catalog.pg_type t WHERE t.typdefaultbin IS NOT NULL) \
     SELECT DISTINCT t.place, t.owner, f.oid, CASE WHEN f.oid OPERATOR(pg_catalog.<) 16384 THEN f.proname::pg_catalog.text END FROM definition t \
     CROSS JOIN LATERAL pg_catalog.regexp_matches(t.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g') AS m(id) \
     JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) m.id[1]::pg_catalog.oid \
     WHERE f.oid OPERATOR(pg_catalog.>=) 16384 OR f.proname OPERATOR(pg_catalog.=) ANY ('",
    writers!(),
    "') OR (t.place OPERATOR(pg_catalog.=) ANY ('{c,t,i}') AND f.provolatile OPERATOR(pg_catalog.<>) 'i') \
     UNION ALL SELECT t.place, t.owner, 0, 'CURRENT_DATE or the like' FROM definition t \
     WHERE t.place OPERATOR(pg_catalog.=) ANY ('{c,t}') AND t.tree OPERATOR(pg_catalog.~) '{SQLVALUEFUNCTION ' \
     UNION ALL SELECT t.place, t.owner, 0, 'the text of a time or a fraction' FROM definition t \
     WHERE t.place OPERATOR(pg_catalog.=) ANY ('{c,t}') AND t.tree OPERATOR(pg_catalog.~) '{COERCEVIAIO ' AND t.tree OPERATOR(pg_catalog.~) \
     ':(vartype|resulttype|funcresulttype|opresulttype|consttype|typeId) (17|700|701|790|1082|1083|1114|1184|1186|1266) '"
);

/// view, relation that it reads
pub const VIEWS: &str = "SELECT DISTINCT r.ev_class, x.refobjid FROM pg_catalog.pg_depend x \
     JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) x.objid WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND r.ev_type OPERATOR(pg_catalog.=) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384 \
     AND x.refobjid OPERATOR(pg_catalog.>=) 16384 AND x.refobjid OPERATOR(pg_catalog.<>) r.ev_class";

/// a relation with a constraint that can be deferred, or to which one refers, or with such a trigger
pub const DEFERRABLE: &str = "SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.condeferrable AND k.conrelid OPERATOR(pg_catalog.<>) 0 AND k.conname OPERATOR(pg_catalog.<>) 'lockstep_capture' \
     UNION SELECT k.confrelid FROM pg_catalog.pg_constraint k WHERE k.condeferrable AND k.confrelid OPERATOR(pg_catalog.<>) 0 \
     UNION SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE t.tgdeferrable AND NOT t.tgisinternal \
     AND t.tgname OPERATOR(pg_catalog.<>) 'lockstep_capture'";

/// name
pub const EVENT_TRIGGERS: &str =
    "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.=) ANY ('{O,A}')";

/// Roles that may do what is not seen: switch counting or triggers off, and write files and slots of the server. `$owner`
/// may be one or become one.
macro_rules! may_do_unseen {
    ($owner:literal) => {
        concat!(
            "EXISTS (SELECT FROM pg_catalog.pg_roles m WHERE pg_catalog.pg_has_role(",
            $owner,
            ", m.oid, 'MEMBER') AND (m.rolsuper OR m.rolreplication \
             OR m.rolname OPERATOR(pg_catalog.=) ANY ('{pg_write_server_files,pg_execute_server_program}')))"
        )
    };
}

/// What runs with the rights of such an owner: `f`, a function that is SECURITY DEFINER; `t`, a table whose rows foreign
/// keys change, which sets off its triggers.
pub const LENT: &str = concat!(
    "SELECT 'f', p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
     WHERE p.prosecdef AND p.oid OPERATOR(pg_catalog.>=) 16384 AND n.nspname OPERATOR(pg_catalog.<>) 'lockstep' AND ",
    may_do_unseen!("p.proowner"),
    " UNION ALL SELECT 't', c.oid FROM pg_catalog.pg_class c WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint k \
     WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid AND k.contype OPERATOR(pg_catalog.=) 'f' \
     AND (k.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}') OR k.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'))) AND ",
    may_do_unseen!("c.relowner")
);

/// Tables of which some role may write single columns only, or has no name for the type of a column: followers write whole
/// rows, and name types.
pub const IN_PART: &str = "SELECT a.attrelid FROM pg_catalog.pg_attribute a WHERE a.attacl IS NOT NULL AND NOT a.attisdropped \
     AND EXISTS (SELECT FROM pg_catalog.aclexplode(a.attacl) x WHERE x.privilege_type OPERATOR(pg_catalog.=) ANY ('{INSERT,UPDATE}')) \
     UNION SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
     JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid \
     WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}') AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
     AND t.oid OPERATOR(pg_catalog.>=) 16384 AND t.typnamespace OPERATOR(pg_catalog.<>) c.relnamespace \
     AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE NOT pg_catalog.has_schema_privilege(r.oid, t.typnamespace, 'USAGE') \
     AND pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE') \
     AND pg_catalog.has_any_column_privilege(r.oid, c.oid, 'INSERT,UPDATE'))";

/// The schemas that are searched, in their order, each in hexadecimal UTF-8 and without doubt where it ends; the client's
/// encoding; the role that is set; the level of transactions; which triggers fire.
pub const SEARCH_PATH: &str = "SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(s.name::pg_catalog.text, \
     'UTF8'), 'hex'), ' ' ORDER BY s.n), pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('role'), \
     pg_catalog.current_setting('default_transaction_isolation'), pg_catalog.current_setting('session_replication_role') \
     FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS s(name, n)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::builtin::WATCHED_SETTINGS;

    /// `row_security` aside: what it hides is an error then, and the triggers of capture see the rest.
    #[test]
    fn a_function_with_a_watched_setting_of_its_own_is_not_read() {
        let watched: Vec<_> = WATCHED_SETTINGS.into_iter().filter(|name| *name != "row_security").collect();
        assert!(FUNCTIONS.contains(&format!("'^({})='", watched.join("|"))));
    }
}
