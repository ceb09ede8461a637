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
           'options of what is stored apart ' || (SELECT t.reloptions::text FROM pg_class t WHERE t.oid = relation.reltoastrelid),
           (SELECT format('from %I, options %s', srvname, ftoptions)
            FROM pg_foreign_table JOIN pg_foreign_server s ON s.oid = ftserver WHERE ftrelid = relation.oid),
           'as ' || CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END)
FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')

UNION ALL
SELECT 'column', r.name || '.' || quote_ident(attname),
       concat_ws('; ', 'place ' || row_number() OVER (PARTITION BY attrelid ORDER BY attnum),
           format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
           CASE WHEN attgenerated <> '' THEN 'generated ' ELSE 'default ' END || pg_get_expr(d.adbin, d.adrelid),
           'identity ' || nullif(attidentity::text, ''), 'collation ' || nullif(attcollation, 0)::regcollation::text,
           'storage ' || attstorage::text, 'compression ' || nullif(to_jsonb(a) ->> 'attcompression', ''),
           'statistics ' || nullif(attstattarget, -1), CASE WHEN NOT attislocal THEN 'inherited' END,
           'options ' || nullif(array_to_string(ARRAY(
             -- Where in its own WAL a server has made the column, as PostgreSQL 15.20 notes it.
             SELECT option FROM unnest(attoptions) AS option WHERE option NOT LIKE 'pg\_attver=%'
           ), ', '), ''), 'foreign options ' || attfdwoptions::text,
           'privileges ' || (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(attacl) x))
FROM pg_attribute a JOIN relation r ON r.oid = attrelid AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
WHERE attnum > 0 AND NOT attisdropped

UNION ALL
SELECT 'constraint', format('%I on %s', conname, coalesce(r.name, contypid::regtype::text)),
       concat_ws('; ', pg_get_constraintdef(c.oid), CASE WHEN NOT convalidated THEN 'not validated' END,
           CASE WHEN conparentid <> 0 OR NOT conislocal THEN 'inherited' END)
FROM pg_constraint c LEFT JOIN relation r ON r.oid = conrelid
WHERE c.connamespace IN (SELECT oid FROM own)

UNION ALL
SELECT 'index', r.name,
       concat_ws('; ', pg_get_indexdef(indexrelid), CASE WHEN NOT indisvalid THEN 'invalid' END,
           CASE WHEN indisclustered THEN 'clustered' END, CASE WHEN indisreplident THEN 'replica identity' END,
           'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = reltablespace),
           'part of ' || (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = indexrelid),
           'statistics ' || (SELECT string_agg(attnum || ': ' || attstattarget, ', ' ORDER BY attnum)
                             FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget >= 0))
FROM pg_index JOIN relation r ON r.oid = indexrelid

UNION ALL
SELECT 'function', p.oid::regprocedure::text,
       concat_ws('; ', 'owner ' || pg_get_userbyid(proowner),
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(proacl, acldefault('f', proowner))) a),
           CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE
               concat_ws(', ', aggkind, aggnumdirectargs, aggtransfn::regprocedure, aggfinalfn::regprocedure,
                   aggcombinefn::regprocedure, aggmtransfn::regprocedure, aggminvtransfn::regprocedure,
                   aggmfinalfn::regprocedure, aggserialfn::regprocedure, aggdeserialfn::regprocedure,
                   aggsortop::regoperator, aggtranstype::regtype, aggmtranstype::regtype, aggtransspace, aggmtransspace,
                   aggfinalextra, aggmfinalextra, aggfinalmodify, aggmfinalmodify, proparallel, proargnames::text,
                   'begins with ' || quote_literal(agginitval), 'moving with ' || quote_literal(aggminitval)) END)
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
                rngcanonical, rngsubdiff, opcname, 'many ' || (to_jsonb(g) ->> 'rngmultitypid')::oid::regtype::text)
            FROM pg_range g JOIN pg_opclass o ON o.oid = rngsubopc WHERE rngtypid = t.oid),
           CASE WHEN typtype = 'b' THEN concat_ws(', ', typinput, typoutput, typreceive, typsend, typmodin, typmodout,
               typanalyze, nullif(to_jsonb(t) ->> 'typsubscript', '-'), typlen, typbyval, typalign, typstorage, typcategory,
               typispreferred, typdelim::text, nullif(typelem, 0)::regtype) END)
