-- Everything that users define in one database: kind, name, definition. No object is identified by its OID, for those are
-- given apart on each node; search_path must be empty, so that names come qualified.
WITH own AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'lockstep')
      AND nspname !~ '^pg_(toast_)?temp_'
), relation AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN own n ON n.oid = c.relnamespace
)
SELECT 'schema' AS kind, quote_ident(nspname) AS name,
       concat_ws('; ', 'owner ' || pg_get_userbyid(nspowner),
           (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
            FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a)) AS definition
FROM own

UNION ALL
SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
           WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
           ELSE 'composite type' END, name,
       concat_ws('; ', 'owner ' || pg_get_userbyid(relowner),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(
               coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) a),
           'persistence ' || relpersistence::text, 'options ' || array_to_string(reloptions, ', '),
           CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relforcerowsecurity THEN 'forced' END,
           'replica identity ' || relreplident::text, 'partitioned by ' || pg_get_partkeydef(oid),
           'for ' || pg_get_expr(relpartbound, oid),
           'inherits ' || (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
                           FROM pg_inherits WHERE inhrelid = relation.oid),
           -- PostgreSQL 13 has no such column.
           CASE WHEN EXISTS (SELECT FROM pg_inherits i WHERE inhrelid = relation.oid
                             AND (to_jsonb(i) ->> 'inhdetachpending')::boolean) THEN 'detach pending' END,
           'method ' || (SELECT amname FROM pg_am WHERE pg_am.oid = relam),
           'of ' || nullif(reloftype, 0)::regtype::text,
           'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = reltablespace),
           CASE WHEN NOT relispopulated THEN 'not populated' END,
           'as ' || CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END)
FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')

UNION ALL
SELECT 'column', r.name || '.' || quote_ident(attname),
       concat_ws('; ', 'place ' || row_number() OVER (PARTITION BY attrelid ORDER BY attnum),
           format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
           CASE WHEN attgenerated <> '' THEN 'generated ' ELSE 'default ' END || pg_get_expr(d.adbin, d.adrelid),
           'identity ' || nullif(attidentity::text, ''), 'collation ' || nullif(attcollation, 0)::regcollation::text,
           'storage ' || attstorage::text, 'statistics ' || nullif(attstattarget, -1),
           'options ' || nullif(array_to_string(ARRAY(
             -- Where in its own WAL a server has made the column, as PostgreSQL 15.20 notes it.
             SELECT option FROM unnest(attoptions) AS option WHERE option NOT LIKE 'pg\_attver=%'
           ), ', '), ''), 'options ' || array_to_string(attfdwoptions, ', '),
           'privileges ' || (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(attacl) x))
FROM pg_attribute a JOIN relation r ON r.oid = attrelid AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
WHERE attnum > 0 AND NOT attisdropped

UNION ALL
SELECT 'constraint', format('%I on %s', conname, coalesce(r.name, contypid::regtype::text)),
       concat_ws('; ', pg_get_constraintdef(c.oid), CASE WHEN NOT convalidated THEN 'not validated' END,
           CASE WHEN conparentid <> 0 THEN 'inherited' END)
FROM pg_constraint c LEFT JOIN relation r ON r.oid = conrelid
WHERE c.connamespace IN (SELECT oid FROM own)

UNION ALL
SELECT 'index', r.name,
       concat_ws('; ', pg_get_indexdef(indexrelid), CASE WHEN NOT indisvalid THEN 'invalid' END,
           CASE WHEN indisclustered THEN 'clustered' END, CASE WHEN indisreplident THEN 'replica identity' END,
           'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = reltablespace))
FROM pg_index JOIN relation r ON r.oid = indexrelid

UNION ALL
SELECT 'function', p.oid::regprocedure::text,
       concat_ws('; ', 'owner ' || pg_get_userbyid(proowner),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(proacl, acldefault('f', proowner))) a),
           CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE
               concat_ws(', ', aggkind, aggnumdirectargs, aggtransfn::regprocedure, aggfinalfn::regprocedure,
                   aggcombinefn::regprocedure, aggmtransfn::regprocedure, aggminvtransfn::regprocedure,
                   aggmfinalfn::regprocedure, aggsortop::regoperator, aggtranstype::regtype, agginitval, aggminitval,
                   proparallel) END)
