"""Finds windows of training and of validation that overlap: one goes on where the other one is still running."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure

OVERLAP_MEASURES = (
    Measure(
        "overlaps_ahead",
        "ratio",
        "Training rows that begin within a validation row and hold all that follows there, by validation row; "
        "estimated from the samples. Not known where rows are no sequences of one length.",
    ),
    Measure("overlaps_behind", "ratio", "Training rows within which a validation row begins, by validation row."),
    Measure("overlaps_among", "ratio", "Training rows that begin so within a training row, by training row."),
    Measure("overlap_pairs", "count", "Pairs of a training and a validation row that overlap, in the samples."),
    Measure(
        "overlap_evenness",
        "ratio",
        "Validation rows of the sample that are in such a pair, over those that would be if pairs fell on rows by "
        "chance: low where a few rows are in most pairs.",
    ),
    Measure(
        "overlap_to_the_end",
        "share",
        "Of the pairs of rows in which one begins within the other by the steps compared first, those that agree to "
        "the end: windows of one series always do, and rows that hold the same phrase seldom.",
    ),
    Measure("overlap_steps", "share", "Steps of a row that such a pair has in common, the mean of the pairs."),
    Measure(
        "overlap_reversed",
        "ratio",
        "Pairs that are found where validation rows are read from their end, over those that begin within one: what "
        "chance gives where there are few values.",
    ),
)
LEAST_BLOCK = 8
"""Number of first steps of a row that are looked up within others, at least; from there on, a quarter of the row. Half
as many must follow in the other row, to tell whether the two go on alike.
"""
SHORTEST = LEAST_BLOCK + LEAST_BLOCK // 2 + 1
"""Number of steps of a row from which on others may begin within it."""
LEAST_VALUES = 4
"""Number of distinct values at the beginning of a row from which on it is no padding and no rest."""
LEAST_ROWS = 20
"""Number of sampled rows of each part from which on figures are known."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
Rows = NDArray[np.float64]
Numbers = NDArray[np.int64]


def overlap_figures(train: Rows, validation: Rows, share: float) -> dict[str, float]:
    """Figures of `OVERLAP_MEASURES`; NaN where there are too few rows, or too few steps.

    Windows that one series was cut into agree where they overlap, from the beginning of the later one to the end of
    the earlier one. Texts that quote each other hardly do: a passage that both hold ends somewhere within.

    Args:
        train: sampled distinct training rows, shape (rows, steps).
        validation: those of validation, shape (rows, steps).
        share: of all distinct training rows, those in the sample.

    >>> series = np.random.default_rng(0).normal(size=1000)
    >>> windows = np.stack([series[start : start + 20] for start in range(0, 980, 5)])
    >>> overlap_figures(windows[0::2], windows[1::2], 1.0)["overlaps_ahead"] > 0.9
    True
    >>> overlap_figures(windows[:100], windows[100:], 1.0)["overlaps_ahead"]
    0.0
    """
    unknown = {measure.name: math.nan for measure in OVERLAP_MEASURES}
    steps = train.shape[1]
    if min(len(train), len(validation)) < LEAST_ROWS or validation.shape[1] != steps or steps < SHORTEST or share <= 0:
        return unknown
    ahead, behind = _begin_within(validation, train), _begin_within(train, validation)
    among, reverse = _begin_within(train, train), _begin_within(validation[:, ::-1], train)
    pairs = len(ahead.rows) + len(behind.rows)
    matched = len(np.unique(np.concatenate([ahead.rows, behind.others])))
    common = steps - np.concatenate([ahead.starts, behind.starts])
    found = {
        "overlaps_ahead": len(ahead.rows) / (len(validation) * share),
        "overlaps_behind": len(behind.rows) / (len(validation) * share),
        "overlaps_among": len(among.rows) / (len(train) * share),
        "overlap_pairs": float(pairs),
    }
    if pairs:
        expected = -math.expm1(-pairs / len(validation)) * len(validation)
        found["overlap_evenness"] = matched / expected
        found["overlap_to_the_end"] = pairs / (ahead.begun + behind.begun)
        found["overlap_steps"] = float(common.mean()) / steps
    if len(ahead.rows):
        found["overlap_reversed"] = len(reverse.rows) / len(ahead.rows)
    return unknown | found


class _Pairs(NamedTuple):
    """Rows that begin within another one and agree with it up to its end."""

    rows: Numbers
    """Indices of the earlier rows."""
    starts: Numbers
    """Steps at which the later ones begin, from 1."""
    others: Numbers
    """Indices of the later ones."""
    begun: int
    """Number of pairs that agree in the first steps of the later row."""


def _begin_within(earlier: Rows, later: Rows) -> _Pairs:
    """Find rows that begin within another one and agree with it up to its end.

    Rows that begin like another one of their part, or with a rest, do not say where they were cut, and are left out.
    Rows are compared by a rolling polynomial modulo 2^64 (Karp & Rabin 1987, IBM Journal of Research and Development).
    """
    steps = earlier.shape[1]
    block = max(LEAST_BLOCK, math.ceil(steps / 4))
    last = steps - block - block // 2
    powers, inverses = (
        np.cumprod(np.r_[np.uint64(1), np.full(steps, base)], dtype=np.uint64) for base in (_BASE, _INVERSE)
    )
    whole, begun = _sums(earlier, powers), _sums(later, powers)
    order = np.argsort(begun[:, block])
    known = begun[order, block]
    twice = known[1:] == known[:-1]
    alone = ~(np.r_[False, twice] | np.r_[twice, False])
    distinct = (np.diff(np.sort(later[order, :block], axis=1), axis=1) != 0).sum(1) + 1
    usable = alone & (distinct >= LEAST_VALUES)
    order, known = order[usable], known[usable]
    if not len(known):
        nothing = np.empty(0, dtype=np.int64)
        return _Pairs(nothing, nothing, nothing, 0)
    blocks = (whole[:, block + 1 : block + last + 1] - whole[:, 1 : last + 1]) * inverses[1 : last + 1]
    at = np.minimum(np.searchsorted(known, blocks), len(known) - 1)
    rows, starts = np.nonzero(known[at] == blocks)
    others, starts = order[at[rows, starts]], starts + 1
    rest = (whole[rows, steps] - whole[rows, starts]) * inverses[starts]
    same = rest == begun[others, steps - starts]
    return _Pairs(rows[same], starts[same], others[same], len(rows))


def _sums(rows: Rows, powers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Polynomials of the first 0, 1, 2, ... steps of each row, shape (rows, steps + 1)."""
    bits = np.ascontiguousarray(rows + 0.0).view(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return np.concatenate([np.zeros((len(rows), 1), np.uint64), np.cumsum(mixed * powers[:-1], 1, dtype=np.uint64)], 1)
