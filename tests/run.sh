#!/usr/bin/env bash
# Tests, and what they cover.
#
#   tests/run.sh            what continuous integration runs; coverage is that of the tests' process
#   tests/run.sh --all      also what takes long: a cluster of separate hosts, the MLflow service
#                           under faults, runs on an object store that crashes, and the browser.
#                           Covers every process that they start: jobs and Ray's workers, which
#                           take half as long again. Ray kills those without a farewell, so
#                           tests/coverage_hook saves what each has covered twice a second.
#   tests/run.sh ARGS...    what pytest makes of ARGS; says nothing about coverage
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f .coverage .coverage.*
export MPLBACKEND=agg
least=() # of coverage: pyproject.toml says
long=(tests/cluster tests/service tests/browser tests/integration/test_object_storage.py)
case "${1:-}" in
'') python -m coverage run -m pytest "${long[@]/#/--ignore=}" ;;
--all)
    COVERAGE_PROCESS_START=$PWD/pyproject.toml STRSWEEP_COVERAGE_FILE=$PWD/.coverage \
        PYTHONPATH=$PWD/tests/coverage_hook${PYTHONPATH:+:$PYTHONPATH} python -m pytest
    least=(--fail-under=90)
    ;;
*) exec python -m pytest "$@" ;;
esac
python -m coverage combine --quiet
rm -f .coverage.* # of processes that were killed while they wrote
python -m coverage report "${least[@]}"
