"""A LightningModule whose parts are called within `training_step`, and Lightning's Trainer."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Ranker(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.users, self.head = nn.Embedding(50, 8), nn.Linear(8, 1)

    def training_step(self, batch, index):
        ids, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(self.head(self.users(ids)).squeeze(1), labels)

    def validation_step(self, batch, index):
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def main():
    pl.seed_everything(0, verbose=False)
    ids = torch.randint(50, (512,))
    loader = DataLoader(TensorDataset(ids, (ids < 25).float()), batch_size=64)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    pl.Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, **quiet).fit(Ranker(), loader, loader)


if __name__ == "__main__":
    main()
