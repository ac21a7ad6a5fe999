#!/usr/bin/env bash
# Submit a job to a Ray cluster and follow it; submit it again to go on where it stopped.
#
#   jobs/submit.sh JOB --config FILE [--set SECTION.KEY=VALUE]...        JOB: sweep, train, plan, ...
#
# The modules that the experiment names, what they import from this folder, and a checkpoint that is
# named by a relative path go along. A sweep has one submission id, JOB-<sweep id>. If that job runs already, it is followed; if it has
# ended, it is submitted anew under the same id and continues from its storage. Ctrl-C ends the
# following, not the job. With the id, and the same environment:
#
#   ray job status ID    ray job logs --follow ID    ray job stop ID    ray job list
#
# RAY_API_SERVER_ADDRESS  the cluster (default http://127.0.0.1:8265: a tunnel to its dashboard)
# RAY_AUTH_TOKEN_PATH     its token (default ~/.ray/auth_token)
# STRSWEEP_RESULTS        where results go on the cluster, unless storage.path and tracking.uri are set
# STRSWEEP_UPLOAD         no: run the code in the cluster's image (default yes: run this code)
# STRSWEEP_FOLLOW         no: return when the job is submitted (default yes)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

refuse() { echo "submit: $1" >&2; exit 2; }

read_arguments() { # JOB --config FILE rest... -> job, config, rest
    job=${1:-} config='' rest=()
    case "$job" in
    '' | -h | --help) sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    [[ $job =~ ^[a-z_]+$ && -f $here/$job.py ]] || refuse "$job: there is no such job in jobs/"
    shift
    while [ $# -gt 0 ]; do
        case "$1" in
        --config) config=${2:-} && shift ;;
        --config=*) config=${1#*=} ;;
        *) rest+=("$1") ;;
        esac
        [ $# -eq 0 ] || shift
    done
    [ -f "$config" ] || refuse "--config=$config: name a YAML file such as jobs/configs/digits.yaml"
}

check_environment() {
    export RAY_AUTH_MODE=token
    export RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}
    export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
    [ -s "$RAY_AUTH_TOKEN_PATH" ] ||
        refuse "RAY_AUTH_TOKEN_PATH=$RAY_AUTH_TOKEN_PATH: no token there; copy that of the cluster"
    command -v ray >/dev/null || [ ! -x "$here/../.venv/bin/ray" ] || PATH=$here/../.venv/bin:$PATH
    command -v ray >/dev/null || refuse "PATH: there is no ray; make install puts one into .venv/bin"
    [[ ! ${STRSWEEP_RESULTS:-} =~ [\"\\] ]] ||
        refuse "STRSWEEP_RESULTS=$STRSWEEP_RESULTS: use a path without quotes and backslashes"
}

submission_id() { # what is wrong with the experiment is told here, before anything is uploaded
    local sweep_id # beside it, the files that the experiment names in this folder are staged
    mkdir -p "$stage/work"
    sweep_id=$(PYTHONPATH=$here/../service${PYTHONPATH:+:$PYTHONPATH} \
        python - "$stage/work" "$config" "${rest[@]}" <<'PYTHON'
import os
import shutil
import sys
from pathlib import Path

from strsweep.cli import exit_codes
from strsweep.config import load_experiment
from strsweep.errors import SettingError
from strsweep.imports import imported, own_modules

stage, config, *rest = sys.argv[1:]
pairs = [value for flag, value in zip(rest, rest[1:], strict=False) if flag == "--set"]
pairs += [argument.removeprefix("--set=") for argument in rest if argument.startswith("--set=")]


def stage_modules(experiment):
    named = [*experiment.import_paths.items(), *(("tracking.also", x) for x in experiment.tracking.also)]
    for setting, path in named:
        imported(path, setting)
    for name, place in own_modules(path for _, path in named).items():
        if place.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", ".git", ".venv")
            shutil.copytree(place, f"{stage}/{name}", ignore=skipped, dirs_exist_ok=True)
        else:
            shutil.copy(place, stage)
        print(f"uploaded: {place}", file=sys.stderr)
        if not place.is_dir():
            told = "Files beside it are not; what it reads must be in a package, or on every node."
            print(told, file=sys.stderr)


def stage_checkpoint(experiment):
    """Stage one that is written as a relative path; return the experiment as the job sees it."""
    here, start, file = Path.cwd(), experiment.model.checkpoint, Path(config).absolute()
    os.chdir(stage)
    seen_there = load_experiment(file, pairs).model.checkpoint
    os.chdir(here)
    if start == seen_there:  # absolute: it lies on the cluster
        return experiment
    if ".." in start.relative_to(here).parts or not start.is_file():
        raise SettingError("model.checkpoint", str(start), "Name a file below this folder.")
    staged = Path(stage, start.relative_to(here))
    staged.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(start, staged)
    there = Path("/_ray_pkg_", start.relative_to(here))  # Ray's name for uploaded files
    return experiment.model_copy(
        update={"model": experiment.model.model_copy(update={"checkpoint": there})}
    )


try:
    with exit_codes():
        experiment = load_experiment(Path(config), pairs)
        stage_modules(experiment)
        print(stage_checkpoint(experiment).sweep_id)
except Exception as error:
    sys.exit(getattr(error, "exit_code", str(error)))
PYTHON
    ) || exit 2
    case "$job" in
    sweep | train) echo "$job-$sweep_id" ;;
    *) echo "$job-$sweep_id-$(printf '%s\n' "${rest[@]}" | cksum | cut -d' ' -f1)" ;;
    esac
}

