"""psycopg2's large objects, in and outside of transactions. Where to is in PG* variables."""

import contextlib

import psycopg2

CONTENTS = bytes(range(256)) * 300


def main():
    connection = psycopg2.connect("")
    numbers = [make(connection), make(connection)]
    changes(connection, numbers[0])
    rolls_back(connection, numbers[1])
    keeps_in_rows(connection)
    connection.lobject(numbers[1], "rw").unlink()
    connection.commit()
    connection.close()


def opened(connection, number, mode):
    return contextlib.closing(connection.lobject(number, mode))


def make(connection):
    with opened(connection, 0, "wb") as made:
        assert made.write(CONTENTS) == len(CONTENTS)
        number = made.oid
    connection.commit()
    assert contents(connection, number) == CONTENTS
    return number


def contents(connection, number):
    with opened(connection, number, "rb") as read:
        found = read.read()
    connection.commit()
    return found


def changes(connection, number):
    with opened(connection, number, "rwb") as written:
        written.seek(100)
        written.write(b"changed")
        written.truncate(5000)
    connection.commit()
    assert contents(connection, number) == CONTENTS[:100] + b"changed" + CONTENTS[107:5000]


def rolls_back(connection, number):
    with opened(connection, number, "wb") as written:
        written.write(b"never")
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT s")
        connection.lobject(number, "rw").unlink()
        cursor.execute("ROLLBACK TO s")
        cursor.execute("SELECT lo_get(%s)", (number,))
        assert bytes(cursor.fetchone()[0]) == CONTENTS
    connection.commit()


def keeps_in_rows(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE file (id serial PRIMARY KEY, data oid)")
        for n in range(5):
            cursor.execute("INSERT INTO file (data) VALUES (lo_from_bytea(0, %s))", (psycopg2.Binary(bytes([n]) * 5000),))
        cursor.execute("SELECT lo_unlink(data) FROM file WHERE id > 3")
        cursor.execute("DELETE FROM file WHERE id > 3")
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("SELECT length(lo_get(data)) FROM file")
        assert cursor.fetchall() == [(5000,)] * 3
    connection.commit()


main()
