"""Let a Lightning trainer take the steps of a sweep's runs."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from strsweep.errors import SettingError
from strsweep.training.attached import AttachedRun, attach


class SparseTraining(pl.Callback):
    """Attaches the run to a Lightning module, moves its thresholds, and ends it with its epochs.

    A loop that ``training.loop`` names::

        def train(model, task):
            trainer = pl.Trainer(max_epochs=-1, callbacks=[SparseTraining()], logger=False)
            trainer.fit(MyModule(model), DataLoader(task.train, 64, shuffle=True))

    After every epoch the task evaluates the network. With several workers give the trainer the
    strategy, environment and plugins of ``ray.train.lightning``.

    Args:
        network: Attribute of the Lightning module that the experiment's model is.
    """

    run: AttachedRun

    def __init__(self, network: str = "model") -> None:
        self._network = network
        self._steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach, and load the newest checkpoint of the run.

        Raises:
            SettingError: There are several optimizers, or gradients are scaled for float16.
        """
        if len(trainer.optimizers) != 1:
            remedy = "A sparse run has one optimizer of the weights."
            raise SettingError("configure_optimizers()", len(trainer.optimizers), remedy)
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise SettingError("Trainer(precision=...)", trainer.precision, "Use bf16-mixed.")
        self._steps = trainer.global_step
        batches = int(trainer.num_training_batches)
        self.run = attach(
            pl_module.get_submodule(self._network),
            trainer.optimizers[0],
            steps_per_epoch=-(-batches // trainer.accumulate_grad_batches),
            keep=[config.scheduler for config in trainer.lr_scheduler_configs],
        )
        trainer.should_stop = not self.run.goes_on

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Move the thresholds wherever the optimizer took a step."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            self.run.step()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the epoch; end the training where the run ends."""
        trainer.should_stop = not self.run.epoch()
