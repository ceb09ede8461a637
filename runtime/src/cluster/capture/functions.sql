-- What every node holds in a database whose tables are captured. Nothing in it is secret: the key is in the password of
-- the role lockstep_capture, which nobody but a superuser can read or change, and which no pg_dump touches.
CREATE SCHEMA IF NOT EXISTS lockstep;
GRANT USAGE ON SCHEMA lockstep TO PUBLIC;

-- The index by whose columns a row is found: unique for what each of its columns tells apart; one under another collation than
-- its column's is not, for rows that it tells apart may be equal to the operator. All NULL: the table has no key.
CREATE OR REPLACE FUNCTION lockstep.key_of(relation oid) RETURNS pg_index LANGUAGE sql STABLE AS $$
SELECT x FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE x.indrelid = relation AND x.indisunique AND x.indisvalid AND x.indisready AND x.indimmediate
    AND x.indpred IS NULL AND x.indexprs IS NULL AND m.amname = 'btree'
    AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation
        AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1]) AND NOT a.attnotnull)
    AND NOT EXISTS (SELECT FROM unnest(x.indkey, x.indcollation) AS k (attnum, collated) JOIN pg_attribute a
        ON a.attrelid = relation AND a.attnum = k.attnum AND a.attcollation <> k.collated)
ORDER BY x.indisprimary DESC, x.indnkeyatts, c.relname LIMIT 1
$$;

