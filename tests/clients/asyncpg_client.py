"""asyncpg: a pool, binary values, nested transactions, COPY, cursors, notifications. Where to is in PG* variables."""

import asyncio
import datetime
import decimal
import uuid

import asyncpg


async def schema(pool):
    await pool.execute(
        """
        CREATE TABLE event (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int UNIQUE, at timestamptz DEFAULT now(),
            price numeric(12, 4), tags int[], raw bytea);
        CREATE TABLE counter (name text PRIMARY KEY, value bigint);
        INSERT INTO counter VALUES ('all', 0);
        """
    )


async def writes(pool):
    values = (1, datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc), decimal.Decimal("1.2345"), [1, None], b"\x00")
    made = await pool.fetchrow("INSERT INTO event (n, at, price, tags, raw) VALUES ($1, $2, $3, $4, $5) RETURNING *", *values)
    assert isinstance(made["id"], uuid.UUID) and made["price"] == decimal.Decimal("1.2345")
    await pool.executemany("INSERT INTO event (n) VALUES ($1)", [(n,) for n in range(2, 102)])
    assert await pool.execute("UPDATE event SET price = n * random() WHERE n > 50") == "UPDATE 51"


async def conflicts(pool):
    async def one():
        for _ in range(20):
            await pool.execute("UPDATE counter SET value = value + 1 WHERE name = 'all'")

    await asyncio.gather(*(one() for _ in range(4)))
    assert await pool.fetchval("SELECT value FROM counter") == 80


async def transactions(pool):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("DELETE FROM event WHERE n = 1")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO event (n) VALUES (2)")
        except asyncpg.UniqueViolationError:
            pass
        else:
            raise AssertionError("no unique violation")
        await conn.execute("INSERT INTO event (n) VALUES (1000)")
    async with pool.acquire() as conn, conn.transaction(isolation="serializable"):
        assert await conn.fetchval("SELECT count(*) FROM event") == 101


async def copies(pool):
    async with pool.acquire() as conn:
        records = [(n, decimal.Decimal(n)) for n in range(2000, 3000)]
        assert await conn.copy_records_to_table("event", records=records, columns=["n", "price"]) == "COPY 1000"


async def cursors(pool):
    async with pool.acquire() as conn, conn.transaction():
        statement = await conn.prepare("SELECT n FROM event ORDER BY n")
        seen = [row["n"] async for row in statement.cursor(prefetch=50)]
        assert len(seen) == 1101


async def notifications(pool):
    heard = asyncio.get_running_loop().create_future()
    async with pool.acquire() as listener:
        def hear(_connection, _pid, _channel, payload):
            heard.set_result(payload)

        await listener.add_listener("news", hear)
        await pool.execute("SELECT pg_notify('news', 'hello')")
        assert await asyncio.wait_for(heard, 10) == "hello"
        await listener.remove_listener("news", hear)


async def cancels(pool):
    try:
        await pool.execute("SELECT pg_sleep(60)", timeout=0.5)
    except asyncio.TimeoutError:
        assert await pool.fetchval("SELECT 1") == 1
    else:
        raise AssertionError("no time-out")


async def main():
    async with asyncpg.create_pool(min_size=2, max_size=4) as pool:
        for part in (schema, writes, conflicts, transactions, copies, cursors, notifications, cancels):
            await part(pool)


asyncio.run(main())
