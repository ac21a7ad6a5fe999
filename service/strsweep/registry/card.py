"""The model card: what a registered version is, in Markdown, from journal and receipt alone."""

from __future__ import annotations

from collections.abc import Iterator

from strsweep.config import Experiment
from strsweep.journal import RunRecord, SweepRecord
from strsweep.registry.receipt import Receipt, label
from strsweep.registry.report.runs import run_hours
from strsweep.settings import percent

_LONGEST = 4900
"""Characters that MLflow's databases keep of a description, less some."""
_LONGEST_VALUE = 80
_MODES = {
    "str": "STR: thresholds learned per layer (Kusupati et al., ICML 2020)",
    "steered": "steered: learned thresholds, shifted together to the target; not plain STR",
    "scheduled": "scheduled: one threshold on a schedule, nothing learned; not STR",
    "gmp": "gradual magnitude pruning to a layer budget; not STR",
    "dnw": "DNW: sparse forward pass, dense gradient, to a layer budget; not STR",
    "dense": "dense: nothing was pruned",
}


def model_card(
    receipt: Receipt, run: RunRecord, record: SweepRecord, experiment: Experiment
) -> str:
    """Return the description of a model.

    Args:
        receipt: Of its package.
        run: That trained it.
        record: Of the sweep.
        experiment: Of the sweep.
    """
    sections = [
        _head(receipt, experiment),
        "## What is in it\n" + _contents(receipt),
        "## How it was made\n" + "\n".join(_making(receipt, run, record, experiment)),
        "## What it cost\n" + _cost(run, record),
        "## Limits\n" + "\n".join(_limits(receipt, run)),
        "## Use\n" + _use(receipt, experiment),
    ]
    return "\n\n".join(sections)[:_LONGEST]


def _head(receipt: Receipt, experiment: Experiment) -> str:
    model, data = experiment.model.name, experiment.data.name
    if receipt.target is None:
        wanted = "Nobody asked for a sparsity: one run with fixed settings."
    else:
        unit = "of the weights zero" if receipt.target.macs is None else "left"
        wanted = f"**Asked for:** {receipt.target} {unit}."
    got = (
        f"**Delivered:** {percent(receipt.sparsity, 2)} of the weights zero, "
        f"{percent(receipt.macs / receipt.dense_macs, 1)} of the multiply-adds left, "
        f"{receipt.metric.name} {receipt.score_text}"
        + (f", {receipt.against_dense}." if receipt.against_dense else ".")
    )
    return f"`{model}` on `{data}`. {wanted} {got}"


def _contents(receipt: Receipt) -> str:
    return (
        f"| | |\n|---|---|\n"
        f"| zeros | {receipt.zeros:,} of {receipt.weights:,} convolution and linear weights |\n"
        f"| multiply-adds of one input | {receipt.macs:,} of {receipt.dense_macs:,} |\n"
        f"| validation {receipt.metric.name} | {receipt.score_text} |\n"
        f"| SHA-256 of the weights | `{receipt.weights_sha256}` |\n\n"
        "The model is an exported program (pt2). Beside it, in `extra_files`: `weights.safetensors`"
        ", `budget.csv` and `budget.json` (sparsity and multiply-adds per layer), "
        "`experiment.json` and `receipt.json`."
    )


def _making(
    receipt: Receipt, run: RunRecord, record: SweepRecord, experiment: Experiment
) -> Iterator[str]:
    details = f"; {receipt.method}" if receipt.method != receipt.mode else ""
    yield f"- Method: {_MODES[receipt.mode]}{details}."
    yield f"- Data: {_listed(experiment.data.model_dump(mode='json', exclude_defaults=True))}."
    if options := experiment.model.options:
        yield f"- Model options: {_listed(dict(options))}."
    training = experiment.training
    shown = training.model_dump(mode="json", include={"epochs", "batch_size", "learning_rate"})
    shown |= training.model_dump(mode="json", exclude_defaults=True)
    yield f"- Training: {_listed(shown)}; {experiment.workers.count} workers."
    pruning = experiment.sparsity.model_dump(mode="json", exclude_defaults=True, exclude={"mode"})
    if pruning:
        yield f"- Pruning: {_listed(pruning)}."
    yield f"- Settings of this run: {_listed(receipt.settings.numbers)}."
    if receipt.settings.lead is not None:
        rows = [row for epoch, row in run.epochs.items() if epoch > receipt.settings.onset]
        decays = [row.metrics["threshold_decay"] for row in rows]
        yield (
            "- The run set the decay of its thresholds epoch by epoch to end at the target: "
            f"between {min(decays):.3g} and {max(decays):.3g}."
        )
    if receipt.settings.fork is not None:
        yield f"- Its first {receipt.settings.fork.epoch} epochs are shared with other runs."
    yield f"- {_landing(receipt)}"
    yield (
        f"- Trained as {receipt.run_id} of {receipt.sweep_id}, "
        f"by strsweep {record.started[-1].version}."
    )


def _landing(receipt: Receipt) -> str:
    before = receipt.landed
    if before is None:
        return "Landing: none, these are the weights that training ended with."
    return (
        f"Landing: training ended at {percent(before.sparsity_before, 2)} sparsity and "
        f"{receipt.metric.text(before.score_before)} {receipt.metric.name}. All thresholds were "
        f"then shifted by {before.shift:+.3g} to meet the target, and batch norm saw training "
        "images again; the numbers above are from after that."
    )


def _cost(run: RunRecord, record: SweepRecord) -> str:
    hours = sum(map(run_hours, record.runs.values()))
    return (
        f"This run: {run.num_epochs_trained} epochs, {_hours(run_hours(run))}. "
        f"The sweep up to this publication: {len(record.runs)} runs, "
        f"{record.epochs_trained} epochs, {_hours(hours)} of training."
    )


def _limits(receipt: Receipt, run: RunRecord) -> Iterator[str]:
    yield (
        "- The validation data that the score is of also chose this run among others: expect "
        "slightly less on data that nobody has seen."
    )
    yield (
        "- The zeros are stored: the file is as large, and runs as long, as a dense one unless the "
        "runtime makes use of them. `jobs/export.py` writes a compressed file."
    )
    before = receipt.landed
    rank = receipt.metric.rank
    if before is not None and rank(before.score_before) > rank(receipt.score):
        changed = receipt.metric.difference(receipt.score, before.score_before)
        yield f"- Landing changed the {receipt.metric.name} by {changed}."
    if run.unreadable:
        yield f"- {len(run.unreadable)} image files could not be read and were left out."


def _use(receipt: Receipt, experiment: Experiment) -> str:
    name, alias = experiment.model_name, label(receipt.target)
    reference = f"models:/{name}@{alias}" if receipt.target else f"models:/{name}/VERSION"
    return (
        "```python\nimport mlflow\n\n"
        f'model = mlflow.pytorch.load_model("{reference}")  # needs torch and mlflow\n'
        "logits = model(images)  # float32, shape and preprocessing as in experiment.json\n```\n\n"
        f"`python jobs/evaluate.py --model {reference}` measures it again."
    )


def _listed(values: dict[str, object] | dict[str, float]) -> str:
    return ", ".join(f"{key} {str(value)[:_LONGEST_VALUE]}" for key, value in values.items())


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
