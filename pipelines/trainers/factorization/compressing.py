"""Makes a trained factorisation the subject of compression."""

from __future__ import annotations

from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad.compression.planning.calibration import Calibration
from pipelines.data.ratings import Data, Examples
from pipelines.trainers.compressible import Compressible, split_batches
from pipelines.trainers.factorization.loop import fine_tune, loss_of
from pipelines.trainers.trainer import Trained


def compressible(config: DictConfig, trained: Trained, data: Data, seed: int) -> Compressible:
    """Make the subject of compression of a model of ratings; see `Program.compressible`."""
    loss, test = loss_of(config, data), data.test
    return Compressible(
        trained.model.eval(),
        trained.optimizer,
        Calibration(split_batches(len(data.validation), data.validation.__getitem__), _scores, _squared_error),
        partial(loss.held_out, examples=test),
        lambda model: model(test.users, test.items),
        partial(fine_tune, config, data, seed),
        trackers=tuple(trained.trackers),
    )


def _scores(model: nn.Module, batch: Examples) -> Tensor:
    scores: Tensor = model(batch.users, batch.items)
    return scores


def _squared_error(scores: Tensor, batch: Examples) -> Tensor:
    return torch.nn.functional.mse_loss(scores, batch.ratings)