FROM pg_proc p LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
WHERE pronamespace IN (SELECT oid FROM own)

UNION ALL
SELECT 'trigger', format('%I on %s', tgname, r.name), concat_ws('; ', pg_get_triggerdef(t.oid), 'enabled ' || tgenabled::text)
FROM pg_trigger t JOIN relation r ON r.oid = tgrelid WHERE NOT tgisinternal

UNION ALL
SELECT 'checking of constraint', format('%I on %s', c.conname, r.name), string_agg(tgenabled::text, '' ORDER BY tgenabled)
FROM pg_trigger t JOIN relation r ON r.oid = tgrelid JOIN pg_constraint c ON c.oid = tgconstraint
WHERE tgisinternal GROUP BY c.conname, r.name

UNION ALL
SELECT 'rule', format('%I on %s', rulename, r.name), concat_ws('; ', pg_get_ruledef(w.oid), 'enabled ' || ev_enabled::text)
FROM pg_rewrite w JOIN relation r ON r.oid = ev_class WHERE rulename <> '_RETURN'

UNION ALL
SELECT 'policy', format('%I on %s', polname, r.name),
       concat_ws('; ', polcmd, CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
           'to ' || (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE pg_get_userbyid(o) END, ', '
                                       ORDER BY pg_get_userbyid(o)) FROM unnest(polroles) o),
           'using ' || pg_get_expr(polqual, polrelid), 'check ' || pg_get_expr(polwithcheck, polrelid))
FROM pg_policy JOIN relation r ON r.oid = polrelid

UNION ALL
SELECT 'type', t.oid::regtype::text,
       concat_ws('; ', typtype, 'owner ' || pg_get_userbyid(typowner),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(typacl, acldefault('T', typowner))) a),
           'labels ' || (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                         FROM pg_enum WHERE enumtypid = t.oid),
           CASE WHEN typtype = 'd' THEN 'base ' || format_type(typbasetype, typtypmod) END,
           CASE WHEN typnotnull THEN 'not null' END, 'default ' || typdefault,
           'collation ' || nullif(typcollation, 0)::regcollation::text,
           (SELECT concat_ws(', ', 'over ' || rngsubtype::regtype::text, nullif(rngcollation, 0)::regcollation,
                rngcanonical, rngsubdiff) FROM pg_range WHERE rngtypid = t.oid),
           CASE WHEN typtype = 'b' THEN concat_ws(', ', typinput, typoutput, typlen, typbyval, typalign, typstorage) END)
FROM pg_type t
WHERE typnamespace IN (SELECT oid FROM own) AND typtype IN ('b', 'd', 'e', 'r')
  AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = t.oid)

UNION ALL
SELECT 'extension', quote_ident(extname), concat_ws('; ', extversion, 'in ' || extnamespace::regnamespace::text)
FROM pg_extension

UNION ALL
SELECT 'counting of sequence', r.name,
       concat_ws('; ', seqtypid::regtype, 'start ' || seqstart, 'by ' || seqincrement, 'from ' || seqmin, 'to ' || seqmax,
           'cache ' || seqcache, CASE WHEN seqcycle THEN 'cycle' END,
           (SELECT format('for %s.%I', refobjid::regclass, attname) FROM pg_depend
            JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
            WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i')
              AND refclassid = 'pg_class'::regclass LIMIT 1))
FROM pg_sequence JOIN relation r ON r.oid = seqrelid

