"""Types of the loss and the loop of ranking models; each model has its settings beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import MISSING

from pipelines.config.schema.limits import COUNT, FROM_0, FROM_0_TO_1, POSITIVE, SCALE, TIMES, Limit
from pipelines.config.schema.training import LossSettings, TrainingSettings


@dataclass
class RankingLossSettings(LossSettings):
    """A loss that compares each target with other items."""

    temperature: Annotated[float, POSITIVE] = 1.0
    """Number that scores are divided by."""
    logq: Annotated[float, FROM_0_TO_1] = 0.0
    """Strength of the log-Q correction, in [0, 1]: this times the log share of the training events that an item has is
    taken from its score in training.
    """
    negatives: Annotated[int, FROM_0] = 0
    """Number of items that each batch draws evenly from the catalogue to compare with; losses that draw any only."""
    hard: Annotated[int, FROM_0] = 0
    """Number of the highest-scored negatives that are kept of each example; 0: all."""
    mask_positives: bool = False
    """Whether items that the user met in training are left out of the negatives."""
    l2: Annotated[float, SCALE] = 0.0
    """Strength of the penalty: squared length of both vectors of each example, averaged over the batch."""


@dataclass
class RankingLoopSettings(TrainingSettings):
    """Epochs of a ranking model."""

    _target_: str = "pipelines.trainers.ranking.trainer.Ranking"
    epochs: Annotated[int, TIMES] = MISSING
    """Number of epochs, at most; sweeps of a model that is solved for."""
    batch_size: Annotated[int, COUNT] = MISSING
    """Number of examples of a batch: events, or windows of a user's events."""
    early_stopping: bool = False
    """Whether training stops when NDCG on the validation events has not improved for `patience` epochs, and the best
    weights are kept.
    """
    patience: Annotated[int, TIMES] = 5
    """Number of epochs without a better NDCG after which it stops."""
    clip_norm: Annotated[float | None, Limit(above=0, most=1e30)] = None
    """Largest norm of the whole gradient; null: as it comes."""
    cutoff: Annotated[int, TIMES] = 10
    """Rank k of the metrics."""
    repeats: bool = False
    """Whether an item that a user has met may be recommended again, as destinations are; else it is no candidate."""
    serve_cold: bool = True
    """Whether items without a training event may be recommended."""
