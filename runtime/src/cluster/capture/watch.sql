-- What of this transaction no trigger of ours tells, before a statement that runs text and behind it. First, how many rows of
-- the system's own tables were changed, by rolled-back subtransactions too: that only grows until the transaction ends. Second,
-- the same for each other table that has no trigger of ours, or is among those whose rows are not the same everywhere. Then
-- what the session keeps. Refused is what could hide something from it, by who may switch off counting or triggers for a while,
-- or may do what nothing counts.
CREATE OR REPLACE FUNCTION lockstep.counted(ends boolean, unfit oid[], kept text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_mergejoin = off SET enable_nestloop = off AS $$
DECLARE
    login constant oid := (SELECT a.usesysid FROM pg_stat_get_activity(pg_backend_pid()) AS a);
    able text;
    lent boolean := false;
    of_system numeric;
    others text;
    seen text[];
    before text[];
    wrong text;
    changed text;
BEGIN
    SELECT r.rolname INTO able FROM pg_roles r
    WHERE (r.rolsuper OR r.rolreplication OR r.rolname IN ('pg_write_server_files', 'pg_execute_server_program'))
      AND (pg_has_role(session_user, r.oid, 'MEMBER') OR pg_has_role(login, r.oid, 'MEMBER'))
    ORDER BY r.rolname <> session_user, r.oid LIMIT 1;
    IF FOUND THEN
        RAISE feature_not_supported USING
            MESSAGE = format('this statement is refused: it runs text by EXECUTE, and %I, as which it may run, could do what is not seen', able),
            HINT = 'Log in as a role that is no superuser and a member of none.';
    END IF;
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_parameter_acl WHERE parname IN (''session_replication_role'', ''track_counts''))' INTO lent;
    END IF;
    IF lent OR EXISTS (SELECT FROM pg_proc p, aclexplode(p.proacl) AS a WHERE p.oid < 16384 AND a.grantee <> p.proowner
        AND (p.proname = 'lo_export' OR p.proname ~ '^pg_(file_|replication_origin_|replication_slot|promote$|import_|nextoid$)')) THEN
        RAISE feature_not_supported USING
            MESSAGE = 'this statement is refused: it runs text by EXECUTE, and rights of the superuser were granted to others',
            HINT = 'Revoke SET on session_replication_role and track_counts, and EXECUTE on functions for files and replication.';
    END IF;
    IF current_setting('track_counts') <> 'on' OR current_setting('session_replication_role') = 'replica' THEN
        RAISE feature_not_supported USING
            MESSAGE = 'this statement is refused: it runs text by EXECUTE, and track_counts is off or triggers are silenced',
            HINT = 'Set track_counts on, and session_replication_role to origin.';
    END IF;
    -- A second TRUNCATE in a transaction changes no row of the system's.
    IF txid_current_if_assigned() IS NOT NULL AND EXISTS (SELECT FROM pg_class c WHERE c.relkind IN ('r', 'm')
        AND c.relpersistence <> 't' AND c.oid >= 16384 AND age(c.xmin) <= 0 AND lockstep.is_ours(c.xmin)) THEN
        RAISE feature_not_supported USING
            MESSAGE = 'this statement is refused: it runs text by EXECUTE in a transaction that has made, changed or truncated a table',
            HINT = 'Commit first.';
    END IF;
    SELECT sum(pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid))
    INTO of_system FROM pg_class c WHERE c.oid < 16384 AND c.relkind IN ('r', 't');
    SELECT string_agg(format('%s.%s %s', x.schema, x.name, x.rows), E'\n' ORDER BY x.schema, x.name) INTO others
    FROM (SELECT '"' || replace(n.nspname, '"', '""') || '"' AS schema, '"' || replace(c.relname, '"', '""') || '"' AS name,
              pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid) AS rows
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid >= 16384 AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
            AND (c.oid = ANY (unfit) OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid
                AND t.tgname = 'lockstep_capture' AND t.tgfoid = 'lockstep.capture()'::regprocedure AND t.tgenabled IN ('O', 'A')))) AS x
    WHERE x.rows > 0;
    seen := ARRAY[of_system::text, coalesce(others, '')] || kept;
    IF NOT ends THEN
        PERFORM set_config('lockstep.counted', seen::text, true);
        RETURN seen::text;
    END IF;
    before := current_setting('lockstep.counted')::text[];
    wrong := CASE
        WHEN before[1] IS DISTINCT FROM seen[1] THEN 'definitions, privileges, large objects or other rows of the system''s own tables'
        WHEN before[3] IS DISTINCT FROM seen[3] THEN 'settings or roles that stay'
        WHEN before[4] IS DISTINCT FROM seen[4] THEN 'what is prepared'
        WHEN before[5] IS DISTINCT FROM seen[5] THEN 'cursors that stay open'
    END;
    IF wrong IS NOT NULL THEN
        RAISE feature_not_supported USING
            MESSAGE = 'this statement is refused: text that it ran by EXECUTE has changed more than rows: ' || wrong,
            HINT = 'Send what does that as a statement of its own.';
    END IF;
    IF before[2] IS DISTINCT FROM seen[2] THEN
        SELECT string_agg(regexp_replace(l.line, ' [0-9]+$', ''), E'\n') INTO changed
        FROM unnest(string_to_array(seen[2], E'\n')) AS l (line) WHERE l.line <> ALL (string_to_array(before[2], E'\n'));
        RAISE serialization_failure USING
            MESSAGE = format('text that was run by EXECUTE has changed rows of %s, which must get a trigger that tells of them',
                replace(changed, E'\n', ', ')),
            DETAIL = changed, HINT = 'Run the transaction again: the trigger will be there.';
    END IF;
    RETURN seen::text;
END
$$;

-- The same for whoever asks, with what the session keeps: settings and roles, what is prepared, open cursors. Names of settings
-- with a dot are the application's own. It runs under the session's settings, whose names and operators it does not trust.
CREATE OR REPLACE FUNCTION lockstep.watch(ends boolean, unfit oid[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN lockstep.counted(ends, unfit, ARRAY[
        pg_catalog.md5(pg_catalog.concat(
            (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('=', s.name, s.setting), ',' ORDER BY s.name COLLATE pg_catalog."C")
             FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session' AND s.name OPERATOR(pg_catalog.!~) '[.]'),
            ' ', pg_catalog.current_setting('role'), ' ', SESSION_USER)),
        (SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.name, p.prepare_time, p.statement), ',' ORDER BY p.name COLLATE pg_catalog."C"))
         FROM pg_catalog.pg_prepared_statements p WHERE p.name OPERATOR(pg_catalog.<>) ALL ('{lockstep,lockstep execute}')),
        (SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ', c.name, c.creation_time), ',' ORDER BY c.name COLLATE pg_catalog."C"))
         FROM pg_catalog.pg_cursors c WHERE c.name OPERATOR(pg_catalog.<>) ALL ('{lockstep,""}'))]);
END
$$;
