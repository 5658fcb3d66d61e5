"""Leaves out of a prescription what does not earn its place on validation data, before the proof.

Backward elimination: each override, and all overrides of one rule together, are left out of what is kept. The largest
part without which no more than `pruning.margin` of the gain is lost is dropped, and the rest is tried again, until
nothing can go. Losses are counted from the whole prescription, so that small ones do not add up unseen. It is a choice
and no proof: the proof follows on seeds and rows that had no part in it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.report import OverrideAblation
from flowgrad.statistics import OBSERVATION_COLUMNS, Ablation, ablation, arms_test, mean_gain
from pipelines.config.command_line import one_line
from pipelines.config.compose import key_of, treated
from pipelines.stages.check import check_settings
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.experiment import Experiment
from pipelines.stages.parallel import outcomes
from pipelines.trainers.trainer import Dataset, trainer_of

KEPT, DROPPED = "kept", "dropped"
"""Outcomes of leaving a part out."""
EVERYTHING, NOTHING = "stacked", "baseline"
"""Arms of the whole prescription, and of none of it."""
_Paths = tuple[str, ...]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Overrides that were left out together; each field but the last two is a column of `shares.csv`."""

    overrides: str
    """The overrides, separated by spaces."""
    rules: str
    """Ids of the rules behind them, separated by spaces."""
    left_out_of: str
    """Arm that they were left out of."""
    arm: str
    """Arm without them."""
    outcome: str
    because: str
    """The reason, where none was measured: the config is refused without them, or validation rows cannot tell."""
    lost: float
    """Share of the gain that is lost without them and without all that was dropped before."""
    paths: _Paths
    found: Ablation | None


@dataclass(frozen=True)
class Pruned:
    """Outcome of leaving overrides out."""

    kept: tuple[str, ...]
    """Overrides that stay, in the order in which they were prescribed."""
    dropped: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    """Every part that was left out, in the order tried; of an override the last one decides."""
    metric: str = ""
    observations: pd.DataFrame | None = None
    """Values of every run on the validation rows; columns `OBSERVATION_COLUMNS`."""
    reason: str = ""
    """The reason why nothing was left out, where nothing was tried."""

    def of(self, path: str) -> Part | None:
        """The last test of one override by itself; None where there was none."""
        return next((part for part in reversed(self.parts) if path in part.paths and _decides(part)), None)

    def ablations(self, observations_sha256: str) -> dict[str, OverrideAblation]:
        """Make the test of each override as a report carries it, by the override."""
        return {
            override: OverrideAblation(
                part.outcome, part.arm, part.left_out_of, observations_sha256=observations_sha256, because=part.because,
                **({} if part.found is None else {"metric": self.metric, **_told(part.found)}),
            )
            for override in (*self.kept, *self.dropped)
            if (part := self.of(key_of(override))) is not None
        }  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Make the table of all parts that were left out."""
        figures = list(Ablation.__dataclass_fields__)
        lines = []
        for part in self.parts:
            found = dict.fromkeys(figures, math.nan) if part.found is None else asdict(part.found)
            told = {name: value for name, value in vars(part).items() if name not in ("paths", "found")}
            lines.append({"overrides": told.pop("overrides"), "outcome": told.pop("outcome"), "metric": self.metric}
                         | found | told)  # fmt: skip
        return pd.DataFrame(lines)


def _told(found: Ablation) -> dict[str, Any]:
    """Figures of a test that a report carries."""
    named = ("n", "loss", "ci_low", "ci_high", "p", "share", "share_low", "share_high")
    return {name: getattr(found, name) for name in named}


def _decides(part: Part) -> bool:
    """Whether the part says of each of its overrides what became of it."""
    return len(part.paths) == 1 or part.outcome == DROPPED


def stacked(diagnoses: Sequence[Diagnosis]) -> dict[str, str]:
    """Overrides of all rounds by path; of one that several rounds set, the last."""
    found: dict[str, str] = {}
    for diagnosis in diagnoses[:-1]:
        found |= {key_of(override): override for override in diagnosis.prescription.overrides}
    return found


def prune(
    diagnoses: Sequence[Diagnosis],
    workers: Callable[[int], int],
    on_run: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Leave out what does not earn its place.

    Args:
        diagnoses: of the rounds; the last is of the treated config.
        workers: number of processes for so many runs.
        on_run: called with the number of runs that are planned, and with 0 after each.

    Returns:
        What is kept; everything where the config asks for no pruning, there is one override alone, validation rows
        cannot tell, or no gain is seen on them.
    """
    first = diagnoses[0]
    config, overrides = first.config, stacked(diagnoses)
    whole = Pruned(tuple(overrides.values()))
    data = first.experiment.trainer.validating(first.experiment.data)
    fixed = tuple(path for path in overrides if path.startswith(first.experiment.trainer.UNJUDGED))
    if not config.pruning.enabled or config.trial or len(overrides) < 2 or len(overrides) == len(fixed):
        return whole
    if data is None:
        return replace(whole, reason="this training has no validation rows that are known here")
    trials = _Trials(first.experiment, overrides, data, workers, on_run)
    return _Pruning(trials, _rules(diagnoses, overrides), fixed, whole).run()


