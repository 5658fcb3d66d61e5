"""Leaves out of a prescription what does not earn its place on validation data, before the proof.

Backward elimination: each override is left out of what is kept, and where none can go, all overrides of one rule
together. Parts without which no more than `pruning.margin` of the gain is lost are dropped, the one that costs least
first, and the rest is tried again, until nothing can go. Losses are counted from the whole prescription, so that small
ones do not add up unseen. This chooses, and proves nothing: the proof follows, on seeds and rows without a part in it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from flowgrad.statistics import STACKED, ablation, arms_test, mean_gain
from flowgrad.statistics.design import BASELINE
from pipelines.config.compose import key_of
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.outcomes import Runs
from pipelines.stages.pruned import DROPPED, KEPT, Part, Pruned
from pipelines.stages.subsets import Paths, Subsets

_UNJUDGED = "validation rows cannot tell: what speaks against it flatters them too"
_LONG = 2
"""Factor on the epochs of the whole change above which a set is trained only where none that is shorter decides."""
_logger = logging.getLogger(__name__)


def stacked(diagnoses: Sequence[Diagnosis]) -> dict[str, str]:
    """Overrides of all rounds by path; of one that several rounds set, the last."""
    found: dict[str, str] = {}
    for diagnosis in diagnoses[:-1]:
        found |= {key_of(override): override for override in diagnosis.prescription.overrides}
    return found


def prune(
    diagnoses: Sequence[Diagnosis],
    runs: Runs,
    workers: Callable[[int], int],
    on_run: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Leave out what does not earn its place.

    Args:
        diagnoses: of the rounds; the last is of the config with everything that was prescribed.
        runs: trains, on the experiment's data.
        workers: number of processes for so many runs.
        on_run: called with the number of runs that were begun, and with 0 after each.

    Returns:
        The overrides that are kept: all of them where the config asks for no pruning or names the change to prove,
        where there is but one override, where no validation rows are at hand, and where no gain is seen on them.
    """
    first, overrides = diagnoses[0], stacked(diagnoses)
    config, trainer = first.config, first.experiment.trainer
    whole = Pruned(tuple(overrides.values()))
    unjudged = tuple(path for path in overrides if path.startswith(trainer.UNJUDGED))
    if not config.pruning.enabled or config.trial or len(overrides) < 2 or len(overrides) == len(unjudged):
        return whole
    if trainer.validating(first.experiment.data) is None:
        return replace(whole, reason="no validation rows are known")
    subsets = Subsets(first.experiment, overrides, runs, workers, on_run)
    length = len(diagnoses[-1].trained.validation_losses)
    return _Elimination(subsets, _rules(diagnoses, overrides), unjudged, length).run(whole)


def _rules(diagnoses: Sequence[Diagnosis], overrides: Mapping[str, str]) -> dict[str, list[str]]:
    """Rules that prescribed each override, by its path."""
    found: dict[str, list[str]] = {path: [] for path in overrides}
    for diagnosis in diagnoses[:-1]:
        for rule, changes in diagnosis.prescription.by_rule.items():
            for change in changes:
                if overrides[change.path] == f"{change.path}={change.value}" and rule not in found[change.path]:
                    found[change.path].append(rule)
    return found


