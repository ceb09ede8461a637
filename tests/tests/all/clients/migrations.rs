//! What tools send that migrate a schema and are no Debian packages: each has its own way to lock, to note what has been
//! done, and to cut a script into messages.

use lockstep_tests::compare::assert_identical_database;

use super::stage;

#[test]
fn as_flyway_runs_them() {
    let cluster = stage("flyway");
    // One connection holds the lock and keeps the history, another runs the scripts.
    let (mut history, mut scripts) = (cluster.connect("flyway"), cluster.connect("flyway"));
    for client in [&mut history, &mut scripts] {
        client.value("SELECT current_user");
        client.execute("SELECT set_config('search_path', $1, false)", &[Some("public")]);
    }
    assert_eq!(history.value("SELECT pg_try_advisory_lock(77431708279161)"), "t");
    history.query(
        r#"CREATE TABLE IF NOT EXISTS "public"."flyway_schema_history" ("installed_rank" INT NOT NULL, "version" VARCHAR(50),
        "description" VARCHAR(200) NOT NULL, "type" VARCHAR(20) NOT NULL, "script" VARCHAR(1000) NOT NULL, "checksum" INTEGER,
        "installed_by" VARCHAR(100) NOT NULL, "installed_on" TIMESTAMP NOT NULL DEFAULT now(), "execution_time" INTEGER NOT NULL,
        "success" BOOLEAN NOT NULL) WITH (fillfactor = 100);
        ALTER TABLE "public"."flyway_schema_history" ADD CONSTRAINT "flyway_schema_history_pk" PRIMARY KEY ("installed_rank");
        CREATE INDEX "flyway_schema_history_s_idx" ON "public"."flyway_schema_history" ("success")"#,
    );
    let migrations: [&[&str]; 3] = [
        &[
            "CREATE SCHEMA shop",
            "CREATE TABLE shop.customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)",
            "CREATE TABLE shop.orders (id serial PRIMARY KEY, customer bigint REFERENCES shop.customer, amount numeric)",
            "INSERT INTO shop.customer (name) SELECT 'c' || n FROM generate_series(1, 20) n",
            "COMMENT ON TABLE shop.customer IS 'who buys'",
        ],
        &[
            "ALTER TABLE shop.orders ADD COLUMN made timestamptz NOT NULL DEFAULT now(), ADD CHECK (amount > 0)",
            "CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.made := clock_timestamp(); RETURN NEW; END $$",
            "CREATE TRIGGER touch BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch()",
            "INSERT INTO shop.orders (customer, amount) SELECT id, id FROM shop.customer",
        ],
        &[
            "UPDATE shop.orders SET amount = amount * 2 WHERE customer % 3 = 0",
            "DO $$ BEGIN FOR i IN 1..3 LOOP UPDATE shop.customer SET name = name || '!' WHERE id = i; END LOOP; END $$",
            "CREATE OR REPLACE VIEW shop.best AS SELECT customer, sum(amount) FROM shop.orders GROUP BY 1",
            "GRANT SELECT ON shop.best TO app_md5",
        ],
    ];
    for (rank, statements) in (1..).zip(migrations) {
        scripts.query("BEGIN");
        for statement in statements {
            scripts.query(statement);
        }
        scripts.query("COMMIT");
        let (rank, version) = (format!("{rank}"), format!("{rank}.0"));
        history.execute(
            r#"INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script",
            "checksum", "installed_by", "execution_time", "success") VALUES ($1, $2, 'grow', 'SQL', 'V.sql', 7, 'app', 12, true)"#,
            &[Some(&rank), Some(&version)],
        );
    }
    assert_eq!(history.value("SELECT pg_advisory_unlock(77431708279161)"), "t");
    assert_eq!(history.value("SELECT count(*) FROM flyway_schema_history WHERE success"), "3");
    assert_identical_database(&cluster.nodes, "flyway");
}

#[test]
fn as_prisma_runs_them() {
    let cluster = stage("prisma");
    let mut engine = cluster.connect("prisma");
    engine.query("SELECT pg_advisory_lock(72707369)");
    engine.query(
        r#"CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL,
        finished_at TIMESTAMPTZ, migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ,
        started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)"#,
    );
    // Each script is one message.
    let scripts = [
        r#"-- CreateEnum
        CREATE TYPE "Role" AS ENUM ('USER', 'ADMIN');
        -- CreateTable
        CREATE TABLE "User" ("id" SERIAL NOT NULL, "email" TEXT NOT NULL, "role" "Role" NOT NULL DEFAULT 'USER',
        "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "User_pkey" PRIMARY KEY ("id"));
        CREATE TABLE "Post" ("id" TEXT NOT NULL, "authorId" INTEGER NOT NULL, CONSTRAINT "Post_pkey" PRIMARY KEY ("id"));
        CREATE TABLE "_PostToTag" ("A" TEXT NOT NULL, "B" INTEGER NOT NULL);
        -- CreateIndex
        CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
        CREATE UNIQUE INDEX "_PostToTag_AB_unique" ON "_PostToTag"("A", "B");
        -- AddForeignKey
        ALTER TABLE "Post" ADD CONSTRAINT "Post_authorId_fkey" FOREIGN KEY ("authorId") REFERENCES "User"("id")
        ON DELETE RESTRICT ON UPDATE CASCADE;"#,
        r#"INSERT INTO "User" ("email", "role") SELECT n || '@example.org', 'ADMIN' FROM generate_series(1, 9) n;
        INSERT INTO "Post" SELECT gen_random_uuid()::text, id FROM "User";"#,
        r#"-- AlterEnum
        BEGIN;
        CREATE TYPE "Role_new" AS ENUM ('USER', 'EDITOR', 'ADMIN');
        ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT;
        ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new" USING ("role"::text::"Role_new");
        ALTER TYPE "Role" RENAME TO "Role_old";
        ALTER TYPE "Role_new" RENAME TO "Role";
        DROP TYPE "Role_old";
        ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT 'USER';
        COMMIT;"#,
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let (id, name) = (format!("00000000-0000-4000-8000-00000000000{number}"), format!("2026_{number}"));
        engine.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ($1, 'aa', $2)",
            &[Some(&id), Some(&name)],
        );
        engine.query(script);
        let steps = "UPDATE _prisma_migrations SET applied_steps_count = applied_steps_count + 1 WHERE id = $1";
        engine.execute(steps, &[Some(&id)]);
        engine.execute("UPDATE _prisma_migrations SET finished_at = now() WHERE id = $1", &[Some(&id)]);
    }
    engine.query("SELECT pg_advisory_unlock(72707369)");
    assert_eq!(engine.value("SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NOT NULL"), "3");
    assert_eq!(engine.value(r#"SELECT string_agg(DISTINCT role::text, ' ') FROM "User""#), "ADMIN");
    assert_identical_database(&cluster.nodes, "prisma");
}
