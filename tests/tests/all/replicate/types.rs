//! Values of every type arrive as they left, whatever their form on the way.

use super::Do::{Sql, With};
use super::{Case, replicated};

#[test]
fn of_every_kind() {
    replicated("types", CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "numbers at their limits",
        given: "CREATE TABLE n (id int PRIMARY KEY, a int2, b int8, c numeric, d float4, e float8, f money, g oid);",
        when: &[
            Sql("INSERT INTO n VALUES (1, -32768, 9223372036854775807, 1e-200, 1.17549435e-38, 5e-324, -1.5, 4294967295)"),
            Sql("INSERT INTO n VALUES (2, 1, -9223372036854775808, 'NaN', 'Infinity', '-Infinity', 0, 0)"),
            Sql("INSERT INTO n SELECT 3, 0, 0, repeat('9', 1000)::numeric, 0.1::float4 + 0.2::float4, 0.1::float8 + 0.2::float8"),
            Sql("INSERT INTO n VALUES (4, 0, 0, '-Infinity', '-0', 'NaN')"),
            With("INSERT INTO n (id, c, e) VALUES ($1, $2, $3)", &["5", "0.10000", "1e308"]),
            Sql("UPDATE n SET c = c * 3, e = e / 3, d = sqrt(abs(id)) WHERE id > 1"),
        ],
        then: ("SELECT count(*) FROM n", "5"),
    },
    Case {
        name: "text and bytes",
        given: "CREATE TABLE s (id int PRIMARY KEY, a text, b varchar(10), c char(5), d bytea, e \"char\", f name);",
        when: &[
            Sql("INSERT INTO s VALUES (1, E'tab\\tback\\\\slash\\nline', 'ä漢😀', 'x', '\\x00ff7f', 'q', 'n')"),
            Sql("INSERT INTO s VALUES (2, '', '', '', '', '', '')"),
            Sql("INSERT INTO s VALUES (3, '{\"not\": \"json\"}', NULL, '  a', E'\\\\\\\\', 'a', 'NULL')"),
            With("INSERT INTO s (a, id, d) VALUES ($1, $2, $3)", &["$1 \"quoted\" $$", "4", "\\xdeadbeef"]),
            Sql("UPDATE s SET a = a || chr(1) || chr(127), d = d || '\\x00'"),
        ],
        then: ("SELECT sum(length(d)) FROM s", "12"),
    },
    Case {
        name: "types of extensions",
        given: "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public;
            CREATE EXTENSION IF NOT EXISTS cube SCHEMA public; CREATE EXTENSION IF NOT EXISTS ltree SCHEMA public;
            CREATE EXTENSION IF NOT EXISTS isn SCHEMA public; CREATE EXTENSION IF NOT EXISTS seg SCHEMA public;
            CREATE EXTENSION IF NOT EXISTS intarray SCHEMA public;
            CREATE TABLE e (id public.citext PRIMARY KEY, a public.hstore, b public.cube, c public.ltree, d public.isbn, e public.seg,
                f public.query_int, g public.citext[], h public.ltree[])",
        when: &[
            Sql("SET extra_float_digits = -15"),
            Sql("INSERT INTO e VALUES ('Ä', 'a=>1, \"b c\"=>NULL', '(0.1234567890123456789, 7)', 'a.b.c', '978-0-393-04002-9', '1.50(+-)0.1',
                '1&(2|!3)', '{x,Y}', '{a.b,c}')"),
            Sql("INSERT INTO e SELECT id || '2', a, b, c, d, e, f, g, h FROM e"),
            Sql("UPDATE e SET a = a OPERATOR(public.||) public.hstore('k', now()::text), c = c OPERATOR(public.||) 'd' WHERE id = 'Ä'"),
        ],
        then: ("SELECT count(*) FROM e", "2"),
    },
    Case {
        name: "whatever form the session wants its values to have",
        given: "CREATE TYPE whole AS (a timestamptz, b interval, c float8, d money, e bytea, f date);
            CREATE DOMAIN moment AS timestamptz; CREATE TYPE span AS RANGE (subtype = float8);
            CREATE TABLE o (id int PRIMARY KEY, a timestamptz, b interval, c float8, d money, e bytea, f float4, g timestamptz[],
                h interval[], i tstzrange, j whole, k moment, l span, m float8[], n xml, o regrole, p point, q numeric, r money[],
                s tstzmultirange, t timetz, u date);",
        when: &[
            Sql("SET datestyle = 'Postgres, DMY'"),
            Sql("SET intervalstyle = 'sql_standard'"),
            Sql("SET extra_float_digits = -15"),
            Sql("SET timezone = 'Asia/Kolkata'"),
            Sql("SET bytea_output = 'escape'"),
            Sql("SET xmloption = 'document'"),
            Sql("SET lc_monetary = 'C.UTF-8'"),
            Sql("INSERT INTO o VALUES (1, '1/2/2024 03:00', '1-2 3 4:05:06.789', 0.1::float8 + 0.2::float8, 12.34, '\\001\\000a', 1.1,
                ARRAY['1/2/2024 03:00'::timestamptz, NULL], '{-1 day 2 hours}', '[1/2/2024,)', ROW('1/2/2024', '1-2', 1/3.0, 5.5,
                '\\377', '3/4/2024'), '1/2/2024', '[0.1,0.7)', ARRAY[1/3.0, 1e-300], '<a>é</a>', 'app', '(0.1,1e-9)', 1/3.0,
                '{1.5,-2.5}', '{[1/2/2024,3/4/2024)}', '03:00:00.123456', '31/12/2024')"),
            Sql("INSERT INTO o SELECT id + 1, a, b, c / 3, d, e, f / 3, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u FROM o"),
            Sql("UPDATE o SET c = c / 7, b = b * 1.1, j.c = (j).c / 3, k = k + b, m = ARRAY[c, f], l = span(c, c + 1) WHERE id = 2"),
        ],
        then: (
            "SELECT (SELECT a = '2024-02-01 03:00+05:30' AND c = 0.1::float8 + 0.2::float8 AND e = '\\x010061' AND d = 12.34::money
             FROM o WHERE id = 1) || ' ' || (SELECT c = (0.1::float8 + 0.2::float8) / 3 / 7 FROM o WHERE id = 2)",
            "true true",
        ),
    },
    Case {
        name: "dates and times",
        given: "CREATE TABLE t (id int PRIMARY KEY, a date, b time, c timetz, d timestamp, e timestamptz, f interval);",
        when: &[
            Sql("INSERT INTO t VALUES (1, 'infinity', '24:00', '12:00+05:30', '-infinity', 'infinity', '1 mon -1 day 00:00:00.000001')"),
            Sql("INSERT INTO t VALUES (2, '4713-01-01 BC', '00:00:00.123456', '00:00-15:59', '294276-12-31 23:59:59.999999', '0001-01-01 00:00+00', '-178000000 years')"),
            Sql("UPDATE t SET f = f * 2, b = b + '1 hour' WHERE id = 1"),
        ],
        then: ("SELECT count(*) FROM t WHERE f IS NOT NULL", "2"),
    },
    Case {
        name: "arrays, ranges, composites, enums, domains",
        given: "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE pair AS (a int, b text);
            CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TYPE span AS RANGE (subtype = float8);
            CREATE TABLE x (id positive PRIMARY KEY, a int[], b text[][], c mood, d mood[], e pair, f pair[], g int4range,
                h span, i int4multirange, j positive[]);",
        when: &[
            Sql("INSERT INTO x VALUES (1, '{1,NULL,3}', '{{a,\"b \\\"c\"},{\"\",NULL}}', 'happy', '{sad,ok}', '(1,\"x,y\")',
                 ARRAY[ROW(1, NULL)::pair, NULL], '[1,5)', '(0.1,0.5]', '{[1,2),[5,9)}', '{1,2}')"),
            Sql("INSERT INTO x VALUES (2, '{}', '{}', NULL, NULL, '(,)', '{}', 'empty', '(,)', '{}', NULL)"),
            Sql("INSERT INTO x (id, a) VALUES (3, '[5:7]={1,2,3}')"),
            With("UPDATE x SET c = $1, d = $2 WHERE id = $3", &["ok", "{happy}", "2"]),
            Sql("UPDATE x SET a[2] = 7, e.b = 'z' WHERE id = 1"),
            Sql("UPDATE x SET a = a || 9, g = g * int4range(2, 3)"),
        ],
        then: ("SELECT string_agg(a::text, ' ' ORDER BY id) FROM x", "{1,7,3,9} {9} [5:8]={1,2,3,9}"),
    },
    Case {
        name: "rows of other tables",
        given: "CREATE TABLE point_of_sale (id int PRIMARY KEY, name text, opened timestamptz);
            ALTER TABLE point_of_sale DROP COLUMN name; CREATE TABLE place (name text, height int);
            CREATE DOMAIN somewhere AS place CHECK ((value).height > 0);
            CREATE TABLE h (id int PRIMARY KEY, a point_of_sale, b place, c place[], d somewhere);",
        when: &[
            Sql("SET datestyle = 'Postgres, DMY'"),
            Sql("INSERT INTO point_of_sale VALUES (1, now())"),
            Sql("INSERT INTO h SELECT 1, p, ROW('a, \"b\"', 3)::place, ARRAY[ROW('c', 4)::place, NULL], ROW('d', 5)::place FROM point_of_sale AS p"),
            With("INSERT INTO h (id, b) VALUES (2, $1)", &["(e,6)"]),
            Sql("UPDATE h SET b.height = 7, c = c || b WHERE id = 1"),
            Sql("DELETE FROM h WHERE b = ROW('e', 6)::place"),
        ],
        then: ("SELECT concat((b).height, ' ', cardinality(c)) FROM h", "7 3"),
    },
    Case {
        name: "documents, networks, bits, shapes, words",
        given: "CREATE TABLE d (id int PRIMARY KEY, a json, b jsonb, c inet, d cidr, e macaddr, f bit(3), g varbit, h point,
            i polygon, j tsvector, k tsquery, l uuid, m xml, n pg_lsn, o bool);",
        when: &[
            Sql("INSERT INTO d VALUES (1, '{\"b\": 1, \"a\":  [null, \"\\u00e4\"]}', '{\"b\": 1e2, \"a\": null}', '::1/64', '10.0.0.0/8',
                 '08:00:2b:01:02:03', B'101', B'1', '(1.5,-0)', '((0,0),(1,1),(1,0))', 'a fat cat', 'fat & rat',
                 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a>&lt;</a>', '16/B374D848', true)"),
            With("INSERT INTO d (id, a, b) VALUES ($1, $2, $3)", &["2", "[1,  2]", "{\"k\": \"v\", \"k\": \"w\"}"]),
            Sql("UPDATE d SET b = jsonb_set(b, '{new}', '[1]'), j = to_tsvector('english', 'the quick foxes')"),
        ],
        then: ("SELECT b ->> 'k' FROM d WHERE id = 2", "w"),
    },
    Case {
        name: "values of three megabytes, compressed and not",
        given: "CREATE TABLE big (id int PRIMARY KEY, a text, b bytea); ALTER TABLE big ALTER b SET STORAGE EXTERNAL;",
        when: &[
            Sql("INSERT INTO big VALUES (1, repeat('x', 3000000), decode(repeat('ab', 3000000), 'hex'))"),
            Sql("INSERT INTO big SELECT 2, string_agg(md5(n::text), ''), '' FROM generate_series(1, 90000) n"),
            Sql("UPDATE big SET a = a || 'y'"),
        ],
        then: ("SELECT sum(length(a)) || ' ' || max(length(b)) FROM big", "5880002 3000000"),
    },
];
