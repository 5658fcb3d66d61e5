"""Studies one model: it is trained, asked by every score, and compressed in every way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.recipes import plan_recipe
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from pipelines.benchmarks.compression.held_out import HeldOut
from pipelines.benchmarks.compression.plans import mixed_lines, plan_table, pruning_lines, row_lines
from pipelines.benchmarks.compression.singles import pruned_alone, rounded_alone
from pipelines.benchmarks.compression.watching import Watching
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.trainers.compressible import Compressible
from pipelines.trainers.trainer import trainer_of

TIMED: dict[str, Any] = {"sparsity": 0.8, "bits": 4}
"""Recipe whose planning is timed: analyzers made, scores compared, plans made."""


@dataclass(frozen=True)
class Study:
    """One training run to compress."""

    setting: str
    seed: int
    config: DictConfig
    peer: bool
    """Whether the peer watches too."""


@dataclass(frozen=True)
class StudyResult:
    """Outcome of one study."""

    singles: pd.DataFrame
    """Table of one line a layer compressed alone: what, layer, level, by, truth, and a column a score."""
    plans: pd.DataFrame
    """Table of one line a plan: what, level, score, rise."""
    loss: float
    """Held-out loss of the model as it was trained."""
    weights: int
    seconds: float
    """Seconds that planning took."""
    peer_error: str
    """Error that the peer raised."""


def study(run: Study, data: Datasets) -> StudyResult:
    """Train, and compress in every way."""
    trainer, own = trainer_of(run.config), data.of(run.config)
    watching = Watching(peer=run.peer)
    trained = trainer.train(own, run.seed, watched=True, observers=watching)
    subject = trainer.compressible(trained, own, run.seed)
    truth = HeldOut(subject)
    seconds = _planning_seconds(subject, watching)
    given: dict[str, Any] = {"calibration": subject.calibration, "squares": watching.squares}
    analyzer = SaliencyAnalyzer(subject.source, subject.optimizer, **given)
    advisor = QuantizationAdvisor(subject.source, subject.optimizer, **given)
    weights = {
        name: parameter.detach().float().cpu().numpy().copy() for name, parameter in subject.model.named_parameters()
    }
    advice = None
    if watching.peer is not None:
        from pipelines.benchmarks.gradtracer.compression import compression_advice

        advice = compression_advice(watching.peer)
    singles = [
        rounded_alone(advisor, weights, truth, advice),
        pruned_alone(analyzer, weights, truth, advice),
    ]
    plans = plan_table(
        line
        for lines in (
            pruning_lines(analyzer, subject, truth, watching.peer, run.seed),
            mixed_lines(advisor, weights, truth, advice),
            row_lines(analyzer, subject, truth, run.seed),
        )
        for line in lines
    )
    return StudyResult(
        pd.concat(singles, ignore_index=True),
        plans,
        truth.loss,
        sum(values.size for values in weights.values()),
        seconds,
        "" if advice is None else advice.error,
    )


def _planning_seconds(subject: Compressible, watching: Watching) -> float:
    """Processor seconds of planning; those of a clock would count the other processes in."""
    began = time.process_time()
    plan_recipe(
        subject.source,
        subject.optimizer,
        calibration=subject.calibration,
        squares=watching.squares,
        trackers=subject.trackers,
        **TIMED,
    )
    return time.process_time() - began
