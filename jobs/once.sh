#!/usr/bin/env bash
# A job as the entry point of a KubeRay RayJob, which is tried again in a fresh cluster if it fails:
#
#   jobs/once.sh JOB --config FILE [--set SECTION.KEY=VALUE]...        JOB: sweep, train, ...
#
# A wrong input stays wrong. KubeRay does not look at exit codes, but it tries no job again that was
# stopped; so this stops its own. The log says what is wrong.
set -uo pipefail
python "$(dirname "${BASH_SOURCE[0]}")/$1.py" "${@:2}"
code=$?
if [ "$code" -eq 2 ]; then
    id=$(python -c 'import json, os; print(json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]["job_submission_id"])')
    RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265} ray job stop "$id"
fi
exit "$code"