FROM pg_type t
WHERE typnamespace IN (SELECT oid FROM own) AND (typtype IN ('b', 'd', 'e', 'r') OR typtype = 'p' AND NOT typisdefined)
  AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = t.oid)

UNION ALL
SELECT 'extension', quote_ident(extname),
       concat_ws('; ', extversion, 'in ' || extnamespace::regnamespace::text, 'owner ' || pg_get_userbyid(extowner))
FROM pg_extension

UNION ALL
SELECT CASE deptype WHEN 'e' THEN 'member of extension' ELSE 'dependent on extension' END,
       format('%I: %s %s', extname, type, identity), ''
FROM pg_depend JOIN pg_extension ON pg_extension.oid = refobjid, pg_identify_object(classid, objid, objsubid)
WHERE refclassid = 'pg_extension'::regclass AND deptype IN ('e', 'x') AND identity !~ '\mpg_(toast_)?temp(_[0-9]+)?\.'

UNION ALL
SELECT 'counting of sequence', r.name,
       concat_ws('; ', seqtypid::regtype, 'start ' || seqstart, 'by ' || seqincrement, 'from ' || seqmin, 'to ' || seqmax,
           'cache ' || seqcache, CASE WHEN seqcycle THEN 'cycle' END,
           (SELECT format('for %s.%I', refobjid::regclass, attname) FROM pg_depend
            JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
            WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i')
              AND refclassid = 'pg_class'::regclass LIMIT 1))
FROM pg_sequence JOIN relation r ON r.oid = seqrelid

-- Not on what PostgreSQL brings with it: those of two minor versions may differ.
UNION ALL
SELECT 'comment on', type || ' ' || identity, description
FROM pg_description, pg_identify_object(classoid, objoid, objsubid)
WHERE (objoid >= 16384 OR classoid IN ('pg_largeobject'::regclass, 'pg_namespace'::regclass, 'pg_language'::regclass,
                                       'pg_extension'::regclass))
  AND identity !~ '\mpg_(toast_)?temp(_[0-9]+)?\.'

UNION ALL
SELECT 'security label of', format('%s %s by %I', type, identity, provider), label
FROM pg_seclabel, pg_identify_object(classoid, objoid, objsubid)

UNION ALL
SELECT 'default privileges', concat_ws(' ', 'of', pg_get_userbyid(defaclrole), 'in ' || nullif(defaclnamespace, 0)::regnamespace::text,
           'for ' || defaclobjtype::text),
       (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(defaclacl) a)
FROM pg_default_acl

UNION ALL
SELECT 'privileges on', name, (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(acl) a)
FROM (SELECT oid::regclass::text, relacl, relnamespace FROM pg_class
      UNION ALL SELECT attrelid::regclass || '.' || quote_ident(attname), attacl, relnamespace
                FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
      UNION ALL SELECT oid::regprocedure::text, proacl, pronamespace FROM pg_proc
      UNION ALL SELECT 'schema ' || quote_ident(nspname), nspacl, oid FROM pg_namespace) AS system (name, acl, place)
WHERE acl IS NOT NULL AND place IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)

-- A table's rows have a type, too.
UNION ALL
SELECT 'privileges on', 'type ' || oid::regtype, (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(typacl) a)
FROM pg_type
WHERE (typnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       OR typtype = 'c' AND typnamespace IN (SELECT oid FROM own))
  AND typacl::text <> acldefault('T', typowner)::text

