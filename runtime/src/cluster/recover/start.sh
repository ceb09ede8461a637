# As it was started last: such as with a configuration outside the data directory, or a socket directory of its own.
options=
if [ -f "$DATA/postmaster.opts" ]; then
    options="$(sed -e 's/^[^ ]* *//' -e 's/"-D" "[^"]*"//' "$DATA/postmaster.opts")"
elif [ ! -f "$DATA/postgresql.conf" ]; then
    conf="$(grep -ls "^ *data_directory *= *'$DATA'" /etc/postgresql/*/*/postgresql.conf | head -n 1)"
    [ -n "$conf" ] || fail "there is no postgresql.conf for $DATA; put one there, or set start"
    options="-c config_file=$conf"
fi
log="$DATA/lockstep-start.log"
: >"$log" || exit 1
"$PROGRAMS/pg_ctl" -D "$DATA" -l "$log" -w -t "$PATIENCE" -o "$options -p $PORT" start </dev/null && exit 0
# Why comes before what follows from it, which fills the end.
{ grep -E 'PANIC|FATAL|ERROR|DETAIL|HINT' "$log" || tail -n 5 "$log"; } | head -n 5 >&2
exit 1
