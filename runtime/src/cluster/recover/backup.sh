"$PROGRAMS/pg_basebackup" -D "$DATA" -h "$SOURCE_HOST" -p "$SOURCE_PORT" -U "$SERVICE" -w -X stream -c fast -R -C -S "$SLOT" \
    --label "lockstep recover" --progress </dev/null
