"""What MLflow shows of a sweep and its runs: parameters, metrics, tags and states."""

from __future__ import annotations

from mlflow.entities import Metric, RunTag

from strsweep.config import Experiment
from strsweep.journal import EpochFinished, ModelLanded, RunRecord
from strsweep.registry.layer_table import layer_csv
from strsweep.registry.report.runs import role_of
from strsweep.settings import percent

_NOT_SHOWN = {"dense_macs", "seconds", "unreadable_images"}
"""Of the numbers of every epoch."""
LANDED_TAG = "strsweep.landed."
NOTE_TAG = "mlflow.note.content"
"""What MLflow shows as the description of a run."""
_LONGEST = 5000
"""Characters of a tag."""
_ALWAYS = {
    "model": {"name"},
    "data": {"name"},
    "training": {"epochs", "batch_size", "learning_rate", "seed"},
    "sparsity": {"mode"},
}
"""Settings to show though they are defaults."""
_NO_RESULT_DEPENDS_ON_IT = {"training": {"checkpoint_every"}, "data": {"loader_processes"}}


def epoch_metrics(event: EpochFinished) -> list[Metric]:
    """Return the values of one epoch."""
    step, time = int(event.metrics["epoch"]), int(event.time * 1000)
    shown = {key: value for key, value in event.metrics.items() if key not in _NOT_SHOWN}
    return [Metric(key, value, time, step) for key, value in shown.items()]


def landed_metrics(event: ModelLanded, step: int) -> list[Metric]:
    """Return what landing gave; a run that lands on several targets has one step for each."""
    return [
        Metric(f"landed_{key}", value, int(event.time * 1000), step)
        for key, value in event.metrics.items()
    ]


def landed_tag(event: ModelLanded) -> RunTag:
    """Return the tag that tells of a landing, and that it was delivered."""
    text = (
        f"{event.target}: sparsity {percent(event.metrics['sparsity'])}, shift {event.shift:+.4g}"
    )
    return RunTag(LANDED_TAG + event.target.label, text)


def status(run: RunRecord) -> str:
    """Return the state of a run in MLflow's words; one that was stopped early is killed there."""
    if run.finished is not None:
        return "FINISHED"
    if run.failed is not None:
        return "FAILED"
    return "RUNNING" if run.stopped is None else "KILLED"


def end_time(run: RunRecord) -> float:
    """Return when a run ended, or did something last; seconds since 1970."""
    ends = [event.time for event in (run.finished, run.failed, run.stopped) if event is not None]
    return max([run.proposed.time, *ends, *(event.time for event in run.epochs.values())])


def run_name(run: RunRecord) -> str:
    """Return what the page of the experiment lists: what the run is for, and its id."""
    aim = "" if run.target is None else f"target {run.target}"
    return " · ".join(filter(None, (role_of(run) or aim, run.run_id)))


def end_tags(run: RunRecord) -> list[RunTag]:
    """Return why a run is not, or no longer, under way; empty where a reason holds no more."""
    tags = [RunTag(NOTE_TAG, note(run))]
    if run.failed is not None:
        tags.append(RunTag("strsweep.failure", run.failed.reason[:_LONGEST]))
    if run.stopped is not None:
        tags.append(RunTag("strsweep.stopped", run.stopped.reason[:_LONGEST]))
    return tags


def end_files(run: RunRecord) -> dict[str, str]:
    """Return the files of a run that is not under way: its layers, and images it could not read."""
    files: dict[str, str] = {}
    if run.finished is not None:
        files["layers.csv"] = layer_csv(run.finished.layers)
    if run.unreadable and not run.is_open:
        files["unreadable_images.txt"] = "\n".join(run.unreadable) + "\n"
    return files


def note(run: RunRecord) -> str:
    """Return why a run was tried and how it ended, in two sentences."""
    sentences = [_why(run)]
    if run.settings.fork is not None:
        sentences.append(f"Its first {run.settings.fork.epoch} epochs are those of another run.")
    if run.failed is not None:
        sentences.append(f"It failed: {run.failed.reason[: _LONGEST // 2]}")
    elif run.stopped is not None:
        sentences.append(f"It was stopped after epoch {run.stopped.epoch}: {run.stopped.reason}.")
    return " ".join(sentences)


def _why(run: RunRecord) -> str:
    reason = run.proposed.reason
    if run.target is not None:
        return f"Aims at {run.target}, {reason}."
    if run.settings.is_dense or run.proposed.refines is not None:
        return f"Trained for {reason}."
    return f"{reason[:1].upper()}{reason[1:]}."


def recipe(experiment: Experiment) -> dict[str, str]:
    """Return what cannot change in the life of a sweep: MLflow's parameters cannot either.

    Settings with their default are left out, but for the few that everybody asks for.
    """
    own = experiment.model_dump(mode="json", exclude_defaults=True)
    full = experiment.model_dump(mode="json")
    flat = {
        f"{section}.{key}": _short(value)
        for section, always in _ALWAYS.items()
        for key, value in full[section].items()
        if key in always or key in own.get(section, {})
        if key not in _NO_RESULT_DEPENDS_ON_IT.get(section, set())
    }
    search = experiment.search
    own_decay = ("threshold_decay",) if search.decay == "own" else ()
    learned = ("threshold_init", "decay", "led", *own_decay)
    searched = {
        f"search.{key}": "auto" if key in search.resolved else str(getattr(search, key))
        for key in ("weight_decay", *(learned if experiment.sparsity.needs_search else ()))
    }
    return flat | searched | {"workers.count": str(experiment.workers.count)}


def _short(value: object) -> str:
    # MLflow takes no longer text; experiment.yaml beside it has everything.
    return f"{len(value)} layers" if isinstance(value, dict) and len(value) > 9 else str(value)
