"""Runs of low rank: led to targets, landed in ranks, packaged, and started from trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trained_sweep import TrainedSweep
from typing_extensions import override

from strsweep.auto import resolve
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.export import FORMATS
from strsweep.packages.package import Packager
from strsweep.plan import first_settings
from strsweep.report import contents_of, report_files
from strsweep.search.outcome import outcomes_of
from strsweep.search.space import space_of
from strsweep.settings import Lead, RunSettings, Target
from strsweep.sparsity.lowrank import factored
from strsweep.sparsity.measure import measure
from strsweep.tasks import task_of
from strsweep.training.landing import land_run
from strsweep.training.network import dense_model, sparse_model
from strsweep.training.problem import measure_problem
from strsweep.training.rehearsal import rehearse
from strsweep.training.run import TrainingRun


def experiment(epochs: int = 12, **sections: Any) -> Experiment:
    training = {
        "epochs": epochs,
        "batch_size": 100,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "warmup_epochs": 0,
        "label_smoothing": 0.0,
        "schedule_every": "step",
    }
    default: dict[str, Any] = {
        "name": "rows",
        "model": {"name": "fastgrnn", "options": {"hidden": 32}},
        "data": {"name": "digits_rows"},
        "training": training,
        "sparsity": {"mode": "lowrank"},
        "search": {"targets": [{"macs": 0.6}]},
    }
    return Experiment.model_validate(default | sections)


def run_of(loaded: Experiment, settings: RunSettings) -> TrainingRun:
    return TrainingRun(loaded, settings, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> TrainedSweep:
    folder = str(tmp_path_factory.mktemp("lowrank"))
    targets = [{"macs": 0.6}, {"rank": 0.4}]
    search = {"targets": targets, "max_runs": 8}
    loaded = experiment(20, storage={"path": folder}, search=search)
    sweep = TrainedSweep(loaded)
    sweep.search()
    sweep.land()
    return sweep


def test_a_sweep_hits_and_lands_in_ranks(swept: TrainedSweep) -> None:
    assert swept.problem.full_rank == 8 + 32
    record = swept.record
    outcomes = outcomes_of(record, swept.experiment)
    assert all(outcome.run is not None for outcome in outcomes)
    assert len(record.runs) - 1 <= len(outcomes), "the shared start, and one run per target at most"
    for (target, _), landed in record.landed.items():
        rows = landed.layers
        ranks = sum(row.rank or 0 for row in rows)
        assert landed.metrics["rank"] == ranks
        if target.rank is not None:
            assert ranks == int(0.4 * 40)
        else:
            dense = sum(row.dense_macs for row in rows)
            assert 0.6 * dense - 8 * 64 < landed.metrics["macs"] <= 0.6 * dense


def test_packages_are_thin_and_equal(swept: TrainedSweep, tmp_path: Path) -> None:
    record = swept.record
    (target, run_id), landed = next(iter(record.landed.items()))
    package = Packager(swept.experiment, record).package(run_id, target)
    receipt, inputs = package.receipt, package.inputs
    assert receipt.macs == landed.metrics["macs"]
    assert measure(package.model, inputs).macs == 2 * receipt.macs
    again = Packager(swept.experiment, record).package(run_id, target)
    assert again.model(*inputs).equal(package.outputs[0])
    for name in ("program", "onnx"):
        file = FORMATS[name].export(package.model, inputs, tmp_path / FORMATS[name].file_name)
        assert file.largest_difference < 1e-4
    rows = swept.storage.read(f"{package.folder}/budget.csv").decode().splitlines()
    assert rows[0].endswith(",rank,full_rank")
    shown = report_files(contents_of(swept.experiment, record, [receipt]))
    header, *visited = shown["ranks.csv"].decode().splitlines()
    assert header == "rank.w,rank.u,accuracy,run_id,epoch"
    assert len(visited) == len({tuple(line.split(",")[:2]) for line in visited}) > 1


def led(pruned: float) -> RunSettings:
    lead = Lead(quantity="macs", pruned=pruned, exposure_at_90=40, delay=0.5)
    return RunSettings(threshold_init=-5.7, weight_decay=1e-4, threshold_decay=0.3, lead=lead)


def test_a_resumed_led_run_is_that_which_was_not_stopped() -> None:
    whole, first, second = (run_of(experiment(10), led(0.5)) for _ in range(3))
    rows = list(whole.epochs())
    for metrics in first.epochs():
        if metrics.epoch == 7:
            break
    second.load_state(first.state())
    assert [row.ranks for row in second.epochs()] == [row.ranks for row in rows[7:]]
    assert second.history[-1].threshold_decay == rows[-1].threshold_decay
    for one, other in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert one.equal(other)
    decays = {row.threshold_decay for row in rows}
    assert len(decays) > 2  # it did lead itself


def test_a_resumed_run_forgets_no_factors_that_were_cut_before_its_next_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ranks beyond the plan go before an epoch; its decay follows what was there until then."""
    first, second = (run_of(experiment(6), led(0.5)) for _ in range(2))

    def give_back(*_: object) -> None:
        for layer in factored(first.model):
            layer.step.s.data.fill_(-6)

    epochs = first.epochs()
    with monkeypatch.context() as patched:
        patched.setattr("strsweep.sparsity.methods.lowrank._Led.after_epoch", give_back)
        while next(epochs).epoch < 4:
            pass
    second.load_state(first.state())
    going_on, resumed = next(epochs), next(second.epochs())
    assert resumed.threshold_decay == going_on.threshold_decay
    assert resumed.ranks == going_on.ranks


