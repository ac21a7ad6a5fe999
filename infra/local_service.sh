#!/usr/bin/env bash
# What production runs, on this machine: an MLflow server with passwords, on PostgreSQL, its
# artifacts in an S3 server. All on loopback. It stops what it started and nothing else.
#
#   infra/local_service.sh start          start what does not run yet; prints how to use it
#   infra/local_service.sh stop [PART]    stop all, or one of: mlflow postgres s3
#   infra/local_service.sh status         what runs, where; exits 1 if a part does not
#   infra/local_service.sh env            exports for 'eval': addresses and credentials
#
# STRSWEEP_RESULTS:      state, logs and credentials are kept there, in service/ (default: results).
# LOCAL_SERVICE_PORT:    of MLflow; PostgreSQL has the next one, S3 the four after it (default: free
#                        ones, kept for the next start).
# LOCAL_SERVICE_DIRECT:  1: clients write artifacts to S3 themselves; 0: through MLflow (default).
# LOCAL_SERVICE_WORKERS: processes of the MLflow server (default: 2).
# POSTGRES_BIN:          folder of initdb and pg_ctl (default: the newest that is installed).
set -euo pipefail

results=${STRSWEEP_RESULTS:-results}
mkdir -p "$results/service"
home=$(cd "$results/service" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
source "$here/processes.sh"
# Root may not run PostgreSQL; the Debian package brings a user for it.
as_postgres=()
[ "$(id -u)" -ne 0 ] || as_postgres=(runuser -u postgres --)

fail() {
    echo "$*" >&2
    exit 1
}

running() { recall "$home/$1.pid" >/dev/null; }

settings() { # ports and secrets, chosen once
    local first=${LOCAL_SERVICE_PORT:-}
    [ -f "$home/ports" ] && [ -z "$first" ] && first=$(cat "$home/ports")
    [ -n "$first" ] || first=$(free_port)
    echo "$first" >"$home/ports"
    mlflow_port=$first postgres_port=$((first + 1)) s3_port=$((first + 2))
    [ -f "$home/secrets" ] || (umask 077 && write_secrets >"$home/secrets")
    admin_password='' postgres_password='' flask_secret=''
    # shellcheck source=/dev/null
    source "$home/secrets"
}

free_port() { # the first of six in a row
    python3 - <<'PYTHON'
import random, socket
def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
while True:
    first = random.randrange(20000, 30000)
    if all(map(is_free, range(first, first + 6))):
        print(first)
        break
PYTHON
}

write_secrets() { # sourced here and by nobody else; never an argument of a process
    python3 - <<'PYTHON'
import secrets
for name in ("admin_password", "postgres_password", "flask_secret"):
    print(f"{name}={secrets.token_hex(16)}")
PYTHON
}

exports() {
    cat <<EOF2
export MLFLOW_TRACKING_URI=http://127.0.0.1:$mlflow_port
export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=$admin_password
EOF2
    s3 env
}

s3() {
    S3_HOME=$home/s3 S3_PORT=$s3_port "$here/local_s3.sh" "$@"
}

start_postgres() {
    local bin data=$home/postgres
    bin=$(postgres_bin)
    [ -d "$data" ] || make_cluster "$bin" "$data"
    (umask 077 && echo "127.0.0.1:$postgres_port:*:strsweep:$postgres_password" >"$home/pgpass")
    postgres_runs && return
    "${as_postgres[@]}" "$bin/pg_ctl" -D "$data" -l "$data/log" -w -t 60 start >/dev/null \
        -o "-h 127.0.0.1 -p $postgres_port -k '' -c max_connections=200" ||
        fail "PostgreSQL did not start; see $data/log"
    make_databases
}

postgres_bin() {
    local found=${POSTGRES_BIN:-}
    [ -n "$found" ] || found=$(find /usr/lib/postgresql/*/bin -name pg_ctl -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] || found=$(dirname "$(command -v pg_ctl || echo /none/pg_ctl)")
    [ -x "$found/initdb" ] ||
        fail "PostgreSQL is not installed: apt-get install postgresql, or set POSTGRES_BIN"
    echo "$found"
}

make_cluster() { # BIN DATA
    mkdir -m 700 "$2"
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres "$2"
        runuser -u postgres -- test -x "$2" || {
            rmdir "$2"
            fail "The user postgres cannot reach $home: let others enter its folders, or set STRSWEEP_RESULTS"
        }
    fi
    local password=$home/password
    (umask 077 && echo "$postgres_password" >"$password")
    [ "$(id -u)" -ne 0 ] || chown postgres "$password"
    "${as_postgres[@]}" "$1/initdb" -D "$2" -U strsweep -E UTF8 --locale=C --auth=scram-sha-256 \
        --pwfile="$password" >"$home/initdb.log" 2>&1 || {
        rm -rf "$2"
        fail "initdb failed; see $home/initdb.log"
    }
    rm "$password"
}

make_databases() { # one for MLflow, one for its users
    PGPASSFILE=$home/pgpass POSTGRES_PORT=$postgres_port python3 - <<'PYTHON'
import os
import psycopg2
address = {"host": "127.0.0.1", "port": os.environ["POSTGRES_PORT"], "user": "strsweep"}
connection = psycopg2.connect(dbname="postgres", **address)
connection.autocommit = True
with connection.cursor() as cursor:
    for name in ("mlflow", "mlflow_users"):
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE DATABASE {name}")
PYTHON
}

start_s3() {
    s3 start >"$home/s3.log" 2>&1 || fail "The S3 server did not start; see $home/s3.log"
    eval "$(s3 env)"
    python3 - <<'PYTHON'
import boto3
client = boto3.client("s3")
if "mlflow" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
    client.create_bucket(Bucket="mlflow")
PYTHON
}

start_mlflow() {
    running mlflow && return
    (umask 077 && cat >"$home/users.ini") <<EOF2
[mlflow]
default_permission = READ
database_uri = postgresql+psycopg2://strsweep@127.0.0.1:$postgres_port/mlflow_users
admin_username = admin
admin_password = $admin_password
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
EOF2
    local place=(--artifacts-destination s3://mlflow/)
    [ "${LOCAL_SERVICE_DIRECT:-0}" = 0 ] ||
        place=(--no-serve-artifacts --default-artifact-root s3://mlflow/)
    eval "$(s3 env)"
    # It lives in a folder of its own: MLflow leaves files where it stands.
    mkdir -p "$home/mlflow"
    cd "$home/mlflow"
    PGPASSFILE=$home/pgpass MLFLOW_AUTH_CONFIG_PATH=$home/users.ini \
        MLFLOW_FLASK_SERVER_SECRET_KEY=$flask_secret MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
        MLFLOW_DISABLE_TELEMETRY=true \
        setsid mlflow server --host 127.0.0.1 --port "$mlflow_port" --app-name basic-auth \
        --workers "${LOCAL_SERVICE_WORKERS:-2}" "${place[@]}" \
        --backend-store-uri "postgresql+psycopg2://strsweep@127.0.0.1:$postgres_port/mlflow" \
        >>"$home/mlflow.log" 2>&1 </dev/null &
    remember "$home/mlflow.pid" $!
    await_mlflow
}

await_mlflow() {
    for _ in $(seq 240); do
        running mlflow || { tail -n 20 "$home/mlflow.log" >&2; fail "MLflow did not start"; }
        python3 - "http://127.0.0.1:$mlflow_port/health" <<'PYTHON' 2>/dev/null && return
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=2)
PYTHON
        sleep 0.25
    done
    fail "MLflow did not answer within a minute; see $home/mlflow.log"
}

stop_mlflow() {
    local pid
    pid=$(recall "$home/mlflow.pid") || { rm -f "$home/mlflow.pid"; return 0; }
    kill -TERM -- "-$pid" # the group it leads; its workers wait for connections that stay open
    for _ in $(seq 8); do
        running mlflow || break
        sleep 0.25
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    rm -f "$home/mlflow.pid"
}

stop_postgres() {
    postgres_runs || return 0
    "${as_postgres[@]}" "$(postgres_bin)/pg_ctl" -D "$home/postgres" -m fast -w stop >/dev/null 2>&1 || true
}

stop_s3() { s3 stop >/dev/null; }

postgres_runs() { # its own pg_ctl would take any process that has the number for it
    local file=$home/postgres/postmaster.pid
    "${as_postgres[@]}" test -f "$file" &&
        ps -o args= -p "$("${as_postgres[@]}" head -n 1 "$file")" | grep -qF -- "$home/postgres"
}

s3_runs() { s3 status >/dev/null; }

mlflow_runs() { running mlflow; }

status() {
    local code=0 part
    for part in "mlflow http://127.0.0.1:$mlflow_port" "postgres 127.0.0.1:$postgres_port" \
        "s3 http://127.0.0.1:$s3_port"; do
        if "${part% *}_runs"; then
            printf '%-9s %s\n' "${part% *}" "${part#* }"
        else
            printf '%-9s stopped\n' "${part% *}"
            code=1
        fi
    done
    return $code
}

case "${1:-}" in
start)
    hold "$home"
    settings
    start_postgres
    start_s3
    start_mlflow
    status
    echo "use:   eval \"\$(infra/local_service.sh env)\"; python jobs/publish.py --config FILE --set tracking.uri=\$MLFLOW_TRACKING_URI"
    echo "look:  http://127.0.0.1:$mlflow_port as admin; the password is in $home/secrets"
    echo "stop:  infra/local_service.sh stop"
    ;;
stop)
    hold "$home"
    settings
    for part in ${2:-mlflow s3 postgres}; do "stop_$part"; done
    ;;
status)
    settings
    status
    ;;
env)
    settings
    exports
    ;;
*)
    sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
