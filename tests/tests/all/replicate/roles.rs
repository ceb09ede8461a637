//! Who may do what: a client that has become another role, and one with few rights.

use lockstep_core::wire::frontend;
use lockstep_core::wire::notice::Fields;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::{APP, APP_MD5, SUPERUSER};

/// A role that owns what the login may not touch.
fn cluster_with_owner(database: &str) -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database(database);
    for node in &cluster.nodes {
        let mut client = node.connect_as(&SUPERUSER, database);
        client.query("CREATE ROLE owner NOLOGIN; ALTER ROLE app NOINHERIT; GRANT owner TO app; CREATE SCHEMA s AUTHORIZATION owner");
        client.query("SET ROLE owner; CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE TABLE s.log (v text)");
        client.query("GRANT USAGE ON SCHEMA s TO app; GRANT INSERT ON s.log TO app");
    }
    cluster
}

#[test]
fn effects_are_applied_by_the_role_that_made_them() {
    let cluster = cluster_with_owner("owned");
    let mut client = cluster.proxy.connect_as(&APP, "owned");
    assert_eq!(client.try_query("INSERT INTO s.t VALUES (0, 'login')").unwrap_err().state(), "42501");
    client.query("SET ROLE owner");
    client.query("INSERT INTO s.t VALUES (1, 'set')");
    client.query("RESET ROLE");
    assert_eq!(client.try_query("UPDATE s.t SET v = 'login'").unwrap_err().state(), "42501");
    for sql in [
        "BEGIN",
        "CREATE TEMP TABLE mine (a int)",
        "SET LOCAL ROLE owner",
        "INSERT INTO s.t VALUES (2, 'local')",
        "SAVEPOINT a",
        "CREATE TABLE s.gone (id int PRIMARY KEY)",
        "ROLLBACK TO a",
        "INSERT INTO s.t VALUES (3, 'after the savepoint')",
        "CREATE TABLE s.made (id int PRIMARY KEY)",
        "CREATE TABLE s.image AS SELECT random() AS r FROM s.t",
        "ALTER TABLE s.made ADD COLUMN u uuid DEFAULT gen_random_uuid()",
        "INSERT INTO s.made VALUES (1)",
        "COMMIT",
    ] {
        client.query(sql);
    }
    assert_eq!(client.try_query("DELETE FROM s.t").unwrap_err().state(), "42501");
    client.query("SELECT set_config('role', 'owner', false)");
    client.try_execute("DELETE FROM s.t WHERE id = $1", &[Some("1")]).unwrap();
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "owned");
    let mut follower = cluster.nodes[1].connect_as(&SUPERUSER, "owned");
    let owner =
        follower.rows("SELECT tableowner || (SELECT count(*) FROM s.t) FROM pg_tables WHERE tablename = 'made'");
    assert_eq!(owner[0][0].as_deref(), Some("owner2"));
}

#[test]
fn a_command_that_runs_outside_transactions_is_refused_under_another_role() {
    let cluster = cluster_with_owner("outside");
    let mut client = cluster.proxy.connect_as(&APP, "outside");
    client.query("SET ROLE owner");
    assert_eq!(client.try_query("VACUUM s.t").unwrap_err().state(), "0A000");
    client.query("RESET ROLE");
    client.query("VACUUM");
}

#[test]
fn an_insert_by_a_role_that_may_not_read_says_what_it_lacks() {
    let cluster = cluster_with_owner("unread");
    let mut client = cluster.proxy.connect_as(&APP, "unread");
    client.put(|out| frontend::query(out, b"INSERT INTO s.log VALUES ('a')")).try_flush().unwrap();
    let refused = Fields::read(client.until_any(b"E").unwrap().body()).unwrap();
    assert_eq!(refused.state(), b"42501");
    assert!(String::from_utf8_lossy(refused.get(b'H').expect("a hint")).contains("needs SELECT"));
    client.answer().unwrap();
    let mut owner = cluster.proxy.connect_as(&SUPERUSER, "unread");
    owner.query("GRANT SELECT ON s.log TO app");
    client.query("INSERT INTO s.log VALUES ('a')");
    assert_identical_database(&cluster.nodes, "unread");
}