class _Elimination:
    """Backward elimination over subsets of a prescription."""

    def __init__(self, subsets: Subsets, rules: Mapping[str, Sequence[str]], unjudged: Paths, length: int) -> None:
        self._subsets, self._rules, self._unjudged, self._length = subsets, rules, unjudged, length
        self._all: Paths = tuple(subsets.overrides)
        self._gain = math.nan
        self._parts: list[Part] = []

    def run(self, whole: Pruned) -> Pruned:
        subsets = self._subsets
        subsets.train({self._unjudged: BASELINE, self._all: STACKED})
        if subsets.refused:
            return replace(whole, reason=f"the config is refused: {next(iter(subsets.refused.values()))}")
        before, after = subsets.values(self._unjudged), subsets.values(self._all)
        if not np.isfinite([before, after]).all():
            return replace(whole, reason=f"{subsets.metric} is not finite on every seed, before or after the change")
        better = subsets.higher_is_better
        # This chooses what to leave out, so that splits are not corrected for the rows that they share.
        gain = arms_test(
            before, after, metric=subsets.metric, higher_is_better=better, alpha=subsets.config.comparison.alpha
        )
        if gain.verdict != "confirmed":
            return replace(whole, reason="validation data show no gain")
        self._gain = mean_gain(before, after, higher_is_better=better)
        kept = self._all
        while (left := self._smaller(kept)) != kept:
            kept = left
        return Pruned(
            tuple(subsets.overrides[path] for path in kept),
            tuple(subsets.overrides[path] for path in self._all if path not in kept),
            (*self._parts, *(self._part(self._all, (path,), because=_UNJUDGED) for path in self._unjudged)),
            subsets.metric,
            subsets.observations(),
        )

    def _smaller(self, kept: Paths) -> Paths:
        """Drop single overrides, those first without which training is no longer, or else those of one rule together,
        and return what is kept then.
        """
        singles: list[Paths] = [(path,) for path in self._free(kept)]
        quick = [unit for unit in singles if self._subsets.length(_minus(kept, unit)) <= _LONG * self._length]
        slow = [unit for unit in singles if unit not in quick]
        for units in (quick, slow, list(self._groups(kept))):
            left = self._without(kept, units)
            if left != kept:
                return left
        return kept

    def _without(self, kept: Paths, units: Sequence[Paths]) -> Paths:
        """Leave each of these parts out of what is kept, drop those that can go, and return what is kept then."""
        self._train([_minus(kept, unit) for unit in units])
        found = [self._tried(kept, unit) for unit in units]
        self._parts += [part for part in found if part.outcome == KEPT]
        droppable = [part for part in found if part.outcome == DROPPED]
        left = kept
        for part in sorted(droppable, key=lambda one: one.lost):
            if not set(part.paths) <= set(left):
                continue  # a part of it went with another
            if left != kept:
                self._train([_minus(left, part.paths)])
                part = self._tried(left, part.paths)
            self._parts.append(part)
            if part.outcome == DROPPED:
                left = _minus(left, part.paths)
                _logger.info("without %s %.3g of the gain is lost in all", part.overrides, part.lost)
        return left

    def _free(self, kept: Paths) -> Paths:
        return _minus(kept, self._unjudged)

    def _groups(self, kept: Paths) -> Iterator[Paths]:
        """Yield the overrides of each rule that are kept, where they are several and not all."""
        free = self._free(kept)
        rules = dict.fromkeys(rule for path in free for rule in self._rules[path])
        groups = (tuple(path for path in free if rule in self._rules[path]) for rule in rules)
        yield from dict.fromkeys(group for group in groups if 1 < len(group) < len(free))

    def _train(self, sets: Sequence[Paths]) -> None:
        self._subsets.train({paths: f"without {' '.join(_minus(self._all, paths))}" for paths in sets})

    def _tried(self, kept: Paths, unit: Paths) -> Part:
        """Test a part by what is kept with it and without it."""
        subsets, settings, rest = self._subsets, self._subsets.config.comparison, _minus(kept, unit)
        if rest in subsets.refused:
            because = f"without it the config is refused: {subsets.refused[rest]}"
            return self._part(kept, unit, arm=subsets.arm(rest), because=because)
        without, better = subsets.values(rest), subsets.higher_is_better
        found = ablation(
            without, subsets.values(kept), self._gain, metric=subsets.metric, higher_is_better=better,
            alpha=settings.alpha, overlap=settings.overlap,
        )  # fmt: skip
        lost = math.inf
        if np.isfinite(without).all():
            lost = mean_gain(without, subsets.values(self._all), higher_is_better=better) / self._gain
        outcome = DROPPED if lost <= subsets.config.pruning.margin else KEPT
        part = self._part(kept, unit, arm=subsets.arm(rest))
        return replace(part, outcome=outcome, lost=lost, found=found)

    def _part(self, kept: Paths, unit: Paths, *, arm: str = "", because: str = "") -> Part:
        overrides = " ".join(self._subsets.overrides[path] for path in unit)
        rules = " ".join(dict.fromkeys(rule for path in unit for rule in self._rules[path]))
        return Part(overrides, rules, self._subsets.arm(kept), arm, because=because, paths=unit)


def _minus(paths: Paths, unit: Paths) -> Paths:
    return tuple(path for path in paths if path not in unit)
