//! Materialized views: their query runs on each server, so it must give the same rows everywhere.
//!
//! Judged is the query as PostgreSQL itself keeps it, parsed and resolved (`pg_rewrite.ev_action`): every kind of node in it
//! is one of a list, every function and operator is built in and IMMUTABLE, every aggregate gives the same whatever order
//! its rows come in, and it reads tables only. Names in the tree are escaped, so that they can only add to what is found.
//!
//! Others may write to these tables before the transaction commits, and followers read them only then. So the leader locks
//! them against writers once it is known which they are, and fills the view again: by then all that it reads has been
//! committed everywhere, and nothing more is until the transaction has ended. A materialized view that the query reads
//! cannot be locked; to fill one anew takes a lock that keeps readers away, but for `CONCURRENTLY`: against that there are
//! advisory locks.

use super::refuse::refuse;
use crate::fault::Fault;
use crate::quote::quote_literal;

const HINT: &str = "Use a table, and fill it with INSERT … SELECT.";

/// So long does the lock wait for writers, and keep others waiting. A client's own `lock_timeout` counts if it is shorter.
const PATIENCE_MS: u32 = 2000;

/// The first class of advisory locks on views, by their numbers.
const CLASS: u32 = 0x4C6F_636C;

/// The first row of the answer says that there is such a view, and names it and the tables that it reads, if any; every further
/// one, why not. (An old snapshot may show a view twice, as it was and as the transaction has made it.)
pub fn question(schema: &str, name: &str) -> String {
    QUESTION.replace("{schema}", schema).replace("{name}", &quote_literal(name))
}

/// What the leader has answered, but for its first row.
pub fn check(reasons: impl Iterator<Item = String>) -> Result<(), Fault> {
    match reasons.into_iter().next() {
        None => Ok(()),
        Some(reason) => {
            let reason = format!("each server would run the query of the materialized view by itself: {reason}");
            Err(refuse(reason, HINT))
        }
    }
}

/// What the leader does so that it reads what followers will. `tables`, `view`: quoted; there may be no tables.
pub fn hold(tables: &str, view: &str, concurrently: bool) -> String {
    let named = quote_literal(view);
    let lock = if tables.is_empty() { String::new() } else { format!("LOCK TABLE {tables} IN SHARE MODE;") };
    let (concurrently, alone) = if concurrently {
        let alone = format!(
            "PERFORM pg_catalog.pg_advisory_xact_lock({CLASS}, ({named}::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8 \
                OPERATOR(pg_catalog.%) 2147483648)::pg_catalog.int4);"
        );
        ("CONCURRENTLY ", alone)
    } else {
        ("", String::new())
    };
    let body = format!(
        "DECLARE patience pg_catalog.text := pg_catalog.current_setting('lock_timeout');
        BEGIN
            IF patience OPERATOR(pg_catalog.=) '0' OR patience::pg_catalog.interval \
                OPERATOR(pg_catalog.>) '{PATIENCE_MS}ms'::pg_catalog.interval THEN
                PERFORM pg_catalog.set_config('lock_timeout', '{PATIENCE_MS}ms', true);
            END IF;
            BEGIN
                {alone}
                PERFORM pg_catalog.pg_advisory_xact_lock_shared({CLASS}, (s.oid::pg_catalog.int8 \
                    OPERATOR(pg_catalog.%) 2147483648)::pg_catalog.int4)
                FROM (SELECT DISTINCT c.oid FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d \
                    ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                        AND d.objid OPERATOR(pg_catalog.=) r.oid \
                        AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
                    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.refobjid \
                    WHERE r.ev_class OPERATOR(pg_catalog.=) {named}::pg_catalog.regclass \
                        AND c.relkind OPERATOR(pg_catalog.=) 'm' AND c.oid OPERATOR(pg_catalog.<>) r.ev_class \
                    ORDER BY c.oid) s;
                {lock}
            EXCEPTION WHEN lock_not_available THEN
                RAISE serialization_failure USING
                    MESSAGE = 'what a materialized view reads is locked, or written to, by a transaction that does not end';
            END;
            PERFORM pg_catalog.set_config('lock_timeout', patience, true);
            REFRESH MATERIALIZED VIEW {concurrently}{view};
        END"
    );
    format!("DO {}", quote_literal(&body))
}

