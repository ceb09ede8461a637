//! `lockstep verify` compares whatever can be defined: each kind with its options, its owner, its grants and its comment;
//! and not what belongs to a session of one node.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::users::{APP, SUPERUSER};

use crate::verify::verify;

/// Something of each kind.
const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text, more int);
    CREATE INDEX kept_sum ON kept ((id + more));
    CREATE POLICY mine ON kept USING (true);
    CREATE STATISTICS together ON id, more FROM kept;
    CREATE TABLE above (id int);
    CREATE TABLE below () INHERITS (above);
    CREATE TYPE pair AS (a int, b int);
    CREATE TYPE mood AS ENUM ('good');
    CREATE DOMAIN small AS int;
    CREATE TYPE reach AS RANGE (subtype = int);
    CREATE FOREIGN DATA WRAPPER far OPTIONS (a '1');
    GRANT USAGE ON FOREIGN DATA WRAPPER far TO app;
    CREATE SERVER there TYPE 't' VERSION '1' FOREIGN DATA WRAPPER far OPTIONS (host 'h');
    CREATE USER MAPPING FOR app SERVER there OPTIONS (word 'w');
    CREATE FOREIGN TABLE away (id int OPTIONS (name 'i')) SERVER there OPTIONS (name 'x');
    CREATE PUBLICATION news FOR TABLE kept;
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();
    CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple, accept = false);
    CREATE TEXT SEARCH CONFIGURATION english_too (COPY = english);
    CREATE COLLATION other FROM \"C\";
    CREATE FUNCTION to_pair(int) RETURNS pair IMMUTABLE LANGUAGE sql AS 'SELECT ROW($1, 1)::pair';
    CREATE CAST (int AS pair) WITH FUNCTION to_pair(int);
    CREATE CONVERSION swapped FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE FUNCTION is_less(pair, pair) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1.a < $2.a';
    CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = is_less);
    CREATE OPERATOR >>> (LEFTARG = pair, RIGHTARG = pair, FUNCTION = is_less);
    CREATE FUNCTION order_of(pair, pair) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.a - $2.a';
    CREATE OPERATOR FAMILY family USING btree;
    CREATE OPERATOR FAMILY loose USING btree;
    CREATE OPERATOR CLASS class FOR TYPE pair USING btree FAMILY family AS OPERATOR 1 <<<, FUNCTION 1 order_of(pair, pair);
    CREATE ACCESS METHOD shelf TYPE TABLE HANDLER heap_tableam_handler;
    CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
    CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0')";

