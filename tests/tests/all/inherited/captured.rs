//! Rows that triggers of ours tell: those of tables with triggers of users.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::raw::Client;

use super::{add, bank, wait_until_one_waits};

/// What web applications have: a stamp, a log, a counter, children that go with their parent.
const SHOP: &str = "\
    CREATE TABLE customer (id int PRIMARY KEY, name text UNIQUE, orders int NOT NULL DEFAULT 0, at timestamptz); \
    CREATE TABLE purchase (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer ON DELETE CASCADE, n int); \
    CREATE TABLE history (id bigserial PRIMARY KEY, what text, who int); \
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := clock_timestamp(); RETURN NEW; END $$; \
    CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        UPDATE customer SET orders = orders + 1 WHERE id = NEW.customer; \
        INSERT INTO history (what, who) VALUES (lower(TG_OP), NEW.customer); RETURN NULL; END $$; \
    CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION stamp(); \
    CREATE TRIGGER count_up AFTER INSERT OR UPDATE ON purchase FOR EACH ROW EXECUTE FUNCTION count_up(); \
    INSERT INTO customer SELECT n, 'c' || n FROM generate_series(0, 9) AS n";

fn shop() -> Cluster {
    let cluster = bank("shop");
    cluster.connect("shop").query(SHOP);
    // From here on the tables are captured.
    cluster.connect("shop").query("INSERT INTO purchase (customer, n) VALUES (9, 0)");
    cluster
}

fn open(cluster: &Cluster, statements: &[&str]) -> Client {
    let mut client = cluster.connect("shop");
    client.query("BEGIN");
    statements.iter().for_each(|statement| drop(client.query(statement)));
    client
}

#[test]
fn what_triggers_have_written_goes_on() {
    let mut cluster = shop();
    let mut buys = open(&cluster, &["INSERT INTO purchase (customer, n) VALUES (0, 1), (0, 2) RETURNING id"]);
    buys.query("SAVEPOINT s");
    buys.query("UPDATE purchase SET n = n + 1 WHERE customer = 0");
    let mut leaves =
        open(&cluster, &["INSERT INTO purchase (customer, n) VALUES (1, 1)", "DELETE FROM customer WHERE id = 1"]);
    let mut renames = open(&cluster, &["UPDATE customer SET name = 'x', id = 33 WHERE id = 3"]);
    renames.query("UPDATE customer SET name = 'c3' WHERE id = 2");
    let mut waits = cluster.connect("shop");
    let waiting = std::thread::spawn(move || {
        waits.query("BEGIN; INSERT INTO purchase (customer, n) VALUES (0, 7); COMMIT");
    });
    wait_until_one_waits(&cluster.nodes[0], "shop");

    cluster.nodes[0].kill9();
    assert_eq!(buys.value("SELECT orders FROM customer WHERE id = 0"), "4");
    buys.query("ROLLBACK TO s");
    assert_eq!(buys.value("SELECT orders FROM customer WHERE id = 0"), "2");
    buys.query("INSERT INTO purchase (customer, n) VALUES (0, 3)");
    for client in [&mut buys, &mut leaves, &mut renames] {
        client.query("COMMIT");
    }
    waiting.join().expect("the one that waited");
    let mut after = cluster.connect("shop");
    assert_eq!(after.value("SELECT orders FROM customer WHERE id = 0"), "4");
    assert_eq!(after.value("SELECT string_agg(n::text, ' ' ORDER BY n) FROM purchase"), "0 1 2 3 7");
    assert_eq!(
        after.value("SELECT string_agg(id || name, ' ' ORDER BY id) FROM customer WHERE id IN (1, 2, 3, 33)"),
        "2c3 33x"
    );
    assert_eq!(after.value("SELECT count(*) FROM history WHERE who = 0"), "4");
    assert_identical(&cluster.nodes[1..]);
}

#[test]
fn a_row_to_which_they_refer_stays_until_they_are_committed() {
    let mut cluster = shop();
    cluster.connect("shop").query("ALTER TABLE purchase DROP CONSTRAINT purchase_customer_fkey");
    cluster.connect("shop").query("ALTER TABLE purchase ADD FOREIGN KEY (customer) REFERENCES customer");
    let mut buys = open(&cluster, &["INSERT INTO purchase (customer, n) VALUES (5, 1)"]);
    let mut new = open(&cluster, &["INSERT INTO customer (id, name) VALUES (40, 'new')"]);
    new.query("INSERT INTO purchase (customer, n) VALUES (40, 1)");

    cluster.nodes[0].kill9();
    let mut other = cluster.connect("shop");
    other.query("SET lock_timeout = '200ms'");
    let failure = other.try_query("DELETE FROM customer WHERE id = 5").expect_err("it is referred to");
    assert_eq!(failure.state(), "55P03", "{failure}");
    buys.query("COMMIT");
    new.query("COMMIT");
    let failure = other.try_query("DELETE FROM customer WHERE id = 5").expect_err("it is referred to");
    assert_eq!(failure.state(), "23503", "{failure}");
    assert_identical(&cluster.nodes[1..]);
}

#[test]
fn what_leaves_more_than_such_rows_ends() {
    let mut cluster = shop();
    cluster.connect("shop").query(
        "CREATE TABLE told (id int PRIMARY KEY); \
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('n', 'x'); RETURN NULL; END $$; \
         CREATE TRIGGER tell AFTER INSERT ON told FOR EACH ROW EXECUTE FUNCTION tell(); \
         CREATE TABLE queued (id int PRIMARY KEY); \
         CREATE FUNCTION queue() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM FROM account WHERE id = 0 FOR UPDATE; RETURN NULL; END $$; \
         CREATE TRIGGER queue AFTER INSERT ON queued FOR EACH ROW EXECUTE FUNCTION queue(); \
         CREATE TABLE keyless (id int); \
         CREATE TABLE late (id int PRIMARY KEY, customer int REFERENCES customer DEFERRABLE INITIALLY DEFERRED)",
    );
    let writes = [
        "INSERT INTO told VALUES (1)",
        "INSERT INTO queued VALUES (1)",
        "INSERT INTO keyless VALUES (1)",
        "DELETE FROM keyless",
        "UPDATE customer SET orders = 7 WHERE id = 7",
        "DO $$ BEGIN UPDATE account SET v = 9 WHERE id = 9; END $$",
    ];
    writes.iter().for_each(|write| drop(cluster.connect("shop").query(&format!("BEGIN; {write}; ROLLBACK"))));
    let mut clients: Vec<Client> = writes.iter().map(|write| open(&cluster, &[write])).collect();
    cluster.nodes[0].kill9();
    for (client, write) in clients.iter_mut().zip(writes) {
        let outcome = client.try_query("COMMIT");
        // A row without a key is told by RETURNING where it only comes.
        match write {
            "INSERT INTO keyless VALUES (1)" => drop(outcome),
            _ => assert_eq!(outcome.expect_err(write).state(), "40001", "{write}"),
        }
    }
    cluster.connect("shop").query(&add(0));
    assert_identical(&cluster.nodes[1..]);
}
