"""Runs one seed: train once, and apply every arm to the model."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from torch import nn

from flowgrad.compression import Recipe
from flowgrad.errors import FlowGradError
from flowgrad.statistics import OBSERVATION_COLUMNS
from pipelines.jobs.compression.arms import DENSE, CompressionArm, recipe_of
from pipelines.jobs.compression.measuring import BYTES, LOSS, RATIO, measured
from pipelines.trainers.compressible import Compressible
from pipelines.trainers.evaluation import higher_is_better
from pipelines.trainers.trainer import Trained, trainer_of

PLANNING = "plan_seconds"


@dataclass(frozen=True)
class Task:
    """Work of one process."""

    config: DictConfig
    seed: int
    arms: tuple[CompressionArm, ...]
    """Arms to apply; the first is the dense model."""
    folder: str
    """Folder where files may be written; they are gone when it is done."""


@dataclass(frozen=True)
class Result:
    """Figures of one arm on one seed."""

    arm: CompressionArm
    seed: int
    figures: Mapping[str, float]
    """Figures by name; see `pipelines.jobs.compression.measuring.measured`."""
    planned_bytes: float
    """Size of the quantised model by the plan, in bytes; NaN where nothing is quantised."""


def trial(task: Task, data: Any) -> list[Result]:
    """Train by the seed, and return each arm's figures.

    Raises:
        FlowGradError: the training diverged, or a model that cannot be compressed; the message names the seed.
    """
    config, seed = task.config, task.seed
    trainer = trainer_of(config)
    rows = any(arm.kind == "rows" or "rows" in dict(arm.settings) for arm in task.arms)
    trained = trainer.train(data, seed, watched=rows)
    subject = trainer.compressible(trained, data, seed)
    check_trained(subject, seed)
    tables = table_names(subject)

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        return trainer.evaluate(replace(trained, model=model), data, seed).metrics

    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=task.folder, prefix=f".seed{seed}-") as place:
        for arm in task.arms:
            recipe, seconds = timed(arm, subject, tables, seed)
            found = measured(
                subject,
                recipe,
                evaluate,
                Path(place) / "model.fg",
                fine_tune=arm.fine_tune,
                repeats=config.job.repeats,
            )
            dense = results[0].figures[BYTES] if results else found[BYTES]
            found |= {RATIO: found[BYTES] / dense, PLANNING: seconds}
            plan = recipe.quantization
            results.append(Result(arm, seed, found, math.nan if plan is None else float(plan.size)))
    return results


def timed(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], seed: int) -> tuple[Recipe, float]:
    """Plan the arm's recipe, and measure the processor's seconds that it took, from nothing but the trained model;
    seconds of a clock would count the other processes in.

    Raises:
        FlowGradError: it cannot be planned; names the arm and the seed.
    """
    began = time.process_time()
    try:
        recipe = recipe_of(arm, subject, tables, seed)
    except FlowGradError as error:
        raise FlowGradError(f"seed {seed}, arm {arm.name}: {error}") from error
    return recipe, 0.0 if arm.kind == DENSE else time.process_time() - began


def check_trained(subject: Compressible, seed: int) -> None:
    """Refuse a model that is broken before anything is done to it.

    Raises:
        FlowGradError: its held-out loss is not finite.
    """
    loss = subject.held_out(subject.model)
    if not math.isfinite(loss):
        raise FlowGradError(
            f"seed {seed} diverged: the held-out loss of the uncompressed model is {loss}; train it with a smaller "
            "optimizer.lr first"
        )


def table_names(subject: Compressible) -> tuple[str, ...]:
    """Names of the weights of the tables that trackers watch."""
    names = {id(parameter): name for name, parameter in subject.model.named_parameters()}
    return tuple(names[id(tracker.layer.weight)] for tracker in subject.trackers)


def observations_of(results: list[Result], experiment: str) -> pd.DataFrame:
    """Table of one line an arm, seed and figure; columns `OBSERVATION_COLUMNS`."""
    rows = [
        (experiment, one.arm.name, one.seed, name, value, name in _metrics(one.figures) and higher_is_better(name))
        for one in results
        for name, value in one.figures.items()
    ]
    return pd.DataFrame(rows, columns=list(OBSERVATION_COLUMNS))


def metrics_of(results: list[Result]) -> list[str]:
    """Names of the trainer's own metrics."""
    return list(_metrics(results[0].figures))


def _metrics(figures: Mapping[str, float]) -> list[str]:
    names = list(figures)
    return names[names.index(LOSS) + 1 : names.index(BYTES)]


def trained_of(config: DictConfig, data: Any, seed: int) -> tuple[Trained, Compressible]:
    """Make a watched run, and the subject that plans are made of.

    Raises:
        FlowGradError: it diverged.
    """
    trainer = trainer_of(config)
    trained = trainer.train(data, seed, watched=True)
    subject = trainer.compressible(trained, data, seed)
    check_trained(subject, seed)
    return trained, subject
