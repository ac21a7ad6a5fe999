#!/usr/bin/env bash
# The MLflow server as production runs it. Passwords come from files, and reach MLflow by its
# environment: what stands on a command line can be read by every process of the host.
#
#   POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER   the database, of results and of users
#   POSTGRES_PASSWORD_FILE, ADMIN_PASSWORD_FILE, FLASK_SECRET_FILE   files with one line each
#   ARTIFACTS                                   s3://BUCKET/PREFIX
#   ALLOWED_HOSTS                               names by which browsers and clients call the server
#   PORT                                        default 5000
set -euo pipefail

one_line() { # of the file that the variable $1 names
    local file=${!1:?$1 must name a file with the secret in it}
    [ -s "$file" ] || { echo "$1=$file: the file is missing or empty" >&2; return 2; }
    tr -d '\r\n' <"$file"
}

escaped() { python -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read(), safe=""), end="")'; }

password=$(one_line POSTGRES_PASSWORD_FILE | escaped)
database=postgresql+psycopg2://${POSTGRES_USER:?}:$password@${POSTGRES_HOST:?}/${POSTGRES_DB:?}
export MLFLOW_BACKEND_STORE_URI=$database
MLFLOW_AUTH_ADMIN_PASSWORD=$(one_line ADMIN_PASSWORD_FILE)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(one_line FLASK_SECRET_FILE)
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
export MLFLOW_AUTH_ADMIN_USERNAME=admin
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # nobody here uses it; it starts five processes

MLFLOW_AUTH_CONFIG_PATH=$(mktemp)
export MLFLOW_AUTH_CONFIG_PATH
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<EOF
[mlflow]
default_permission = READ
database_uri = ${database//%/%%}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
EOF

exec mlflow server --host "${HOST:-0.0.0.0}" --port "${PORT:-5000}" --workers 2 --app-name basic-auth \
    --artifacts-destination "${ARTIFACTS:?}" --allowed-hosts "${ALLOWED_HOSTS:?}"
