if [ ! -e "$DATA" ]; then
    [ -w "$(dirname "$DATA")" ] || fail "$DATA does not exist, and $(id -un) may not make it"
    echo contents=missing
elif [ ! -d "$DATA" ]; then
    echo contents=foreign
elif [ ! -w "$DATA" ] || [ ! -r "$DATA" ]; then
    fail "$(id -un) may not read and write $DATA; check run_as"
elif is_data "$DATA"; then
    echo contents=data
elif [ -z "$(entries "$DATA")" ]; then
    echo contents=empty
else
    echo contents=foreign
fi
[ -n "$(running_pid)" ] && echo "running=$(sed -n 4p "$DATA/postmaster.pid")"
is_movable && echo movable=yes
there="$DATA"
[ -e "$there" ] || there="$(dirname "$DATA")"
echo "free_kb=$(df -Pk "$there" | awk 'NR == 2 { print $4 }')"
[ -d "$DATA" ] && echo "old_kb=$(du -sk "$DATA" 2>/dev/null | awk '{ print $1 }')"
[ -n "$(ls -A "$DATA/pg_tblspc" 2>/dev/null)" ] && echo tablespaces=yes
[ -n "$PROGRAMS" ] && echo "programs=$("$PROGRAMS/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')"
exit 0