@pytest.mark.parametrize(("written", "first"), [("auto", 0.1), (0.3, 0.3)])
def test_a_led_run_begins_with_the_decay_of_the_file(written: Any, first: float) -> None:
    search = {"targets": [{"macs": 0.6}], "threshold_decay": written}
    loaded = experiment(search=search)
    problem = measure_problem(loaded, task_of(loaded))
    (settings,) = first_settings(loaded, problem, space_of(resolve(loaded, problem), problem))
    assert settings.first_decay == first


def test_training_twice_as_long_leaves_ranks() -> None:
    """The scale freedom of ``m`` and factors: all are decayed alike, so ranks do not collapse."""
    ends: list[int] = []
    for epochs in (15, 30):
        settings = RunSettings(
            threshold_init=-6.0, weight_decay=1e-3, threshold_decay=0.3, onset=epochs // 3
        )
        run = run_of(experiment(epochs), settings)
        ends.append(sum(list(run.epochs())[-1].ranks.values()))
    assert 4 < ends[0] < 36
    assert ends[1] > 0.5 * ends[0]


def test_no_layer_loses_all_its_rank() -> None:
    settings = RunSettings(threshold_init=-4.0, weight_decay=1e-4, threshold_decay=20.0)
    run = run_of(experiment(4), settings)
    assert min(list(run.epochs())[-1].ranks.values()) == 1


def test_factors_and_vectors_share_one_decay() -> None:
    run = run_of(experiment(), led(0.5))
    groups = run._optimizer.weights.param_groups  # pyright: ignore[reportPrivateUsage]
    (group,) = groups
    own = {id(parameter) for parameter in group["params"]}
    factors = [
        id(parameter)
        for name, parameter in run.model.named_parameters()
        if ".parametrizations.weight.original" in name
    ]
    assert len(factors) == 3 * len(factored(run.model)) > 0
    assert own.issuperset(factors)


# --- Any linear layer, from a trained network.


def mlp(num_classes: int, num_features: int) -> nn.Module:
    return _Mlp(
        nn.Flatten(),
        nn.Linear(8 * num_features, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


class _Mlp(nn.Sequential):
    @override
    def forward(self, input: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        assert lengths is not None
        assert len(lengths)
        return super().forward(nn.functional.pad(input, (0, 0, 0, 8 - input.shape[1])))


def test_linear_layers_of_a_trained_network_get_ranks(tmp_path: Path) -> None:
    model = {"name": f"{__name__}:mlp"}
    dense = experiment(8, model=model, sparsity={"mode": "dense"})
    trained = run_of(dense, RunSettings(weight_decay=1e-4, is_dense=True))
    accuracy = list(trained.epochs())[-1].task["accuracy"]
    path = tmp_path / "mlp.pt"
    torch.save(trained.model.state_dict(), path)
    model |= {"checkpoint": str(path)}
    loaded = experiment(10, model=model)
    task = task_of(loaded)
    settings = RunSettings(threshold_init=-5.7, weight_decay=1e-4, threshold_decay=0.1)
    started = sparse_model(loaded, settings, task).eval()
    assert [layer.name for layer in factored(started)] == ["1", "3"]  # the classifier is left alone
    x = task.val[0][0][None], task.val[0][1][None]
    expected = dense_model(loaded, task).eval()(*x)
    torch.testing.assert_close(started(*x), expected, rtol=5e-2, atol=0.1)
    run = run_of(loaded, settings)
    last = list(run.epochs())[-1]
    assert last.macs < 0.8 * last.dense_macs
    assert last.task["accuracy"] > accuracy - 0.03
    landed = land_run(loaded, settings, run.state(), Target(macs=0.5))
    assert 0.4 * last.dense_macs < landed.metrics["macs"] <= 0.5 * last.dense_macs


def test_a_random_start_would_throw_a_checkpoint_away(tmp_path: Path) -> None:
    model = {"name": "fastgrnn", "checkpoint": str(tmp_path / "any.pt")}
    with pytest.raises(SettingError, match=r"sparsity\.start"):
        experiment(model=model, sparsity={"mode": "lowrank", "start": "random"})


@pytest.mark.parametrize(
    ("sparsity", "setting"),
    [({"layers": ["conv*"]}, "sparsity.layers"), ({"skip": ["conv*"]}, "sparsity.skip")],
)
def test_wrong_patterns_name_their_setting(sparsity: dict[str, Any], setting: str) -> None:
    loaded = experiment(sparsity={"mode": "lowrank", **sparsity})
    with pytest.raises(SettingError, match=setting.replace(".", r"\.")):
        sparse_model(loaded, led(0.5), task_of(loaded))


def test_less_than_a_rank_for_every_layer_is_refused_before_training() -> None:
    loaded = experiment(search={"targets": [{"rank": 1}]})
    with pytest.raises(SettingError, match=r"A rank of 1 in every layer leaves 5\.00 %\. Learn"):
        rehearse(loaded, led(0.9), task_of(loaded))


def test_ranks_are_asked_of_low_rank_alone() -> None:
    with pytest.raises(SettingError, match="lowrank"):
        Target(rank=0.5).pruned(1000, 0)
    with pytest.raises(SettingError, match="ask for fewer"):
        Target(rank=40).pruned(1000, 40)
    assert Target(rank=10).pruned(1000, 40) == 0.75
    assert (Target(rank=10).label, str(Target(rank=0.5))) == ("10-rank", "50 % rank")
    assert Target.model_validate(Target(rank=0.5).model_dump(mode="json")) == Target(rank=0.5)
