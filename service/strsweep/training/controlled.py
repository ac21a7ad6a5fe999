"""What every run is, whoever takes its steps: what prunes it, and what came of that."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from torch import nn

from strsweep.config import Experiment
from strsweep.errors import TrainingDivergedError
from strsweep.settings import Quantity, RunSettings
from strsweep.sparsity.convert import threshold_parameters
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.methods import Course, Hooks
from strsweep.training.checkpoints import RunCheckpoints, State
from strsweep.training.law import Law, ThresholdClock
from strsweep.training.leader import Leader, leader_of
from strsweep.training.loop import InputPipeline, Stepper, of_first_worker
from strsweep.training.network import restore


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What one epoch gave."""

    epoch: int
    """Epochs finished, from 1."""
    train_loss: float | None
    """Mean over the steps, as it is minimized; None where a loop of the user's does not tell."""
    task: dict[str, float]
    """Metrics of the task on the validation data, by name."""
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    macs: int
    """Multiply-adds of one input that are left."""
    dense_macs: int
    """Multiply-adds of one input without pruning."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Wall time of training and evaluation."""
    weight_decay: float
    """Of the weights in this epoch."""
    threshold_decay: float
    """Of the thresholds in this epoch; 0 while they do not act."""
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    """Of the layers whose rank is learned, by name."""
    full_rank: int = 0
    """Sum of their largest."""
    excess: float = 0.0
    """What factors of a led run have beyond the matrices in their place; see ``Leader``."""
    unreadable_images: int = 0
    """Samples that could not be read; they had no part in this epoch."""

    @property
    def row(self) -> dict[str, float]:
        """All numbers by name, as the journal has them."""
        inner = {"task", "ranks", "full_rank", "excess"}
        own = {key: value for key, value in vars(self).items() if key not in inner}
        if self.ranks:
            own |= {"rank": sum(self.ranks.values()), "full_rank": self.full_rank}
            own |= {f"rank.{name}": rank for name, rank in self.ranks.items()}
        return {key: value for key, value in own.items() if value is not None} | self.task