UNION ALL
SELECT 'comment on', type || ' ' || identity, description
FROM pg_description, pg_identify_object(classoid, objoid, objsubid)
WHERE objoid >= 16384 OR classoid = 'pg_largeobject'::regclass OR (classoid = 'pg_namespace'::regclass AND objoid::regnamespace::text = 'public')

UNION ALL
SELECT 'security label of', type || ' ' || identity, provider || ' ' || label
FROM pg_seclabel, pg_identify_object(classoid, objoid, objsubid)

UNION ALL
SELECT 'default privileges', concat_ws(' ', 'of', pg_get_userbyid(defaclrole), 'in ' || nullif(defaclnamespace, 0)::regnamespace::text,
           'for ' || defaclobjtype::text),
       (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(defaclacl) a)
FROM pg_default_acl

UNION ALL
SELECT 'privileges on', relname, (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(relacl) a)
FROM pg_class WHERE relacl IS NOT NULL AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)

UNION ALL
SELECT 'privileges on', oid::regprocedure::text, (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(proacl) a)
FROM pg_proc WHERE proacl IS NOT NULL AND pronamespace = 'pg_catalog'::regnamespace

UNION ALL
SELECT 'event trigger', quote_ident(evtname),
       concat_ws('; ', evtevent, evtfoid::regprocedure, 'enabled ' || evtenabled::text, array_to_string(evttags, ', '))
FROM pg_event_trigger

UNION ALL
SELECT 'publication', quote_ident(pubname),
       concat_ws('; ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot,
           (SELECT string_agg(format('%I.%I', schemaname, tablename), ', ' ORDER BY schemaname, tablename)
            FROM pg_publication_tables p WHERE p.pubname = pg_publication.pubname))
FROM pg_publication

UNION ALL
SELECT 'foreign server', quote_ident(srvname),
       concat_ws('; ', (SELECT fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = srvfdw), srvtype, srvversion,
           array_to_string(srvoptions, ', '),
           (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(srvacl) a))
FROM pg_foreign_server

UNION ALL
SELECT 'user mapping', format('%I on %I', usename, srvname), 'options with hash ' || md5(array_to_string(umoptions, ', '))
FROM pg_user_mappings

UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, stxname), pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN own n ON n.oid = stxnamespace

UNION ALL
SELECT 'collation', format('%I.%I', n.nspname, collname),
       concat_ws('; ', collprovider, collisdeterministic, collencoding, collcollate, collctype, collversion)
FROM pg_collation c JOIN own n ON n.oid = collnamespace

UNION ALL
SELECT 'text search configuration', format('%I.%I', n.nspname, cfgname),
       (SELECT string_agg(concat_ws(' ', maptokentype, mapseqno, mapdict::regdictionary), ', ' ORDER BY maptokentype, mapseqno)
        FROM pg_ts_config_map WHERE mapcfg = c.oid)
FROM pg_ts_config c JOIN own n ON n.oid = cfgnamespace

UNION ALL
SELECT 'text search dictionary', format('%I.%I', n.nspname, dictname),
       concat_ws('; ', (SELECT tmplname FROM pg_ts_template t WHERE t.oid = dicttemplate), dictinitoption)
FROM pg_ts_dict d JOIN own n ON n.oid = dictnamespace

-- Rarely made by hand: that they are there is compared, what they are made of are functions, compared above.
UNION ALL
SELECT type, identity, ''
FROM (SELECT 'pg_cast'::regclass, oid FROM pg_cast
      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
      UNION ALL SELECT 'pg_amop'::regclass, oid FROM pg_amop
      UNION ALL SELECT 'pg_amproc'::regclass, oid FROM pg_amproc
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
      UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
      UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
      UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
      UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
      UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template) AS rest (class, object),
     pg_identify_object(class, object, 0)
WHERE object >= 16384

UNION ALL
SELECT 'large object', oid::text,
       concat_ws('; ', 'owner ' || pg_get_userbyid(lomowner),
           (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(lomacl) a))
FROM pg_largeobject_metadata