-- The condition by which a row is found: "left"'s key equals "right"'s. NULL: the table has no key. Asked for often, so its
-- catalogs are read by index, whatever is known of their size.
CREATE OR REPLACE FUNCTION lockstep.condition(relation oid, "left" text, "right" text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    i constant pg_index := lockstep.key_of(relation);
    found_by text;
BEGIN
    IF i.indexrelid IS NULL THEN
        RETURN NULL;
    END IF;
    FOR n IN 0 .. i.indnkeyatts - 1 LOOP
        found_by := concat(found_by || ' AND ', (
            SELECT format('%s.%I OPERATOR(%I.%s) %s.%I', "left", a.attname, s.nspname, o.oprname, "right", a.attname)
            FROM pg_attribute a, pg_opclass c, pg_amop f, pg_operator o, pg_namespace s
            WHERE a.attrelid = relation AND a.attnum = i.indkey[n] AND c.oid = i.indclass[n]
              AND f.amopfamily = c.opcfamily AND f.amoplefttype = c.opcintype AND f.amoprighttype = c.opcintype
              AND f.amopstrategy = 3 AND o.oid = f.amopopr AND s.oid = o.oprnamespace));
    END LOOP;
    RETURN found_by;
END
$$;

-- Whether the transaction that asks has made this version of a row. Its own number and those of its savepoints are not less
-- than its first; a number that was given out before its snapshot was taken can be asked about, the later ones are its own.
CREATE OR REPLACE FUNCTION lockstep.is_ours(made_by xid) RETURNS boolean LANGUAGE sql STABLE AS $$
SELECT CASE
    WHEN age(made_by) > 0 THEN false
    WHEN txid_current() - age(made_by) < txid_snapshot_xmax(txid_current_snapshot())
        THEN txid_status(txid_current() - age(made_by)) = 'in progress'
    ELSE true
END
$$;

-- What a row must fulfil besides to be the one that a key stands for now. From REPEATABLE READ on, a snapshot also shows what
-- others have deleted since; and a row that this transaction has touched is one that it has made, or gone.
CREATE OR REPLACE FUNCTION lockstep.made_now() RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE WHEN current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
    THEN ' AND lockstep.is_ours(x.xmin)' ELSE '' END
$$;

-- Whether the text of such a row can be read back without calling anything of a user's, as a domain's check would be.
CREATE OR REPLACE FUNCTION lockstep.is_plain(relation oid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND a.atttypid >= 16384
        AND (SELECT t.typtype FROM pg_type t WHERE t.oid = a.atttypid) <> 'e');
END
$$;

-- How many fields of a row's text, from its first, hold its key. 0: too many to compare them; -1: it has none.
CREATE OR REPLACE FUNCTION lockstep.fields_of_key(relation oid) RETURNS integer LANGUAGE plpgsql STABLE AS $$
DECLARE
    i constant pg_index := lockstep.key_of(relation);
    fields integer;
BEGIN
    IF i.indexrelid IS NULL THEN
        RETURN -1;
    END IF;
    SELECT count(*) INTO fields FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attnum <= (SELECT max(k) FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k);
    RETURN CASE WHEN fields <= 8 THEN fields ELSE 0 END;
END
$$;

-- Whether two rows are known to have the same text in the first fields. Not if it is quoted, for commas within it are not told
-- from others; nor if there are none.
CREATE OR REPLACE FUNCTION lockstep.begin_alike(a text, b text, fields integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    field text;
BEGIN
    FOR n IN 1 .. fields LOOP
        field := split_part(a, ',', n);
        IF field <> split_part(b, ',', n) OR strpos(field, '"') > 0 THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN fields > 0;
END
$$;

-- Tells what has become of rows that were noted; each as a sign, its table, ":", and what is known of it. "=" and "+": where
-- a version is that was made of a row; "=" if the row was there before this transaction, which followers then check. One that
-- is not there any more is of no account, for what has replaced or removed it was noted, too (our trigger fires for all of it:
-- nothing that is let through can switch it off meanwhile). "-": the image of a version with which its key may be gone.
CREATE OR REPLACE FUNCTION lockstep.tell(noted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    coded constant text := 'SELECT encode(convert_to((ARRAY[%s])::text, getdatabaseencoding()), ''base64'') FROM ';
    relation oid;
    known tid[];
    others tid[];
    gone text[];
    target text;
    question text;
    said text;
    told text;
BEGIN
    FOR relation, known, others, gone IN
        SELECT split_part(substr(n, 2), ':', 1)::oid,
            array_agg(split_part(n, ':', 2)::tid) FILTER (WHERE n LIKE '=%'),
            array_agg(split_part(n, ':', 2)::tid) FILTER (WHERE n LIKE '+%'),
            array_agg(convert_from(decode(split_part(n, ':', 2), 'base64'), getdatabaseencoding())) FILTER (WHERE n LIKE '-%')
        FROM unnest(string_to_array(rtrim(noted), ' ')) AS n GROUP BY 1
    LOOP
        SELECT format('%I.%I', n.nspname, c.relname) INTO target
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
        question := concat_ws(' UNION ALL ',
            CASE WHEN known IS NOT NULL THEN format(coded || 'ONLY %s AS x WHERE x.ctid = ANY ($1)',
                $b$'=', $3, format('%s', x.*), 'was'$b$, target) END,
            CASE WHEN others IS NOT NULL THEN format(coded || 'ONLY %s AS x WHERE x.ctid = ANY ($2)',
                $b$'=', $3, format('%s', x.*)$b$, target) END,
            CASE WHEN gone IS NOT NULL THEN format(coded || '(SELECT unnest(%s::%s[]) AS r) AS n LEFT JOIN ONLY %3$s AS x ON %s',
                $b$CASE WHEN x.ctid IS NULL THEN 'x' ELSE '=' END, $3, CASE WHEN x.ctid IS NULL THEN format('%s', n.r) ELSE format('%s', x.*) END$b$,
                quote_literal(gone::text), target, lockstep.condition(relation, 'x', '(n.r)') || lockstep.made_now()) END);
        FOR said IN EXECUTE question USING known, others, target LOOP
            told := concat(told || ',', said);
            IF octet_length(told) > 2048 THEN
                RAISE INFO 'lockstep = %', told;
                told := NULL;
            END IF;
        END LOOP;
    END LOOP;
    IF told IS NOT NULL THEN
        RAISE INFO 'lockstep = %', told;
    END IF;
END
$$;

-- Fires when the statement is over (lockstep.flush), for each row that it has touched, however deep in functions and
-- triggers. With a key: what the row is now, or that it is gone. Without: the image that went, and the one that came.
-- format() and not a cast makes a row text: a cast could be a function of a user's.
CREATE OR REPLACE FUNCTION lockstep.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target text;
    stack text;
    known text;
    facts text;
    fields integer;
    came text;
    went text;
    noted text;
    found_by text;
    image text;
    moved boolean := TG_OP = 'DELETE';
BEGIN
    IF TG_NAME <> 'lockstep_capture' THEN
        RETURN NULL;
    END IF;
    GET DIAGNOSTICS stack = PG_CONTEXT;
    -- The end of the stack is its outermost function, so that nobody else can stand there. Nothing of a user's runs while
    -- it does: what is noted in the settings stays as it is until it is told.
    IF stack LIKE E'%\nPL/pgSQL function lockstep.flush(text[]) line __ at EXECUTE' THEN
        known := current_setting('lockstep.known');
        facts := split_part(split_part(known, concat(' ', TG_RELID, ':'), 2), ' ', 1);
        IF facts = '' THEN
            facts := concat(lockstep.fields_of_key(TG_RELID), CASE WHEN lockstep.is_plain(TG_RELID) THEN 'p' END);
            PERFORM set_config('lockstep.known', concat(known, ' ', TG_RELID, ':', facts), true);
        END IF;
        fields := rtrim(facts, 'p');
        IF fields >= 0 THEN
            IF TG_OP = 'INSERT' THEN
                noted := concat('+', TG_RELID, ':', NEW.ctid, ' ');
            ELSIF TG_OP = 'UPDATE' AND lockstep.begin_alike(format('%s', NEW), format('%s', OLD), fields) THEN
                noted := concat(CASE WHEN age(OLD.xmin) > 0 THEN '=' ELSE '+' END, TG_RELID, ':', NEW.ctid, ' ');
            ELSIF facts LIKE '%p' THEN
                noted := concat('-', TG_RELID, ':', translate(encode(convert_to(format('%s', OLD), getdatabaseencoding()), 'base64'), E'\n', ''), ' ');
                IF TG_OP = 'UPDATE' THEN
                    noted := concat(noted, '+', TG_RELID, ':', NEW.ctid, ' ');
                END IF;
            END IF;
        END IF;
        IF noted IS NOT NULL THEN
            noted := concat(current_setting('lockstep.noted'), noted);
            IF octet_length(noted) > 3000 THEN
                PERFORM lockstep.tell(noted);
                noted := '';
            END IF;
            -- PERFORM would take a query.
            noted := set_config('lockstep.noted', noted, true);
            RETURN NULL;
        END IF;
    END IF;
    target := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    IF TG_OP <> 'DELETE' THEN
        came := format('%s', NEW);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        went := format('%s', OLD);
    END IF;
    found_by := lockstep.condition(TG_RELID, 'x', '($1)');
    IF found_by IS NULL THEN
        IF came IS NOT NULL THEN
            RAISE INFO 'lockstep + %', encode(convert_to(ARRAY['+', target, came]::text, getdatabaseencoding()), 'base64');
        END IF;
        IF went IS NOT NULL THEN
            RAISE INFO 'lockstep - %', encode(convert_to(ARRAY['-', target, went]::text, getdatabaseencoding()), 'base64');
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT format(''%%s'', x.*) FROM ONLY %s AS x WHERE %s', target, found_by || lockstep.made_now()) INTO image USING NEW;
        RAISE INFO 'lockstep = %', encode(convert_to(
            ARRAY[CASE WHEN image IS NULL THEN 'x' ELSE '=' END, target, coalesce(image, came)]::text, getdatabaseencoding()), 'base64');
    END IF;
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM (SELECT ($2).*) AS x WHERE %s)', found_by) INTO moved USING NEW, OLD;
    END IF;
    IF moved THEN
        EXECUTE format('SELECT format(''%%s'', x.*) FROM ONLY %s AS x WHERE %s', target, found_by || lockstep.made_now()) INTO image USING OLD;
        RAISE INFO 'lockstep = %', encode(convert_to(
            ARRAY[CASE WHEN image IS NULL THEN 'x' ELSE '=' END, target, coalesce(image, went)]::text, getdatabaseencoding()), 'base64');
    END IF;
    RETURN NULL;
END
$$;

-- The end of a statement: our triggers of these schemas fire, under settings by which a value has one text everywhere.
-- Nothing of a user's runs within it. That is why what it says is believed.
CREATE OR REPLACE FUNCTION lockstep.flush(schemas text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = '3'
SET bytea_output = 'hex' SET xmlbinary = 'base64' SET xmloption = 'content' SET lc_monetary = 'C' SET lc_messages = 'C' SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    names constant text := (SELECT string_agg(format('%I.lockstep_capture', s), ', ') FROM unnest(schemas) AS s);
    place name;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint k WHERE k.conname = 'lockstep_capture' AND NOT EXISTS
        (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgfoid = 'lockstep.capture()'::regprocedure)) THEN
        RAISE feature_not_supported USING MESSAGE = 'the name "lockstep_capture" belongs to the proxy, and a constraint has it';
    END IF;
    IF current_setting('session_replication_role') = 'replica' THEN
        RAISE feature_not_supported USING MESSAGE = 'session_replication_role is replica, so that triggers and foreign keys do nothing';
    END IF;
    IF names IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('lockstep.noted', '', true), set_config('lockstep.known', '', true);
    BEGIN
        EXECUTE 'SET CONSTRAINTS ' || names || ' IMMEDIATE';
        EXECUTE 'SET CONSTRAINTS ' || names || ' DEFERRED';
    EXCEPTION WHEN undefined_object OR invalid_schema_name THEN
        -- In one of them the last table with our trigger is gone, and what it had to tell with it.
        FOREACH place IN ARRAY schemas LOOP
            BEGIN
                EXECUTE format('SET CONSTRAINTS %I.lockstep_capture IMMEDIATE', place);
                EXECUTE format('SET CONSTRAINTS %I.lockstep_capture DEFERRED', place);
            EXCEPTION WHEN undefined_object OR invalid_schema_name THEN
                IF EXISTS (SELECT FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
                    WHERE k.conname = 'lockstep_capture' AND n.nspname = place) THEN
                    RAISE;
                END IF;
            END;
        END LOOP;
    END;
    IF current_setting('lockstep.noted') <> '' THEN
        PERFORM lockstep.tell(current_setting('lockstep.noted'));
        PERFORM set_config('lockstep.noted', '', true);
    END IF;
END
$$;

-- The end of a transaction: every other deferred constraint and trigger is judged now, before followers commit. Triggers of
-- users run within it: under the settings of the session, and as whoever calls it.
CREATE OR REPLACE FUNCTION lockstep.settle() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names pg_catalog.text;
    hidden pg_catalog.oid[];
BEGIN
    SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', c.place, c.conname), ', ') FILTER (WHERE c.can_be_named),
        pg_catalog.array_agg(DISTINCT c.connamespace) FILTER (WHERE NOT c.can_be_named) INTO names, hidden
    FROM (SELECT n.nspname AS place, k.conname, k.connamespace, pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS can_be_named
          FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) k.connamespace
          WHERE k.condeferrable AND k.conname OPERATOR(pg_catalog.<>) 'lockstep_capture') AS c;
    IF names IS NOT NULL THEN
        EXECUTE pg_catalog.concat('SET CONSTRAINTS ', names, ' IMMEDIATE');
    END IF;
    IF hidden IS NOT NULL THEN
        PERFORM lockstep.settle_hidden(hidden);
    END IF;
END
$$;

-- The same in schemas that whoever calls has no USAGE on, so that he cannot name what is in them; as far as this transaction
-- has written to the tables, which its locks tell. Nothing of a user's may run within it: foreign keys are looked up as the
-- tables' owners, and unique constraints have no expressions. What is more than that is refused. What the caller may not
-- read is not told.
CREATE OR REPLACE FUNCTION lockstep.settle_hidden(hidden oid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text;
    unfit text;
    state text;
    complaint text;
    place text;
    target text;
    violated text;
BEGIN
    WITH written AS MATERIALIZED (
        SELECT l.relation FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
            AND l.granted AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
    SELECT string_agg(DISTINCT c.name, ', ') FILTER (WHERE c.is_plain), min(c.name) FILTER (WHERE NOT c.is_plain) INTO names, unfit
    FROM (SELECT format('%I.%I', n.nspname, k.conname) AS name, NOT EXISTS (SELECT FROM pg_constraint o
              WHERE o.connamespace = k.connamespace AND o.conname = k.conname AND o.condeferrable AND o.contype NOT IN ('f', 'u', 'p')) AS is_plain
          FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
          WHERE k.condeferrable AND k.conname <> 'lockstep_capture' AND k.connamespace = ANY (hidden)
            AND (k.conrelid IN (SELECT w.relation FROM written w) OR k.confrelid IN (SELECT w.relation FROM written w))) AS c;
    IF unfit IS NOT NULL THEN
        RAISE feature_not_supported USING
            MESSAGE = format('this transaction is refused: %s may be deferred, and the role cannot have it judged before other servers commit', unfit),
            HINT = 'GRANT USAGE ON its SCHEMA to the role.';
    END IF;
    IF names IS NOT NULL THEN
        EXECUTE format('SET CONSTRAINTS %s IMMEDIATE', names);
    END IF;
EXCEPTION WHEN integrity_constraint_violation OR foreign_key_violation OR unique_violation THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, complaint = MESSAGE_TEXT, place = SCHEMA_NAME, target = TABLE_NAME, violated = CONSTRAINT_NAME;
    RAISE EXCEPTION USING ERRCODE = state, MESSAGE = complaint, SCHEMA = place, TABLE = target, CONSTRAINT = violated;
END
$$;

-- Keyed hash (HMAC) with SHA-256. The secret holds the two padded keys.
CREATE OR REPLACE FUNCTION lockstep.sign(secret text, message text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT encode(sha256(decode(split_part($1, ' ', 3), 'hex') || sha256(decode(split_part($1, ' ', 2), 'hex') || convert_to($2, 'UTF8'))), 'hex')
$$;

-- Who calls on the proxy's behalf has signed what it says.
CREATE OR REPLACE FUNCTION lockstep.believe(message text, signature text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    secret text;
BEGIN
    SELECT a.rolpassword INTO secret FROM pg_authid a WHERE a.rolname = 'lockstep_capture' AND a.rolsuper AND NOT a.rolcanlogin;
    IF secret IS NULL AND current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE serialization_failure USING MESSAGE = 'this database became captured after the transaction began',
            HINT = 'Run the transaction again.';
    END IF;
    IF secret IS NULL OR signature IS DISTINCT FROM lockstep.sign(secret, message) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only the proxy may call this';
    END IF;
END
$$;

-- Gives a table our trigger. One that is there does not fire, or nobody would ask for it; and parts that had their own take
-- that of the whole. Not DROP … IF EXISTS: that keeps readers away, too.
CREATE OR REPLACE FUNCTION lockstep.carry(target regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    carrier regclass;
BEGIN
    FOR carrier IN SELECT t.tgrelid FROM pg_trigger t WHERE t.tgname = 'lockstep_capture' AND t.tgparentid = 0
        AND (t.tgrelid = target OR t.tgrelid IN (SELECT p.relid FROM pg_partition_tree(target) AS p))
    LOOP
        EXECUTE format('DROP TRIGGER lockstep_capture ON %s', carrier);
    END LOOP;
    EXECUTE format('CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON %s
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture()', target);
END
$$;

-- A table that the transaction has made or locked itself gets its trigger by the transaction. On the leader others may be
-- in the way, and are not waited for without an end.
CREATE OR REPLACE FUNCTION lockstep.capture_here(target text, signature text, patience text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
    place name;
BEGIN
    PERFORM lockstep.believe('capture ' || target, signature);
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM lockstep.carry(target::regclass);
    SELECT n.nspname INTO place FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target::regclass;
    -- A client may have said that all constraints are immediate, those that are still to be made among them.
    EXECUTE format('SET CONSTRAINTS %I.lockstep_capture DEFERRED', place);
EXCEPTION WHEN duplicate_object THEN
    RAISE serialization_failure USING MESSAGE = format('%s became captured after the transaction began', target),
        HINT = 'Run the transaction again.';
WHEN lock_not_available THEN
    RAISE serialization_failure USING HINT = 'Run the transaction again. Once the trigger is there, it stays.',
        MESSAGE = format('%s must get a trigger that tells what changes, but another transaction has it locked', target);
END
$$;

-- Captured rows as they were said; whether it is known that the row was there before. Without OFFSET each would be decoded once
-- for every column.
DROP FUNCTION IF EXISTS lockstep.said(text);
CREATE FUNCTION lockstep.said(payload text) RETURNS TABLE (kind text, target text, image text, was boolean) LANGUAGE sql AS $$
SELECT i.v[1], i.v[2], i.v[3], coalesce(i.v[4] = 'was', false)
FROM (SELECT convert_from(decode(p, 'base64'), getdatabaseencoding())::text[] AS v
      FROM unnest(string_to_array(payload, ',')) AS p OFFSET 0) AS i
$$;

-- How a row "r" is put into a table: its columns, their values, what sets them in a row that is there, and the condition that
-- it has what cannot be set. A table may have no column that can be given a value.
CREATE OR REPLACE FUNCTION lockstep.columns_of(relation oid, OUT columns text, OUT given text, OUT changes text, OUT fixed text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT '(' || string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) || ')', string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum),
        string_agg(format('%1$I = r.%1$I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE a.attidentity <> 'a'),
        coalesce(string_agg(format(' AND x.%1$I = r.%1$I', a.attname), '') FILTER (WHERE a.attidentity = 'a'), '')
    INTO columns, given, changes, fixed
    FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
END
$$;

-- Where rows of a statement's parts are put aside that want what is unique and which rows of another part had when theirs came:
-- a temporary table, which nobody else sees or dumps, until the transaction ends. Whoever runs on this connection could have made
-- one of this name.
CREATE OR REPLACE FUNCTION lockstep.has_aside() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    owner oid := (SELECT relowner FROM pg_class WHERE oid = to_regclass('pg_temp.lockstep_aside'));
BEGIN
    IF owner IS NOT NULL AND pg_get_userbyid(owner) <> current_user THEN
        RAISE insufficient_privilege USING MESSAGE = 'lockstep_aside is the proxy''s own name for a temporary table';
    END IF;
    RETURN owner IS NOT NULL;
END
$$;

CREATE OR REPLACE FUNCTION lockstep.put_aside(target text, images text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lockstep.has_aside() THEN
        CREATE TEMPORARY TABLE lockstep_aside (target text NOT NULL, images text[] NOT NULL) ON COMMIT DROP;
    END IF;
    EXECUTE 'INSERT INTO pg_temp.lockstep_aside VALUES ($1, $2)' USING target, images;
END
$$;

-- Makes rows what they are said to be. "parted": others of the same statement come before or after them.
CREATE OR REPLACE FUNCTION lockstep.change(payload text, parted boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind text;
    target text;
    images text[];
    -- So many of them were there before.
    known bigint;
    rows text;
    found_by text;
    columns text;
    given text;
    changes text;
    fixed text;
    changed bigint;
    -- So many rows were there in fact.
    present bigint;
BEGIN
    FOR kind, target, images, known IN
        WITH said AS MATERIALIZED (SELECT * FROM lockstep.said(payload)),
        -- Rows without a key that came and went within one statement never were.
        net AS (
            SELECT s.target, s.image, sum(CASE s.kind WHEN '+' THEN 1 ELSE -1 END) AS n
            FROM said AS s WHERE s.kind IN ('+', '-') GROUP BY 1, 2)
        SELECT u.kind, u.target, u.images, u.known FROM (
        SELECT o.kind, o.target, array_agg(o.image), count(*) FILTER (WHERE o.was)
        FROM (SELECT s.kind, s.target, s.image, bool_and(s.was) AS was FROM said AS s WHERE s.kind IN ('x', '=') GROUP BY 1, 2, 3) AS o
        GROUP BY 1, 2
        UNION ALL
        SELECT CASE WHEN d.n > 0 THEN '+' ELSE '-' END, d.target, array_agg(d.image), 0
        FROM net AS d CROSS JOIN generate_series(1, abs(d.n)::bigint) GROUP BY 1, 2) AS u (kind, target, images, known)
        ORDER BY u.kind COLLATE "C" DESC, u.target
    LOOP
        -- Bits of tgtype: INSERT, DELETE, UPDATE.
        IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = target::regclass AND t.tgenabled IN ('A', 'R')
                AND t.tgtype & 28 <> 0 AND t.tgfoid <> 'lockstep.capture()'::regprocedure)
            OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = target::regclass AND r.ev_enabled IN ('A', 'R')) THEN
            RAISE feature_not_supported USING MESSAGE = format('%s has a trigger or rule that is ENABLE ALWAYS or REPLICA', target);
        END IF;
        rows := quote_literal(images::text) || '::' || target || '[]';
        found_by := lockstep.condition(target::regclass, 'x', 'r');
        SELECT * INTO columns, given, changes, fixed FROM lockstep.columns_of(target::regclass);
        IF kind = 'x' THEN
            EXECUTE format('DELETE FROM ONLY %s AS x USING unnest(%s) AS r WHERE %s', target, rows, found_by);
        ELSIF kind = '=' THEN
            BEGIN
                present := 0;
                IF changes IS NOT NULL THEN
                    EXECUTE format('UPDATE ONLY %s AS x SET %s FROM unnest(%s) AS r WHERE %s%s', target, changes, rows, found_by, fixed);
                    GET DIAGNOSTICS present = ROW_COUNT;
                END IF;
                IF present <> cardinality(images) THEN
                    present := 0;
                    IF fixed <> '' THEN
                        EXECUTE format('DELETE FROM ONLY %s AS x USING unnest(%s) AS r WHERE %s AND NOT (true%s)', target, rows, found_by, fixed);
                        GET DIAGNOSTICS present = ROW_COUNT;
                    END IF;
                    EXECUTE format('INSERT INTO %1$s %2$s OVERRIDING SYSTEM VALUE SELECT %3$s FROM unnest(%4$s) AS r
                        WHERE NOT EXISTS (SELECT FROM ONLY %1$s AS x WHERE %5$s)', target, columns, given, rows, found_by);
                    GET DIAGNOSTICS changed = ROW_COUNT;
                    present := cardinality(images) - changed + present;
                END IF;
            EXCEPTION WHEN unique_violation OR exclusion_violation THEN
                -- Rows have swapped what is unique.
                EXECUTE format('DELETE FROM ONLY %s AS x USING unnest(%s) AS r WHERE %s', target, rows, found_by);
                GET DIAGNOSTICS present = ROW_COUNT;
                IF parted THEN
                    PERFORM lockstep.put_aside(target, images);
                ELSE
                    EXECUTE format('INSERT INTO %s %s OVERRIDING SYSTEM VALUE SELECT %s FROM unnest(%s) AS r', target, columns, given, rows);
                END IF;
            END;
            IF present < known THEN
                RAISE no_data_found USING MESSAGE = format('%s of %s rows that were changed were found in %s', present, known, target);
            END IF;
        ELSIF kind = '+' THEN
            EXECUTE format('INSERT INTO %s %s OVERRIDING SYSTEM VALUE SELECT %s FROM unnest(%s) AS r', target, columns, given, rows);
        ELSE
            EXECUTE format('DELETE FROM ONLY %s AS x WHERE x.ctid IN (SELECT c.ctid FROM
                (SELECT y.ctid, w.n AS wanted, row_number() OVER (PARTITION BY w.image) AS n FROM ONLY %1$s AS y
                 JOIN (SELECT image, count(*) AS n FROM unnest($1) AS image GROUP BY 1) AS w ON w.image = format(''%%s'', y.*)) AS c
                WHERE c.n <= c.wanted)', target) USING images;
            GET DIAGNOSTICS changed = ROW_COUNT;
            IF changed <> cardinality(images) THEN
                RAISE no_data_found USING MESSAGE = format('%s of %s rows were found in %s', changed, cardinality(images), target);
            END IF;
        END IF;
    END LOOP;
END
$$;

-- Followers: rows as they were captured. Triggers of users and foreign keys' actions do not fire: what they did on the
-- leader is among the rows. Those that would all the same, and as a superuser, are refused before; this is for whoever has
-- made one past the proxy. A literal of unknown type, and no cast, makes text a row: a cast could be a function of a user's.
CREATE OR REPLACE FUNCTION lockstep.apply(payload text, signature text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET session_replication_role = replica
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = '3'
SET bytea_output = 'hex' SET xmlbinary = 'base64' SET xmloption = 'content' SET lc_monetary = 'C' SET row_security = off SET jit = off AS $$
BEGIN
    PERFORM lockstep.believe(payload, signature);
    PERFORM lockstep.change(payload, false);
END
$$;

-- The same for a part of what one statement has changed, which is not the last one.
CREATE OR REPLACE FUNCTION lockstep.apply_part(payload text, signature text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET session_replication_role = replica
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = '3'
SET bytea_output = 'hex' SET xmlbinary = 'base64' SET xmloption = 'content' SET lc_monetary = 'C' SET row_security = off SET jit = off AS $$
BEGIN
    PERFORM lockstep.believe(payload, signature);
    PERFORM lockstep.change(payload, true);
END
$$;

-- The same for the last part. With it, what rows that were put aside want is free.
CREATE OR REPLACE FUNCTION lockstep.apply_last(payload text, signature text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET session_replication_role = replica
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = '3'
SET bytea_output = 'hex' SET xmlbinary = 'base64' SET xmloption = 'content' SET lc_monetary = 'C' SET row_security = off SET jit = off AS $$
DECLARE
    target text;
    images text[];
    columns text;
    given text;
BEGIN
    PERFORM lockstep.believe(payload, signature);
    PERFORM lockstep.change(payload, true);
    IF NOT lockstep.has_aside() THEN
        RETURN;
    END IF;
    FOR target, images IN EXECUTE 'DELETE FROM pg_temp.lockstep_aside AS a RETURNING a.target, a.images' LOOP
        SELECT c.columns, c.given INTO columns, given FROM lockstep.columns_of(target::regclass) AS c;
        -- A row that two parts have told is the same in both.
        EXECUTE format('INSERT INTO %1$s %2$s OVERRIDING SYSTEM VALUE SELECT %3$s FROM unnest(%4$s) AS r
            WHERE NOT EXISTS (SELECT FROM ONLY %1$s AS x WHERE %5$s)', target, columns, given,
            quote_literal(images::text) || '::' || target || '[]', lockstep.condition(target::regclass, 'x', 'r'));
    END LOOP;
END
$$;

-- A new leader, on which the transaction goes on: besides, the locks that foreign keys had taken for these rows. A row to
-- which they refer and that is not there any more was changed by another transaction meanwhile.
CREATE OR REPLACE FUNCTION lockstep.inherit(payload text, signature text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = '3'
SET bytea_output = 'hex' SET xmlbinary = 'base64' SET xmloption = 'content' SET lc_monetary = 'C' SET row_security = off SET jit = off AS $$
DECLARE
    relation oid;
    rows text;
    fk record;
    found_by text;
    whole text;
    held boolean;
BEGIN
    PERFORM lockstep.apply(payload, signature);
    FOR relation, rows IN
        SELECT s.target::regclass, quote_literal(array_agg(DISTINCT s.image)::text) || '::' || s.target || '[]'
        FROM lockstep.said(payload) AS s WHERE s.kind = '=' GROUP BY s.target
    LOOP
        FOR fk IN
            SELECT k.conkey, k.confrelid, k.confkey, k.conpfeqop, format('%s %I.%I', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY' END, n.nspname, c.relname) AS referred
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE k.contype = 'f' AND k.conrelid = relation
        LOOP
            SELECT string_agg(format('x.%I OPERATOR(%I.%s) r.%I', p.attname, s.nspname, o.oprname, a.attname), ' AND '),
                string_agg(format('r.%I IS NOT NULL', a.attname), ' AND ')
            INTO found_by, whole
            FROM unnest(fk.conkey, fk.confkey, fk.conpfeqop) AS u (referring, referred, equals)
            JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = u.referring
            JOIN pg_operator o ON o.oid = u.equals JOIN pg_namespace s ON s.oid = o.oprnamespace
            JOIN pg_attribute p ON p.attrelid = fk.confrelid AND p.attnum = u.referred;
            EXECUTE format('SELECT (SELECT count(*) FROM unnest(%1$s) AS r WHERE %2$s) OPERATOR(pg_catalog.=)
                (SELECT count(*) FROM (SELECT FROM unnest(%1$s) AS r JOIN %3$s AS x ON %4$s FOR KEY SHARE OF x) AS h)',
                rows, whole, fk.referred, found_by) INTO held;
            IF NOT held THEN
                RAISE foreign_key_violation USING MESSAGE = format('a row to which rows of %s refer is not there any more', relation::regclass);
            END IF;
        END LOOP;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION lockstep.said(text), lockstep.columns_of(oid), lockstep.has_aside(), lockstep.put_aside(text, text[]), lockstep.change(text, boolean), lockstep.carry(regclass), lockstep.key_of(oid), lockstep.condition(oid, text, text), lockstep.is_ours(xid), lockstep.made_now(), lockstep.is_plain(oid), lockstep.fields_of_key(oid), lockstep.begin_alike(text, text, integer), lockstep.tell(text), lockstep.sign(text, text), lockstep.believe(text, text) FROM PUBLIC;