/// Followers write whole rows, and name the types of columns: that takes more than the client needs.
#[test]
fn a_role_that_may_write_some_columns_only_or_cannot_name_a_type_costs_no_follower() {
    let cluster = cluster_with_owner("in_part");
    for node in &cluster.nodes {
        let mut client = node.connect_as(&SUPERUSER, "in_part");
        client.query(
            "CREATE SCHEMA kept AUTHORIZATION owner; SET ROLE owner; CREATE TYPE kept.mood AS ENUM ('glad', 'sad')",
        );
        client
            .query("CREATE TABLE s.m (id int PRIMARY KEY, mood kept.mood); GRANT SELECT, INSERT, UPDATE ON s.m TO app");
    }
    let mut owner = cluster.proxy.connect_as(&SUPERUSER, "in_part");
    owner.query("GRANT SELECT, INSERT (id), UPDATE (v) ON s.t TO app");
    let mut client = cluster.proxy.connect_as(&APP, "in_part");
    assert_eq!(client.try_query("INSERT INTO s.t VALUES (0, 'a')").unwrap_err().state(), "42501");
    assert_eq!(client.try_query("SELECT 'glad'::kept.mood").unwrap_err().state(), "42501");
    for sql in [
        "INSERT INTO s.t (id) VALUES (1), (2)",
        "UPDATE s.t SET v = 'b' WHERE id = 1",
        "INSERT INTO s.t (id) VALUES (2) ON CONFLICT (id) DO UPDATE SET v = 'c'",
        "INSERT INTO s.m VALUES (1, 'glad'), (2, 'glad')",
        "UPDATE s.m SET mood = 'sad' WHERE id = 1",
    ] {
        client.query(sql);
        assert_eq!(cluster.proxy.degradations(), Vec::<String>::new(), "{sql}");
    }
    super::copy(&mut client, "COPY s.t (id) FROM STDIN", "5\n").expect("COPY of one column");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "in_part");
    let mut follower = cluster.nodes[1].connect_as(&SUPERUSER, "in_part");
    assert_eq!(follower.value("SELECT string_agg(concat(id, v), ' ' ORDER BY id) FROM s.t"), "1b 2c 5");
    assert_eq!(follower.value("SELECT string_agg(concat(id, mood), ' ' ORDER BY id) FROM s.m"), "1sad 2glad");
}

#[test]
fn a_role_for_which_triggers_do_nothing_is_not_served() {
    let cluster = cluster_with_owner("as_replica");
    for node in &cluster.nodes {
        let mut client = node.connect_as(&SUPERUSER, "as_replica");
        client.query("GRANT SELECT ON s.log TO app; ALTER ROLE app SET session_replication_role = replica");
    }
    let mut client = cluster.proxy.connect_as(&APP, "as_replica");
    assert_eq!(client.try_query("INSERT INTO s.log VALUES ('a')").unwrap_err().state(), "0A000");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "as_replica");
}

/// The policy hides rows from the role, and its own from nobody; followers write what the leader has shown to have changed.
#[test]
fn who_sees_some_rows_only_changes_those_everywhere() {
    let cluster = Cluster::start(2);
    cluster.create_database("secured");
    for node in &cluster.nodes {
        node.connect_as(&APP, "secured").query(
            "CREATE TABLE t (id int PRIMARY KEY, whose text DEFAULT current_user, v int DEFAULT 0);
             INSERT INTO t VALUES (1, 'app'), (2, 'app_md5'), (3, 'app_md5'), (4, 'both');
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT SELECT, INSERT, UPDATE, DELETE ON t TO app_md5;
             CREATE POLICY mine ON t TO app_md5 USING (whose IN (current_user, 'both')) WITH CHECK (whose = current_user)",
        );
    }
    let mut client = cluster.proxy.connect_as(&APP_MD5, "secured");
    assert_eq!(client.query("UPDATE t SET v = v + 1 WHERE whose <> 'both'").tags, ["UPDATE 2"]);
    assert_eq!(client.try_query("UPDATE t SET v = 9").unwrap_err().state(), "42501");
    assert_eq!(client.try_query("INSERT INTO t VALUES (5, 'app')").unwrap_err().state(), "42501");
    assert_eq!(client.query("DELETE FROM t WHERE id IN (1, 3)").tags, ["DELETE 1"]);
    client.query("INSERT INTO t (id) VALUES (6)");
    client.query("INSERT INTO t (id) VALUES (6) ON CONFLICT (id) DO UPDATE SET v = 6");
    assert_eq!(cluster.proxy.connect_as(&APP, "secured").query("UPDATE t SET v = v + 10").tags, ["UPDATE 4"]);
    let rows = "SELECT string_agg(concat_ws('-', id, whose, v), ' ' ORDER BY id) FROM t";
    assert_eq!(cluster.nodes[1].connect("secured").value(rows), "1-app-10 2-app_md5-11 4-both-10 6-app_md5-16");
    assert_identical_database(&cluster.nodes, "secured");
}

/// What the view would not show cannot be written through it.
#[test]
fn a_view_with_check_option_lets_through_what_it_shows() {
    let cluster = Cluster::shared();
    cluster.create_database("shown");
    let mut client = cluster.connect("shown");
    client.query(
        "CREATE TABLE t (id int PRIMARY KEY, v int, at timestamptz DEFAULT clock_timestamp());
         CREATE VIEW low AS SELECT id, v FROM t WHERE v < 10; CREATE VIEW few AS SELECT * FROM low WHERE id < 10 WITH CASCADED CHECK OPTION",
    );
    client.query("INSERT INTO few VALUES (1, 1), (2, 2)");
    for sql in ["INSERT INTO few VALUES (3, 10)", "INSERT INTO few VALUES (10, 3)", "UPDATE few SET v = v + 8"] {
        assert_eq!(client.try_query(sql).unwrap_err().state(), "44000", "{sql}");
    }
    client.query("UPDATE few SET v = v + 7 WHERE id = 2; DELETE FROM few WHERE v = 1");
    assert_eq!(cluster.nodes[1].connect("shown").value("SELECT id || '-' || v FROM t"), "2-9");
    assert_identical_database(&cluster.nodes, "shown");
}
