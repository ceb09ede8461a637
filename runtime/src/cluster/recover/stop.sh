# No server starts beside the lock of a killed one's socket, if the process that it names is somebody else's by now.
forget_socket() {
    [ -r "$DATA/postmaster.pid" ] || return 0
    { read -r dead; read -r _; read -r _; read -r port; read -r place; } <"$DATA/postmaster.pid"
    case "$place" in /*) ;; ?*) place="$DATA/$place" ;; *) return 0 ;; esac
    socket="$place/.s.PGSQL.$port"
    [ "$(head -n 1 "$socket.lock" 2>/dev/null)" = "$dead" ] && rm -f "$socket.lock" "$socket"
}

pid="$(running_pid)"
if [ -n "$pid" ]; then
    # A server that was stopped by a signal would not hear another one.
    kill -CONT "$pid"
    "$PROGRAMS/pg_ctl" -D "$DATA" -m fast -w -t "$PATIENCE" stop </dev/null ||
        "$PROGRAMS/pg_ctl" -D "$DATA" -m immediate -w -t 30 stop </dev/null ||
        fail "the server on $DATA (process $pid) cannot be stopped; end it by hand"
else
    forget_socket
fi
exit 0
