#!/usr/bin/env bash
# Secrets of infra/compose.yaml, as files that git ignores: docker/make_secrets.sh [FOLDER]
# (default: results/secrets). What exists is kept, so it can be run again.
#
# Only you can enter the folder. The files in it can be read by all, since containers see them one by
# one under users of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-results/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

write() { # file: stdin, unless it exists
    local content
    content=$(cat)
    [ -s "$folder/$1" ] || printf '%s' "$content" >"$folder/$1"
    chmod 444 "$folder/$1"
}

for name in ray_token postgres_password mlflow_admin_password mlflow_flask_secret s3_secret_key; do
    write "$name" < <(python3 -c 'import secrets; print(secrets.token_hex(32), end="")')
done

key=strsweep
secret=$(cat "$folder/s3_secret_key")
write aws_credentials <<EOF
[default]
aws_access_key_id = $key
aws_secret_access_key = $secret
EOF
write s3_identities <<EOF
{"identities": [{"name": "strsweep", "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
EOF
write mlflow_credentials <<EOF
[mlflow]
mlflow_tracking_username = admin
mlflow_tracking_password = $(cat "$folder/mlflow_admin_password")
EOF
echo "secrets are in $folder"
