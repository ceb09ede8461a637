-- What all databases of a server share: kind, name, definition. That the password of the service role is the same on
-- all nodes is shown by its being logged in, so its verifier may differ in salt.
SELECT 'role' AS kind, quote_ident(rolname) AS name,
       concat_ws('; ', CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolinherit THEN 'inherit' END,
           CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolcreatedb THEN 'createdb' END,
           CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolreplication THEN 'replication' END,
           CASE WHEN rolbypassrls THEN 'bypassrls' END, 'connections ' || nullif(rolconnlimit, -1),
           'until ' || rolvaliduntil,
           CASE WHEN rolname <> $1 THEN 'password verifier ' || md5(rolpassword) END) AS definition
FROM pg_authid WHERE rolname !~ '^pg_'

UNION ALL
SELECT 'membership', format('of %I in %I', pg_get_userbyid(member), pg_get_userbyid(roleid)),
       -- PostgreSQL 16 has one from each who grants it, and options that were the member's.
       string_agg(concat_ws(', ', 'by ' || pg_get_userbyid(grantor), CASE WHEN admin_option THEN 'admin' END,
           'inherit ' || nullif((to_jsonb(m) ->> 'inherit_option')::boolean, (SELECT rolinherit FROM pg_authid WHERE oid = member)),
           'set ' || nullif(to_jsonb(m) ->> 'set_option', 'true')), '; ' ORDER BY grantor::regrole::text)
FROM pg_auth_members m GROUP BY member, roleid

UNION ALL
SELECT 'database', quote_ident(datname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
           -- As the version has them. That of its collations is each server's own: text keys are not ordered by them.
           nullif(to_jsonb(d) ->> 'datlocprovider', 'c'), coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'),
           'rules ' || (to_jsonb(d) ->> 'daticurules'),
           CASE WHEN datistemplate THEN 'template' END, CASE WHEN NOT datallowconn THEN 'no connections' END,
           'connections ' || nullif(datconnlimit, -1),
           'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(datacl, acldefault('d', datdba))) a))
FROM pg_database d

UNION ALL
SELECT 'settings', concat_ws(' ', 'of role ' || quote_ident(nullif(setrole, 0)::regrole::text),
           'in database ' || (SELECT quote_ident(datname) FROM pg_database d WHERE d.oid = setdatabase)),
       (SELECT string_agg(s, ', ' ORDER BY s COLLATE "C") FROM unnest(setconfig) s)
FROM pg_db_role_setting

UNION ALL
SELECT 'tablespace', quote_ident(spcname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(spcowner), 'options ' || spcoptions::text,
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(spcacl, acldefault('t', spcowner))) a))
FROM pg_tablespace

UNION ALL
SELECT 'comment on', type || ' ' || identity, description
FROM pg_shdescription, pg_identify_object(classoid, objoid, 0)

UNION ALL
SELECT 'security label of', format('%s %s by %I', type, identity, provider), label
FROM pg_shseclabel, pg_identify_object(classoid, objoid, 0)