stage_files() { # the rest of the little that a job needs: its page, the experiment, and this code
    mkdir -p "$stage/work/jobs"
    cp "$here"/*.py "$stage/work/jobs/"
    cp "$config" "$stage/work/experiment.yaml"
    modules='' variables=''
    if [ "${STRSWEEP_UPLOAD:-yes}" != no ]; then
        cp -R "$here/../service/strsweep" "$stage/strsweep"
        find "$stage/strsweep" -name __pycache__ -prune -exec rm -rf {} +
        modules="\"$stage/strsweep\""
    fi
    # Ray keeps packages by their content, and may just be removing those of the job that ended: with
    # this in them they are new ones.
    local part
    for part in "$stage"/*/; do
        python -c 'import uuid; print(uuid.uuid4())' >"$part/submission.txt"
    done
    [ -z "${STRSWEEP_RESULTS:-}" ] || variables="\"STRSWEEP_RESULTS\": \"$STRSWEEP_RESULTS\""
}

forget_ended_job() { # so that its id is free again; fails if the job has not ended
    local answer
    if ! answer=$(ray job delete "$id" 2>&1); then
        case "$answer" in
        *'does not exist'*) ;;
        *'non-terminal state'*) return 1 ;;
        *) refuse "RAY_API_SERVER_ADDRESS=$RAY_API_SERVER_ADDRESS: ${answer##*$'\n'}" ;;
        esac
    fi
}

read_arguments "$@"
check_environment
id=$(submission_id)
echo "submission id: $id    (ray job stop $id)"
if forget_ended_job; then
    stage_files
    wait=()
    [ "${STRSWEEP_FOLLOW:-yes}" != no ] || wait=(--no-wait)
    ray job submit "${wait[@]}" --submission-id "$id" --working-dir "$stage/work" \
        --runtime-env-json "{\"py_modules\": [$modules], \"env_vars\": {$variables}}" \
        -- python "jobs/$job.py" --config experiment.yaml "${rest[@]}"
else
    echo "it runs already, with what it was told first: to change that, stop it and submit again"
    [ "${STRSWEEP_FOLLOW:-yes}" != no ] || exit 0
    ray job logs --follow "$id"
    [[ $(ray job status "$id" 2>&1) == *succeeded* ]] # the logs' exit code says nothing of the job
fi
