-- The tables of a database: name, columns, key, estimated bytes, shape; large objects are one of them. A key is fit when
-- it orders rows alike on all nodes: text in another order than that of its bytes may not, where nodes have libraries of
-- different versions.
SELECT format('%I.%I', n.nspname, c.relname),
       (SELECT coalesce(json_agg(quote_ident(attname) ORDER BY attnum), '[]')
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
       coalesce((SELECT json_agg(json_build_array(quote_ident(attname), format_type(atttypid, -1)) ORDER BY place)
                 FROM generate_series(0, i.indnkeyatts - 1) AS place
                 JOIN pg_attribute ON attrelid = c.oid AND attnum = i.indkey[place]), '[]'),
       greatest(c.relpages, 1)::bigint * 8192,
       concat_ws(' ', c.relfilenode, c.xmin,
                 (SELECT string_agg(concat(attnum, ':', a.xmin), ',' ORDER BY attnum)
                  FROM pg_attribute a WHERE attrelid = c.oid AND attnum > 0))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT x.* FROM pg_index x JOIN pg_class named ON named.oid = x.indexrelid
    WHERE x.indrelid = c.oid AND c.relkind = 'r' AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
      AND NOT EXISTS (
          SELECT FROM generate_series(0, x.indnkeyatts - 1) AS place
          JOIN pg_attribute ON attrelid = c.oid AND attnum = x.indkey[place]
          JOIN pg_opclass o ON o.oid = x.indclass[place]
          WHERE NOT attnotnull OR NOT opcdefault
             OR NOT (x.indcollation[place] IN (0, 950, 951) OR x.indcollation[place] = 100 AND EXISTS (
                     SELECT FROM pg_database WHERE datname = current_database() AND datcollate IN ('C', 'POSIX'))))
    ORDER BY indisprimary DESC, named.relname LIMIT 1) i ON true
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('lockstep', 'pg_toast', 'information_schema')
  AND (c.oid >= 16384 AND n.nspname <> 'pg_catalog' OR c.oid = 'pg_largeobject'::regclass)
