"""psycopg 3: what an application does with it, pipeline mode included. Where to connect to is in PG* variables."""

import threading

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


def schema(conn):
    conn.execute("CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE, price numeric, data jsonb, tags text[])")
    conn.execute("CREATE TABLE visit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now())")
    conn.commit()


def writes_and_reads(conn):
    with conn.cursor(row_factory=dict_row) as cur:
        cur.execute(
            "INSERT INTO item (name, price, data, tags) VALUES (%s, %s, %s, %s) RETURNING id, price",
            ("one", 1.5, Jsonb({"a": [1, None]}), ["x", "y"]),
        )
        assert cur.fetchone()["id"] == 1
        cur.executemany("INSERT INTO item (name, price) VALUES (%s, %s)", [(f"item {n}", n) for n in range(50)])
        assert cur.rowcount == 50
        cur.execute("UPDATE item SET price = price * 2 WHERE price > %s", (25,))
        assert cur.rowcount == 24
    conn.commit()


def prepared(conn):
    for n in range(10):  # From the fifth time on, the driver prepares it under a name.
        conn.execute("UPDATE item SET price = %s WHERE id = %s", (n, n), prepare=n > 2)
    conn.commit()


def transactions(conn):
    with conn.transaction():
        conn.execute("DELETE FROM item WHERE id = 2")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO item (name) VALUES ('one')")
        except errors.UniqueViolation as error:
            assert error.diag.constraint_name == "item_name_key"
        else:
            raise AssertionError("no unique violation")
        conn.execute("INSERT INTO item (name) VALUES ('after')")
    assert conn.execute("SELECT count(*) FROM item WHERE name = 'after'").fetchone() == (1,)
    conn.rollback()


def copies(conn):
    with conn.cursor() as cur:
        with cur.copy("COPY item (name, price) FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row((f"copied {n}", n))
        with cur.copy("COPY item (name, price) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["text", "numeric"])
            copy.write_row(("binary", 7))
        with cur.copy("COPY (SELECT name FROM item WHERE name LIKE 'copied%') TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 1000
    conn.commit()


def cursors(conn):
    with conn.cursor(name="server_side") as cur:
        cur.itersize = 100
        cur.execute("SELECT id FROM item ORDER BY id")
        assert sum(1 for _ in cur) > 1000
    conn.commit()


def pipelines(conn):
    with conn.pipeline() as pipeline:
        cursors = [conn.execute("INSERT INTO visit DEFAULT VALUES RETURNING id") for _ in range(20)]
        pipeline.sync()
        assert [cur.fetchone()[0] for cur in cursors] == list(range(1, 21))
    conn.commit()
    try:
        with conn.pipeline():
            conn.execute("INSERT INTO item (name) VALUES ('lost')")
            conn.execute("SELECT 1/0")
            conn.execute("INSERT INTO item (name) VALUES ('lost too')")
    except errors.DivisionByZero:
        conn.rollback()
    else:
        raise AssertionError("no division by zero")
    assert conn.execute("SELECT count(*) FROM item WHERE name LIKE 'lost%'").fetchone() == (0,)
    conn.commit()


def notifications(conn):
    with psycopg.connect("", autocommit=True) as listener:
        listener.execute("LISTEN news")
        with conn.transaction():
            conn.execute("INSERT INTO visit DEFAULT VALUES")
            conn.execute(sql.SQL("NOTIFY news, {}").format("extra"))
        notify = next(listener.notifies())
        assert notify.payload == "extra"
    conn.commit()


def cancels(conn):
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    try:
        conn.execute("SELECT pg_sleep(60)")
    except errors.QueryCanceled:
        conn.rollback()
    else:
        raise AssertionError("not cancelled")


def main():
    with psycopg.connect("") as conn:
        for part in (schema, writes_and_reads, prepared, transactions, copies, cursors, pipelines, notifications, cancels):
            part(conn)


main()
