"""Measures how well a score predicts the truth: Spearman's rank correlation, within models and over all of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from flowgrad.measures.saliency import rank_agreement
from pipelines.benchmarks.faults.scores import RESAMPLES

_CONFIDENCE = 0.95


class Agreement(NamedTuple):
    """Agreement of one score with the truth."""

    pooled: float
    """Correlation over all models. Ranks are given within each model, over its layers and levels together, and divided
    by their number, as scores of different models have different units; then they are correlated over all models at
    once.
    """
    low: float
    """Lower end of the percentile bootstrap interval of `pooled`: settings are drawn with replacement, and in each of
    them seeds (Davison & Hinkley 1997, section 3.8).
    """
    high: float
    by_model: float
    """Mean of the models' own correlations."""
    at_level: float
    """Mean over models and levels of the correlation over layers alone, all of the same bits."""
    models: int
    """Number of models: settings times seeds."""
    points: int


def agreement(singles: pd.DataFrame, score: str) -> Agreement:
    """Compute the agreement of lines of one kind; those where score or truth is not finite are left out, as are models
    of less than 3 lines.

    Args:
        singles: setting, seed, level, truth, where known `by`, and a column `score`.
        score: its name.
    """
    known = singles[np.isfinite(singles[score].astype(float)) & np.isfinite(singles["truth"])]
    moments: dict[str, list[tuple[float, float, float]]] = {}
    own, layers, points = [], [], 0
    for (setting, _), part in known.groupby(["setting", "seed"], sort=False):
        if len(part) < 3:
            continue
        found = _moments(part[score].to_numpy(dtype=float), part["truth"].to_numpy())
        moments.setdefault(str(setting), []).append(found)
        own.append(_correlation(np.array([found])))
        points += len(part)
        keys = [key for key in ("level", "by") if key in part and part[key].notna().all()]
        layers += [rank_agreement(some[score], some["truth"]) for _, some in part.groupby(keys, sort=False)]
    if not moments:
        return Agreement(math.nan, math.nan, math.nan, math.nan, math.nan, 0, 0)
    low, high = _interval(moments)
    whole = np.array([one for parts in moments.values() for one in parts])
    return Agreement(_correlation(whole), low, high, _mean(own), _mean(layers), len(own), points)


def _moments(score: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Sums of products of the centred ranks, each divided by their number."""
    a, b = (stats.rankdata(values) / len(values) for values in (score, truth))
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b), float(a @ a), float(b @ b)


def _correlation(moments: np.ndarray) -> float:
    both, one, other = moments.sum(axis=0)
    return float(both / math.sqrt(one * other)) if one > 0 and other > 0 else math.nan


def _interval(moments: dict[str, list[tuple[float, float, float]]]) -> tuple[float, float]:
    if sum(len(parts) for parts in moments.values()) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    arrays = [np.array(parts) for parts in moments.values()]
    drawn = []
    for _ in range(RESAMPLES):
        sums = np.zeros(3)
        for place in rng.integers(len(arrays), size=len(arrays)):
            seeds = arrays[place]
            sums += seeds[rng.integers(len(seeds), size=len(seeds))].sum(axis=0)
        drawn.append(_correlation(sums[None]))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail))
    return float(low), float(high)


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