UNION ALL
SELECT 'event trigger', quote_ident(evtname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(evtowner), evtevent, evtfoid::regprocedure,
           'enabled ' || evtenabled::text, evttags::text)
FROM pg_event_trigger

UNION ALL
SELECT 'publication', quote_ident(pubname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(pubowner), puballtables, pubinsert, pubupdate, pubdelete, pubtruncate,
           pubviaroot, 'generated ' || nullif(to_jsonb(p) ->> 'pubgencols', 'n'))
FROM pg_publication p

-- PostgreSQL 15 has columns and conditions.
UNION ALL
SELECT 'table of publication', format('%I: %s', p.pubname, prrelid::regclass),
       concat_ws('; ', CASE WHEN to_jsonb(r) ->> 'prqual' IS NOT NULL THEN 'where' END, to_jsonb(t) ->> 'rowfilter',
           'columns ' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname)
                          FROM jsonb_array_elements_text(nullif(to_jsonb(r) -> 'prattrs', 'null')) AS number
                          JOIN pg_attribute ON attrelid = prrelid AND attnum = number::integer))
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid
JOIN pg_class c ON c.oid = prrelid JOIN pg_namespace n ON n.oid = relnamespace
LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.schemaname = nspname AND t.tablename = relname

UNION ALL
SELECT DISTINCT type, identity, ''
FROM pg_depend, pg_identify_object(classid, objid, 0) WHERE classid = to_regclass('pg_catalog.pg_publication_namespace')

UNION ALL
SELECT 'foreign-data wrapper', quote_ident(fdwname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(fdwowner), nullif(fdwhandler, 0)::regprocedure,
           'checked by ' || nullif(fdwvalidator, 0)::regprocedure::text, 'options ' || fdwoptions::text,
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(fdwacl, acldefault('F', fdwowner))) a))
FROM pg_foreign_data_wrapper

UNION ALL
SELECT 'foreign server', quote_ident(srvname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(srvowner),
           (SELECT fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = srvfdw), 'type ' || srvtype,
           'version ' || srvversion, 'options ' || srvoptions::text,
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(srvacl, acldefault('S', srvowner))) a))
FROM pg_foreign_server

-- Passwords are among them.
UNION ALL
SELECT 'user mapping', format('%I on %I', usename, srvname), 'options with hash ' || md5(umoptions::text)
FROM pg_user_mappings

UNION ALL
SELECT 'language', quote_ident(lanname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(lanowner), CASE WHEN lanpltrusted THEN 'trusted' END,
           nullif(lanplcallfoid, 0)::regprocedure, 'inline ' || nullif(laninline, 0)::regprocedure::text,
           'checked by ' || nullif(lanvalidator, 0)::regprocedure::text,
           'privileges ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                             FROM unnest(coalesce(lanacl, acldefault('l', lanowner))) a))
FROM pg_language

UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, stxname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(stxowner), pg_get_statisticsobjdef(s.oid),
           'target ' || nullif(stxstattarget, -1))
FROM pg_statistic_ext s JOIN own n ON n.oid = stxnamespace

UNION ALL
SELECT 'collation', format('%I.%I', n.nspname, collname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(collowner), collprovider, collisdeterministic, collencoding,
           'order ' || coalesce(collcollate, locale), 'classes ' || coalesce(collctype, locale),
           'rules ' || (to_jsonb(c) ->> 'collicurules'), 'version ' || collversion)
FROM pg_collation c JOIN own n ON n.oid = collnamespace,
     coalesce(to_jsonb(c) ->> 'colliculocale', to_jsonb(c) ->> 'colllocale') AS locale

UNION ALL
SELECT 'text search configuration', format('%I.%I', n.nspname, cfgname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(cfgowner), (SELECT prsname FROM pg_ts_parser p WHERE p.oid = cfgparser),
       (SELECT string_agg(concat_ws(' ', maptokentype, mapseqno, mapdict::regdictionary), ', ' ORDER BY maptokentype, mapseqno)
        FROM pg_ts_config_map WHERE mapcfg = c.oid))
