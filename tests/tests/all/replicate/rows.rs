//! Writes that choose their rows: by condition, from other tables, on conflict, with cascades behind them.

use super::Do::{Fails, Sql, With};
use super::{Case, replicated};

pub(super) const STOCK: &str =
    "CREATE TABLE stock (id int PRIMARY KEY, kind text, amount int, price float8, UNIQUE (kind, amount));
    INSERT INTO stock SELECT n, 'kind ' || n % 3, n, n / 7.0 FROM generate_series(1, 20) n;
    CREATE TABLE delivery (id int PRIMARY KEY, stock int, amount int);
    INSERT INTO delivery VALUES (1, 1, 5), (2, 2, 6), (3, 2, 7), (4, 99, 8);
    CREATE TABLE report (id int PRIMARY KEY, kind text, total float8, text text);";

#[test]
fn many_rows_at_a_time() {
    replicated("rows", CHOSEN);
}

#[test]
fn inserts_that_may_meet_a_row() {
    replicated("conflict", CONFLICTS);
}

#[test]
fn rows_that_other_rows_depend_on() {
    replicated("depend", DEPENDENT);
}

const CHOSEN: &[Case] = &[
    Case {
        name: "an update by condition",
        given: STOCK,
        when: &[
            Sql("UPDATE stock SET price = price * 1.1 WHERE kind = 'kind 1'"),
            With("UPDATE stock SET amount = amount + $1 WHERE amount > $2", &["1000", "15"]),
            Sql("UPDATE stock SET kind = upper(kind)"),
        ],
        then: ("SELECT count(*) FROM stock WHERE amount > 1000 AND kind LIKE 'KIND%'", "5"),
    },
    Case {
        name: "a delete by condition",
        given: STOCK,
        when: &[
            Sql("DELETE FROM stock WHERE amount BETWEEN 5 AND 10"),
            Sql("DELETE FROM stock WHERE kind = 'none'"),
            With("DELETE FROM stock WHERE id = ANY($1)", &["{1,2,999}"]),
            Sql("DELETE FROM stock WHERE id IN (3, 4)"),
        ],
        then: ("SELECT count(*) FROM stock", "10"),
    },
    Case {
        name: "an insert from a query",
        given: STOCK,
        when: &[
            Sql(
                "INSERT INTO report SELECT row_number() OVER (), kind, sum(price), string_agg(id::text, ',') FROM stock GROUP BY kind",
            ),
            Sql("INSERT INTO report (id, text) SELECT id + 100, (SELECT max(kind) FROM stock) FROM stock WHERE id < 4"),
            Sql("INSERT INTO report TABLE report LIMIT 0"),
            Sql("INSERT INTO report (id) SELECT n FROM generate_series(1000, 1999) n"),
        ],
        then: ("SELECT count(*) || ' ' || count(total) FROM report", "1006 3"),
    },
    Case {
        name: "an update from another table, with two matches for one row",
        given: STOCK,
        when: &[
            Sql("UPDATE stock s SET price = d.amount FROM delivery d WHERE d.stock = s.id"),
            Sql("DELETE FROM stock s USING delivery d WHERE d.stock = s.id AND d.amount = 5"),
        ],
        then: ("SELECT count(*) FROM stock WHERE price IN (6, 7)", "1"),
    },
    Case {
        name: "which rows is left to the server",
        given: STOCK,
        when: &[
            Sql("UPDATE stock SET price = -1 WHERE id IN (SELECT id FROM stock LIMIT 3)"),
            Sql("DELETE FROM stock WHERE id = (SELECT id FROM stock ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)"),
            Sql("UPDATE stock SET price = -2 WHERE ctid = (SELECT min(ctid) FROM stock)"),
            Sql("DELETE FROM stock WHERE id % 2 = (random() * 0)::int"),
        ],
        then: ("SELECT count(*) BETWEEN 9 AND 10 FROM stock", "t"),
    },
    Case {
        name: "sums whose order of rows matters",
        given: STOCK,
        when: &[
            Sql("INSERT INTO report SELECT 1, 'sum', sum(price), string_agg(kind, ',') FROM stock"),
            Sql("UPDATE stock SET price = (SELECT sum(price) FROM stock)"),
        ],
        then: ("SELECT count(DISTINCT price) FROM stock", "1"),
    },
    Case {
        name: "partitions, and a row that moves between them",
        given: "CREATE TABLE event (day date, id int, text text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
            CREATE TABLE event_23 PARTITION OF event FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
            CREATE TABLE event_24 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');",
        when: &[
            Sql("INSERT INTO event VALUES ('2023-05-05', 1, 'a'), ('2024-05-05', 2, 'b')"),
            Sql("UPDATE event SET text = 'c' WHERE day = '2024-05-05' AND id = 2"),
            Sql("INSERT INTO event_23 VALUES ('2023-01-01', 3, 'direct')"),
            Sql("DELETE FROM event_24 WHERE id = 2"),
            Fails("INSERT INTO event VALUES ('1999-01-01', 4, 'nowhere')", "23514"),
        ],
        then: ("SELECT string_agg(tableoid::regclass || text, ',' ORDER BY id) FROM event", "event_23a,event_23direct"),
    },
];

