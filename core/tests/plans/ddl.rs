use lockstep_core::plan::{Action, Ddl};

use crate::{assert_leader, assert_refused, plan};

fn ddl(sql: &str) -> Ddl {
    match &plan(sql).action {
        Action::Ddl(ddl) => (**ddl).clone(),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn ddl_goes_as_text() {
    for sql in [
        "CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now())",
        "CREATE TABLE p PARTITION OF events FOR VALUES FROM ('2050-01-01') TO ('2060-01-01')",
        "ALTER TABLE users ADD COLUMN age int",
        "ALTER TABLE users ADD COLUMN age int NOT NULL DEFAULT 7",
        "ALTER TABLE users ADD COLUMN n positive",
        "ALTER TABLE users ALTER COLUMN name TYPE varchar(10) USING trim(name)::varchar(10)",
        "ALTER TABLE users ALTER COLUMN created SET DEFAULT clock_timestamp()",
        "ALTER TABLE numbered ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC'",
        "ALTER TABLE numbered ALTER at TYPE date USING at::date",
        "ALTER TABLE numbered ALTER word TYPE jsonb USING word::jsonb",
        "ALTER TABLE numbered ADD c jsonb DEFAULT '{}'::jsonb, ADD CHECK (n > 0)",
        "CREATE INDEX ON numbered (id) WHERE word <> 'x'::text",
        "CREATE TABLE t (n bigint DEFAULT nextval('counter'::regclass) CHECK (n > 0))",
        "CREATE ROLE x VALID UNTIL '2040-01-01'",
        "SECURITY LABEL ON TABLE users IS 'a'",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "CREATE INDEX ON users (lower(name))",
        "CREATE VIEW x AS SELECT writes()",
        "CREATE TABLE x AS SELECT * FROM users WITH NO DATA",
        "CREATE MATERIALIZED VIEW x AS SELECT 1 WITH NO DATA",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
        "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION trg()",
        "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\"",
        "CREATE TYPE color AS ENUM ('now', 'red')",
        "DROP TABLE users, orders CASCADE",
        "DROP SCHEMA shop CASCADE",
        "GRANT SELECT ON users TO PUBLIC",
        "COMMENT ON TABLE users IS 'now'",
        "TRUNCATE users CASCADE",
        "ANALYZE",
        "ALTER TABLESPACE x SET (random_page_cost = 2)",
        "ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE pg_default",
        "CLUSTER users USING users_pkey",
        "REINDEX TABLE users",
        "DROP ROLE app",
    ] {
        assert_eq!(ddl(sql).password, None);
    }
    assert!(plan("TRUNCATE users RESTART IDENTITY CASCADE").marks.sequences);
}

#[test]
fn what_cannot_run_in_a_transaction_is_a_utility() {
    for sql in [
        "VACUUM FULL users",
        "CREATE INDEX CONCURRENTLY ON users (name)",
        "DROP INDEX CONCURRENTLY users_pkey",
        "REINDEX (CONCURRENTLY) TABLE users",
        "REINDEX TABLE CONCURRENTLY users",
        "REINDEX TABLE events",
        "REINDEX INDEX events_pkey",
        "CLUSTER events USING events_pkey",
        "REINDEX SCHEMA CONCURRENTLY public",
        "REINDEX DATABASE app",
        "REINDEX SYSTEM app",
        "CREATE DATABASE x",
        "DROP DATABASE x",
        "ALTER DATABASE x SET TABLESPACE y",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "CREATE TABLESPACE x LOCATION '/x'",
        "CLUSTER",
        "ALTER TABLE events DETACH PARTITION events_old CONCURRENTLY",
    ] {
        assert!(matches!(plan(sql).action, Action::Utility { .. }), "{sql}");
    }
}

#[test]
fn temporary_objects_are_the_leaders() {
    for sql in [
        "CREATE TEMP TABLE t (a int)",
        "CREATE TABLE pg_temp.t (a int)",
        "CREATE TEMPORARY TABLE t AS SELECT * FROM users",
        "SELECT * INTO TEMP t FROM users",
        "CREATE TEMP VIEW x AS SELECT 1",
        "DROP TABLE pg_temp.t",
    ] {
        assert_leader(sql);
        assert!(plan(sql).marks.temporary, "{sql}");
    }
    assert_refused("CREATE TEMP TABLE t AS SELECT writes()", "public.writes");
}

#[test]
fn rows_that_each_server_would_compute_in_its_own_way_come_from_the_leader() {
    for sql in [
        "CREATE TABLE x AS SELECT * FROM users",
        "ALTER TABLE users ADD COLUMN c timestamptz DEFAULT now()",
        "ALTER TABLE users ADD COLUMN c date DEFAULT CURRENT_DATE",
        "ALTER TABLE users ADD COLUMN c uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE users ADD COLUMN c serial",
        "ALTER TABLE users ADD COLUMN c bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE users ADD COLUMN c stamped",
        "ALTER TABLE users ADD COLUMN c int GENERATED ALWAYS AS (computes(id)) STORED",
        "ALTER TABLE users ALTER name TYPE text USING gen_random_uuid()::text",
        "ALTER TABLE users ALTER name TYPE int USING computes(1)",
        "ALTER TABLE numbered ALTER word TYPE timestamptz USING word::timestamptz",
        "ALTER TABLE numbered ALTER word TYPE date USING word::text::date",
        "ALTER TABLE numbered ALTER word TYPE text USING word::date::text",
        "ALTER TABLE numbered ALTER word TYPE text USING ctid::text",
        "ALTER TABLE numbered ALTER word TYPE text USING word || xmin",
        "ALTER TABLE numbered ALTER n TYPE oid USING tableoid",
        "ALTER TABLE numbered ALTER n TYPE oid USING word::regclass",
        "ALTER TABLE numbered ALTER n TYPE int USING n *? 7",
        "ALTER TABLE numbered ALTER n TYPE pair",
        "ALTER TABLE numbered ADD c pair DEFAULT 7::pair",
        "ALTER TABLE numbered ADD c int DEFAULT 3 *? 7",
        "ALTER TABLE numbered ADD c oid DEFAULT 'users'::regclass::oid",
        "SELECT * INTO UNLOGGED x FROM users",
        "CREATE MATERIALIZED VIEW x AS SELECT 1",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY mv",
        "CREATE TABLE x WITH (fillfactor = 70) AS EXECUTE p",
    ] {
        assert!(matches!(plan(sql).action, Action::Image(_)), "{sql}");
    }
    assert!(plan("CREATE TABLE x AS SELECT nextval('counter')").marks.sequences);
    assert!(plan("ALTER TABLE users ADD COLUMN c serial").marks.sequences);
}

#[test]
fn do_blocks_are_let_through_when_they_are_ddl_alone() {
    for sql in [
        "DO $$ BEGIN END $$",
        "DO $x$BEGIN CREATE TYPE c AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END$x$ LANGUAGE plpgsql",
    ] {
        assert!(matches!(plan(sql).action, Action::Image(_)), "{sql}");
    }
    for sql in [
        "DO $$ BEGIN DELETE FROM users; END $$",
        "DO $$ BEGIN IF EXISTS (SELECT 1) THEN NULL; END IF; SELECT 1; END $$",
        "DO $$ DECLARE a int; BEGIN END $$",
        "DO $$ BEGIN RAISE NOTICE '%', writes(); END $$",
        "DO LANGUAGE plpython3u $$ BEGIN END $$",
    ] {
        assert_refused(sql, "DO");
    }
    assert_refused("DO $$ BEGIN IF writes() > 0 THEN NULL; END IF; END $$", "not known in full");
    assert_refused("DO $$ BEGIN DROP SCHEMA lockstep; END $$", "lockstep");
}

#[test]
fn what_each_server_would_do_in_its_own_way_is_refused() {
    for (sql, why) in [
        ("CREATE MATERIALIZED VIEW x AS SELECT 'now'::timestamptz", "another time"),
        ("ALTER TABLE users ADD COLUMN c timestamptz DEFAULT 'now'", "another time"),
        ("ALTER TABLE users ADD CHECK (writes() > 0)", "public.writes"),
        ("CREATE TABLE t (a timestamptz DEFAULT 'now'::timestamptz)", "another time"),
        ("CREATE TABLE p PARTITION OF events FOR VALUES FROM (now()) TO ('2060-01-01')", "bounds"),
        ("ALTER TABLE numbered ADD CHECK (tableoid <> 7)", "differ"),
        ("ALTER TABLE numbered ADD c oid CHECK (c <> 'users'::regclass)", "differ"),
        ("CREATE TABLE t (c oid CHECK (c <> 'users'::regclass))", "differ"),
        ("CREATE TABLE t (c oid, CHECK (c <> tableoid))", "differ"),
        ("CREATE INDEX ON numbered (n) WHERE n::oid <> 'users'::regclass", "differ"),
        ("CREATE ROLE x VALID UNTIL 'tomorrow'", "VALID UNTIL"),
        ("ALTER ROLE x VALID UNTIL 'today 12:00' CREATEDB", "VALID UNTIL"),
        ("SECURITY LABEL ON LARGE OBJECT 1 IS 'a'", "large objects"),
        ("CREATE TABLE U&\"\\006cockstep\".t ()", "lockstep"),
        ("DROP TABLE U&\"lock!0073tep\" UESCAPE '!' .members", "lockstep"),
        ("TRUNCATE secured", "row-level security"),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "subscription"),
        ("IMPORT FOREIGN SCHEMA x FROM SERVER s INTO public", "foreign server"),
        ("DROP SCHEMA lockstep", "lockstep"),
        ("CREATE SCHEMA lockstep", "lockstep"),
        ("ALTER TABLE users SET SCHEMA lockstep", "lockstep"),
    ] {
        assert_refused(sql, why);
    }
}

#[test]
fn a_password_in_clear_is_found_where_it_stands() {
    let sql = "CREATE ROLE app LOGIN ENCRYPTED PASSWORD 'it''s' CREATEDB";
    let found = ddl(sql).password.unwrap();
    assert_eq!((&sql[found.span], found.role.as_str(), found.password.as_str()), ("'it''s'", "app", "it's"));
    let sql = "ALTER USER app PASSWORD E'a\\'b'";
    assert_eq!(&sql[ddl(sql).password.unwrap().span], "E'a\\'b'");
    let md5 = format!("ALTER ROLE app PASSWORD 'md5{}'", "0".repeat(32));
    assert_eq!(ddl(&md5).password, None);
    assert_eq!(ddl("ALTER ROLE app PASSWORD NULL").password, None);
}

#[test]
fn schemas_of_temporary_objects_are_the_leaders_alone_by_whatever_name() {
    for sql in [
        "REINDEX SCHEMA CONCURRENTLY pg_temp_4",
        "REINDEX SCHEMA pg_temp",
        "CREATE TABLE pg_temp_12.t (id int)",
        "DROP TABLE \"pg_temp_4\".t",
    ] {
        assert_leader(sql);
    }
}
