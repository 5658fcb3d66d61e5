"""Trains configs on seeds, unwatched, and evaluates each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from flowgrad import exits
from pipelines.stages.endings import ending_sooner, run_of
from pipelines.stages.parallel import Pool

if TYPE_CHECKING:  # of torch, which a process imports when it trains
    from flowgrad.report import Treated
    from pipelines.trainers.trainer import Dataset, Trained, Trainer


@dataclass(frozen=True)
class Outcome:
    """Outcome of one run of the proof."""

    metrics: dict[str, float]
    """Metrics on the test ratings, by name."""
    by_user: tuple[float, ...]
    """First of the metrics by user."""
    validation_losses: tuple[float, ...]
    """Validation loss of each epoch."""
    treated: tuple[Treated, ...] = ()
    """Changes that findings made while it trained."""
    steps: int = 0
    """Number of optimizer steps, or rounds."""
    failure: str = ""
    """The reason why the run gave no result, `Evaluation.failure`."""


_Stack = Callable[[], list[list[Outcome | None]]]
"""A call that waits for a stack. Of each seed it gives the outcome, and those of the runs that end sooner: None where
the run did not go as far.
"""


def _only(data: Dataset, config: DictConfig) -> Dataset:
    return data


class Runs:
    """Runs of configs on seeds. Those that are begun are trained in the background until their outcomes are asked for.
    Seeds of one config are trained in stacks where its trainer has any, which do not depend on the processes.
    """

    def __init__(
        self,
        data: Any,
        of: Callable[[Any, DictConfig], Dataset] = _only,
        *,
        stacks: bool = True,
        baseline: DictConfig | None = None,
    ) -> None:
        """Keep the data; no process is started yet.

        Args:
            data: what each process is sent.
            of: finds the data of a config in `data`.
            stacks: whether seeds may be trained together, which rounds otherwise than one alone.
            baseline: the config that the others are changed from. A run that differs from one that was begun before by
                its earlier ending alone, the baseline's, is part of that one, and is not made again.
        """
        self._data, self._of, self._stacks, self._ahead = data, of, stacks, False
        self._baseline = baseline
        self._pool: Pool | None = None
        self._starter = self
        """Runs whose processes these are."""
        self._begun: dict[tuple[int, tuple[int, ...]], tuple[DictConfig, list[Callable[[], list[Outcome]]]]] = {}
        self._parts: list[tuple[dict[str, Any], tuple[int, ...], int, list[_Stack]]] = []
        """Runs that those begun make: settings, seeds, and the place of the outcomes in those of each stack."""

    def seeing(self, of: Callable[[Any, DictConfig], Dataset]) -> Runs:
        """Make runs by the same processes, on what `of` finds in the data. They go ahead of those that wait; closing
        them ends no process.
        """
        runs = Runs(self._data, of, stacks=self._stacks, baseline=self._baseline)
        runs._starter, runs._ahead = self._starter, True
        return runs

    def start(self, workers: int) -> None:
        """Start the processes, once, if more than one is to be had. Without them, runs are made when they are asked
        for.
        """
        starter = self._starter
        if starter._pool is None and workers > 1:
            starter._pool = Pool(workers, self._data)

    def begin(self, config: DictConfig, seeds: Sequence[int]) -> None:
        """Have the processes, if there are any, train and evaluate the config on the seeds; once, however often."""
        if self._starter._pool is not None:
            self._waiting(self._starter._pool, config, seeds)

    def outcomes(self, config: DictConfig, seeds: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes on the seeds, in their order.

        Raises:
            FlowGradError: a process was killed, as a system short of memory does.
            Exception: the error of the first run that failed.
        """
        for result in self._waiting(self._starter._pool or Pool(1, self._data), config, seeds):
            exits.raise_again()
            yield from result()

    def close(self) -> None:
        """End the processes, whatever they do."""
        if self._pool is not None:
            self._pool.close()

    def _waiting(self, pool: Pool, config: DictConfig, seeds: Sequence[int]) -> list[Callable[[], list[Outcome]]]:
        """Calls that wait for the outcomes of each stack."""
        key = id(config), tuple(seeds)
        if key not in self._begun:
            own = self._of(self._data, config)
            stacks = divided(config, seeds, own) if self._stacks else [[seed] for seed in seeds]
            waiting = self._within_others(pool, config, stacks) or [
                partial(_outcomes, stack, 0) for stack in self._new(pool, config, stacks)
            ]
            self._begun[key] = config, waiting  # the config is kept, so that its id stays its own
        return self._begun[key][1]

    def _new(self, pool: Pool, config: DictConfig, stacks: Sequence[Sequence[int]]) -> list[_Stack]:
        """Begin runs, and note which others they make."""
        sooner = [] if self._baseline is None else ending_sooner(config, self._baseline)
        made: list[_Stack] = [
            cache(pool.begin(_trained, (config, stack, self._of, sooner), ahead=self._ahead)) for stack in stacks
        ]
        if self._baseline is not None:
            seeds = tuple(seed for stack in stacks for seed in stack)
            self._parts += [(run_of(one), seeds, place, made) for place, one in enumerate([config, *sooner])]
        return made

    def _within_others(
        self, pool: Pool, config: DictConfig, stacks: Sequence[Sequence[int]]
    ) -> list[Callable[[], list[Outcome]]]:
        """Calls for outcomes that other runs make; none where none do. What they did not go far enough for is made."""
        wanted = (run_of(config), tuple(seed for stack in stacks for seed in stack)) if self._parts else None
        for settings, seeds, place, made in self._parts:
            if (settings, seeds) == wanted:
                return [
                    partial(_outcomes, one, place, partial(self._new, pool, config, [stack]))
                    for one, stack in zip(made, stacks, strict=True)
                ]
        return []


def divided(config: DictConfig, seeds: Sequence[int], data: Dataset) -> list[list[int]]:
    """Divide the seeds into as few stacks as its trainer allows, of about the same size."""
    from pipelines.trainers.trainer import trainer_of

    count = math.ceil(len(seeds) / trainer_of(config).stack_size(data))
    ends = [len(seeds) * place // count for place in range(count + 1)]
    return [list(seeds[start:end]) for start, end in pairwise(ends)]


def _outcomes(stack: _Stack, place: int, instead: Callable[[], list[_Stack]] | None = None) -> list[Outcome]:
    """Outcomes at a place of each seed's; those of another stack where one is missing."""
    found = [outcomes[place] for outcomes in stack()]
    whole = [outcome for outcome in found if outcome is not None]
    if len(whole) < len(found):
        assert instead is not None
        (other,) = instead()
        return _outcomes(other, 0)
    return whole


def _trained(
    stack: tuple[DictConfig, Sequence[int], Callable[[Any, DictConfig], Dataset], Sequence[DictConfig]], data: Any
) -> list[list[Outcome | None]]:
    """Train and evaluate the seeds of a stack, and the runs that end sooner."""
    from pipelines.trainers.trainer import trainer_of

    config, seeds, of, sooner = stack
    trainer, own = trainer_of(config), of(data, config)
    found = []
    for seed, trained in zip(seeds, trainer.train_stack(own, seeds, sooner), strict=True):
        others = trained.sooner or [None] * len(sooner)
        made = (trained, *others)
        found.append([None if one is None else _outcome(trainer, one, own, seed) for one in made])
    return found


def _outcome(trainer: Trainer, trained: Trained, data: Dataset, seed: int) -> Outcome:
    seen = trainer.evaluate(trained, data, seed)
    return Outcome(seen.metrics, seen.by_user, trained.validation_losses, trained.treated, trained.steps, seen.failure)
