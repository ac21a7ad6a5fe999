"""A loop of one's own: the run in it is the run that our loop trains, whatever the loop does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from equal_runs import assert_same_state
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

import strsweep
from strsweep.config import Experiment
from strsweep.errors import StrsweepError, TrainingDivergedError
from strsweep.settings import Lead, RunSettings
from strsweep.sparsity.convert import threshold_parameters
from strsweep.tasks import Task
from strsweep.training.attached import Assignment, AttachedRun, loop_run
from strsweep.training.checkpoints import State, copied
from strsweep.training.controlled import ControlledRun, EpochMetrics
from strsweep.training.loop import InputPipeline
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun
from strsweep.training.schedule import learning_rate

pytestmark = pytest.mark.slow

EPOCHS = 4
LED = RunSettings(
    threshold_init=-5,
    weight_decay=5e-4,
    threshold_decay=0.6,
    onset=1,
    lead=Lead(quantity="sparsity", pruned=0.9, exposure_at_90=0.5, delay=0.2),
)
GIVEN = RunSettings(threshold_init=-5, weight_decay=5e-4, sparsity=0.8)
Loop = Callable[["Loops", nn.Module, Task], None]


class Loops:
    """Calls a loop as a worker does, and keeps what the run would store."""

    current: Loops

    def __init__(self, train: Loop, method: str = "str", **training: Any) -> None:
        self.train, self.states, self.runs = train, dict[int, State](), list[ControlledRun]()
        recipe = {"epochs": EPOCHS, "batch_size": 128, "warmup_epochs": 1, "momentum": 0.9}
        self.experiment = Experiment.model_validate({
            "name": "own",
            "model": {"name": "digits_cnn"},
            "data": {"name": "digits"},
            "training": recipe | {"threshold_learning_rate": 0.1} | training,
            "sparsity": {"mode": method},
            "search": {"targets": (0.9,)},
        })
        as_sent = self.experiment.model_dump(mode="json")
        assert Experiment.model_validate(as_sent) == self.experiment
        self.images = InputPipeline(self.experiment, 0, 1)

    def call(
        self, settings: RunSettings = LED, state: State | None = None, wanted: int = 99
    ) -> AttachedRun:
        """Train a run, from ``state`` if there is one, for ``wanted`` epochs at most."""

        def begin(run: ControlledRun) -> None:
            self.runs.append(run)
            if state is not None:
                run.load_state(state)

        def note(run: ControlledRun, metrics: EpochMetrics) -> bool:
            self.states[metrics.epoch] = copied(run.state())
            return metrics.epoch < wanted

        Loops.current = self
        return loop_run(
            Assignment(
                experiment=self.experiment,
                settings=settings,
                images=self.images,
                begin=begin,
                note=note,
            )
        )


def called(model: nn.Module, task: Task) -> None:
    Loops.current.train(Loops.current, model, task)


LOOP = f"{__name__}:called"


def steps(
    loops: Loops, model: nn.Module, task: Task, optimizer: torch.optim.Optimizer, run: AttachedRun
) -> Iterator[None]:
    """Do the steps of an epoch, and stop after each one's ``backward()``."""
    for batch in loops.images.epoch(len(run.history)):
        optimizer.zero_grad()
        total, count = task.loss(model(batch[0]), batch)
        (total / count).backward()
        yield


def as_ours(loops: Loops, model: nn.Module, task: Task) -> None:
    """Do what our loop does."""
    config, length = loops.experiment.training, loops.images.steps
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
    run = strsweep.attach(model, optimizer, steps_per_epoch=length)
    while run.goes_on:
        model.train()
        for step, _ in enumerate(steps(loops, model, task, optimizer, run)):
            rate = learning_rate(config, len(run.history), step, length)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            run.step()
        run.epoch()