FROM pg_ts_config c JOIN own n ON n.oid = cfgnamespace

UNION ALL
SELECT 'text search dictionary', format('%I.%I', n.nspname, dictname),
       concat_ws('; ', 'owner ' || pg_get_userbyid(dictowner),
           (SELECT tmplname FROM pg_ts_template t WHERE t.oid = dicttemplate), dictinitoption)
FROM pg_ts_dict d JOIN own n ON n.oid = dictnamespace

-- Rarely made by hand.
UNION ALL
SELECT type, identity, definition
FROM (SELECT 'pg_cast'::regclass, oid, concat_ws('; ', nullif(castfunc, 0)::regprocedure, castcontext, castmethod)
      FROM pg_cast
      UNION ALL SELECT 'pg_operator'::regclass, oid,
          concat_ws('; ', 'owner ' || pg_get_userbyid(oprowner), nullif(oprcode::oid, 0)::regprocedure, oprresult::regtype,
              'commutator ' || nullif(oprcom, 0)::regoperator::text, 'negator ' || nullif(oprnegate, 0)::regoperator::text,
              oprrest, oprjoin, oprcanhash, oprcanmerge)
      FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid,
          concat_ws('; ', 'owner ' || pg_get_userbyid(opcowner), opcintype::regtype, nullif(opckeytype, 0)::regtype,
              CASE WHEN opcdefault THEN 'default' END,
              'in ' || (SELECT identity FROM pg_identify_object('pg_opfamily'::regclass, opcfamily, 0)))
      FROM pg_opclass WHERE oid >= 16384
      UNION ALL SELECT 'pg_opfamily'::regclass, oid, 'owner ' || pg_get_userbyid(opfowner) FROM pg_opfamily
      UNION ALL SELECT 'pg_amop'::regclass, oid, concat_ws('; ', amopopr::regoperator, amoppurpose,
          'sorts by ' || (SELECT identity FROM pg_identify_object('pg_opfamily'::regclass, nullif(amopsortfamily, 0), 0)))
      FROM pg_amop WHERE oid >= 16384
      UNION ALL SELECT 'pg_amproc'::regclass, oid, amproc::regprocedure::text FROM pg_amproc
      UNION ALL SELECT 'pg_conversion'::regclass, oid,
          concat_ws('; ', 'owner ' || pg_get_userbyid(conowner), pg_encoding_to_char(conforencoding),
              pg_encoding_to_char(contoencoding), conproc::oid::regprocedure, CASE WHEN condefault THEN 'default' END)
      FROM pg_conversion
      UNION ALL SELECT 'pg_transform'::regclass, oid,
          concat_ws('; ', 'from ' || nullif(trffromsql::oid, 0)::regprocedure::text,
              'to ' || nullif(trftosql::oid, 0)::regprocedure::text)
      FROM pg_transform
      UNION ALL SELECT 'pg_am'::regclass, oid, concat_ws('; ', amhandler, amtype) FROM pg_am
      UNION ALL SELECT 'pg_ts_parser'::regclass, oid,
          concat_ws('; ', prsstart, prstoken, prsend, prsheadline, prslextype) FROM pg_ts_parser
      UNION ALL SELECT 'pg_ts_template'::regclass, oid, concat_ws('; ', tmplinit, tmpllexize) FROM pg_ts_template
     ) AS rest (class, object, definition),
     pg_identify_object(class, object, 0)
WHERE object >= 16384 AND identity !~ '\mpg_(toast_)?temp(_[0-9]+)?\.'

UNION ALL
SELECT 'large object', oid::text,
       concat_ws('; ', 'owner ' || pg_get_userbyid(lomowner),
           (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(lomacl) a))
FROM pg_largeobject_metadata
