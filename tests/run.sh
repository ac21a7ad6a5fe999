#!/usr/bin/env bash
# Tests; with --all also what they cover.
#
#   tests/run.sh            what continuous integration runs, two files at a time: three are no
#                           faster on two cores, and to measure coverage takes twice as long
#   tests/run.sh --unit     those of tests/unit that need neither Ray nor long training
#   tests/run.sh --all      also what takes long, or is marked so: a cluster of separate hosts, the MLflow service
#                           under faults, runs on an object store that crashes, workers that
#                           are missing or hang, and the browser.
#                           Covers every process that they start: jobs and Ray's workers, which
#                           take half as long again. Ray kills those without a farewell, so
#                           tests/coverage_hook saves what each has covered twice a second.
#   tests/run.sh ARGS...    what pytest makes of ARGS
set -euo pipefail
cd "$(dirname "$0")/.."
export MPLBACKEND=agg
export OMP_NUM_THREADS=1 # several files at a time: threads of small matrices would wait for each other
long=(tests/cluster tests/service tests/browser tests/integration/test_object_storage.py
    tests/integration/test_missing_workers.py)
case "${1:-}" in
'')
    S3_VENV=.venv/s3 infra/local_s3.sh install # once, not by several at a time
    exec python -m pytest "${long[@]/#/--ignore=}" --numprocesses=2 --dist=loadfile \
        --no-loadscope-reorder -m "not long" --durations=25
    ;;
--unit)
    exec python -m pytest tests/unit -m "not slow" --numprocesses=2 --dist=worksteal -q
    ;;
--all)
    rm -f .coverage .coverage.*
    COVERAGE_PROCESS_START=$PWD/pyproject.toml STRSWEEP_COVERAGE_FILE=$PWD/.coverage \
        PYTHONPATH=$PWD/tests/coverage_hook${PYTHONPATH:+:$PYTHONPATH} python -m pytest
    python -m coverage combine --quiet
    rm -f .coverage.* # of processes that were killed while they wrote
    exec python -m coverage report
    ;;
*) exec python -m pytest "$@" ;;
esac
