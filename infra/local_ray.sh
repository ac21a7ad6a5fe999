#!/usr/bin/env bash
# A Ray of your own on this machine: loopback dashboard, token authentication, free ports, so that
# it meets no other Ray. It stops what it started and nothing else ('ray stop' would end every Ray).
#
#   infra/local_ray.sh run COMMAND...   start, run COMMAND against it, stop; exits as COMMAND does. The
#                                       one that 'start' left is used, and left running
#   infra/local_ray.sh start            start and leave it running; prints how to use and stop it
#   infra/local_ray.sh stop             stop the one that 'start' left
#
# STRSWEEP_RESULTS: where token, log and addresses are kept, in ray/ (default: results).
# LOCAL_RAY_CPUS:   CPUs that Ray may use (default: all).
set -euo pipefail

results=${STRSWEEP_RESULTS:-results}
mkdir -p "$results/ray"
home=$(cd "$results/ray" && pwd)
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"

free_ports() { # five ports below the range that Ray gives to its workers
    python3 - <<'PYTHON'
import random, socket
ports = []
while len(ports) < 5:
    port = random.randrange(20000, 30000)
    with socket.socket() as probe:
        if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
            ports.append(port)
print(*ports)
PYTHON
}

running() { recall "$home/pid" >/dev/null; }

start() {
    running && return
    # Ray gives its node 30 s to come up, which a busy machine can exceed: then it is tried anew.
    for _ in 1 2 3; do
        start_once
        await_ready && return
        stop
    done
    echo "Ray did not start; see $home/log" >&2
    return 1
}

start_once() {
    local gcs dashboard client agent grpc
    read -r gcs dashboard client agent grpc < <(free_ports)
    (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$home/token")
    # A folder of its own: jobs find their cluster by a note in it, and would find the Ray that was
    # started last. Short, because it becomes part of socket names; Ray's logs stay in it.
    local folder base=${TMPDIR:-/tmp}
    if [ ${#base} -gt 30 ]; then # a socket's path has 107 bytes at most, and Ray's part takes 66
        echo "TMPDIR=$base is too long for Ray's sockets: they are in /tmp"
        base=/tmp
    fi
    folder=$(mktemp -d "$base/ray-XXXXXX")
    cat >"$home/env" <<EOF
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH='$home/token' RAY_TMPDIR='$folder'
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # a node alone: Ray takes the loopback, as on a Mac
export RAY_ADDRESS=127.0.0.1:$gcs RAY_API_SERVER_ADDRESS=http://127.0.0.1:$dashboard
EOF
    # shellcheck source=/dev/null
    source "$home/env"
    # Whoever stops it wants it gone: no draining of idle workers, which takes up to 30 s.
    export RAY_USAGE_STATS_ENABLED=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
    env -u RAY_ADDRESS setsid ray start --head --block --disable-usage-stats \
        --node-ip-address=127.0.0.1 --port="$gcs" --dashboard-host=127.0.0.1 \
        --dashboard-port="$dashboard" --ray-client-server-port="$client" \
        --dashboard-agent-listen-port="$agent" --dashboard-agent-grpc-port="$grpc" \
        --object-store-memory=500000000 \
        ${LOCAL_RAY_CPUS:+--num-cpus="$LOCAL_RAY_CPUS"} >"$home/log" 2>&1 &
    remember "$home/pid" $!
}

await_ready() { # the node is up, and then the dashboard answers
    for _ in $(seq 240); do
        running || { tail -n 5 "$home/log" >&2; return 1; }
        grep -q 'Ray runtime started' "$home/log" && ray job list >/dev/null 2>&1 && return
        sleep 0.5
    done
    echo "Ray's dashboard did not answer within two minutes; see $home/log" >&2
    return 1
}

stop() {
    local pid
    pid=$(recall "$home/pid") || { rm -f "$home/pid"; return 0; }
    kill -TERM "$pid" # 'ray start --block' takes its processes along
    for _ in $(seq 40); do
        running || break
        sleep 0.5
    done
    kill -KILL -- "-$pid" 2>/dev/null || true # the group it leads, if something is left
    rm -f "$home/pid" "$home/env"
}

case "${1:-}" in
run)
    shift
    hold "$home"
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if running; then
        echo "using the Ray that runs already; to end it: infra/local_ray.sh stop"
    else
        # shellcheck disable=SC2154
        trap 'stop; rm -f "$held"' EXIT
        start
    fi
    # shellcheck source=/dev/null
    source "$home/env"
    "$@"
    ;;
start)
    hold "$home"
    start
    echo "Ray runs (pid $(recall "$home/pid"), log $home/log)."
    echo "use:   source $home/env; ray job submit --working-dir . -- python jobs/sweep.py --help"
    echo "stop:  infra/local_ray.sh stop"
    ;;
stop)
    hold "$home"
    stop
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
