"""Sends figures, findings and reports to experiment trackers: TensorBoard, MLflow, Weights & Biases. Each package is an
extra of its name, and is imported when its logger is made.
"""

from __future__ import annotations

from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.loggers.base import Guarded, Logger, LoggerMissingError
from flowgrad.loggers.mlflow import MLflowLogger
from flowgrad.loggers.tensorboard import TensorBoardLogger
from flowgrad.loggers.wandb import WandbLogger

__all__ = ["Guarded", "Logger", "LoggerMissingError", "MLflowLogger", "TensorBoardLogger", "WandbLogger", "logger_of"]


def logger_of(writer: Any) -> Logger:
    """Make the logger for what the user already writes to, which stays open.

    Args:
        writer: a `Logger`, a `SummaryWriter`, the run that `wandb.init` gave, or MLflow's: the run that
            `mlflow.start_run` gave.

    Raises:
        FlowGradError: something else.
    """
    if isinstance(writer, Logger):
        return writer
    if hasattr(writer, "add_scalar") and hasattr(writer, "add_text"):
        return TensorBoardLogger(writer=writer)
    if hasattr(writer, "log") and hasattr(writer, "define_metric"):
        return WandbLogger(run=writer)
    if hasattr(getattr(writer, "info", None), "run_id"):
        return MLflowLogger(run_id=writer.info.run_id)
    raise FlowGradError(
        f"{type(writer).__module__}.{type(writer).__name__} is no logger; give a SummaryWriter, the run of wandb.init, "
        "or the run of mlflow.start_run"
    )
