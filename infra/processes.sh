# shellcheck shell=bash
# For scripts that start processes: know them again, and be alone in a folder.
#
# The system gives the number of a process that has ended to another one, perhaps somebody else's. With
# the moment it began, a number is one process for good.

began() { # PID: when it began; nothing if there is none
    if [ -d /proc/self ]; then
        awk '{ sub(/.*\) /, ""); if ($1 != "Z") print $20 }' "/proc/$1/stat" 2>/dev/null || true
    else
        LC_ALL=C TZ=UTC ps -o lstart= -p "$1" || true
    fi
}

remember() { echo "$2 $(began "$2")" >"$1"; } # FILE PID

recall() { # FILE: the number of its process; fails if that does not run any more
    local pid moment
    [ -f "$1" ] && read -r pid moment <"$1" && [ -n "$moment" ] &&
        [ "$(began "$pid")" = "$moment" ] && echo "$pid"
}

hold() { # FOLDER: for this script alone, until it ends
    local other
    held=$1/held
    for _ in 1 2; do
        if (set -o noclobber && remember "$held" $$) 2>/dev/null; then
            trap 'rm -f "$held"' EXIT
            return
        fi
        if other=$(recall "$held"); then
            echo "$1 is used by process $other: wait until it ends, or set STRSWEEP_RESULTS" >&2
            exit 1
        fi
        rm -f "$held" # of one that was killed
    done
    exit 1
}