/// The kinds of nodes are those of PostgreSQL 13 to 17 (src/backend/nodes/outfuncs.c). A grouped or distinct value must be
/// of a type whose equal values are one value, for which of them stays depends on the order.
const QUESTION: &str = r"WITH view AS (
    SELECT r.ev_action::text AS tree, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
    FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = {schema} AND c.relname = {name} AND c.relkind = 'm' AND r.rulename = '_RETURN' LIMIT 1
), source AS (
    SELECT DISTINCT c.oid, c.relname, pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
    FROM view, pg_catalog.regexp_matches(tree, ':relid (\d+)', 'g') f JOIN pg_catalog.pg_class c ON c.oid = f[1]::oid
        JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
), called AS (
    SELECT f[1]::oid AS oid FROM view, pg_catalog.regexp_matches(tree, ':(?:func|opfunc|aggfno|winfno)(?:id|oid) (\d+)', 'g') f
    UNION SELECT o.oprcode::oid FROM view, pg_catalog.regexp_matches(tree, ':(?:opno|eqop|sortop) (\d+)', 'g') f
        JOIN pg_catalog.pg_operator o ON o.oid = f[1]::oid
    UNION SELECT o.oprcode::oid FROM view, pg_catalog.regexp_matches(tree, ':opnos \(o ([\d ]+)\)', 'g') f,
        pg_catalog.regexp_split_to_table(f[1], ' ') one JOIN pg_catalog.pg_operator o ON o.oid = one::oid
)
SELECT (SELECT pg_catalog.string_agg(s.name, ', ' ORDER BY s.oid) FROM source s) AS reason, 0 AS place, name FROM view
UNION ALL SELECT 'it has a node of the kind ' || f[1], 1, NULL
    FROM view, pg_catalog.regexp_matches(tree, '\{([A-Z]+)', 'g') f
    WHERE f[1] NOT IN ('QUERY', 'RTE', 'RANGETBLENTRY', 'RTEPERMISSIONINFO', 'ALIAS', 'FROMEXPR', 'RANGETBLREF', 'JOINEXPR',
        'TARGETENTRY', 'VAR', 'CONST', 'OPEXPR', 'FUNCEXPR', 'BOOLEXPR', 'AGGREF', 'NULLTEST', 'BOOLEANTEST', 'CASE',
        'CASEEXPR', 'WHEN', 'CASEWHEN', 'CASETESTEXPR', 'COALESCE', 'COALESCEEXPR', 'RELABELTYPE', 'SORTGROUPCLAUSE',
        'SUBLINK', 'SCALARARRAYOPEXPR', 'ARRAY', 'ARRAYEXPR', 'DISTINCTEXPR', 'NULLIFEXPR', 'PARAM', 'COMMONTABLEEXPR',
        'SETOPERATIONSTMT', 'COLLATE', 'COLLATEEXPR')
UNION ALL SELECT 'it takes the first of several rows', 1, NULL FROM view
    WHERE tree ~ ':(limitCount|limitOffset) \{' OR tree ~ ':(hasDistinctOn|hasRecursive) true'
UNION ALL SELECT 'it reads system columns, or numbers of objects', 1, NULL FROM view
    WHERE tree ~ ':varattno -' OR tree ~ ':consttype (24|2202|2203|2204|2205|2206|3734|3769|4089|4096|4191) '
UNION ALL SELECT 'it reads ' || c.relname || ', which is no table of a user', 1, NULL
    FROM view, pg_catalog.regexp_matches(tree, ':relid (\d+)', 'g') f LEFT JOIN pg_catalog.pg_class c ON c.oid = f[1]::oid
    WHERE f[1] <> '0' AND (c.oid < 16384 OR c.relkind NOT IN ('r', 'p', 'm'))
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_action::text = tree)
UNION ALL SELECT 'it calls ' || p.proname || ', which is not built in and immutable', 1, NULL
    FROM called JOIN pg_catalog.pg_proc p ON p.oid = called.oid
    WHERE p.oid >= 16384 OR p.provolatile <> 'i' OR p.proretset
UNION ALL SELECT 'the result of ' || p.proname || ' may depend on the order of rows', 1, NULL
    FROM called JOIN pg_catalog.pg_proc p ON p.oid = called.oid
    WHERE p.prokind NOT IN ('f', 'a') OR p.prokind = 'a' AND NOT (p.proname IN ('count', 'bool_and', 'bool_or', 'every')
        OR p.proname IN ('sum', 'avg') AND p.proargtypes[0] IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype,
            'numeric'::regtype)
        OR p.proname IN ('min', 'max') AND p.proargtypes[0] IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype,
            'text'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype))
UNION ALL SELECT 'it groups by values of which equal ones may differ', 1, NULL
    FROM view, pg_catalog.regexp_matches(tree, ':eqop (\d+)', 'g') f LEFT JOIN pg_catalog.pg_operator o ON o.oid = f[1]::oid
    WHERE o.oprleft IS NULL OR o.oprleft NOT IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype,
        'bool'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'uuid'::regtype,
        'bytea'::regtype, 'anyenum'::regtype)
UNION ALL SELECT 'rows of ' || relname || ' may be newer than the snapshot of this transaction', 1, NULL
    FROM source WHERE pg_catalog.current_setting('transaction_isolation') <> 'read committed'
UNION ALL SELECT 'this role may not lock ' || relname || ' meanwhile, which needs UPDATE, DELETE or TRUNCATE on it', 1, NULL
    FROM source WHERE NOT pg_catalog.has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE')
UNION ALL SELECT 'a collation of this database takes different texts for equal', 1, NULL
    FROM view WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_collation WHERE NOT collisdeterministic)
ORDER BY place";
