"""The registered model of a sweep: its versions, once per weights, and its aliases.

All of this raises ``MlflowException`` if the server does not answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.packages.receipt import Receipt, label
from strsweep.registry.server import EXISTS, MISSING, every, refusals
from strsweep.settings import Metric

_DATA_TAG, _HASH_TAG = "strsweep.data", "weights_sha256"


class Alias(NamedTuple):
    """Where the alias of a target points after a publication."""

    version: str
    reason: str
    """Why it stays at another version than the one published; empty if it does not."""


def check_registered_model(client: MlflowClient, experiment: Experiment) -> bool:
    """Return whether there is a registered model of the name.

    Raises:
        SettingError: It is not ours or holds models of other data, or the server refuses us.
    """
    name = experiment.model_name
    with refusals(experiment):
        try:
            found = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == MISSING:
                return False
            raise
    data = found.tags.get(_DATA_TAG)
    if data == experiment.data_name:
        return True
    what = "The server has a registered model of this name that strsweep did not make"
    if data is not None:
        what = f"The registered model of this name holds models of {data}, not of "
        what += experiment.data_name
    raise SettingError("tracking.model_name", name, f"{what}: choose another name.")


def ensure_registered_model(client: MlflowClient, experiment: Experiment) -> None:
    """Make the registered model if there is none.

    Raises:
        SettingError: There is one that is not ours, or the server refuses us.
    """
    if check_registered_model(client, experiment):
        return
    try:
        client.create_registered_model(
            experiment.model_name,
            tags={_DATA_TAG: experiment.data_name},
            description=(
                f"Sparse `{experiment.model.name}` networks, trained on `{experiment.data_name}` "
                "by strsweep. An alias such as `sparsity-95` is the best model of that "
                "target; every version says what it is and how to load it."
            ),
        )
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise
        check_registered_model(client, experiment)  # another job made it just now


def version_of(
    client: MlflowClient, experiment: Experiment, receipt: Receipt
) -> ModelVersion | None:
    """Return the version that holds these weights for this target; younger doubles are removed."""
    found = [
        version
        for version in _versions(client, experiment.model_name, label(receipt.target))
        if version.tags.get(_HASH_TAG) == receipt.weights_sha256
    ]
    for extra in found[1:]:
        _remove(client, extra)
    return found[0] if found else None


def _remove(client: MlflowClient, version: ModelVersion) -> None:
    try:
        client.delete_model_version(version.name, str(version.version))
    except MlflowException as error:
        if error.error_code != MISSING:  # another publisher may have removed it just now
            raise


def make_version(
    client: MlflowClient,
    experiment: Experiment,
    receipt: Receipt,
    *,
    model_id: str,
    mlflow_id: str,
    card: str,
) -> ModelVersion:
    """Register a logged model, trained by the MLflow run ``mlflow_id`` and described by ``card``.

    Version numbers are given in order, so of two publishers at once the later one sees the version
    of the earlier, removes its own and goes on with that.
    """
    client.create_model_version(
        experiment.model_name,
        f"models:/{model_id}",
        run_id=mlflow_id,
        tags=_tags(receipt),
        description=card,
        model_id=model_id,
    )
    kept = version_of(client, experiment, receipt)
    assert kept is not None
    return kept


def move_alias(
    client: MlflowClient, experiment: Experiment, receipt: Receipt, published: ModelVersion
) -> Alias | None:
    """Let the alias of a target point to the better of what it has and what was published.

    A model that no target was requested for has no alias. Better by its score; of equals, the one
    that was first. Versions that another publisher made in the meantime take part: whoever looks
    last leaves the alias at the best.
    """
    if receipt.target is None:
        return None
    name, alias, metric = experiment.model_name, receipt.target.label, receipt.metric
    while True:
        # A server gives numbers as text, a database as numbers.
        aliases: dict[str, int | str] = client.get_registered_model(name).aliases
        holder = str(aliases.get(alias, ""))
        best = max(
            (
                version
                for version in _versions(client, name, alias)
                if str(version.version) == holder or int(version.version) >= int(published.version)
            ),
            key=lambda version: (_judged(version, metric)[0], -int(version.version)),
        )
        if str(best.version) == holder:
            has, got = (_judged(version, metric)[1] for version in (best, published))
            stays = f"v{best.version} has {has}, v{published.version} {got}"
            return Alias(holder, "" if best.version == published.version else stays)
        client.set_registered_model_alias(name, alias, str(best.version))


def _judged(version: ModelVersion, metric: Metric) -> tuple[float, str]:
    """Return rank and score, in words, of a version; somebody may have added one by hand."""
    text = version.tags.get(metric.name)
    if text is None:
        return -math.inf, f"no {metric.name}"
    return metric.rank(float(text)), f"{metric.text(float(text))} {metric.name}"


def _tags(receipt: Receipt) -> dict[str, str]:
    """Return what a version is found, compared and told from others by; its card has the rest."""
    return {
        "label": label(receipt.target),
        "method": receipt.method,
        "sparsity": f"{receipt.sparsity:.6f}",
        receipt.metric.name: f"{receipt.score:.6f}",
        "macs": str(receipt.macs),
        _HASH_TAG: receipt.weights_sha256,
    }


def _versions(client: MlflowClient, name: str, alias: str) -> list[ModelVersion]:
    """Return the versions for a target, the oldest first."""
    query = f"name = '{name}' and tags.label = '{alias}'"
    found = every(lambda size, token: client.search_model_versions(query, size, None, token))
    return sorted(found, key=lambda version: int(version.version))
