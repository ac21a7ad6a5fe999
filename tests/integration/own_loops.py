"""Training loops as their users would write them; a sweep calls them on Ray Train workers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader, DistributedSampler
from transformers import Trainer, TrainingArguments

import strsweep
from strsweep.callbacks import lightning, transformers

EPOCHS, BATCH = 20, 128


def plain(model: nn.Module, task: strsweep.Task, learning_rate: float = 2e-3) -> None:
    """Train on two workers, with AdamW and a cosine of its own."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = CosineAnnealingLR(optimizer, EPOCHS)
    sampler = DistributedSampler(task.train)
    batches = DataLoader(task.train, BATCH // dist.get_world_size(), sampler=sampler)
    run = strsweep.attach(model, optimizer, steps_per_epoch=len(batches), keep=[schedule])
    network = DistributedDataParallel(model)
    while run.goes_on:
        sampler.set_epoch(len(run.history))
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels, label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            run.step()
        schedule.step()
        run.epoch()


class LitDigits(pl.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Sequence[Tensor]) -> Tensor:
        return F.cross_entropy(self.model(batch[0]), batch[1], label_smoothing=0.1)

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LRScheduler]]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3)
        return [optimizer], [CosineAnnealingLR(optimizer, EPOCHS)]


def lit(model: nn.Module, task: strsweep.Task) -> None:
    trainer = pl.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        callbacks=[lightning.SparseTraining()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitDigits(model), DataLoader(task.train, BATCH, shuffle=True))


class WithLoss(nn.Module):
    """Returns what the trainer of transformers wants."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(images)
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=0.1), "logits": logits}


def together(samples: list[Any]) -> dict[str, Tensor]:
    images, labels = torch.utils.data.default_collate(samples)
    return {"images": images, "labels": labels}


def hugging_face(model: nn.Module, task: strsweep.Task) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH // 2,
            gradient_accumulation_steps=2,
            learning_rate=2e-3,
            lr_scheduler_type="cosine",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            WithLoss(model), arguments, data_collator=together, train_dataset=task.train
        )
        trainer.add_callback(transformers.SparseTraining("network"))
        trainer.train()