/// What is done to a follower, how it is undone, and what must be said of it.
const SPOILED: &[(&str, &str, &str)] = &[
    (
        "ALTER FOREIGN TABLE away OPTIONS (SET name 'y')",
        "ALTER FOREIGN TABLE away OPTIONS (SET name 'x')",
        "foreign table public.away",
    ),
    (
        "ALTER FOREIGN TABLE away ALTER id OPTIONS (SET name 'j')",
        "ALTER FOREIGN TABLE away ALTER id OPTIONS (SET name 'i')",
        "column public.away.id",
    ),
    ("ALTER SERVER there OPTIONS (SET host 'g')", "ALTER SERVER there OPTIONS (SET host 'h')", "foreign server there"),
    ("ALTER SERVER there VERSION '2'", "ALTER SERVER there VERSION '1'", "foreign server there"),
    (
        "ALTER USER MAPPING FOR app SERVER there OPTIONS (SET word 'v')",
        "ALTER USER MAPPING FOR app SERVER there OPTIONS (SET word 'w')",
        "user mapping app on there",
    ),
    (
        "CREATE USER MAPPING FOR PUBLIC SERVER there",
        "DROP USER MAPPING FOR PUBLIC SERVER there",
        "user mapping public on there",
    ),
    (
        "ALTER FOREIGN DATA WRAPPER far OPTIONS (SET a '2')",
        "ALTER FOREIGN DATA WRAPPER far OPTIONS (SET a '1')",
        "foreign-data wrapper far",
    ),
    (
        "ALTER FOREIGN DATA WRAPPER far VALIDATOR postgresql_fdw_validator",
        "ALTER FOREIGN DATA WRAPPER far NO VALIDATOR",
        "foreign-data wrapper far",
    ),
    (
        "ALTER EXTENSION plpgsql ADD FUNCTION watch()",
        "ALTER EXTENSION plpgsql DROP FUNCTION watch()",
        "member of extension plpgsql: function public.watch()",
    ),
    (
        "ALTER FUNCTION watch() DEPENDS ON EXTENSION plpgsql",
        "ALTER FUNCTION watch() NO DEPENDS ON EXTENSION plpgsql",
        "dependent on extension plpgsql: function public.watch()",
    ),
    (
        "UPDATE pg_extension SET extowner = 'app'::regrole WHERE extname = 'plpgsql'",
        "UPDATE pg_extension SET extowner = current_user::regrole WHERE extname = 'plpgsql'",
        "extension plpgsql",
    ),
    (
        "UPDATE pg_publication SET pubowner = 'app'::regrole",
        "UPDATE pg_publication SET pubowner = current_user::regrole",
        "publication news",
    ),
    (
        "UPDATE pg_event_trigger SET evtowner = 'app'::regrole",
        "UPDATE pg_event_trigger SET evtowner = current_user::regrole",
        "event trigger watching",
    ),
    (
        "ALTER PUBLICATION news SET TABLE kept (id)",
        "ALTER PUBLICATION news SET TABLE kept",
        "table of publication news: public.kept",
    ),
    (
        "ALTER PUBLICATION news SET TABLE kept WHERE (id > 1)",
        "ALTER PUBLICATION news SET TABLE kept",
        "table of publication news: public.kept",
    ),
    (
        "ALTER PUBLICATION news SET (publish = 'insert, update, delete')",
        "ALTER PUBLICATION news SET (publish = 'insert, update, delete, truncate')",
        "publication news",
    ),
    (
        "ALTER PUBLICATION news ADD TABLES IN SCHEMA public",
        "ALTER PUBLICATION news DROP TABLES IN SCHEMA public",
        "public in publication news",
    ),
    ("ALTER STATISTICS together SET STATISTICS 100", "ALTER STATISTICS together SET STATISTICS -1", "public.together"),
    (
        "DROP STATISTICS together; CREATE STATISTICS together (ndistinct) ON id, more FROM kept",
        "DROP STATISTICS together; CREATE STATISTICS together ON id, more FROM kept",
        "statistics public.together",
    ),
    ("ALTER EVENT TRIGGER watching ENABLE ALWAYS", "ALTER EVENT TRIGGER watching ENABLE", "event trigger watching"),
    (
        "ALTER TEXT SEARCH DICTIONARY words (accept = true)",
        "ALTER TEXT SEARCH DICTIONARY words (accept = false)",
        "text search dictionary public.words",
    ),
    (
        "ALTER TEXT SEARCH CONFIGURATION english_too DROP MAPPING FOR email",
        "ALTER TEXT SEARCH CONFIGURATION english_too ADD MAPPING FOR email WITH simple",
        "text search configuration public.english_too",
    ),
    (
        "DROP CAST (int AS pair); CREATE CAST (int AS pair) WITH FUNCTION to_pair(int) AS ASSIGNMENT",
        "DROP CAST (int AS pair); CREATE CAST (int AS pair) WITH FUNCTION to_pair(int)",
        "cast (integer AS public.pair)",
    ),
    (
        "DROP CONVERSION swapped; CREATE DEFAULT CONVERSION swapped FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "DROP CONVERSION swapped; CREATE CONVERSION swapped FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "conversion public.swapped",
    ),
    (
        "ALTER OPERATOR <<< (pair, pair) SET (RESTRICT = scalarltsel)",
        "ALTER OPERATOR <<< (pair, pair) SET (RESTRICT = NONE)",
        "operator public.<<<(public.pair,public.pair)",
    ),
    (
        "UPDATE pg_opclass SET opcdefault = true WHERE opcname = 'class'",
        "UPDATE pg_opclass SET opcdefault = false WHERE opcname = 'class'",
        "operator class public.class USING btree",
    ),
    (
        "ALTER OPERATOR FAMILY loose USING btree ADD OPERATOR 2 >>> (pair, pair)",
        "ALTER OPERATOR FAMILY loose USING btree DROP OPERATOR 2 (pair, pair)",
        "operator of access method operator 2",
    ),
    (
        "UPDATE pg_amproc SET amproc = 'public.is_less'::regproc WHERE amproc = 'public.order_of'::regproc",
        "UPDATE pg_amproc SET amproc = 'public.order_of'::regproc WHERE amproc = 'public.is_less'::regproc",
        "function of access method function 1",
    ),
    (
        "UPDATE pg_collation SET collversion = '1' WHERE collname = 'other'",
        "UPDATE pg_collation SET collversion = NULL WHERE collname = 'other'",
        "collation public.other",
    ),
    ("ALTER POLICY mine ON kept TO app", "ALTER POLICY mine ON kept TO public", "policy mine on public.kept"),
    (
        "ALTER POLICY mine ON kept USING (id > 0)",
        "ALTER POLICY mine ON kept USING (true)",
        "policy mine on public.kept",
    ),
    (
        "DROP ACCESS METHOD shelf; CREATE ACCESS METHOD shelf TYPE INDEX HANDLER bthandler",
        "DROP ACCESS METHOD shelf; CREATE ACCESS METHOD shelf TYPE TABLE HANDLER heap_tableam_handler",
        "access method shelf",
    ),
    (
        "CREATE OR REPLACE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))",
        "CREATE OR REPLACE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), \
         TO SQL WITH FUNCTION int4recv(internal))",
        "transform for integer on language sql",
    ),
    (
        "CREATE OR REPLACE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0', sspace = 9)",
        "CREATE OR REPLACE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0')",
        "function public.total(integer)",
    ),
    (
        "ALTER TABLE kept SET (toast.autovacuum_enabled = false)",
        "ALTER TABLE kept RESET (toast.autovacuum_enabled)",
        "table public.kept",
    ),
    (
        "ALTER INDEX kept_sum ALTER 1 SET STATISTICS 10",
        "ALTER INDEX kept_sum ALTER 1 SET STATISTICS -1",
        "index public.kept_sum",
    ),
    (
        "ALTER TABLE kept ALTER word SET COMPRESSION pglz",
        "ALTER TABLE kept ALTER word SET COMPRESSION default",
        "column public.kept.word",
    ),
    (
        "UPDATE pg_attribute SET attislocal = true WHERE attrelid = 'below'::regclass AND attname = 'id'",
        "UPDATE pg_attribute SET attislocal = false WHERE attrelid = 'below'::regclass AND attname = 'id'",
        "column public.below.id",
    ),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO app_md5",
        "ALTER DEFAULT PRIVILEGES FOR ROLE app REVOKE SELECT ON TABLES FROM app_md5",
        "default privileges of app for r",
    ),
];

