"""Trainings of transformers' Trainer that several tests run. It is imported where transformers is there."""

from __future__ import annotations

import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tests.watching_loops import criterion, data, made


class Net(nn.Module):
    """A ranker that puts out its loss, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.inner = made()
        self.losses = []

    def forward(self, ids, labels=None):
        logits = self.inner(ids)
        if labels is None:
            return {"logits": logits}
        loss = criterion(logits, labels)
        if self.training:
            self.losses.append(loss.item())
        return {"loss": loss, "logits": logits}


class Summing(Net):
    """Divides by the number of rows of the whole step, where Trainer tells it: its losses add up."""

    accepts_loss_kwargs = True

    def forward(self, ids, labels=None, num_items_in_batch=None, **kwargs):
        found = super().forward(ids, labels)
        if num_items_in_batch is not None:
            found["loss"] = found["loss"] * len(ids) / num_items_in_batch
        return found


def rows(count, seed=0):
    return [{"ids": ids, "labels": label} for ids, label in zip(*data(count, seed=seed), strict=True)]


def trainer(folder, callbacks=(), model=Net, kind=Trainer, count=640, evaluated=None, extra=None, **settings):
    torch.manual_seed(0)
    settings = {
        "num_train_epochs": 3, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 4,
        "learning_rate": 0.01, "eval_strategy": "epoch", "save_strategy": "no", "logging_steps": 5, **settings,
    }  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(folder), report_to=[], disable_tqdm=True, use_cpu=True, lr_scheduler_type="constant", **settings
    )
    made = kind(
        model(),
        arguments,
        train_dataset=rows(count),
        eval_dataset=rows(128, 1) if evaluated is None else evaluated,
        callbacks=list(callbacks),
        **(extra or {}),
    )
    made.remove_callback(PrinterCallback)
    return made


def fit(folder, callbacks=(), **settings):
    made = trainer(folder, callbacks, **settings)
    made.train()
    return made.model
