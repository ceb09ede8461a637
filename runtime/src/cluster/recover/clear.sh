[ -z "$(running_pid)" ] || fail "a server runs on $DATA again; stop whatever starts it"
if [ ! -e "$DATA" ]; then
    mkdir -m 700 "$DATA" || exit 1
elif [ "$ROOM" = aside ] && [ -z "$(entries "$DATA")" ]; then
    :
elif [ "$ROOM" = aside ]; then
    # What an earlier recovery has set aside is the target's own; what it left in its place is half a copy.
    if is_data "$OLD"; then rm -rf "$DATA"; else rm -rf "$OLD" && mv "$DATA" "$OLD"; fi || exit 1
    mkdir -m 700 "$DATA" || exit 1
else
    # Only its settings are kept: there is no room for more.
    if [ ! -e "$OLD" ] && is_movable; then
        mkdir -m 700 "$OLD" || exit 1
        for file in $OWN_FILES; do [ -e "$DATA/$file" ] && cp -a "$DATA/$file" "$OLD/"; done
    fi
    entries "$DATA" | while IFS= read -r entry; do rm -rf "${DATA:?}/$entry"; done
fi
[ -z "$(entries "$DATA")" ] || fail "$DATA could not be emptied"