/// The same of what all databases of a server share.
const SHARED: &[(&str, &str, &str)] = &[
    (
        "GRANT SET ON PARAMETER log_statement TO app_md5",
        "REVOKE SET ON PARAMETER log_statement FROM app_md5",
        "privileges on setting log_statement",
    ),
    (
        "GRANT CREATE ON TABLESPACE pg_default TO app_md5",
        "REVOKE CREATE ON TABLESPACE pg_default FROM app_md5",
        "tablespace pg_default",
    ),
    (
        "ALTER TABLESPACE pg_default SET (random_page_cost = 2)",
        "ALTER TABLESPACE pg_default RESET (random_page_cost)",
        "tablespace pg_default",
    ),
    (
        "GRANT app_md5 TO app WITH ADMIN OPTION",
        "REVOKE ADMIN OPTION FOR app_md5 FROM app",
        "membership of app in app_md5",
    ),
    (
        "ALTER ROLE app IN DATABASE defined SET work_mem = '5MB'",
        "ALTER ROLE app IN DATABASE defined RESET work_mem",
        "settings of role app in database defined",
    ),
    ("COMMENT ON ROLE app IS 'w'", "COMMENT ON ROLE app IS NULL", "comment on role app"),
    (
        "COMMENT ON TABLESPACE pg_default IS 'w'",
        "COMMENT ON TABLESPACE pg_default IS NULL",
        "comment on tablespace pg_default",
    ),
];

/// On what a right is granted, and how it is called in what is said.
const GRANTED: &[(&str, &str)] = &[
    ("USAGE ON LANGUAGE plpgsql", "language plpgsql differs"),
    ("USAGE ON TYPE mood", "type public.mood differs"),
    ("USAGE ON DOMAIN small", "type public.small differs"),
    ("USAGE ON TYPE pair", "privileges on type public.pair"),
    ("USAGE ON TYPE kept", "privileges on type public.kept"),
    ("USAGE ON TYPE int4", "privileges on type integer"),
    ("CREATE ON SCHEMA pg_catalog", "privileges on schema pg_catalog"),
    ("SELECT (rolname) ON pg_authid", "privileges on pg_authid.rolname"),
    ("USAGE ON FOREIGN SERVER there", "foreign server there differs"),
    ("USAGE ON FOREIGN DATA WRAPPER far", "foreign-data wrapper far differs"),
    ("EXECUTE ON FUNCTION total(int)", "function public.total(integer) differs"),
];

/// What has an owner.
const OWNED: &[(&str, &str)] = &[
    ("SERVER there", "foreign server there differs"),
    ("STATISTICS together", "statistics public.together differs"),
    ("TEXT SEARCH DICTIONARY words", "text search dictionary public.words differs"),
    ("TEXT SEARCH CONFIGURATION english_too", "text search configuration public.english_too differs"),
    ("COLLATION other", "collation public.other differs"),
    ("CONVERSION swapped", "conversion public.swapped differs"),
    ("OPERATOR <<< (pair, pair)", "operator public.<<<(public.pair,public.pair) differs"),
    ("OPERATOR CLASS class USING btree", "operator class public.class USING btree differs"),
    ("OPERATOR FAMILY family USING btree", "operator family public.family USING btree differs"),
    ("TYPE mood", "type public.mood differs"),
    ("TYPE pair", "composite type public.pair differs"),
    ("LANGUAGE plpgsql", "language plpgsql differs"),
];

