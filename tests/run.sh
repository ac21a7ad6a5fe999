#!/usr/bin/env bash
# Tests, with the coverage of every process they start: Ray kills its workers without a farewell, so
# tests/coverage_hook saves what each process has covered twice a second.
#
#   tests/run.sh            what continuous integration runs
#   tests/run.sh --all      also what takes long: a cluster of separate hosts, the MLflow service
#                           under faults, runs on an object store that crashes, and the browser
#   tests/run.sh ARGS...    what pytest makes of ARGS; says nothing about coverage
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f .coverage .coverage.*
export COVERAGE_PROCESS_START=$PWD/pyproject.toml
export STRSWEEP_COVERAGE_FILE=$PWD/.coverage
export PYTHONPATH=$PWD/tests/coverage_hook${PYTHONPATH:+:$PYTHONPATH}
export MPLBACKEND=agg
least=() # of coverage: pyproject.toml says
long=(tests/cluster tests/service tests/browser tests/integration/test_object_storage.py)
case "${1:-}" in
'') python -m pytest "${long[@]/#/--ignore=}" ;;
--all)
    python -m pytest
    least=(--fail-under=90)
    ;;
*) exec python -m pytest "$@" ;;
esac
unset COVERAGE_PROCESS_START
python -m coverage combine --quiet
rm -f .coverage.* # of processes that were killed while they wrote
python -m coverage report "${least[@]}"
