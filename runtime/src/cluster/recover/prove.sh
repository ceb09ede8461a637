psql="$PROGRAMS/psql"
[ -x "$psql" ] || psql="$(command -v psql)" || fail "psql is not found on the target; install PostgreSQL's client programs"
"$psql" -X -q -A -t -w -d "host=$SOURCE_HOST port=$SOURCE_PORT user=$SERVICE dbname=postgres replication=true" \
    -c IDENTIFY_SYSTEM </dev/null
