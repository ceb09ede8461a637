-- What all databases of a server share: kind, name, definition. $1 is the service role: that its password is the same on
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
       concat_ws('; ', 'by ' || pg_get_userbyid(grantor), CASE WHEN admin_option THEN 'admin' END)
FROM pg_auth_members

UNION ALL
SELECT 'database', quote_ident(datname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
           CASE WHEN datistemplate THEN 'template' END, CASE WHEN NOT datallowconn THEN 'no connections' END,
           'connections ' || nullif(datconnlimit, -1),
           'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(datacl, acldefault('d', datdba))) a))
FROM pg_database

UNION ALL
SELECT 'settings', concat_ws(' ', 'of role ' || quote_ident(nullif(setrole, 0)::regrole::text),
           'in database ' || (SELECT quote_ident(datname) FROM pg_database d WHERE d.oid = setdatabase)),
       (SELECT string_agg(s, ', ' ORDER BY s COLLATE "C") FROM unnest(setconfig) s)
FROM pg_db_role_setting

UNION ALL
SELECT 'tablespace', quote_ident(spcname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(spcowner), array_to_string(spcoptions, ', '),
           (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(spcacl) a))
FROM pg_tablespace WHERE oid >= 16384

UNION ALL
SELECT 'comment on', type || ' ' || identity, description
FROM pg_shdescription, pg_identify_object(classoid, objoid, 0)
