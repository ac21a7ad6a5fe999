#!/usr/bin/env bash
# All tests, with the coverage of every process they start: Ray kills its workers without a
# farewell, so tests/coverage_hook saves what each process has covered twice a second.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f .coverage .coverage.*
export COVERAGE_PROCESS_START=$PWD/pyproject.toml
export STRSWEEP_COVERAGE_FILE=$PWD/.coverage
export PYTHONPATH=$PWD/tests/coverage_hook${PYTHONPATH:+:$PYTHONPATH}
export MPLBACKEND=agg
python -m pytest "$@"
[ $# -eq 0 ] || exit 0 # part of the tests says nothing about coverage
unset COVERAGE_PROCESS_START
python -m coverage combine --quiet
rm -f .coverage.* # of processes that were killed while they wrote
python -m coverage report
