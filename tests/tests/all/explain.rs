//! `lockstep explain` and `lockstep check --schema` on real servers: what they say is what happens.

use lockstep_tests::cluster::Cluster;

const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, paid timestamptz, note text);
    CREATE TABLE heap (v int);
    CREATE SCHEMA billing; CREATE TABLE billing.invoice (number int PRIMARY KEY);
    CREATE FUNCTION note_it() RETURNS int LANGUAGE plpgsql AS 'BEGIN CREATE TABLE made (); RETURN 1; END';
    CREATE FUNCTION run_it(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; RETURN 1; END'";

fn lockstep(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let output = cluster.proxy.run(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn statements_and_schemas_are_explained_with_and_without_a_running_proxy() {
    let mut cluster = Cluster::start(2);
    cluster.create_database("shop");
    cluster.connect("shop").query(SCHEMA);

    let explain = |cluster: &Cluster, sql: &str, more: &[&str]| {
        lockstep(cluster, &[&["explain", sql, "--database", "shop"], more].concat())
    };
    let (code, text) = explain(&cluster, "UPDATE orders SET paid = now() WHERE note = 'x'", &[]);
    assert!(code == 0 && text.contains("rows by key") && text.contains("(id)"), "{text}");
    let (code, text) = explain(&cluster, "DELETE FROM heap", &[]);
    assert!(code == 0 && text.contains("rows by capture") && text.contains("heap"), "{text}");
    let (code, text) = explain(&cluster, "SELECT lo_import('x')", &[]);
    assert!(code == 1 && text.contains("refused") && text.contains("lo_import"), "{text}");
    let (code, text) = explain(&cluster, "SELECT run_it('x')", &[]);
    assert!(code == 0 && text.contains("rows by capture") && text.contains("runs text by EXECUTE"), "{text}");
    let refused = cluster.connect("shop").try_query("SELECT lo_import('x')").expect_err("it is refused");
    assert_eq!(refused.state(), "0A000");
    let (code, text) = explain(&cluster, "INSERT INTO invoice VALUES (1)", &[]);
    assert!(code == 1 && text.contains("not in the search path"), "{text}");
    let (code, text) =
        explain(&cluster, "INSERT INTO invoice VALUES (1)", &["--search-path", "billing, public", "--json"]);
    assert!(code == 0 && text.contains("\"kind\": \"rows\"") && text.contains("billing"), "{text}");
    cluster.connect("shop").query("ALTER ROLE app IN DATABASE shop SET search_path = billing");
    let (code, text) = explain(&cluster, "INSERT INTO invoice VALUES (1); SELECT 1", &["--user", "app"]);
    assert!(code == 0 && text.contains("leader only"), "{text}");

    let (code, text) = lockstep(&cluster, &["check", "--schema", "--database", "shop"]);
    assert_eq!(code, 1, "{text}");
    for said in [
        "✓ billing.invoice: rows by key (number)",
        "✓ public.orders: rows by key (id)",
        "✓ public.heap: rows by capture",
        "x function public.note_it: a statement that calls it is refused",
        "3 tables: 3 replicated, 1 of them by capture, 0 in part, 0 refused; 1 functions",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }

    cluster.proxy.kill9();
    cluster.nodes[1].connect("shop").query("ALTER TABLE heap ADD PRIMARY KEY (v); DROP FUNCTION note_it");
    cluster.nodes[0].connect("shop").query("ALTER TABLE heap ADD PRIMARY KEY (v); DROP FUNCTION note_it");
    let (code, text) = lockstep(&cluster, &["check", "--schema", "--json"]);
    assert!(code == 0 && text.contains("\"writes\": \"by key\""), "{text}");
    let (code, text) = explain(&cluster, "DELETE FROM heap", &[]);
    assert!(code == 0 && text.contains("(v)"), "{text}");
}
