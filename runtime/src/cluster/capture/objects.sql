-- Large objects. No trigger can be on them, so whatever gives a client the number of one that it may change says so: "c", it has
-- made it; "o", it writes to it. That is noted until the end of the transaction, where lockstep.objects() is asked. Nobody has
-- to be believed for it: who notes others has them looked at in vain.
CREATE OR REPLACE FUNCTION lockstep.noted(how text, object oid) RETURNS oid LANGUAGE plpgsql AS $$
BEGIN
    IF object IS NOT NULL THEN
        RAISE INFO 'lockstep % %', how, object;
    END IF;
    RETURN object;
END
$$;

-- What clients' texts are sent with in place of the server's functions of these names.
CREATE OR REPLACE FUNCTION lockstep.lo_create(oid) RETURNS oid LANGUAGE sql AS $$ SELECT lockstep.noted('c', pg_catalog.lo_create($1)) $$;
CREATE OR REPLACE FUNCTION lockstep.lo_creat(integer) RETURNS oid LANGUAGE sql AS $$ SELECT lockstep.noted('c', pg_catalog.lo_creat($1)) $$;
CREATE OR REPLACE FUNCTION lockstep.lo_from_bytea(oid, bytea) RETURNS oid LANGUAGE sql AS $$ SELECT lockstep.noted('c', pg_catalog.lo_from_bytea($1, $2)) $$;
CREATE OR REPLACE FUNCTION lockstep.lo_put(oid, bigint, bytea) RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.lo_put(lockstep.noted('o', $1), $2, $3) $$;
CREATE OR REPLACE FUNCTION lockstep.lo_open(oid, integer) RETURNS integer LANGUAGE sql AS $$
SELECT pg_catalog.lo_open(CASE WHEN $2 OPERATOR(pg_catalog.&) 131072 OPERATOR(pg_catalog.=) 0 THEN $1 ELSE lockstep.noted('o', $1) END, $2)
$$;

-- What this transaction has made of large objects: of those noted, and of those that PostgreSQL has locked for it, as it does to
-- drop one, or to give it another owner or comment. "x": it is gone; "=": what belongs to it, and which of its pages stay as
-- they are ("-": all of them); "p": a page. Until the transaction ends nobody else gets here with the same object, so that
-- followers need not see two of them at once; who has made it is alone with it anyway. Objects share 1024 locks, in one order
-- for all, for there is not room in a server for one for each of those that a transaction drops.
CREATE OR REPLACE FUNCTION lockstep.objects(made oid[], opened oid[]) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    old_view constant boolean := current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
    object oid;
    locked boolean;
    altered boolean;
    is_new boolean;
    written boolean;
    paged boolean;
    belongings text;
    kept text;
    islands bigint;
BEGIN
    IF txid_current_if_assigned() IS NULL THEN
        RETURN;
    END IF;
    FOR object, locked IN
        SELECT n.o, bool_or(n.l) FROM (
            SELECT unnest(made || opened), false UNION ALL
            SELECT k.objid, true FROM pg_locks k WHERE k.pid = pg_backend_pid() AND k.locktype = 'object' AND k.granted
                AND k.classid = 'pg_largeobject'::regclass
                AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) AS n (o, l)
        GROUP BY 1 ORDER BY n.o::bigint % 1024
    LOOP
        altered := coalesce((SELECT lockstep.is_ours(m.xmin) FROM pg_largeobject_metadata m WHERE m.oid = object), false);
        written := EXISTS (SELECT FROM pg_largeobject p WHERE p.loid = object AND lockstep.is_ours(p.xmin));
        CONTINUE WHEN NOT (locked OR altered OR written);
        is_new := altered AND NOT locked AND object = ANY (made);
        -- One that was dropped and made again may have no pages.
        paged := written OR locked AND object = ANY (made || opened);
        IF NOT is_new THEN
            PERFORM pg_advisory_xact_lock((1282368363::bigint << 32) | object::bigint % 1024);
            -- One that is gone has nothing to show; of others the old snapshot may show pages, owners and comments of before.
            IF old_view AND (paged OR EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = object)) THEN
                RAISE feature_not_supported USING
                    MESSAGE = format('this transaction is refused: what others have written to large object %s is newer than its snapshot', object),
                    HINT = 'Write to large objects that were there before at READ COMMITTED.';
            END IF;
        END IF;
        SELECT encode(convert_to(ARRAY[pg_get_userbyid(m.lomowner)::text, m.lomacl::text, obj_description(m.oid, 'pg_largeobject')]::text,
            getdatabaseencoding()), 'base64') INTO belongings FROM pg_largeobject_metadata m WHERE m.oid = object;
        IF NOT FOUND THEN
            -- What others have written to it meanwhile, and they cannot know, goes with it.
            PERFORM lo_unlink(lo_create(object));
            RETURN NEXT format('x %s', object);
            CONTINUE;
        END IF;
        kept := '-';
        IF is_new THEN
            kept := '';
        ELSIF paged THEN
            -- So that pages go which are there no more.
            SELECT string_agg(format('%s-%s', r.low, r.high), ';' ORDER BY r.low), count(*) INTO kept, islands
            FROM (SELECT min(p.pageno) AS low, max(p.pageno) AS high
                  FROM (SELECT q.pageno, q.pageno - row_number() OVER (ORDER BY q.pageno) AS island
                        FROM pg_largeobject q WHERE q.loid = object) AS p GROUP BY p.island) AS r;
            IF islands = 0 OR islands > 64 THEN
                kept := '';
            END IF;
        END IF;
        RETURN NEXT format('= %s %s %s', object, kept, CASE WHEN altered OR locked THEN belongings ELSE '-' END);
        IF written THEN
            RETURN QUERY SELECT concat('p ', object, ' ', p.pageno, ' ', encode(p.data, 'base64'))
                FROM pg_largeobject p WHERE p.loid = object AND (kept = '' OR lockstep.is_ours(p.xmin)) ORDER BY p.pageno;
        END IF;
    END LOOP;
