"""Trainings of Lightning that several tests run. It is imported where Lightning is there."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.watching_loops import criterion, data, made

QUIET = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
}  # fmt: skip


class Module(pl.LightningModule):
    """A ranker within a module that is never called itself, as Lightning's users write it."""

    NAME = "val_loss"

    def __init__(self):
        super().__init__()
        self.inner = made()
        self.losses = []

    def training_step(self, batch, index):
        loss = criterion(self.inner(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        self.log(self.NAME, criterion(self.inner(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


class ByHand(Module):
    """Optimizes by hand, and returns nothing."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, index))
        optimizer.step()


class TwoByHand(ByHand):
    """Has an optimizer for the tables and one for the rest, each with a loss of its own."""

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(Module.training_step(self, batch, index))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), 0.01) for part in (self.inner.tables, self.inner.net)]


def loaders(rows=640, size=64):
    parts = [TensorDataset(*data(count, seed=seed)) for count, seed in ((rows, 0), (128, 1))]
    return [DataLoader(part, batch_size=size) for part in parts]


def fit(callbacks=(), module=Module, epochs=3, rows=640, checkpoint=None, **settings):
    torch.manual_seed(0)
    model = module()
    settings = {"enable_checkpointing": False, **QUIET, **settings}
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **settings)
    trainer.fit(model, *loaders(rows), ckpt_path=checkpoint)
    return model
