use lockstep_core::plan::kept::{Argument, Locking};
use lockstep_core::plan::modes::{Isolation, Modes};
use lockstep_core::plan::{Action, Kept, Leaves, Memory, Transaction};

use crate::{assert_captured, assert_leader, assert_refused, assert_refused_under, plan, script};

#[test]
fn transactions_are_told_apart() {
    let transaction = |sql: &str| match &plan(sql).action {
        Action::Transaction(transaction) => transaction.clone(),
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(transaction("BEGIN"), Transaction::Begin { modes: Modes::default(), tag: "BEGIN" });
    for (words, isolation, read_only, deferrable) in [
        (" ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", Some(Isolation::Serializable), Some(true), Some(true)),
        (" ISOLATION LEVEL REPEATABLE READ", Some(Isolation::RepeatableRead), None, None),
        (" READ WRITE NOT DEFERRABLE", None, Some(false), Some(false)),
    ] {
        let modes = Modes { isolation, read_only, deferrable };
        let begin = Transaction::Begin { modes, tag: "START TRANSACTION" };
        assert_eq!(transaction(&format!("START TRANSACTION{words}")), begin);
        assert_eq!(modes.to_string(), words);
    }
    assert_eq!(transaction("END AND CHAIN"), Transaction::Commit { chain: true });
    assert_eq!(transaction("ABORT"), Transaction::Rollback { chain: false });
    assert_eq!(transaction("SAVEPOINT a"), Transaction::Savepoint { name: "a".into() });
    assert_eq!(transaction("ROLLBACK TO a"), Transaction::RollbackTo { name: "a".into() });
    assert_eq!(transaction("RELEASE a"), Transaction::Release { name: "a".into() });
    let isolation =
        |level, session| Transaction::Modes { modes: Modes { isolation: Some(level), ..Modes::default() }, session };
    assert_eq!(transaction("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), isolation(Isolation::Serializable, false));
    assert_eq!(
        transaction("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        isolation(Isolation::Serializable, true)
    );
    assert_eq!(
        transaction("SET default_transaction_isolation = 'serializable'"),
        isolation(Isolation::Serializable, true)
    );
    assert_eq!(
        transaction("SET default_transaction_isolation TO 'read committed'"),
        isolation(Isolation::ReadCommitted, true)
    );
    assert_refused("PREPARE TRANSACTION 'x'", "prepared transactions");
    assert_refused("COMMIT PREPARED 'x'", "prepared transactions");
}

#[test]
fn settings_are_remembered_for_a_new_leader() {
    let memory = |sql: &str| plan(sql).memory.clone();
    assert_eq!(memory("SET TimeZone = 'UTC'"), Some(Memory::Set { name: "timezone".into() }));
    assert_eq!(memory("SET LOCAL TimeZone = 'UTC'"), None);
    assert_eq!(memory("SET TimeZone TO DEFAULT"), Some(Memory::Reset { name: "timezone".into() }));
    assert_eq!(memory("RESET ALL"), Some(Memory::ResetAll));
    assert_eq!(memory("SET ROLE app"), Some(Memory::Set { name: "role".into() }));
    assert_eq!(memory("LISTEN a"), Some(Memory::Listen { channel: "a".into() }));
    assert_eq!(memory("UNLISTEN *"), Some(Memory::Unlisten { channel: None }));
    assert!(plan("SET search_path = shop").marks.settings);
    assert!(plan("SELECT set_config('search_path', $1, true)").marks.settings);
}

#[test]
fn locks_of_the_session_are_known_where_they_are_called_by_themselves() {
    let calls = |sql: &str| match plan(sql).kept.clone() {
        Some(Kept::Locks(calls)) => calls.iter().map(|call| (call.does, call.shared, call.key.clone())).collect(),
        Some(Kept::SomeLocks) => Vec::new(),
        other => panic!("{sql}: {other:?}"),
    };
    let literal = |text: &str| Argument::Literal(Some(text.into()));
    assert_eq!(
        calls("SELECT pg_try_advisory_lock(7241865325823964) AS got"),
        [(Locking::Tries, false, vec![literal("7241865325823964")])]
    );
    assert_eq!(
        calls("select pg_catalog.pg_advisory_lock_shared($1::int, -3), 'x', pg_advisory_unlock(null::bigint)"),
        [
            (Locking::Takes, true, vec![Argument::Parameter(1), literal("-3")]),
            (Locking::LetsGo, false, vec![Argument::Literal(None)])
        ]
    );
    assert_eq!(calls("SELECT pg_advisory_unlock_all()"), [(Locking::LetsAllGo, false, vec![])]);
    for unknown in [
        "SELECT pg_advisory_lock(id) FROM users",
        "SELECT pg_advisory_lock(hashtext('a'))",
        "SELECT pg_advisory_lock(1) WHERE now() > 'yesterday'",
        "SELECT pg_advisory_lock(1), pg_notify('a', 'b')",
        "SELECT pg_advisory_lock(1) UNION ALL SELECT pg_advisory_lock(2)",
        "SELECT pg_advisory_lock(1) LIMIT 0",
        "SELECT set_config('a.b', 'c', true), pg_advisory_lock(1)",
        "SELECT CASE WHEN $1 THEN pg_advisory_lock(1) END",
        "SELECT pg_advisory_lock($1::text::bigint)",
    ] {
        assert_eq!(calls(unknown), [], "{unknown}");
        assert_eq!(plan(unknown).leaves, Leaves::More, "{unknown}");
    }
    assert_eq!(plan("SELECT pg_advisory_lock(1)").leaves, Leaves::Nothing);
    assert_eq!(plan("SELECT pg_advisory_xact_lock(1)").kept, None);
}

#[test]
fn set_config_is_told_again_where_it_is_called_by_itself() {
    let settings = |sql: &str| match plan(sql).kept.clone() {
        Some(Kept::Settings(calls)) => calls.iter().map(|c| (c.name.clone(), c.value.clone(), c.local)).collect(),
        None => Vec::new(),
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(
        settings("SELECT set_config('App.Tenant', $1, true), set_config('a.b', 'c'::text, false)"),
        [
            ("app.tenant".into(), Argument::Parameter(1), true),
            ("a.b".into(), Argument::Literal(Some("c".into())), false)
        ]
    );
    assert_eq!(plan("SELECT set_config('app.tenant', $1, true)").leaves, Leaves::Again);
    for names in ["SELECT set_config('search_path', $1, true)", "SET LOCAL ROLE alice", "SET search_path = public"] {
        assert_eq!(plan(names).leaves, Leaves::Again, "{names}");
    }
    for more in ["SELECT set_config('client_encoding', 'latin1', true)", "RESET ALL", "SET row_security = off"] {
        assert_eq!(plan(more).leaves, Leaves::More, "{more}");
    }
    for unknown in ["SELECT set_config('a.b', name, true) FROM users", "SELECT set_config('a.b', $1, $2)"] {
        assert_eq!(settings(unknown), [], "{unknown}");
        assert_eq!(plan(unknown).leaves, Leaves::More, "{unknown}");
    }
    assert_eq!(plan("SET CONSTRAINTS ALL DEFERRED").leaves, Leaves::Again);
}

#[test]
fn settings_that_change_what_text_means_are_refused() {
    assert_refused("SET standard_conforming_strings = off", "standard_conforming_strings");
    assert_leader("SET standard_conforming_strings = on");
    assert_refused("SET session_replication_role = replica", "session_replication_role");
    assert_refused("SELECT set_config('session_replication_role', 'replica', false)", "set_config");
    assert_refused("SELECT set_config($1, $2, false)", "set_config");
    assert_refused("ALTER ROLE app SET standard_conforming_strings = off", "standard_conforming_strings");
}

#[test]
fn the_proxys_own_schema_is_reached_by_no_search_path() {
    for sql in [
        "SET search_path = lockstep",
        "SET LOCAL search_path TO public, \"lockstep\"",
        "SET search_path = E'\\x6cockstep'",
        "ALTER ROLE app SET search_path = lockstep, public",
        "ALTER DATABASE app SET search_path = 'lockstep'",
        "SELECT set_config('search_path', 'public, lockstep', false)",
        "SELECT 'lockstep.members'::regclass",
        "SELECT nextval('lockstep.counter')",
        "SELECT count(*) FROM pg_class WHERE oid = to_regclass('lockstep.members')",
    ] {
        assert_refused(sql, "lockstep");
    }
    assert_leader("SELECT 'lockstep' AS lockstep, 'lockstep.a' FROM (SELECT 1 AS a) lockstep");
    assert_refused_under(&["lockstep"], "SELECT * FROM members", "lockstep");
    assert_refused_under(&["public", "lockstep"], "CREATE TABLE t (a int)", "lockstep");
    assert_refused_under(&["lockstep"], "DROP TABLE members", "lockstep");
}

#[test]
fn prepared_statements_have_the_plan_of_what_they_prepare() {
    match &plan("PREPARE p AS UPDATE tree SET title = $1 WHERE id = $2").action {
        Action::Prepare { name, inner } => {
            assert_eq!(name, "p");
            assert!(matches!(inner.action, Action::Write(_)));
        }
        other => panic!("{other:?}"),
    }
    let read = Action::Prepare { name: "p".into(), inner: plan("SELECT 1") };
    assert_eq!(plan("PREPARE p AS SELECT 1").action, read);
    assert_captured("PREPARE p AS SELECT writes()");
    assert_eq!(plan("EXECUTE p(1)").action, Action::Execute { name: "p".into() });
    assert_refused("EXECUTE p(writes())", "public.writes");
    assert_eq!(plan("DEALLOCATE ALL").action, Action::Deallocate { name: None });
    assert_eq!(plan("DISCARD ALL").action, Action::Discard { all: true });
    assert_eq!(plan("DISCARD PLANS").action, Action::Discard { all: false });
    assert_eq!(plan("SHOW pool_nodes").action, Action::ShowPoolNodes);
}

#[test]
fn a_text_is_split_into_its_statements() {
    let sql = " BEGIN; INSERT INTO tree VALUES (1) ; -- x\n COMMIT";
    let statements = script(sql);
    let texts: Vec<&str> = statements.iter().map(|s| &sql[s.span.clone()]).collect();
    assert_eq!(texts, ["BEGIN", "INSERT INTO tree VALUES (1)", "COMMIT"]);
    assert!(script(" ; /* nothing */").is_empty());
}
