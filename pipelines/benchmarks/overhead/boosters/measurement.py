"""Makes one comparison: bare and watched trainings of a booster, in turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from pipelines.benchmarks.overhead.boosters.turns import BoosterArm, Turns, alternating, in_turns
from pipelines.benchmarks.overhead.boosters.watchers import Timed, watcher
from pipelines.config.targets import target
from pipelines.trainers.boosting.trainer import Boosting


@dataclass(frozen=True)
class BoosterCase:
    """Trainings of one length."""

    id: str
    rounds: int
    trainings: int
    """Number of trainings of each arm; the peer has a number of its own."""


@dataclass(frozen=True)
class BoosterPlan:
    """Everything that a comparison depends on; it is sent to a process of its own."""

    config: DictConfig
    """Config of the booster and its table; its number of rounds and its early stopping are set by the case."""
    case: BoosterCase
    watcher: str
    """Name of the watcher: `tracker`, `peer`, or `none` for a control: two bare arms."""
    trainings: int
    """Number of trainings of each arm."""
    block: int
    """Number of rounds of one arm before the other has its turn."""


@dataclass(frozen=True)
class Measured:
    """Figures of a comparison."""

    bare_ms: tuple[float, ...]
    """Milliseconds per round, one figure a block."""
    watched_ms: tuple[float, ...]
    """Milliseconds per round of the watched arm, paired with `bare_ms`."""
    cpu_ratio: float
    """Ratio of all CPU time of the watched trainings to that of the bare ones."""
    own_ms: float
    """CPU time in the watcher's callbacks, in milliseconds per round."""
    growth: float
    """Exponent of that time over the rounds, from a quarter of the rounds to all; NaN where there is no watcher."""
    rows: int
    """Number of rows trained on."""
    columns: int
    identical: bool
    """Whether all boosters of both arms hold the same bytes."""


def measure(plan: BoosterPlan) -> Measured:
    """Run the comparison in this process."""
    trainer, seed = Boosting(plan.config), plan.config.seeds.diagnosis
    train, validation, _ = trainer.load().parts(seed)
    library = target(plan.config, "model")()

    def training(rounds: int, *watching: Any) -> bytes:
        settings = OmegaConf.merge(plan.config, {"model": {"rounds": rounds, "early_stopping_rounds": 0}})
        return content(library.train(settings, train, validation, seed, None, watching).booster)

    training(plan.block)  # work that is done once a process is done now
    times: tuple[list[float], list[float]] = ([], [])
    contents, by_round, outside, cpu = set(), np.zeros(1), 0.0, [0.0, 0.0]
    for _ in range(plan.trainings):
        watching = [] if plan.watcher == "none" else [Timed(watcher(plan.watcher, plan.config.tracker.window))]
        arms, found = _one_pair(partial(training, plan.case.rounds), watching, plan)
        for number, arm in enumerate(arms):
            times[number].extend(seconds / plan.block * 1e3 for seconds in arm.seconds)
            cpu[number] += sum(arm.cpu_seconds)
        contents |= set(found)
        by_round = by_round + sum(np.array(one.rounds) for one in watching)
        outside += sum(sum(one.outside) for one in watching)
    return Measured(
        bare_ms=tuple(times[0]),
        watched_ms=tuple(times[1]),
        cpu_ratio=cpu[1] / cpu[0],
        own_ms=float(by_round.sum() + outside) / (plan.trainings * plan.case.rounds) * 1e3,
        growth=growth(by_round),
        rows=len(train.target),
        columns=train.features.shape[1],
        identical=len(contents) == 1,
    )


def growth(by_round: NDArray[np.float64]) -> float:
    """Exponent of the time of all rounds over their number, from a quarter of them to all; NaN where that took none.

    Args:
        by_round: time of each, shape (rounds,).

    >>> growth(np.ones(100)), round(growth(np.arange(1.0, 10001)), 3)
    (1.0, 2.0)
    """
    early = len(by_round) // 4
    if not by_round[:early].sum() > 0:
        return math.nan
    return math.log(by_round.sum() / by_round[:early].sum()) / math.log(len(by_round) / early)


def content(booster: Any) -> bytes:
    """Content of the booster as bytes, as its library writes it."""
    if hasattr(booster, "save_raw"):
        return bytes(booster.save_raw("ubj"))
    return booster.model_to_string().encode()


def _one_pair(
    training: Callable[..., bytes], watching: list[Any], plan: BoosterPlan
) -> tuple[list[BoosterArm], list[bytes]]:
    """Run a bare training and a watched one."""
    turns = Turns(alternating(plan.case.rounds // plan.block))
    arms = [BoosterArm(turns, number, plan.case.rounds, plan.block) for number in range(2)]
    bare, watched = arms
    found = in_turns(
        [
            partial(training, bare.opening, bare.closing),
            partial(training, watched.opening, *watching, watched.closing),
        ],
        turns,
    )
    return arms, found