class ControlledRun(ABC):
    """One run on one worker: its method's hooks, the decay of every epoch, its history."""

    def __init__(
        self,
        experiment: Experiment,
        settings: RunSettings,
        model: nn.Module,
        images: InputPipeline,
        steps_per_epoch: int,
    ) -> None:
        self.model = model
        self.history: list[EpochMetrics] = []
        self.unreadable: list[str] = []
        """Names of some images that the last epoch could not read."""
        self.thresholds: tuple[float | None, ...] = ()
        """Of the layers after the last epoch, in the order of ``report``."""
        self._settings, self._config = settings, experiment.training
        self._images, self._steps = images, steps_per_epoch
        self._example = images.task.example()
        self._stepper = Stepper(images.task, self._config, next(model.parameters()).device)
        self._has_thresholds = bool(threshold_parameters(model))
        self._hooks = self._made_hooks(experiment)
        self._leader = self._made_leader(experiment)

    def state(self) -> State:
        """Return all that the next epoch depends on; its random state follows from its number."""
        history = [asdict(metrics) for metrics in self.history]
        return {"model": self.model.state_dict(), "history": history} | self._own_state()

    def load_state(self, state: State) -> None:
        """Continue where ``state`` was taken.

        Raises:
            CheckpointError: It belongs to another model.
        """
        restore(self.model, state)
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]
        self._load_own(state)

    @abstractmethod
    def _own_state(self) -> State:
        """Return what a run of this kind has beside its model and history."""

    @abstractmethod
    def _load_own(self, state: State) -> None:
        """Take it back from ``state``."""

    def resume(self, checkpoints: RunCheckpoints) -> None:
        """Continue where the newest checkpoint was taken, on all workers alike.

        The first worker chooses it: another one may meanwhile see a newer one, which a worker that
        was thought dead has just stored.
        """
        found = checkpoints.newest() if self._images.rank == 0 else None
        epoch = of_first_worker(None if found is None else found[0])
        if epoch is not None:
            self.load_state(checkpoints.load(epoch) if found is None else found[1])

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""
        return self._settings.last_epoch or self._config.epochs

    def is_shared(self, epoch: int) -> bool:
        """Return whether other runs begin with the state after ``epoch``."""
        return epoch == self._settings.shared_epoch

    def is_stored(self, epoch: int) -> bool:
        """Return whether the state after ``epoch`` is stored."""
        is_due = epoch % self._config.checkpoint_every == 0
        return is_due or self.is_shared(epoch) or epoch == self.num_epochs

    def report(self) -> SparsityReport:
        """Count zeros and MACs of the current weights, layer by layer."""
        return measure(self.model, self._example)

    def _begin_epoch(self) -> dict[str, float]:
        """Let the method prepare the next epoch; return its decays by kind of parameter."""
        self._started, epoch = time.monotonic(), len(self.history)
        self._hooks.before_epoch(epoch)
        self._decays = self._decays_of(epoch)
        return self._decays

    def _before_step(self, step: int) -> None:
        """Let the method prepare ``step`` of the epoch, from 0."""
        self._hooks.before_step(len(self.history) * self._steps + step)

    def _after_steps(self) -> None:
        """Let the method prepare the evaluation."""
        self._hooks.after_epoch(len(self.history) + 1)

    def _end_epoch(
        self,
        metrics: Mapping[str, float],
        *,
        train_loss: float | None,
        learning_rate: float,
        num_unreadable: int = 0,
    ) -> EpochMetrics:
        """Measure the network, and put the epoch into the history."""
        for name, value in metrics.items():
            self._check_finite(name, value)
        report = self.report()
        assert report.macs is not None
        assert report.dense_macs is not None
        self.thresholds = tuple(layer.threshold for layer in report.layers)
        epoch = EpochMetrics(
            epoch=len(self.history) + 1,
            train_loss=train_loss,
            task=dict(metrics),
            sparsity=report.sparsity,
            macs=report.macs,
            dense_macs=report.dense_macs,
            ranks=report.ranks,
            full_rank=report.full_rank,
            excess=self._excess(report),
            learning_rate=learning_rate,
            seconds=time.monotonic() - self._started,
            unreadable_images=num_unreadable,
            weight_decay=self._decays["weights"],
            threshold_decay=self._decays["thresholds"],
        )
        self.history.append(epoch)
        return epoch

    def _check_finite(self, which: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingDivergedError(
                f"the {which} became {value} in epoch {len(self.history) + 1}: lower {self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        return f"training.learning_rate (now {self._config.learning_rate:g})"

    def _made_hooks(self, experiment: Experiment) -> Hooks:
        method = experiment.sparsity
        if self._settings.is_dense and not method.needs_search:
            return Hooks()
        course = Course(
            epochs=self._config.epochs,
            steps_per_epoch=self._steps,
            example=self._example,
        )
        return method.hooks(self.model, self._settings, course)

    def _made_leader(self, experiment: Experiment) -> Leader | None:
        settings = self._settings
        if settings.lead is None:
            return None
        clock = ThresholdClock.of(experiment, self._steps, settings.onset)
        return leader_of(Law.of(experiment), settings.lead, clock, settings.first_decay)

    def _decays_of(self, epoch: int) -> dict[str, float]:
        settings = self._settings
        weights = settings.weight_decay
        acts = settings.acts_in(epoch) and self._has_thresholds
        thresholds = settings.first_decay if acts else 0.0
        if acts and self._leader is not None and self.history:
            thresholds = self._led_decay(self._leader)
            if settings.threshold_decay is None:
                weights = thresholds
        norms = weights if self._config.batch_norm_decay else 0.0
        return {"weights": weights, "thresholds": thresholds, "norms": norms}

    def _led_decay(self, leader: Leader) -> float:
        used = [metrics.threshold_decay for metrics in self.history]
        pruned = 1 - self._kept(leader.lead.quantity)
        return leader.next_decay(used, pruned, self.history[-1].excess)

    def _excess(self, report: SparsityReport) -> float:
        leader = self._leader
        if leader is None or not leader.counts_excess or leader.lead.quantity == "rank":
            return 0.0
        return report.excess(leader.lead.quantity)

    def _kept(self, quantity: Quantity) -> float:
        last = self.history[-1]
        if quantity == "rank":
            return sum(last.ranks.values()) / last.full_rank
        return 1 - last.sparsity if quantity == "sparsity" else last.macs / last.dense_macs
