"""Makes the tables from single runs: how well scores predict, and how much their plans save."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.statistics.paired import paired_t, wilcoxon
from pipelines.benchmarks.compression import singles
from pipelines.benchmarks.compression.agreement import agreement
from pipelines.benchmarks.compression.plans import AGAINST, CHOSEN, MAGNITUDE, PEER, PRUNED, UNIFORM
from pipelines.benchmarks.compression.study import Study, StudyResult

SHOWN = [
    "what", "score", "against", "setting", "models", "points", "spearman", "low", "high", "by_model", "at_level",
    "rise", "other_rise", "wins", "better", "sure", "p", "seconds", "limit", "within",
]  # fmt: skip
"""Columns of the tables. Of scores: correlations with the truth. Of plans: mean rise of the held-out loss, over the
loss, and that of its baseline; models in which it is lower; settings in which it is lower on the mean (`better`), and
of these those with a paired t-test over seeds at p < .01 (`sure`); `p` is Wilcoxon's over the settings' mean
differences, and of one setting the t-test's.
"""
ALL = "all"
FORETOLD = {singles.BITS: "rise of bits", singles.PRUNED: "rise of pruning"}
SENSITIVE = "combined"
"""The score of `sensitivity()` by default, with a calibration, which is judged."""
_SURE = 0.01
_NOT_SCORES = {"setting", "seed", "what", "layer", "level", "by", "truth"}


def single_table(runs: Sequence[Study], found: Sequence[StudyResult]) -> pd.DataFrame:
    """Table of all layers compressed alone."""
    return _joined(runs, [one.singles for one in found])


def plan_table(runs: Sequence[Study], found: Sequence[StudyResult]) -> pd.DataFrame:
    """Table of all plans."""
    return _joined(runs, [one.plans for one in found])


def _joined(runs: Sequence[Study], parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    whole = []
    for run, part in zip(runs, parts, strict=True):
        part = part.copy()
        part.insert(0, "seed", run.seed)
        part.insert(0, "setting", run.setting)
        whole.append(part)
    return pd.concat(whole, ignore_index=True)


def foretelling_lines(table: pd.DataFrame, limits: DictConfig) -> Iterator[dict]:
    """Yield for each kind and score a line over all settings, and one a setting. The default score of bits is
    judged.
    """
    for what, own in table.groupby("what", sort=False):
        for score in [str(name) for name in own if name not in _NOT_SCORES and own[name].notna().any()]:
            judged = what == singles.BITS and score == SENSITIVE
            for setting, part in _with_pooled(own):
                found = agreement(part, score)
                if not found.models:
                    continue
                line = {
                    "what": FORETOLD[str(what)],
                    "score": score,
                    "setting": setting,
                    "models": found.models,
                    "points": found.points,
                    "spearman": found.pooled,
                    "low": found.low,
                    "high": found.high,
                    "by_model": found.by_model,
                    "at_level": found.at_level,
                }
                if judged and setting == ALL:
                    line |= {"limit": limits.spearman, "within": found.pooled >= limits.spearman}
                yield line


def _with_pooled(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(ALL, table), *((str(setting), part) for setting, part in table.groupby("setting", sort=False))]


def plan_lines(table: pd.DataFrame, limits: DictConfig) -> Iterator[dict]:
    """Yield for each kind and level of plan, score and baseline, a line over all settings and one a setting. The chosen
    plan is judged against global magnitude, in every setting.

    What is chosen is judged against global magnitude, in every setting.
    """
    for _, own in table.groupby(["what", "level"], sort=False, dropna=False):
        what, level = str(own["what"].iloc[0]), float(own["level"].iloc[0])
        against = AGAINST.get(what, (UNIFORM, CHOSEN))
        rises = own.pivot_table("rise", ["setting", "seed"], "score", sort=False)
        for score in dict.fromkeys(own["score"]):
            for other in against:
                if score in against or other not in rises:
                    continue
                both = rises[[score, other]].dropna()
                if len(both):
                    yield from _compared(_name(what, level), score, other, both, limits)


def _name(what: str, level: float) -> str:
    if math.isnan(level):
        return what
    return f"{what} {level:.0%}" if level < 1 else f"{what}, {level:.0f}"


def _compared(what: str, score: str, other: str, both: pd.DataFrame, limits: DictConfig) -> Iterator[dict]:
    lines, differences = [], []
    for setting, part in both.groupby("setting", sort=False):
        one, two = part[score].to_numpy(), part[other].to_numpy()
        p = math.nan
        if len(part) > 1:
            p = paired_t(two.tolist(), one.tolist(), metric="rise", higher_is_better=False).p
        differences.append(float(np.mean(one - two)))
        lines.append(_plan_line(what, score, other, str(setting), one, two, p))
    better = [difference < 0 for difference in differences]
    sure = [is_better and line["p"] < _SURE for is_better, line in zip(better, lines, strict=True)]
    p = math.nan
    if len(differences) > 1:
        zeros = [0.0] * len(differences)
        p = wilcoxon(zeros, differences, metric="rise", higher_is_better=False).p
    pooled = _plan_line(what, score, other, ALL, both[score].to_numpy(), both[other].to_numpy(), p)
    pooled |= {"better": f"{sum(better)}/{len(lines)}", "sure": f"{sum(sure)}/{len(lines)}"}
    if what.startswith(PRUNED) and score == CHOSEN and other == MAGNITUDE:
        pooled |= {"limit": limits.p, "within": all(sure)}
    yield pooled
    yield from lines


def _plan_line(what: str, score: str, other: str, setting: str, one: np.ndarray, two: np.ndarray, p: float) -> dict:
    return {
        "what": what, "score": score, "against": other, "setting": setting, "models": len(one),
        "rise": float(one.mean()), "other_rise": float(two.mean()), "wins": int((one < two).sum()), "p": p,
    }  # fmt: skip


def speed_lines(runs: Sequence[Study], found: Sequence[StudyResult], limits: DictConfig) -> Iterator[dict]:
    """Yield seconds of planning: the most over all, which is judged, and the median of a setting."""
    seconds = pd.DataFrame({"setting": [run.setting for run in runs], "seconds": [one.seconds for one in found]})
    most = float(seconds["seconds"].max())
    line = {"what": "planning, at most", "setting": ALL, "models": len(runs), "seconds": most}
    yield line | {"limit": limits.seconds, "within": most < limits.seconds}
    for setting, part in seconds.groupby("setting", sort=False):
        median = float(part["seconds"].median())
        yield {"what": "planning, median", "setting": str(setting), "models": len(part), "seconds": median}


__all__ = ["ALL", "PEER", "SHOWN", "foretelling_lines", "plan_lines", "plan_table", "single_table", "speed_lines"]
