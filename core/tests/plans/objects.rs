//! Large objects.

use lockstep_core::plan::{Action, Marks};

use crate::{assert_captured, assert_leader, assert_refused, plan};

const NOTED: Marks = Marks {
    sequences: false,
    setval: false,
    settings: false,
    locks: false,
    temporary: false,
    holdable: false,
    objects: true,
    locks_objects: false,
    upkeep: false,
    depends: false,
    defaults: false,
};
const LOCKED: Marks = Marks { locks_objects: true, ..NOTED };

#[test]
fn calls_of_their_functions_are_noted_wherever_a_statement_has_them() {
    for (sql, marks) in [
        ("SELECT lo_create(0), lo_creat(-1)", NOTED),
        ("SELECT pg_catalog.lo_open(5, 131072)", NOTED),
        ("SELECT \"lo_put\"(5, 0, 'a'), lowrite(0, 'b')", NOTED),
        ("SELECT lo_unlink(id) FROM users WHERE lo_from_bytea(0, 'a') > 5", LOCKED),
        ("SELECT lo_unlink(5) UNION SELECT 1", LOCKED),
    ] {
        let plan = plan(sql);
        assert!(matches!(plan.action, Action::Objects(_)), "{sql}: {:?}", plan.action);
        assert_eq!(plan.marks, marks, "{sql}");
    }
    for sql in ["INSERT INTO heap VALUES (lo_from_bytea(0, 'a')::int)", "UPDATE users SET name = lo_unlink(5)::text"] {
        let plan = plan(sql);
        assert!(matches!(plan.action, Action::Write(_)) && plan.marks.objects, "{sql}: {:?}", plan.action);
    }
    assert_captured("UPDATE heap SET a = lo_create(0)::int");
    assert!(plan("UPDATE heap SET a = lo_create(0)::int").marks.objects);
}

#[test]
fn what_works_by_a_descriptor_or_reads_is_the_leaders_business() {
    assert_leader("SELECT lowrite($1, $2), lo_truncate(0, 5), lo_truncate64(0, 5)");
    assert_leader("SELECT loread(0, 5), lo_get(5), lo_lseek(0, 0, 0), lo_tell(0), lo_close(0)");
}

#[test]
fn definitions_about_them_name_them() {
    for (sql, numbers) in [
        ("GRANT SELECT ON LARGE OBJECT 1, 4294967295 TO PUBLIC", &[1, u32::MAX][..]),
        ("REVOKE ALL ON LARGE OBJECT 7 FROM PUBLIC", &[7]),
        ("COMMENT ON LARGE OBJECT 1 IS 'a'", &[]),
        ("ALTER LARGE OBJECT 1 OWNER TO app", &[]),
    ] {
        let plan = plan(sql);
        assert_eq!((&plan.action, plan.marks), (&Action::Objects(numbers.into()), LOCKED), "{sql}");
    }
}

#[test]
fn where_their_text_cannot_be_respelled_they_are_refused() {
    for sql in [
        "DECLARE c CURSOR FOR SELECT lo_create(0)",
        "PREPARE p AS SELECT lo_create(0)",
        "PREPARE p AS INSERT INTO heap VALUES (lo_create(0)::int)",
        "EXPLAIN ANALYZE SELECT lo_unlink(5)",
        "COPY (SELECT lo_open(5, 131072)) TO STDOUT",
        "CREATE TABLE fresh AS SELECT lo_create(0)",
        "CREATE TEMP TABLE fresh AS SELECT lo_create(0)",
        "SELECT lo_create(0) INTO fresh",
        "SELECT U&\"lo\\005fcreate\"(0)",
        "SELECT lo_create (a), U&\"lo\\005fopen\"(5, 5) FROM (SELECT 1) AS lo_put (a)",
    ] {
        assert_refused(sql, "large objects");
    }
    assert_refused("DO $$ BEGIN PERFORM lo_open(5, 131072); END $$", "it calls lo_open");
}
