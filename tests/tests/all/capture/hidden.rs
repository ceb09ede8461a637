//! Deferred constraints in schemas that the client's role may not even name: they are judged before followers commit.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::SUPERUSER;

const GIVEN: &str = "CREATE SCHEMA private;
    CREATE TABLE private.parent (id int PRIMARY KEY);
    CREATE TABLE private.child (id int PRIMARY KEY, parent int REFERENCES private.parent DEFERRABLE INITIALLY DEFERRED,
        place int, UNIQUE (place) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE private.watched (id int PRIMARY KEY);
    CREATE TABLE private.log (id int PRIMARY KEY);
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE FUNCTION private.note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO private.log VALUES (new.id); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER note AFTER INSERT ON private.watched DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION private.note();
    CREATE FUNCTION parent(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO private.parent VALUES ($1); RETURN $1; END $$;
    CREATE FUNCTION child(int, int, int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO private.child VALUES ($1, $2, $3); RETURN $1; END $$;
    CREATE FUNCTION watched(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO private.watched VALUES ($1); RETURN $1; END $$;
    CREATE FUNCTION other(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO other VALUES ($1); RETURN $1; END $$;";

fn hidden(database: &str) -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database(database);
    for node in &cluster.nodes {
        node.connect_as(&SUPERUSER, database).query(GIVEN);
    }
    cluster
}

#[test]
fn a_deferred_constraint_that_the_role_cannot_name_is_judged_before_followers_commit() {
    let cluster = hidden("judged");
    let mut client = cluster.connect("judged");
    assert_eq!(client.try_query("SELECT private.note()").unwrap_err().state(), "42501");
    assert_eq!(client.try_query("SELECT child(1, 9, 1)").unwrap_err().state(), "23503");
    client.query("BEGIN");
    client.query("SELECT child(1, 5, 1)");
    client.query("SELECT parent(5)");
    client.query("COMMIT");
    client.query("BEGIN");
    client.query("SELECT child(2, 5, 1)");
    let twice = client.try_query("COMMIT").unwrap_err();
    assert_eq!(twice.state(), "23505");
    assert!(!twice.to_string().contains("lockstep"), "{twice}");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_eq!(
        cluster.nodes[1].connect_as(&SUPERUSER, "judged").value("SELECT count(*)::text FROM private.child"),
        "1"
    );
    assert_identical_database(&cluster.nodes, "judged");
}

#[test]
fn a_deferred_trigger_that_the_role_cannot_name_is_refused() {
    let cluster = hidden("refused");
    let mut client = cluster.connect("refused");
    let refused = client.try_query("SELECT watched(1)").unwrap_err();
    assert_eq!(refused.state(), "0A000");
    assert!(refused.to_string().contains("private.note"), "{refused}");
    // Whoever writes to other tables is not concerned.
    client.query("SELECT other(1)");
    cluster.nodes.iter().for_each(|node| {
        node.connect_as(&SUPERUSER, "refused")
            .query("GRANT USAGE ON SCHEMA private TO app; GRANT ALL ON private.log TO app");
    });
    client.query("SELECT watched(2)");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    for node in &cluster.nodes {
        assert_eq!(node.connect_as(&SUPERUSER, "refused").value("SELECT count(*)::text FROM private.log"), "1");
    }
    assert_identical_database(&cluster.nodes, "refused");
}