const CONFLICTS: &[Case] = &[
    Case {
        name: "in a table that is called as the new row is",
        given: "CREATE TABLE excluded (id int PRIMARY KEY, v int);",
        when: &[
            Sql("INSERT INTO excluded VALUES (1, 1)"),
            Sql("INSERT INTO excluded AS target VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET v = excluded.v"),
        ],
        then: ("SELECT v FROM excluded", "2"),
    },
    Case {
        name: "DO NOTHING",
        given: STOCK,
        when: &[
            Sql("INSERT INTO stock VALUES (1, 'x', 1, 1), (100, 'x', 1, 1), (101, 'y', 1, 1) ON CONFLICT DO NOTHING"),
            Sql("INSERT INTO stock VALUES (1, 'x', 1, 1) ON CONFLICT (id) DO NOTHING"),
            Sql("INSERT INTO stock VALUES (102, 'x', 1, 1) ON CONFLICT (kind, amount) DO NOTHING RETURNING id"),
            Sql("INSERT INTO stock SELECT * FROM stock ON CONFLICT DO NOTHING"),
        ],
        then: ("SELECT count(*) FROM stock", "22"),
    },
    Case {
        name: "DO UPDATE",
        given: STOCK,
        when: &[
            Sql("INSERT INTO stock VALUES (1, 'x', 1, 1) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind"),
            With(
                "INSERT INTO stock VALUES ($1, 'n', 1, 1) ON CONFLICT (id) DO UPDATE SET amount = stock.amount + $2",
                &["2", "500"],
            ),
            Sql("INSERT INTO stock VALUES (3, 'x', 3, 3), (60, 'x', 60, 60), (61, 'x', 61, 61) ON CONFLICT (id)
                 DO UPDATE SET price = excluded.price + stock.price RETURNING *"),
            Sql(
                "INSERT INTO stock VALUES (4, 'x', 4, 4) ON CONFLICT (id) DO UPDATE SET kind = 'no' WHERE stock.amount < 0",
            ),
            Fails(
                "INSERT INTO stock VALUES (5, 'x', 5, 5), (5, 'y', 6, 6) ON CONFLICT (id) DO UPDATE SET price = 0",
                "21000",
            ),
        ],
        then: (
            "SELECT count(*) || ' ' || max(amount) || ' ' || count(*) FILTER (WHERE kind = 'x') FROM stock",
            "22 502 3",
        ),
    },
    Case {
        name: "DO UPDATE by a constraint other than the key",
        given: STOCK,
        when: &[Sql("INSERT INTO stock VALUES (200, 'kind 1', 1, 0) ON CONFLICT ON CONSTRAINT stock_kind_amount_key
                 DO UPDATE SET price = 9.5")],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM stock WHERE price = 9.5 OR id > 20", "1"),
    },
    Case {
        name: "a counter",
        given: "CREATE TABLE hits (page text PRIMARY KEY, count bigint NOT NULL DEFAULT 1, seen timestamptz DEFAULT now());",
        when: &[
            With("INSERT INTO hits (page) VALUES ($1) ON CONFLICT (page) DO UPDATE SET count = hits.count + 1", &["/"]),
            With("INSERT INTO hits (page) VALUES ($1) ON CONFLICT (page) DO UPDATE SET count = hits.count + 1", &["/"]),
            With(
                "INSERT INTO hits (page) VALUES ($1) ON CONFLICT (page)
                 DO UPDATE SET count = hits.count + 1, seen = clock_timestamp()",
                &["/"],
            ),
        ],
        then: ("SELECT count FROM hits", "3"),
    },
    Case {
        name: "a serial that is burnt by a conflict",
        given: "CREATE TABLE tag (id serial PRIMARY KEY, name text UNIQUE);",
        when: &[
            Sql("INSERT INTO tag (name) VALUES ('a') ON CONFLICT DO NOTHING"),
            Sql("INSERT INTO tag (name) VALUES ('a') ON CONFLICT DO NOTHING"),
            Sql("INSERT INTO tag (name) VALUES ('a'), ('b'), ('b') ON CONFLICT DO NOTHING RETURNING id"),
            Fails("INSERT INTO tag (name) VALUES ('a')", "23505"),
        ],
        then: ("SELECT string_agg(id || name, ' ' ORDER BY id) FROM tag", "1a 4b"),
    },
];

const TREE: &str = "CREATE TABLE node (id int PRIMARY KEY, parent int REFERENCES node ON DELETE CASCADE, name text);
    INSERT INTO node VALUES (1, NULL, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'aa'), (5, 4, 'aaa');";

pub(super) const ORDERS: &str = "CREATE TABLE customer (id int PRIMARY KEY, name text);
    CREATE TABLE bill (id int PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE);
    CREATE TABLE line (id int PRIMARY KEY, bill int REFERENCES bill ON DELETE CASCADE, amount int);
    CREATE TABLE visit (id int PRIMARY KEY, customer int DEFAULT 3 REFERENCES customer ON DELETE SET NULL);
    CREATE TABLE card (id int PRIMARY KEY, customer int DEFAULT 3 REFERENCES customer ON DELETE CASCADE);
    INSERT INTO customer VALUES (1, 'a'), (2, 'b'), (3, 'c');
    INSERT INTO bill VALUES (1, 1), (2, 1), (3, 2); INSERT INTO line VALUES (1, 1, 5), (2, 1, 6), (3, 2, 7), (4, 3, 8);
    INSERT INTO visit VALUES (1, 1), (2, 2); INSERT INTO card VALUES (1, 1), (2, 2);";

const DEPENDENT: &[Case] = &[
    Case {
        name: "a tree in one table",
        given: TREE,
        when: &[
            Sql("INSERT INTO node VALUES (7, 6, 'child first'), (6, 1, 'then its parent')"),
            Sql("DELETE FROM node WHERE id = 2"),
            Sql("UPDATE node SET parent = 3 WHERE id = 6"),
            Sql("DELETE FROM node WHERE id IN (6, 7)"),
        ],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM node", "1 3"),
    },
    Case {
        name: "a delete that cascades and sets null",
        given: ORDERS,
        when: &[Sql("DELETE FROM customer WHERE id = 1"), With("DELETE FROM customer WHERE name = $1", &["b"])],
        then: (
            "SELECT (SELECT count(*) FROM bill) || ' ' || (SELECT count(*) FROM line) || ' '
             || (SELECT count(customer) FROM visit) || ' ' || (SELECT count(*) FROM card)",
            "0 0 0 0",
        ),
    },
    Case {
        name: "parents and children in one transaction, in any order that is checked at its end",
        given: "CREATE TABLE a (id int PRIMARY KEY);
            CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);",
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO b VALUES (1, 1)"),
            Sql("INSERT INTO a VALUES (1)"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("DELETE FROM a"),
            Sql("INSERT INTO a VALUES (1), (2)"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("INSERT INTO b VALUES (2, 99)"),
            Fails("COMMIT", "23503"),
        ],
        then: ("SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b)", "2 1"),
    },
    Case {
        name: "a child whose parent is missing or still used",
        given: "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2);
            CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); INSERT INTO b VALUES (1, 1);",
        when: &[
            Fails("INSERT INTO b VALUES (2, 9)", "23503"),
            Fails("DELETE FROM a WHERE id = 1", "23503"),
            Fails("DELETE FROM a", "23503"),
            Sql("DELETE FROM a WHERE id = 2"),
        ],
        then: ("SELECT count(*) FROM a", "1"),
    },
    Case {
        name: "an exclusion constraint and a check",
        given: "CREATE TABLE booking (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&),
            CHECK (NOT isempty(during)));",
        when: &[
            Sql("INSERT INTO booking VALUES (1, '[1,5)'), (2, '[5,9)')"),
            Fails("INSERT INTO booking VALUES (3, '[4,6)')", "23P01"),
            Fails("UPDATE booking SET during = 'empty'", "23514"),
            Sql("UPDATE booking SET during = '[10,20)' WHERE id = 1"),
        ],
        then: ("SELECT sum(upper(during)) FROM booking", "29"),
    },
];
