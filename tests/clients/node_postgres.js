// node-postgres: a pool, named statements, transactions, notifications. Where to connect to is in PG* variables.
"use strict";

const assert = require("assert");
const { Client, Pool } = require("pg");

async function schema(pool) {
  await pool.query(
    "CREATE TABLE job (id serial PRIMARY KEY, state text DEFAULT 'queued', data jsonb, made timestamptz DEFAULT now())",
  );
}

async function writes(pool) {
  const made = await pool.query("INSERT INTO job (data) VALUES ($1), ($2) RETURNING *", [{ a: 1 }, null]);
  assert.deepStrictEqual(made.rows.map((row) => row.id), [1, 2]);
  assert.ok(made.rows[0].made instanceof Date);
  const many = await pool.query("INSERT INTO job (data) SELECT to_jsonb(n) FROM generate_series(1, 50) n");
  assert.strictEqual(many.rowCount, 50);
  const several = await pool.query("SELECT 1 AS one; UPDATE job SET state = 'done' WHERE id = 1; SELECT 2 AS two");
  assert.deepStrictEqual(several.map((result) => result.command), ["SELECT", "UPDATE", "SELECT"]);
}

async function namedStatements(pool) {
  const take = {
    name: "take",
    text: `UPDATE job SET state = 'running' WHERE id = (
        SELECT id FROM job WHERE state = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id`,
  };
  const worker = async () => {
    const taken = [];
    for (;;) {
      const result = await pool.query(take);
      if (result.rowCount === 0) return taken;
      taken.push(result.rows[0].id);
    }
  };
  const taken = (await Promise.all([worker(), worker(), worker(), worker()])).flat();
  assert.strictEqual(new Set(taken).size, 51);
  assert.strictEqual(taken.length, 51);
}

async function transactions(pool) {
  const client = await pool.connect();
  await client.query("BEGIN");
  await client.query("DELETE FROM job WHERE id = $1", [2]);
  await client.query("SAVEPOINT s");
  await assert.rejects(client.query("INSERT INTO job (id) VALUES (1)"), { code: "23505", constraint: "job_pkey" });
  await client.query("ROLLBACK TO s");
  await client.query("COMMIT");
  client.release();
  assert.strictEqual((await pool.query("SELECT count(*)::int AS n FROM job")).rows[0].n, 51);
}

async function notifications(pool) {
  const listener = new Client();
  await listener.connect();
  const heard = new Promise((resolve) => listener.on("notification", (message) => resolve(message.payload)));
  await listener.query("LISTEN jobs");
  await pool.query("BEGIN; INSERT INTO job (state) VALUES ('new'); NOTIFY jobs, 'made'; COMMIT");
  assert.strictEqual(await heard, "made");
  await listener.end();
}

async function main() {
  const pool = new Pool({ max: 4 });
  for (const part of [schema, writes, namedStatements, transactions, notifications]) await part(pool);
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
