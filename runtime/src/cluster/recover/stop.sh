pid="$(running_pid)"
if [ -n "$pid" ]; then
    # A server that was stopped by a signal would not hear another one.
    kill -CONT "$pid"
    "$PROGRAMS/pg_ctl" -D "$DATA" -m fast -w -t "$PATIENCE" stop </dev/null ||
        "$PROGRAMS/pg_ctl" -D "$DATA" -m immediate -w -t 30 stop </dev/null ||
        fail "the server on $DATA (process $pid) cannot be stopped; end it by hand"
fi
exit 0