def _rules(diagnoses: Sequence[Diagnosis], overrides: Mapping[str, str]) -> dict[str, list[str]]:
    """Paths that each rule set last, by round and rule, so that a rule that fired twice counts for each."""
    last: dict[str, list[str]] = {}
    for diagnosis in diagnoses[:-1]:
        for rule, changes in diagnosis.prescription.by_rule.items():
            for change in changes:
                if overrides.get(change.path) == f"{change.path}={change.value}":
                    last.setdefault(change.path, []).append(rule)
    return last


class _Trials:
    """Trains sets of overrides on the seeds of pruning, each once, and judges them by validation rows."""

    def __init__(
        self,
        experiment: Experiment,
        overrides: Mapping[str, str],
        data: Dataset,
        workers: Callable[[int], int],
        on_run: Callable[[int], None],
    ) -> None:
        self.config, self.overrides = experiment.config, overrides
        self.metric = str(self.config.comparison.metrics[0])
        self.better = experiment.trainer.higher_is_better(self.metric)
        self.seeds = list(self.config.seeds.pruning)
        self.refused: dict[_Paths, str] = {}
        """Reason why the config without the other overrides cannot be run."""
        self.arms: dict[_Paths, str] = {}
        self._task, self._data, self._workers, self._on_run = experiment.overrides, data, workers, on_run
        self._values: dict[_Paths, list[float]] = {}
        self._lines: list[tuple[str, str, int, str, float, bool]] = []

    def train(self, named: Mapping[_Paths, str]) -> None:
        """Train those of these sets that were not trained yet; each has the name of its arm."""
        configs = {}
        for paths, arm in named.items():
            if paths not in self._values and paths not in self.refused:
                self.arms[paths] = arm
                try:
                    configs[paths] = self._composed(paths)
                except (FlowGradError, HydraException, OmegaConfBaseException) as error:
                    self.refused[paths] = one_line(error)
        runs = [(config, seed) for config in configs.values() for seed in self.seeds]
        self._on_run(len(runs))
        results = outcomes(runs, self._data, self._workers(len(runs)))
        for paths in configs:
            self._values[paths] = []
            for seed, outcome in zip(self.seeds, results, strict=False):
                self._on_run(0)
                self._values[paths].append(outcome.metrics[self.metric])
                self._lines += [
                    (self.config.name, self.arms[paths], seed, name, value, self.better)
                    for name, value in outcome.metrics.items()
                    if name == self.metric
                ]

    def _composed(self, paths: _Paths) -> DictConfig:
        changed = treated(self.config, self._task, [self.overrides[path] for path in paths]) if paths else self.config
        check_settings(changed)
        trainer_of(changed).check_data(self._data)
        return changed

    def of(self, paths: _Paths) -> list[float]:
        """Values of the metric, one a seed."""
        return self._values[paths]

    def observations(self) -> pd.DataFrame:
        """Make the table of all values."""
        return pd.DataFrame(self._lines, columns=list(OBSERVATION_COLUMNS))


