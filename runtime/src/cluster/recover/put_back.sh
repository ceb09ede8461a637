[ -z "$(running_pid)" ] || fail "a server still runs on $DATA"
if is_data "$OLD"; then
    rm -rf "$DATA" && mv "$OLD" "$DATA"
else
    entries "$DATA" | while IFS= read -r entry; do rm -rf "${DATA:?}/$entry"; done
fi
