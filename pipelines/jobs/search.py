"""The job of a search: one training run, judged by ratings that the proof does not use."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.data.ratings import load
from pipelines.output.tables import write_csv
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.trainers.factorization.loop import train

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> float:
    """Train on `seeds.diagnosis`, and return the best validation loss of all epochs. Test ratings are not read.

    Args:
        config: the composed config.
        task: not used: nothing is composed anew.
        sources: not used.
        folder: run folder; `config.yaml` and `learning_curve.csv` are written there.

    Raises:
        FlowGradError: bad config or data; a run that diverges before its first epoch ends.
    """
    check_settings(config)
    data = load(config)
    artifacts.begin(folder, config)
    trained = train(config, data, config.seeds.diagnosis)
    losses = trained.validation_losses
    curve = {"epoch": range(1, len(losses) + 1), "train_loss": trained.train_losses, "validation_loss": losses}
    write_csv(pd.DataFrame(curve), folder / "learning_curve.csv")
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        raise FlowGradError(f"seed {config.seeds.diagnosis} diverged in its first epoch")
    _logger.info("best validation loss %.6g after %d epochs", min(finite), 1 + losses.index(min(finite)))
    return min(finite)
