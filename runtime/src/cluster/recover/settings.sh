# The node keeps its own settings; only what it never had comes from the source.
own=no
if [ -d "$OLD" ]; then
    for file in $OWN_FILES; do
        [ -e "$OLD/$file" ] || continue
        rm -rf "${DATA:?}/$file"
        cp -a "$OLD/$file" "$DATA/" || exit 1
        [ "$file" = postgresql.conf ] && own=yes
    done
fi
if [ $own = no ] && [ -f "$DATA/postgresql.conf" ] && [ ! -f "$OLD/postmaster.opts" ]; then
    printf "\n# Set by lockstep recover; the rest is the source's.\nport = %s\nlisten_addresses = '%s'\n" \
        "$PORT" "$LISTEN" >>"$DATA/postgresql.conf" || exit 1
fi
# How it was started last, for the next step.
[ -f "$OLD/postmaster.opts" ] && cp -a "$OLD/postmaster.opts" "$DATA/"
exit 0
