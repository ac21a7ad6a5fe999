"""Let the trainer of Hugging Face's transformers take the steps of a sweep's runs."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from strsweep.errors import SettingError
from strsweep.training.attached import AttachedRun, attach


class SparseTraining(TrainerCallback):
    """Attaches the run to the trainer's model, moves its thresholds, and ends it with its epochs.

    A loop that ``training.loop`` names::

        def train(model, task):
            arguments = TrainingArguments(num_train_epochs=30, save_strategy="no", report_to=[])
            trainer = Trainer(model, arguments, train_dataset=task.train)
            trainer.add_callback(SparseTraining())
            trainer.train()

    After every epoch the task evaluates the network.

    Args:
        network: Submodule of the trainer's model that the experiment's model is; all of it by
            default.
    """

    run: AttachedRun

    def __init__(self, network: str = "") -> None:
        self._network = network

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Attach, and load the newest checkpoint of the run.

        Raises:
            SettingError: Gradients are scaled for float16.
        """
        if args.fp16:
            raise SettingError("TrainingArguments(fp16=...)", True, "Use bf16.")
        model: nn.Module = given["model"]
        batches = len(given["train_dataloader"])
        self.run = attach(
            model.get_submodule(self._network),
            given["optimizer"],
            steps_per_epoch=-(-batches // args.gradient_accumulation_steps),
            keep=[given["lr_scheduler"]],
        )
        control.should_training_stop = not self.run.goes_on

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Move the thresholds."""
        self.run.step()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the epoch; end the training where the run ends."""
        control.should_training_stop = not self.run.epoch()