END
$$;

-- Gives a large object its owner, privileges and comment.
CREATE OR REPLACE FUNCTION lockstep.belong(object oid, belongings text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted constant aclitem[] := nullif(belongings[2], '{}')::aclitem[];
BEGIN
    EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %I', object, belongings[1]);
    IF (SELECT m.lomacl::text FROM pg_largeobject_metadata m WHERE m.oid = object) IS DISTINCT FROM belongings[2] THEN
        -- An array without elements that is written so is no list of privileges to the server: it makes that itself.
        UPDATE pg_largeobject_metadata m SET lomacl = wanted WHERE m.oid = object;
        DELETE FROM pg_shdepend d WHERE d.classid = 'pg_largeobject'::regclass AND d.objid = object AND d.deptype = 'a'
            AND d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database());
        INSERT INTO pg_shdepend (dbid, classid, objid, objsubid, refclassid, refobjid, deptype)
            SELECT DISTINCT b.oid, 'pg_largeobject'::regclass::oid, object, 0, 'pg_authid'::regclass::oid, r.role, 'a'::"char"
            FROM aclexplode(wanted) AS a, unnest(ARRAY[a.grantee, a.grantor]) AS r (role), pg_database b, pg_largeobject_metadata m
            WHERE r.role >= 16384 AND r.role <> m.lomowner AND m.oid = object AND b.datname = current_database();
        IF belongings[2] = '{}' THEN
            EXECUTE format('REVOKE ALL ON LARGE OBJECT %s FROM %I', object, belongings[1]);
        END IF;
    END IF;
    IF obj_description(object, 'pg_largeobject') IS DISTINCT FROM belongings[3] THEN
        EXECUTE format('COMMENT ON LARGE OBJECT %s IS %L', object, belongings[3]);
    END IF;
END
$$;

-- Followers: large objects as lockstep.objects() has told them.
CREATE OR REPLACE FUNCTION lockstep.apply_objects(payload text, signature text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    object oid;
    item text[];
    known boolean;
BEGIN
    PERFORM lockstep.believe(payload, signature);
    FOR item IN SELECT string_to_array(i, ' ') FROM unnest(string_to_array(payload, ',')) AS i WHERE left(i, 1) <> 'p' LOOP
        object := item[2]::oid;
        known := EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = object);
        IF item[1] = 'x' THEN
            IF known THEN
                PERFORM lo_unlink(object);
            END IF;
            CONTINUE;
        END IF;
        IF NOT known AND item[4] = '-' THEN
            RAISE no_data_found USING MESSAGE = format('large object %s is not there', object);
        ELSIF NOT known THEN
            PERFORM lo_create(object);
        END IF;
        IF item[4] <> '-' THEN
            PERFORM lockstep.belong(object, convert_from(decode(item[4], 'base64'), getdatabaseencoding())::text[]);
        END IF;
        IF item[3] <> '-' THEN
            DELETE FROM pg_largeobject p WHERE p.loid = object AND NOT EXISTS
                (SELECT FROM unnest(string_to_array(item[3], ';')) AS r
                 WHERE p.pageno BETWEEN split_part(r, '-', 1)::integer AND split_part(r, '-', 2)::integer);
        END IF;
    END LOOP;
    DELETE FROM pg_largeobject p USING unnest(string_to_array(payload, ',')) AS i
        WHERE left(i, 1) = 'p' AND p.loid = split_part(i, ' ', 2)::oid AND p.pageno = split_part(i, ' ', 3)::integer;
    INSERT INTO pg_largeobject (loid, pageno, data)
        SELECT split_part(i, ' ', 2)::oid, split_part(i, ' ', 3)::integer, decode(split_part(i, ' ', 4), 'base64')
        FROM unnest(string_to_array(payload, ',')) AS i WHERE left(i, 1) = 'p';
END
$$;

REVOKE ALL ON FUNCTION lockstep.belong(oid, text[]) FROM PUBLIC;
