//! What belongs to a session: cursors, locks, messages, temporary tables, prepared statements, settings, queue workers; and
//! statements that are cut short.

use super::{Shape, Theme};

pub const THEME: Theme = Theme {
    name: "session",
    given: GIVEN,
    rows: ROWS,
    texts: TEXTS,
    strings: STRINGS,
    scripts: SCRIPTS,
    ..Theme::NONE
};

const GIVEN: &str = "
    CREATE TABLE task (id serial PRIMARY KEY, state text NOT NULL DEFAULT 'queued', worker int, taken timestamptz);
    CREATE TABLE done (task int PRIMARY KEY, worker int DEFAULT pg_backend_pid() % 7, result float8);
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, version int DEFAULT 0);
    INSERT INTO task (state) SELECT 'queued' FROM generate_series(1, 30);
    INSERT INTO account SELECT n, 100 FROM generate_series(1, 10) n";

const ROWS: &[Shape] = &[
    ("INSERT INTO task (worker) SELECT $1 FROM generate_series(1, 5)", &[9]),
    (
        "WITH one AS (SELECT id FROM task WHERE state = 'queued' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) UPDATE task SET state = 'running', worker = $2, taken = now() FROM one WHERE one.id = task.id RETURNING task.id",
        &[3, 9],
    ),
    (
        "WITH one AS (DELETE FROM task WHERE id = (SELECT id FROM task WHERE worker = $1 AND state = 'running' LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id) INSERT INTO done (task, result) SELECT id, random() FROM one RETURNING task",
        &[9],
    ),
    (
        "UPDATE task SET state = 'queued' WHERE worker = $1 AND state = 'running' AND pg_try_advisory_xact_lock(id)",
        &[9],
    ),
    ("SELECT id FROM task WHERE state = 'queued' AND id % $1::int = 0 ORDER BY id FOR UPDATE NOWAIT", &[20]),
    ("SELECT pg_advisory_xact_lock($1, $2)", &[2, 3]),
    ("SELECT pg_try_advisory_lock(10 + $1)", &[9]),
    ("SELECT pg_advisory_unlock(10 + $1)", &[9]),
    ("UPDATE account SET balance = balance - $2, version = version + 1 WHERE id = $1 AND balance >= $2", &[10, 20]),
    ("UPDATE account SET balance = balance + 1, version = version + 1 WHERE id = $1 AND version = $2", &[10, 20]),
    (
        "UPDATE account SET balance = balance + 1 WHERE id = $1 AND xmin = (SELECT xmin FROM account WHERE id = $1)",
        &[10],
    ),
    ("SELECT balance FROM account WHERE id = $1 FOR NO KEY UPDATE", &[10]),
    ("SELECT balance FROM account WHERE id IN ($1, $2) ORDER BY id FOR SHARE", &[10, 10]),
    ("SELECT pg_notify('news', 'n$1')", &[]),
    ("SELECT set_config('torture.mine', $1::text, true)", &[9]),
    ("DELETE FROM done WHERE worker = $1", &[7]),
];

const TEXTS: &[Shape] = &[
    ("LISTEN news", &[]),
    ("UNLISTEN *", &[]),
    ("NOTIFY news, 'note $1'", &[9]),
    ("SET LOCAL lock_timeout = '5$1ms'", &[9]),
    ("SET statement_timeout = '$100ms'", &[9]),
    ("RESET statement_timeout", &[]),
    ("SET TIME ZONE 'Asia/Kolkata'", &[]),
    ("SET datestyle = 'SQL, DMY'", &[]),
    ("RESET ALL", &[]),
    ("DISCARD ALL", &[]),
    ("CREATE TEMP TABLE IF NOT EXISTS mine (id int, v text) ON COMMIT DELETE ROWS", &[]),
    ("PREPARE pay AS UPDATE account SET balance = balance + $1 WHERE id = $2", &[]),
    ("EXECUTE pay ($1, $2)", &[9, 10]),
    ("DEALLOCATE ALL", &[]),
    ("FETCH 2 FROM held", &[]),
    ("CLOSE held", &[]),
    ("CLOSE ALL", &[]),
    ("SELECT pg_sleep(0.0$1)", &[9]),
    ("EXPLAIN ANALYZE UPDATE account SET balance = balance + 1 WHERE id = $1", &[10]),
];

const STRINGS: &[Shape] = &[
    (
        "UPDATE account SET balance = balance + 1 WHERE id = $1; INSERT INTO task (worker) VALUES ($1); SELECT 1 / ($1 - 5)",
        &[10],
    ),
    (
        "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = $1; COMMIT; UPDATE account SET balance = balance + 1 WHERE id = $1",
        &[10],
    ),
];

const SCRIPTS: &[&[Shape]] = &[
    &[
        ("DECLARE c CURSOR FOR SELECT * FROM account WHERE balance > $1 ORDER BY id FOR UPDATE", &[99]),
        ("FETCH $1 FROM c", &[3]),
        ("UPDATE account SET balance = balance + 1 WHERE CURRENT OF c", &[]),
        ("MOVE c", &[]),
        ("DELETE FROM account WHERE CURRENT OF c", &[]),
        ("INSERT INTO account VALUES ($1, 100) ON CONFLICT DO NOTHING", &[10]),
        ("CLOSE c", &[]),
    ],
    &[
        ("DECLARE held CURSOR WITH HOLD FOR SELECT id, 100 / (balance - $1) FROM account ORDER BY id", &[120]),
        ("UPDATE account SET balance = balance + $1 WHERE id = $1", &[10]),
        ("FETCH FROM held", &[]),
    ],
    &[
        ("CREATE TEMP TABLE IF NOT EXISTS mine (id int, v text) ON COMMIT DELETE ROWS", &[]),
        ("INSERT INTO mine SELECT id, state FROM task WHERE worker = $1", &[9]),
        ("UPDATE task SET state = 'seen' FROM mine WHERE mine.id = task.id AND mine.v = 'running'", &[]),
        ("INSERT INTO done (task) SELECT id FROM mine ON CONFLICT DO NOTHING", &[]),
    ],
    &[
        ("SAVEPOINT a", &[]),
        ("UPDATE account SET balance = balance - $2 WHERE id = $1", &[10, 9]),
        ("SAVEPOINT b", &[]),
        ("UPDATE account SET balance = balance + $2 WHERE id = $1", &[10, 9]),
        ("ROLLBACK TO a", &[]),
        ("INSERT INTO task (worker) VALUES ($1)", &[9]),
        ("RELEASE a", &[]),
    ],
    &[
        ("NOTIFY news, 'in a transaction'", &[]),
        ("LOCK TABLE done IN EXCLUSIVE MODE", &[]),
        ("DELETE FROM done WHERE task % 5 = $1", &[4]),
    ],
];