def careless(loops: Loops, model: nn.Module, task: Task) -> None:
    """Do all that could harm thresholds: clip, zero all gradients, optimize all parameters."""
    run = strsweep.attach(
        model,
        first := torch.optim.AdamW(model.parameters(), lr=3e-3),
        steps_per_epoch=loops.images.steps,
        keep=[schedule := StepLR(first, 2)],
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-30, weight_decay=0.5)
    while run.goes_on:
        model.train()
        for _ in steps(loops, model, task, first, run):
            assert all(s.grad is None for s in threshold_parameters(model))
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            first.step()
            optimizer.step()
            model.zero_grad()
            run.step()
        schedule.step()
        run.epoch({"accuracy": 0.5, "train_loss": 2.0})


@pytest.mark.parametrize(
    ("method", "settings"), [("str", LED), ("steered", GIVEN), ("scheduled", GIVEN)]
)
def test_a_loop_like_ours_trains_the_same_run(method: str, settings: RunSettings) -> None:
    torch.set_num_threads(1)
    run = Loops(as_ours, method, loop=LOOP).call(settings)
    ours = TrainingRun(
        Loops(as_ours, method, learning_rate=0.256).experiment, settings, device=torch.device("cpu")
    )
    rows = [metrics.row for metrics in ours.epochs()]
    assert_same_state(run.model.state_dict(), ours.model.state_dict())
    assert run.history[-1].sparsity > 0.3
    for key in ("accuracy", "sparsity", "threshold_decay", "weight_decay", "learning_rate"):
        assert [metrics.row[key] for metrics in run.history] == [row[key] for row in rows]
    assert run.thresholds == ours.thresholds


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_resumed_loop_equals_an_uninterrupted_one(wanted: int) -> None:
    whole = Loops(careless, loop=LOOP)
    whole.call()
    parts = Loops(careless, loop=LOOP)
    assert not parts.call(wanted=wanted).is_complete
    again = parts.call(state=parts.states[wanted])
    assert again.is_complete
    assert_same_state(parts.states[EPOCHS], whole.states[EPOCHS])
    assert again.history[-1].train_loss == 2.0


def test_nothing_that_a_loop_does_moves_thresholds() -> None:
    loops = Loops(careless, loop=LOOP)
    run = loops.call(RunSettings(threshold_init=-5, weight_decay=0, threshold_decay=0, onset=3))
    first = [s.item() for s in threshold_parameters(run.model)]
    assert run.history[2].sparsity == 0
    # Before they act they stay where they began, though an AdamW with decay has all parameters.
    for name, value in loops.states[3]["model"].items():
        assert not name.endswith(".s") or value.item() == -5
    assert all(value != -5 for value in first)


def test_micro_batches_add_up() -> None:
    """Two halves with half of the loss each move thresholds as the whole batch does."""

    def halves(loops: Loops, model: nn.Module, task: Task) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        run = strsweep.attach(model, optimizer, steps_per_epoch=1)
        images, labels = next(iter(loops.images.epoch(0)))
        model.eval()  # batch norm would see halves
        for part in (slice(64), slice(64, 128)) if loops.states == {} else [slice(128)]:
            total, _ = task.loss(model(images[part]), (images[part], labels[part]))
            (total / 128).backward()
        run.step()
        while run.goes_on:
            run.epoch()

    settings = RunSettings(threshold_init=-3, weight_decay=0, threshold_decay=0.1)
    found: list[list[float]] = []
    for states in ({}, {1: {}}):
        loops = Loops(halves, loop=LOOP, epochs=1, warmup_epochs=0)
        loops.states = dict(states)
        found.append([s.item() for s in threshold_parameters(loops.call(settings).model)])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] != pytest.approx([-3.0] * len(found[0]), rel=1e-3)


def one_epoch(more: int = 0, **metrics: float) -> Loop:
    """Return a loop that does an epoch, and says that it has ``more`` steps than it has."""

    def loop(loops: Loops, model: nn.Module, task: Task) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = strsweep.attach(model, optimizer, steps_per_epoch=loops.images.steps + more)
        for _ in steps(loops, model, task, optimizer, run):
            run.step()
        run.epoch(metrics)

    return loop


