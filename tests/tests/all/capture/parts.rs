//! What one statement changes comes to followers in several parts, once it is much. A row of one may want what a row of
//! another had before, and must get it.

use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::SUPERUSER;

use super::{make, wrong_answers};

/// Some 16 MiB pass through a proxy that is not optimised, on a machine with other work.
const A_WHILE: Duration = Duration::from_secs(120);

/// Told in more than 16 MiB. Its rows get a trigger, so that they are captured.
const FILLED: &str = "CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, w int NOT NULL, stamp int, filler text);
    INSERT INTO t SELECT n, n, 5000 + n, 0, repeat('x', 10000) FROM generate_series(1, 1300) n;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.stamp := OLD.stamp + 1; RETURN NEW; END';
    CREATE TRIGGER stamp BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp();";

/// In steps of which each keeps values apart. The rows that are told first want what the others have.
const TURN: &str = "CREATE FUNCTION turn() RETURNS void LANGUAGE sql AS
    'UPDATE t SET u = -u, w = -w WHERE id > 650;
     UPDATE t SET u = 1301 - u, w = 11301 - w WHERE id <= 650;
     UPDATE t SET u = 1301 + u, w = 11301 + w WHERE id > 650';";

const TURNED: &str = "SELECT count(*) FROM t WHERE u = 1301 - id AND w = 6301 - id";

struct Case {
    given: &'static str,
    when: &'static str,
    /// What all 1300 rows are counted by.
    then: &'static str,
}

fn told_in_parts(case: &Case) {
    let cluster = Cluster::start(2);
    let database = "parts";
    make(&cluster, database, &format!("{FILLED}{TURN}{}", case.given));
    let mut client = cluster.connect(database);
    client.set_deadline(A_WHILE);
    client.query(case.when);
    // The next statement is one that comes whole.
    client.query("UPDATE t SET stamp = 0 WHERE u <= 10");
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_eq!(wrong_answers(&cluster, database, (case.then, "1300")), [""; 0]);
    assert_identical_database(&cluster.nodes, database);
    let left_aside = "SELECT count(*) FROM pg_class WHERE relname = 'lockstep_aside'";
    assert_eq!(cluster.nodes[1].connect_as(&SUPERUSER, database).value(left_aside), "0");
}

#[test]
fn rows_swap_values_of_several_unique_indexes_and_an_exclusion_constraint() {
    told_in_parts(&Case {
        given: "ALTER TABLE t ADD UNIQUE (u), ADD UNIQUE (w), ADD EXCLUDE USING gist (int4range(u, u + 1) WITH &&);
            CREATE UNIQUE INDEX ON t ((u * 2)); CREATE UNIQUE INDEX ON t (w) WHERE filler <> ''",
        when: "SELECT turn()",
        then: TURNED,
    });
}

#[test]
fn rows_that_others_refer_to_swap_what_is_unique() {
    told_in_parts(&Case {
        given: "ALTER TABLE t ADD UNIQUE (u), ADD chief int REFERENCES t ON DELETE CASCADE,
                ADD neighbour int REFERENCES t (u) ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED;
            CREATE INDEX ON t (neighbour);
            UPDATE t SET chief = id - 1, neighbour = id - 1 WHERE id > 1;
            CREATE TABLE part (id int PRIMARY KEY, whole int REFERENCES t ON DELETE CASCADE);
            INSERT INTO part SELECT id, id FROM t",
        when: "SELECT turn()",
        then: "SELECT count(*) FROM t JOIN part ON whole = t.id
            WHERE u = 1301 - t.id AND chief IS NOT DISTINCT FROM nullif(t.id - 1, 0)
                AND neighbour IS NOT DISTINCT FROM nullif(u + 1, 1301)",
    });
}

#[test]
fn a_new_row_takes_the_value_of_one_that_goes() {
    told_in_parts(&Case {
        given: "ALTER TABLE t ADD UNIQUE (u);
            CREATE FUNCTION renew() RETURNS void LANGUAGE sql AS
                'UPDATE t SET u = -u WHERE id = 1300;
                 INSERT INTO t SELECT 10000 + id, -u, w, 0, filler FROM t WHERE id = 1300;
                 UPDATE t SET w = 0 WHERE id < 1300;
                 DELETE FROM t WHERE id = 1300'",
        when: "SELECT renew()",
        then: "SELECT count(*) FROM t WHERE CASE WHEN u < 1300 THEN id = u AND w = 0 ELSE id = 10000 + u END",
    });
}

#[test]
fn a_row_that_is_told_in_two_parts_is_there_once() {
    told_in_parts(&Case {
        given: "ALTER TABLE t ADD UNIQUE (u);
            CREATE FUNCTION exchange() RETURNS void LANGUAGE sql AS
                'UPDATE t SET id = -1 WHERE id = 1;
                 UPDATE t SET w = 0 WHERE id BETWEEN 2 AND 1299;
                 UPDATE t SET id = 1 WHERE id = 1300;
                 UPDATE t SET id = 1300 WHERE id = -1'",
        when: "SELECT exchange()",
        then: "SELECT count(*) FROM t WHERE u = CASE id WHEN 1 THEN 1300 WHEN 1300 THEN 1 ELSE id END",
    });
}

#[test]
fn rows_swap_values_of_a_deferrable_constraint() {
    told_in_parts(&Case {
        given: "ALTER TABLE t ADD UNIQUE (u) DEFERRABLE",
        when: "UPDATE t SET u = 1301 - u, w = 11301 - w",
        then: TURNED,
    });
}

/// The ends of the table change places, within one update of nearly all of it.
const ENDS: &str = "CREATE FUNCTION ends() RETURNS void LANGUAGE sql AS
    'UPDATE t SET u = -u WHERE id = 1300;
     UPDATE t SET u = CASE id WHEN 1 THEN 1300 ELSE u END WHERE id < 1300;
     UPDATE t SET u = 1 WHERE id = 1300';";

/// Spoils the follower, and returns what was logged about its end.
fn degraded_by(spoil: &str) -> String {
    let cluster = Cluster::start(2);
    make(&cluster, "spoilt", &format!("{FILLED}{ENDS}ALTER TABLE t ADD UNIQUE (u)"));
    cluster.nodes[1].connect_as(&SUPERUSER, "spoilt").query(spoil);
    let mut client = cluster.connect("spoilt");
    client.set_deadline(A_WHILE);
    client.query("SELECT ends()");
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"], "{spoil}");
    cluster.proxy.degradations().swap_remove(0)
}

#[test]
fn a_row_that_a_follower_lacks_is_missed_though_its_part_waits_for_another() {
    let told = degraded_by("DELETE FROM t WHERE id = 3");
    assert!(told.contains("rows that were changed were found in public.t"), "{told}");
}

#[test]
fn a_value_that_no_part_sets_free_degrades_the_follower() {
    let told = degraded_by("UPDATE t SET u = 9999 WHERE id = 1; INSERT INTO t VALUES (7000, 1, 0)");
    assert!(told.contains("23505"), "{told}");
}
