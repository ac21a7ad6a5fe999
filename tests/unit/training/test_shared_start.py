"""Until thresholds act a run is the dense network: trained once, forked, the same bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from equal_runs import assert_same_state, new_run, states
from samples import folders
from torch import nn
from torch._dynamo import config as dynamo
from torch._dynamo.utils import counters

from strsweep.errors import CheckpointError, StorageError
from strsweep.journal import EpochFinished, Journal, PrefixTrained, RunFinished
from strsweep.settings import Fork, Lead, RunSettings
from strsweep.sparsity.convert import (
    activate_thresholds,
    bake,
    set_threshold_parameters,
    sparsify,
    threshold_parameters,
)
from strsweep.storage import Store, store_at
from strsweep.training.checkpoints import RunCheckpoints, State
from strsweep.training.run import TrainingRun
from strsweep.training.writer import RunWriter

pytestmark = pytest.mark.slow

EPOCHS, ONSET = 5, 2
RECIPE = (f"training.epochs={EPOCHS}", "training.batch_size=200")
TINY = "model={name: 'tiny_models:tiny', options: {channels: 1}}"
START = f"runs/run-001/epoch_{ONSET:05d}"
LEAD = Lead(quantity="sparsity", pruned=0.9, exposure_at_90=0.5, delay=0.165)
ALONE = RunSettings(
    threshold_init=-6, weight_decay=5e-4, threshold_decay=0.07, onset=ONSET, lead=LEAD
)
FORKED = ALONE.model_copy(update={"fork": Fork(folder=START, epoch=ONSET)})
DENSE = RunSettings(threshold_init=-5, weight_decay=5e-4, onset=ONSET, is_dense=True)
SHARED = DENSE.model_copy(update={"last_epoch": ONSET})
VARIANTS: dict[str, tuple[str, ...]] = {
    "layer": (),
    "global": ("sparsity.granularity=global",),
    "weight": ("sparsity.granularity=weight", "training.batch_norm_decay=false"),
    "exp": ("sparsity.function=exp", "training.momentum=0", "sparsity.skip=[fc]"),
}


def run_of(settings: RunSettings, *overrides: str) -> TrainingRun:
    return new_run(settings, *RECIPE, *overrides)


def trained(settings: RunSettings, *overrides: str) -> list[State]:
    """Return what a run is after every epoch."""
    return states(settings, *RECIPE, *overrides)


def plain(state: State) -> dict[str, torch.Tensor]:
    """Return a state under the names of a network that has no thresholds."""
    named = {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in state["model"].items()
    }
    return {name: value for name, value in named.items() if not name.endswith("weight.0.s")}


@pytest.fixture
def storage(tmp_path: Path) -> Store:
    """Return a storage that holds the start that runs share."""
    storage = store_at(str(tmp_path))
    shared = RunCheckpoints(storage, "run-001", kept=1, shared_epoch=ONSET)
    shared.save(ONSET, trained(SHARED)[-1])
    return storage


def checkpoints(storage: Store, kept: int = 2) -> RunCheckpoints:
    return RunCheckpoints(storage, "run-002", kept, fork=FORKED.fork)


def begun(storage: Store, settings: RunSettings = FORKED, *overrides: str) -> TrainingRun:
    run = run_of(settings, *overrides)
    torch.rand(17)  # another process would have another random state
    run.resume(checkpoints(storage))
    return run


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_forked_run_equals_the_same_run_trained_alone(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    storage = store_at(str(tmp_path))
    RunCheckpoints(storage, "run-001", kept=1).save(ONSET, trained(SHARED, *overrides)[-1])
    forked = begun(storage, FORKED, *overrides)
    assert len(forked.history) == ONSET
    assert [metrics.epoch for metrics in forked.epochs()] == [3, 4, 5]
    assert_same_state(forked.state(), trained(ALONE, *overrides)[-1])
    assert forked.history[-1].sparsity > 0.05


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_until_the_onset_weights_are_those_of_the_dense_network(overrides: tuple[str, ...]) -> None:
    others = tuple(text for text in overrides if not text.startswith("sparsity."))
    dense = trained(RunSettings(weight_decay=5e-4), *others, "sparsity.mode=dense")
    alone, baseline = trained(ALONE, *overrides), trained(DENSE, *overrides)
    for epoch in range(EPOCHS):
        assert_same_state(plain(baseline[epoch]), plain(dense[epoch]))
    for epoch in range(ONSET):
        assert_same_state(plain(alone[epoch]), plain(dense[epoch]))
    with pytest.raises(AssertionError):
        assert_same_state(plain(alone[ONSET]), plain(dense[ONSET]))


def test_the_start_that_is_shared_is_that_of_the_dense_network_which_never_prunes() -> None:
    shared, dense = trained(SHARED), trained(DENSE)
    assert len(shared) == ONSET
    assert_same_state(shared[-1], dense[ONSET - 1])
    for metrics in dense[-1]["history"]:
        assert (metrics["sparsity"], metrics["macs"]) == (0, metrics["dense_macs"])
        assert (metrics["weight_decay"], metrics["threshold_decay"]) == (5e-4, 0)


def test_thresholds_that_do_not_act_stay_where_they_are_and_prune_nothing() -> None:
    early = ALONE.model_copy(update={"threshold_init": -0.1})  # would prune nearly all
    run = run_of(early)
    epochs = run.epochs()
    for _ in range(ONSET):
        metrics = next(epochs)
        parameters = threshold_parameters(run.model)
        assert [s.item() for s in parameters] == pytest.approx([-0.1] * 6)
        assert all(s.grad is None and not s.requires_grad for s in parameters)
        assert run.thresholds == (0.0,) * 6
        assert (metrics.sparsity, metrics.macs) == (0, metrics.dense_macs)
        assert (metrics.weight_decay, metrics.threshold_decay) == (5e-4, 0)
    metrics = next(epochs)
    assert (metrics.sparsity > 0.2, metrics.threshold_decay) == (True, 0.07)  # as planned
    assert all(s.requires_grad for s in threshold_parameters(run.model))


@pytest.mark.parametrize("method", ["gmp", "dnw", "steered", "scheduled"])
def test_every_method_has_the_same_dense_network(method: str) -> None:
    budget = ["sparsity.budget=erk"] if method in {"gmp", "dnw"} else []
    baseline = RunSettings(weight_decay=5e-4, is_dense=True)
    found = trained(baseline, "training.epochs=2", f"sparsity.mode={method}", *budget)
    dense = trained(RunSettings(weight_decay=5e-4), "training.epochs=2", "sparsity.mode=dense")
    assert_same_state(found[-1]["model"], dense[-1]["model"])


def test_a_threshold_that_does_not_act_passes_weights_and_gradients_as_they_are() -> None:
    torch.manual_seed(0)
    plain, inputs = nn.Linear(3, 2), torch.randn(5, 3)
    model = nn.Linear(3, 2)
    model.load_state_dict(plain.state_dict())
    sparsify(model, threshold_init=-1.0)
    activate_thresholds(model, False)
    for network in (plain, model):
        network(inputs).square().sum().backward()
    (s,) = threshold_parameters(model)
    original = dict(model.named_parameters())["parametrizations.weight.original"]
    assert torch.equal(model(inputs), plain(inputs))
    assert original.grad is not None
    assert plain.weight.grad is not None
    assert torch.equal(original.grad, plain.weight.grad)
    assert s.grad is None
    activate_thresholds(model, True)
    set_threshold_parameters(model, -2.0)
    model(inputs).square().sum().backward()
    assert (s.item(), s.requires_grad) == (-2, True)
    assert s.grad is not None
    assert (model.weight.detach() == 0).sum() > 0
    activate_thresholds(model, False)
    assert torch.equal(bake(model).weight, plain.weight)


# Checkpoints: a run goes on from its own, and from the start that it shares where it has none.


def test_a_fork_that_was_interrupted_resumes_from_its_own_checkpoint(storage: Store) -> None:
    own = checkpoints(storage)
    first = begun(storage)
    for _ in range(2):
        own.save(next(iter(first.epochs())).epoch, first.state())
    assert folders(storage, "runs/run-002") == ["epoch_00003", "epoch_00004"]
    for damaged, left in ((), 4), (("epoch_00004",), 3), (("epoch_00003",), 2):
        for folder in damaged:
            storage.write(f"runs/run-002/{folder}/state.pt", b"damaged")
        resumed = begun(storage)
        assert len(resumed.history) == left
        list(resumed.epochs())
        assert_same_state(resumed.state(), trained(ALONE)[-1])


@pytest.mark.parametrize("damage", [None, b"damaged"], ids=["missing", "damaged"])
def test_a_start_that_cannot_be_read_is_told(storage: Store, damage: bytes | None) -> None:
    storage.delete(START)
    if damage is not None:
        storage.write(f"{START}/state.pt", damage)
    with pytest.raises(CheckpointError, match=f"{START}/state.pt cannot be read"):
        begun(storage)


def test_a_start_of_another_network_is_told(storage: Store) -> None:
    with pytest.raises(CheckpointError, match="belongs to another model"):
        begun(storage, FORKED, "model.options={width: 8}")


def test_the_state_that_others_begin_with_is_kept_for_good(tmp_path: Path) -> None:
    storage = store_at(str(tmp_path))
    dense = RunCheckpoints(storage, "run-001", kept=1, shared_epoch=DENSE.shared_epoch)
    for epoch, state in enumerate(trained(DENSE), start=1):
        dense.save(epoch, state)
    assert folders(storage, "runs/run-001") == ["epoch_00002", "epoch_00005"]
    newest = dense.newest()
    assert newest is not None
    assert newest[0] == 5
    shared = dense.load(ONSET)
    del shared["format"]
    assert_same_state(shared, trained(SHARED)[-1])


def written(storage: Store, settings: RunSettings) -> list[object]:
    """Train a run as the first worker does, and return its events."""
    run = run_of(settings)
    journal = Journal(storage)
    own = RunCheckpoints(storage, "run-001", kept=1, shared_epoch=settings.shared_epoch)
    writer = RunWriter("run-001", journal, own)
    with writer.outbox:
        for metrics in run.epochs():
            writer.epoch(run, metrics)
        writer.finish(run)
    return list(journal.read())


def test_others_are_told_of_the_start_once_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = store_at(str(tmp_path / "one"))
    events = written(storage, SHARED)
    kinds = [EpochFinished, EpochFinished, PrefixTrained, RunFinished]
    assert [type(event) for event in events] == kinds
    _, last, prefix, end = events
    assert isinstance(prefix, PrefixTrained)
    assert isinstance(end, RunFinished)
    assert isinstance(last, EpochFinished)
    assert (prefix.epoch, prefix.checkpoint, end.checkpoint) == (ONSET, START, START)
    assert last.thresholds == (0.0,) * 6
    forked = begun(storage)
    list(forked.epochs())
    assert_same_state(forked.state(), trained(ALONE)[-1])

    def refuse(*_: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(RunCheckpoints, "save", refuse)
    other = store_at(str(tmp_path / "other"))
    with pytest.raises(StorageError, match="full"):
        written(other, SHARED)
    found = {type(event) for event in Journal(other).read()}
    assert found == {EpochFinished}, "a start that is not stored is not told"


def assert_opens(is_open: threading.Event) -> None:
    assert is_open.wait(60)


def test_while_the_storage_is_slow_newer_checkpoints_do_not_replace_the_start(
    tmp_path: Path,
) -> None:
    storage, is_open = store_at(str(tmp_path)), threading.Event()
    run = run_of(DENSE)
    own = RunCheckpoints(storage, "run-001", kept=1, shared_epoch=ONSET)
    writer = RunWriter("run-001", Journal(storage), own)
    with writer.outbox:
        writer.outbox.put(lambda: assert_opens(is_open))
        for metrics in run.epochs():
            writer.epoch(run, metrics)
        is_open.set()
    assert folders(storage, "runs/run-001") == ["epoch_00002", "epoch_00005"]


def test_compiled_steps_notice_that_thresholds_begin() -> None:
    losses: list[list[float]] = []
    for compiled in ("false", "true"):
        run = run_of(
            RunSettings(threshold_init=-3, weight_decay=5e-4, threshold_decay=0.07, onset=1),
            TINY,
            "training.epochs=2",
            f"training.compile={compiled}",
        )
        losses.append([loss for _ in run.epochs() for loss in run.step_losses])
        assert [metrics.sparsity > 0 for metrics in run.history] == [False, True]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_every_run_of_a_process_is_compiled() -> None:
    settings = RunSettings(threshold_init=-3, weight_decay=5e-4, threshold_decay=0.07)
    counters.clear()
    with dynamo.patch(recompile_limit=2):
        for _ in range(4):
            run = run_of(settings, TINY, "training.epochs=1", "training.compile=true")
            list(run.epochs())
    assert counters["frames"]["total"] == counters["frames"]["ok"] >= 4