def hasty(loops: Loops, model: nn.Module, task: Task) -> None:
    run = strsweep.attach(model, torch.optim.SGD(model.parameters()), steps_per_epoch=1)
    run.step()


def attached_to(make: Callable[[nn.Module], nn.Module], **keep: Any) -> Loop:
    def loop(loops: Loops, model: nn.Module, task: Task) -> None:
        chosen = make(model)
        optimizer = torch.optim.SGD(chosen.parameters())
        kept = [LambdaLR(optimizer, Unsafe())] if keep else []
        strsweep.attach(chosen, optimizer, steps_per_epoch=1, keep=kept)

    return loop


class Unsafe:
    """An object with a state of its own, whose pickle runs code."""

    def __init__(self) -> None:
        self.told = Unsafe.__init__

    def __call__(self, epoch: int) -> float:
        return 1.0


def twice(loops: Loops, model: nn.Module, task: Task) -> None:
    for _ in range(2):
        strsweep.attach(model, torch.optim.SGD(model.parameters()), steps_per_epoch=1)


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (lambda *_: None, "without a call of strsweep.attach"),
        (attached_to(lambda model: model), "returned after 0 of 4 epochs"),
        (
            attached_to(lambda _: nn.Linear(3, 3)),
            "attach.. was given another model: they differ in",
        ),
        (attached_to(lambda model: model, unsafe=True), "LambdaLR.*numbers, texts and tensors"),
        (twice, "attach.. twice"),
        (one_epoch(more=1), r"told of 12 steps per epoch, and run.step.. was called 11 times"),
        (hasty, r"without a backward.."),
        (one_epoch(), "task.score.*accuracy"),
    ],
)
def test_what_a_loop_does_wrong_is_named(loop: Loop, message: str) -> None:
    acts = LED.model_copy(update={"onset": 0})
    with pytest.raises(StrsweepError, match=message):
        Loops(loop, loop=LOOP).call(acts)


def test_a_metric_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(TrainingDivergedError, match="accuracy became nan in epoch 1"):
        Loops(one_epoch(accuracy=float("nan")), loop=LOOP).call()


def test_attach_needs_a_sweep() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(StrsweepError, match=r"training\.loop.*let a sweep call it"):
        strsweep.attach(model, torch.optim.SGD(model.parameters()), steps_per_epoch=1)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loop": "no_such:train"}, r"training\.loop.*No module named"),
        ({"loop": f"{__name__}:no_such"}, r"training\.loop.*no_such"),
        ({"loop": LOOP, "loop_options": {"depth": 3}}, r"training\.loop_options.*depth"),
        (
            {"schedule": f"{__name__}:falling", "schedule_options": {"by": 2}},
            "schedule_options.*by",
        ),
        ({"optimizer": "no_such:Lion"}, r"training\.optimizer.*No module named"),
        ({"optimizer_options": {"beta": 3}}, r"training\.optimizer_options.*beta"),
    ],
)
def test_own_parts_of_a_step_are_tried_before_anything_starts(
    training: dict[str, Any], message: str
) -> None:
    loops = Loops(as_ours, **training)
    with pytest.raises(StrsweepError, match=message):
        measure_problem(loops.experiment, loops.images.task)


def falling(over: float) -> float:
    return 1 - over


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loop": "train"}, r"training\.loop.*package\.module:function"),
        ({"loop": LOOP, "optimizer": "adamw"}, r"training\.optimizer.*leave it out"),
        ({"loop": LOOP, "learning_rate": 0.1}, r"training\.learning_rate.*leave it out"),
        ({"loop": LOOP, "compile": True}, r"training\.compile.*leave it out"),
    ],
)
def test_settings_that_a_loop_would_not_obey_are_refused(
    training: dict[str, Any], message: str
) -> None:
    with pytest.raises(StrsweepError, match=message):
        Loops(as_ours, **training)