class _Pruning:
    """Backward elimination over the trials."""

    def __init__(self, trials: _Trials, rules: Mapping[str, Sequence[str]], fixed: _Paths, whole: Pruned) -> None:
        self._trials, self._rules, self._fixed, self._whole = trials, rules, fixed, whole
        self._all: _Paths = tuple(trials.overrides)
        self._parts: list[Part] = []

    def run(self) -> Pruned:
        trials, settings = self._trials, self._trials.config.comparison
        trials.train({self._fixed: NOTHING, self._all: EVERYTHING})
        before, after = trials.of(self._fixed), trials.of(self._all)
        told = replace(self._whole, metric=trials.metric, observations=trials.observations())
        if not np.isfinite([before, after]).all():
            return replace(told, reason=f"{trials.metric} is not finite on every seed before or after the change")
        gain = arms_test(
            before, after, metric=trials.metric, higher_is_better=trials.better, alpha=settings.alpha,
            overlap=settings.overlap,
        )  # fmt: skip
        if gain.verdict != "confirmed":
            return replace(told, reason="on validation data no gain is seen that could be shared out")
        self._gain = mean_gain(before, after, higher_is_better=trials.better)
        kept = self._all
        while (left := self._passed(kept)) != kept:
            kept = left
        return replace(
            told,
            kept=tuple(trials.overrides[path] for path in kept),
            dropped=tuple(trials.overrides[path] for path in self._all if path not in kept),
            parts=(*self._parts, *self._unjudged()),
            observations=trials.observations(),
        )

    def _passed(self, kept: _Paths) -> _Paths:
        """Leave each part out once; return what is kept after that."""
        if len(kept) - len(self._fixed) < 2:
            self._parts += [self._tried(kept, kept[:1])] if kept and not self._fixed else []
            return kept
        units = list(self._units(kept))
        self._trials.train({_minus(kept, unit): self._arm(_minus(kept, unit)) for unit in units})
        found = [self._tried(kept, unit) for unit in units]
        fitting = sorted((part for part in found if part.outcome == DROPPED), key=lambda p: (-len(p.paths), p.lost))
        self._parts += [part for part in found if part.outcome == KEPT]
        left = kept
        for part in fitting:
            if not set(part.paths) <= set(left) or len(left) - len(part.paths) <= len(self._fixed):
                continue
            if left != kept:
                rest = _minus(left, part.paths)
                self._trials.train({rest: self._arm(rest)})
                part = self._tried(left, part.paths)
            self._parts.append(part)
            if part.outcome == DROPPED:
                left = _minus(left, part.paths)
                _logger.info("left out: %s (%.3g of the gain lost in all)", part.overrides, part.lost)
        return left

    def _units(self, kept: _Paths) -> Iterator[_Paths]:
        """Yield each override that is kept, and those of one rule together where they are several and not all."""
        free = [path for path in kept if path not in self._fixed]
        yield from ((path,) for path in free)
        groups = {rule: tuple(p for p in free if rule in self._rules.get(p, ())) for path in free
                  for rule in self._rules.get(path, ())}  # fmt: skip
        yield from dict.fromkeys(group for group in groups.values() if 1 < len(group) < len(free))

    def _arm(self, paths: _Paths) -> str:
        return "without " + " ".join(path for path in self._all if path not in paths)

    def _tried(self, kept: _Paths, unit: _Paths) -> Part:
        """Test a part by what is kept with it and without it."""
        trials, settings, rest = self._trials, self._trials.config.comparison, _minus(kept, unit)
        rules = dict.fromkeys(rule for path in unit for rule in self._rules.get(path, ()))
        part = Part(
            " ".join(trials.overrides[path] for path in unit), " ".join(rules), trials.arms[kept], trials.arms[rest],
            KEPT, "", math.nan, unit, None,
        )  # fmt: skip
        if rest in trials.refused:
            return replace(part, because=f"without it the config is refused: {trials.refused[rest]}")
        found = ablation(
            trials.of(rest), trials.of(kept), self._gain, metric=trials.metric, higher_is_better=trials.better,
            alpha=settings.alpha, overlap=settings.overlap,
        )  # fmt: skip
        with np.errstate(invalid="ignore"):
            lost = mean_gain(trials.of(rest), trials.of(self._all), higher_is_better=trials.better) / self._gain
        lost = lost if np.isfinite(trials.of(rest)).all() else math.inf
        outcome = DROPPED if lost <= trials.config.pruning.margin else KEPT
        return replace(part, found=found, lost=lost, outcome=outcome)

    def _unjudged(self) -> list[Part]:
        because = "validation rows cannot tell: what speaks against it flatters them too"
        return [
            Part(self._trials.overrides[path], " ".join(self._rules.get(path, ())), EVERYTHING, "", KEPT, because,
                 math.nan, (path,), None)
            for path in self._fixed
        ]  # fmt: skip


def _minus(kept: _Paths, unit: _Paths) -> _Paths:
    return tuple(path for path in kept if path not in unit)