/// What has a comment.
const TOLD_OF: &[&str] = &[
    "FOREIGN DATA WRAPPER far",
    "SERVER there",
    "PUBLICATION news",
    "STATISTICS together",
    "EVENT TRIGGER watching",
    "TEXT SEARCH DICTIONARY words",
    "TEXT SEARCH CONFIGURATION english_too",
    "COLLATION other",
    "CAST (int AS pair)",
    "CONVERSION swapped",
    "OPERATOR <<< (pair, pair)",
    "OPERATOR CLASS class USING btree",
    "OPERATOR FAMILY family USING btree",
    "ACCESS METHOD shelf",
    "TRANSFORM FOR int LANGUAGE sql",
    "POLICY mine ON kept",
    "TYPE pair",
    "DOMAIN small",
    "COLUMN pair.a",
    "CONSTRAINT kept_pkey ON kept",
    "INDEX kept_sum",
    "AGGREGATE total(int)",
    "SCHEMA public",
    "EXTENSION plpgsql",
    "LANGUAGE plpgsql",
];

fn started() -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database("defined");
    for node in &cluster.nodes {
        let mut client = node.connect("defined");
        client.query(SCHEMA);
        client.query("GRANT app_md5 TO app");
        for object in TOLD_OF {
            client.query(&format!("COMMENT ON {object} IS NULL"));
        }
    }
    cluster
}

#[test]
fn the_smallest_difference_of_each_definition_is_found() {
    let cluster = started();
    let mut follower = cluster.nodes[1].connect("defined");
    let own = SPOILED.iter().map(|case| (case, &["--database", "defined", "--rate", "none"][..]));
    for ((spoil, undo, sentence), arguments) in own.chain(SHARED.iter().map(|case| (case, &["--rate", "none"][..]))) {
        follower.query(spoil);
        let (code, text) = verify(&cluster, arguments);
        assert!(code == 1 && text.contains(sentence), "{spoil}: {code}, {text}");
        follower.query(undo);
    }
    let (code, text) = verify(&cluster, &["--rate", "none"]);
    assert_eq!(code, 0, "after everything was undone: {text}");
}

#[test]
fn each_owner_right_and_comment_is_compared() {
    let cluster = started();
    let mut follower = cluster.nodes[1].connect("defined");
    let mut found = |changes: Vec<String>| {
        changes.iter().for_each(|sql| drop(follower.query(sql)));
        verify(&cluster, &["--database", "defined", "--rate", "none"])
    };
    let (_, text) = found(GRANTED.iter().map(|(right, _)| format!("GRANT {right} TO app_md5")).collect());
    assert_each_is_told(GRANTED, &text);
    let (code, text) = found(GRANTED.iter().map(|(right, _)| format!("REVOKE {right} FROM app_md5")).collect());
    assert_eq!(code, 0, "{text}");

    let (_, text) = found(OWNED.iter().map(|(thing, _)| format!("ALTER {thing} OWNER TO {}", APP.name)).collect());
    assert_each_is_told(OWNED, &text);
    let back = SUPERUSER.name;
    let (code, text) = found(OWNED.iter().map(|(thing, _)| format!("ALTER {thing} OWNER TO {back}")).collect());
    assert_eq!(code, 0, "{text}");

    let (_, text) = found(TOLD_OF.iter().map(|thing| format!("COMMENT ON {thing} IS 'w'")).collect());
    assert_eq!(text.matches("comment on ").count(), TOLD_OF.len(), "{text}");
    let (code, text) = found(TOLD_OF.iter().map(|thing| format!("COMMENT ON {thing} IS NULL")).collect());
    assert_eq!(code, 0, "{text}");
}

fn assert_each_is_told(things: &[(&str, &str)], text: &str) {
    for (thing, sentence) in things {
        assert!(text.contains(sentence), "{thing}: {text}");
    }
}

#[test]
fn what_a_session_has_for_itself_is_no_difference() {
    let cluster = started();
    let mut client = cluster.connect("defined");
    client.query("CREATE TEMP TABLE mine (id int PRIMARY KEY, word text)");
    for thing in ["TABLE mine", "COLUMN mine.word", "CONSTRAINT mine_pkey ON mine", "INDEX mine_pkey"] {
        client.query(&format!("COMMENT ON {thing} IS 'w'"));
    }
    let (code, text) = verify(&cluster, &["--rate", "none"]);
    assert_eq!(code, 0, "{text}");
}
