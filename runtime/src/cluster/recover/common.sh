# Runs on the target's machine, as the owner of the data directory, by `sh -s`: so nothing of it, least of all a password,
# is ever part of a command line. In front of it stand the settings, as quoted assignments.
set -u
cd /
export LC_ALL=C PGPASSWORD PGCONNECT_TIMEOUT=10
OLD="$DATA.lockstep-old"
fail() { echo "$1" >&2; exit 1; }

# PostgreSQL's programs of the wanted major version, or of any.
find_programs() {
    for dir in "$BIN" "/usr/lib/postgresql/$MAJOR/bin" "/usr/pgsql-$MAJOR/bin" "/usr/local/pgsql/bin" \
        "$(pg_config --bindir 2>/dev/null)" "$(dirname "$(command -v postgres 2>/dev/null)" 2>/dev/null)"; do
        [ -n "$dir" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/postgres" ] && { echo "$dir"; return; }
    done
}
PROGRAMS="$(find_programs)"

# Who has ended and whose parent has not noticed, as in a container without an init, takes signals and never goes.
has_ended() {
    case "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)" in Z*) return 0 ;; *) return 1 ;; esac
}

# A server works in its data directory. What a killed one has left there may name a process that is somebody else's by now,
# or is just ending and works nowhere. Where there is no /proc nobody can tell.
works_elsewhere() {
    readlink "/proc/$$/cwd" >/dev/null 2>&1 && ! [ "/proc/$1/cwd" -ef "$DATA" ]
}

running_pid() {
    [ -r "$DATA/postmaster.pid" ] || return 0
    pid="$(head -n 1 "$DATA/postmaster.pid")"
    [ "$pid" -gt 1 ] 2>/dev/null && kill -0 "$pid" 2>/dev/null && ! has_ended "$pid" && ! works_elsewhere "$pid" && echo "$pid"
}

is_data() { [ -f "$1/PG_VERSION" ] || [ -f "$1/backup_label" ]; }

is_movable() { [ -w "$(dirname "$DATA")" ] && [ ! -L "$DATA" ] && { [ ! -e "$DATA" ] || ! mountpoint -q "$DATA"; }; }

# A mount point has a directory lost+found from birth.
entries() { ls -A "$1" | grep -vx 'lost+found'; }
