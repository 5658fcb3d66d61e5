"""Computes statistics of ids, the whole numbers that index tables: whether they belong to their rows.

All of it is computed from sums by id, so that nothing here depends on how many rows were met.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measure
from flowgrad.measures.held_out_negatives import SPARED_MEASURES

special = LazyModule("scipy.special")

Floats = NDArray[np.float64]

SURE = 3.0
"""Number of standard errors from an estimate to its bounds."""
FEW = 0.5
"""Ratio of a batch's distinct ids to those expected below which it counts as a batch of few ids."""
LEAST_EXPECTED = 8.0
"""Number of distinct ids expected in a batch from which it can be said to hold few."""
LEAST_SIGNAL = 0.3
"""Reliability of counts in validation from which they can disagree with those of training."""
WIDE = 0.25
"""Three standard errors of an agreement above which it is not reported."""
EVEN = 1.2
"""Variance over mean of rows by id up to which they may be chosen to be even, as the last row of each user is."""
LEAST_POSITIONS = 4
"""Number of columns of one tensor, whose ids vary, from which they can be positions of a sequence."""
SHARED = 0.5
"""Least share of each column's rows whose id its neighbour has too, in the median, of positions of a sequence."""
LEAST_IDS = 20.0
"""Number of ids, by their weight, from which an agreement is reported."""

ID_MEASURES = (
    Measure("ids_columns", "count", "Columns of ids that were told."),
    Measure(
        "ids_rows",
        "count",
        "Training rows that the figures on ids rest on: the first epoch, or all that were told.",
    ),
    Measure("ids_validation_rows", "count", "Validation rows that the figures on ids rest on."),
    Measure(
        "ids_repeats",
        "ratio",
        "How often a training row was met, by Kish's design effect of the rows' multiplicities; sums are "
        "divided by it.",
    ),
    Measure("ids_with_target", "flag", "Whether a finite target was told with the training rows."),
    Measure(
        "ids_conflict_share",
        "share",
        "Sets of equal ids in training that were met with several targets, over all sets.",
    ),
    Measure("ids_discord", "share", "The same over the sets that were met more than once."),
    Measure("ids_discord_chance", "share", "What that would be if their targets were drawn at random from all."),
    Measure(
        "ids_discord_z",
        "z",
        "Standard errors by which sets met again disagree more often than such a draw gives.",
    ),
    Measure(
        "ids_repeated_share",
        "share",
        "Sets of equal ids in training that were met more than once, over all sets.",
    ),
    Measure("ids_repeat_chance", "share", "What that would be if the columns had nothing to do with each other."),
    Measure("ids_seen_share", "share", "Validation rows whose ids, all columns together, stand in a training row too."),
    Measure("ids_seen_chance", "share", "What that would be if the columns had nothing to do with each other."),
    Measure("ids_seen_same", "share", "Of those, the rows whose target stands there too."),
    Measure("ids_seen_same_chance", "share", "What that would be if targets were drawn at random."),
    Measure("ids_seen_rows", "count", "Validation rows that were compared with training and found there: a sample."),
    *SPARED_MEASURES,
    Measure("ids_batches", "count", "Training batches whose make-up was noted."),
    Measure(
        "ids_unrelated",
        "ratio",
        "Least, over columns, of `id_related_high`: the column that has least to do with its rows.",
    ),
    Measure(
        "ids_unrelated_f",
        "ratio",
        "F of the target over that column's ids; about 1 where it does not depend on them.",
    ),
    Measure(
        "ids_related_other",
        "share",
        "Lower bound of what another column's ids have of the target's variance, or of another column's.",
    ),
    Measure("ids_agreement", "ratio", "Least, over columns, of `id_agreement_high`."),
    Measure("ids_agreement_shared", "count", "Ids of that column that training and validation share."),
    Measure("ids_met_share", "share", "Largest `id_met_share` of the columns."),
    Measure("ids_new_share", "share", "Largest share, over columns, of validation rows whose id training never met."),
    Measure("ids_alike_share", "share", "Largest share of the rows, over columns, that one id has."),
    Measure("ids_used", "share", "Least share, over columns with a known size, of the table's rows that were met."),
    Measure("ids_used_count", "count", "Ids met of that column."),
    Measure("ids_used_size", "count", "Rows of that column's table."),
    Measure(
        "ids_explained",
        "share",
        "Largest share, over columns, of the target's variance that one column's ids explain.",
    ),
    Measure("ids_explained_count", "count", "Ids of that column."),
    Measure("ids_negatives_apart", "share", "`id_negatives_apart` of that column."),
    Measure(
        "ids_distinct_ratio",
        "ratio",
        "Least, over columns, of the median over batches of distinct ids to those expected.",
    ),
    Measure(
        "id_count",
        "count",
        "Distinct ids of the column in training; unknown where ids were folded.",
        per_row=True,
    ),
    Measure("id_size", "count", "Rows of the column's table.", per_row=True),
    Measure(
        "id_position",
        "flag",
        "Whether the column is one position of a sequence: the columns of its tensor share their ids. No other figure "
        "is made of it.",
        per_row=True,
    ),
    Measure("id_used", "share", "Rows of the table that were met in training.", per_row=True),
    Measure(
        "id_used_bound",
        "ratio",
        "Largest id met plus one, over the ids met: 1 where they are numbered without gaps from 0.",
        per_row=True,
    ),
    Measure("id_rows_per_size", "ratio", "Training rows met per row of the table.", per_row=True),
    Measure("id_rows_per_id", "ratio", "Training rows met per id met.", per_row=True),
    Measure("id_top_share", "share", "Share of the training rows that the most frequent id has.", per_row=True),
    Measure("id_top_ratio", "ratio", "The same over the next id's.", per_row=True),
    Measure(
        "id_spread",
        "ratio",
        "Variance of the rows per id over their mean: 1 where ids are drawn evenly.",
        per_row=True,
    ),
    Measure("id_f", "ratio", "F of the target over the column's ids (one-way analysis of variance).", per_row=True),
    Measure("id_icc", "share", "Intraclass correlation of the target by id.", per_row=True),
    Measure("id_icc_low", "share", "The same, three standard errors lower.", per_row=True),
    Measure(
        "id_icc_high",
        "share",
        "The same, three standard errors higher, or lower where that is larger in size.",
        per_row=True,
    ),
    Measure(
        "id_explained",
        "share",
        "Share of the target's variance that the ids explain, less what chance gives.",
        per_row=True,
    ),
    Measure(
        "id_negatives_apart",
        "share",
        "Where targets have two values: share of the rows of the lower one whose id never comes with the higher one.",
        per_row=True,
    ),
    Measure(
        "id_related_high",
        "share",
        "Largest size, within three standard errors, of what the column's ids have of the target's variance "
        "and of every other column's.",
        per_row=True,
    ),
    Measure(
        "id_related_z",
        "z",
        "Largest size of the z of these, or z of what pairs with another column's ids have of the target.",
        per_row=True,
    ),
    Measure(
        "id_related_other",
        "share",
        "Lower bound of what another column's ids have of the target's variance, or of a third column's.",
        per_row=True,
    ),
    Measure(
        "id_same_numbers",
        "ratio",
        "Largest correlation with another column of how much more frequent an id is than the next; high where both "
        "hold the same things, such as items and sampled items.",
        per_row=True,
    ),
    Measure(
        "id_met_share",
        "share",
        "Share of the rows whose id stands, in the column of `id_same_numbers`, beside the same id of a third column "
        "in some row; of several third columns the largest. At least that, where not all rows are kept; not known "
        "where `id_same_numbers` is below .3.",
        per_row=True,
    ),
    Measure(
        "id_mean_agreement",
        "ratio",
        "Correlation over ids of the mean targets in training and in validation, less sampling noise.",
        per_row=True,
    ),
    Measure(
        "id_count_agreement",
        "ratio",
        "Correlation over ids of the logarithms of the rows in training and in validation.",
        per_row=True,
    ),
    Measure(
        "id_pair_agreement",
        "ratio",
        "What the pairs with another column agree with in validation of what they do in training: 1 where "
        "tastes carry over.",
        per_row=True,
    ),
    Measure(
        "id_agreement_high",
        "ratio",
        "The largest of the three known, each at the upper end of three standard errors.",
        per_row=True,
    ),
    Measure("id_agreement_kinds", "count", "How many of the three are known.", per_row=True),
    Measure("id_shared", "count", "Ids that training and validation share.", per_row=True),
    Measure("id_new_share", "share", "Validation rows whose id training never met.", per_row=True),
    Measure(
        "id_distinct_ratio",
        "ratio",
        "Median over batches of the distinct ids over those expected of rows in random order.",
        per_row=True,
    ),
    Measure("id_few_share", "share", "Batches with less than half of the distinct ids expected.", per_row=True),
    Measure(
        "id_batches",
        "count",
        "Batches that this rests on: those that may be expected to hold eight ids.",
        per_row=True,
    ),
    Measure("id_equal", "flag", "Whether another column holds the same id in every row.", per_row=True),
)
"""All measures of ids: scalars, and per-row measures of a table with one line a column."""


@dataclass(frozen=True)
class OneWay:
    """One-way analysis of variance of numbers over groups; NaN throughout where it cannot be made."""

    f: float = math.nan
    z: float = math.nan
    """Distance of F from 1, in standard errors."""
    icc: float = math.nan
    """Intraclass correlation; below 0 where groups differ less than chance would have them."""
    error: float = math.nan
    """Standard error of `icc` where the true one is 0."""
    explained: float = math.nan
    """Adjusted R2."""
    between: float = math.nan
    """Variance component of the groups; below 0 as `icc`."""

    @property
    def high(self) -> float:
        """Upper bound of the size of the intraclass correlation, three standard errors out; it may exceed 1."""
        return abs(self.icc) + SURE * self.error

    @property
    def low(self) -> float:
        """Lower bound of the intraclass correlation, three standard errors out; it may lie below 0."""
        return self.icc - SURE * self.error


def one_way(counts: ArrayLike, sums: ArrayLike, squares: float, repeats: float = 1.0) -> OneWay:
    """Analysis of variance from sums (Searle, Casella & McCulloch 1992, Variance Components, ch. 3).

    >>> round(one_way([2, 2], [2.0, 6.0], 20.5).f, 3)
    16.0

    Args:
        counts: members of each group, shape (groups,); 0 for none.
        sums: sum of the numbers of each group, shape (groups,).
        squares: sum of the squares of all numbers.
        repeats: how often each member was counted.
    """
    n, s = np.asarray(counts, dtype=float) / repeats, np.asarray(sums, dtype=float) / repeats
    n, s = n[n > 0], s[n > 0]
    total, groups = float(n.sum()), len(n)
    free, rest = groups - 1.0, total - groups
    if free < 1 or rest < 2:
        return OneWay()
    mean = float(s.sum()) / total
    all_squares = squares / repeats - total * mean**2
    between = float((n * (s / n - mean) ** 2).sum())
    within = max(all_squares - between, 0.0)
    if not all_squares > 1e-12 * max(squares / repeats, 1e-300):
        return OneWay()
    size = (total - float((n**2).sum()) / total) / free
    ms_between, ms_within = between / free, within / rest
    component = (ms_between - ms_within) / size
    whole = component + ms_within
    f = ms_between / ms_within if ms_within > 0 else math.inf
    deviation = math.sqrt(2 / free + 2 / rest)
    return OneWay(
        f=f,
        z=(f - 1) / deviation,
        icc=component / whole if whole > 0 else 1.0,
        error=deviation / size,
        explained=1 - ms_within / (all_squares / (total - 1)),
        between=component,
    )


def of_higher_target(counts: ArrayLike, sums: ArrayLike, squares: float, bounds: tuple[float, float]) -> Floats | None:
    """Rows of each id that have the higher of two targets, shape (ids,); None where targets have other values than two.

    >>> of_higher_target([4, 2], [2.0, 0.0], 2.0, (0.0, 1.0)).tolist()
    [2.0, 0.0]

    Args:
        counts: rows of each id, shape (ids,); 0 for none.
        sums: sum of the targets of each id, shape (ids,).
        squares: sum of the squares of all targets.
        bounds: smallest and largest target.
    """
    n, s = np.asarray(counts, dtype=float), np.asarray(sums, dtype=float)
    low, high = bounds
    whole, span = float(n.sum()), high - low
    # The sum of (target - low) (high - target) is 0 where no target lies between.
    between = (low + high) * float(s.sum()) - squares - whole * low * high
    if not span > 0 or not whole or abs(between) > 1e-6 * whole * span**2:
        return None
    return np.rint((s - n * low) / span)


def negatives_apart(counts: ArrayLike, sums: ArrayLike, squares: float, bounds: tuple[float, float]) -> float:
    """Share of the rows with the lower of two targets whose id never comes with the higher one; NaN where targets have
    other values than two. Arguments are those of `of_higher_target`.

    >>> negatives_apart([4, 2], [2.0, 0.0], 2.0, (0.0, 1.0))
    0.5
    """
    n = np.asarray(counts, dtype=float)
    above = of_higher_target(counts, sums, squares, bounds)
    if above is None:
        return math.nan
    return float((n - above)[above == 0].sum() / max((n - above).sum(), 1.0))


def expected_distinct(counts: ArrayLike, size: int) -> float:
    """Number of distinct ids expected among so many rows drawn without replacement from rows with these counts by id.

    >>> expected_distinct([1, 1, 1, 1], 2)
    2.0

    Args:
        counts: rows of each id, shape (ids,); need not be whole.
        size: rows drawn.
    """
    n = np.asarray(counts, dtype=float)
    n, times = np.unique(n[n > 0], return_counts=True)
    total = float((n * times).sum())
    if size >= total:
        return float(times.sum())
    left = np.maximum(total - n, 0.0)
    enough = left >= size
    absent = np.zeros(len(n))
    absent[enough] = np.exp(
        special.gammaln(left[enough] + 1)
        - special.gammaln(left[enough] - size + 1)
        - special.gammaln(total + 1)
        + special.gammaln(total - size + 1)
    )
    return float(round(float((times * (1 - absent)).sum()), 9))


@dataclass(frozen=True)
class Agreement:
    """Agreement of two parts by id."""

    value: float = math.nan
    """1: they agree; 0: they are unrelated."""
    high: float = math.nan
    """`value` plus three standard errors."""


def agreement(value: float, wide: float) -> Agreement:
    """Agreement with a margin; unknown where the margin is too wide to say anything."""
    return Agreement(value, value + wide) if wide <= WIDE else Agreement()


def mean_agreement(
    first: tuple[Floats, Floats, OneWay], second: tuple[Floats, Floats, OneWay], repeats: tuple[float, float]
) -> Agreement:
    """Correlation over ids of what lies behind the mean targets of two parts, sampling noise taken off.

    Unknown where ids do not predict the target in both parts, and where few ids are shared.

    Args:
        first: rows and sum of targets by id, each of shape (ids,), with their analysis of variance.
        second: the same of the other part.
        repeats: how often each row was counted, in both parts.
    """
    (n, s, one), (m, t, other) = first, second
    if not (one.low > 0 and other.low > 0):
        return Agreement()
    shared = (n > 0) & (m > 0)
    n, s, m, t = n[shared] / repeats[0], s[shared] / repeats[0], m[shared] / repeats[1], t[shared] / repeats[1]
    weights = n / (1 + (n - 1) * one.icc) * (m / (1 + (m - 1) * other.icc))
    if not len(weights) or (ids := float(weights.sum() ** 2 / (weights**2).sum())) < LEAST_IDS:
        return Agreement()
    weights /= weights.sum()
    x, y = s / n, t / m
    x, y = x - (weights * x).sum(), y - (weights * y).sum()
    scale = math.sqrt(one.between * other.between)
    value = float((weights * x * y).sum()) / scale
    error = math.sqrt(float((weights * x**2).sum() * (weights * y**2).sum()) / ids) / scale
    return agreement(value, SURE * error)


def count_agreement(first: Floats, second: Floats, repeats: tuple[float, float]) -> Agreement:
    """Correlation of log(1 + rows) over the ids that the first part met.

    Unknown where the counts of either vary no more than chance has them, or the second has too few rows to show it.

    Args:
        first: rows by id, shape (ids,).
        second: the same of the other part.
        repeats: how often each row was counted, in both parts.
    """
    met = first > 0
    n, m = first[met] / repeats[0], second[met] / repeats[1]
    if len(n) < LEAST_IDS or not m.any():
        return Agreement()
    spread = (float(n.var()) / float(n.mean()) - 1) / float(n.mean())
    signal = spread * float(m.mean())
    if not signal / (1 + signal) > LEAST_SIGNAL or not spread * float(n.mean()) > 1:
        return Agreement()
    if not float(m.var()) > EVEN * float(m.mean()):  # as many rows of each on purpose
        return Agreement()
    x, y = np.log1p(n), np.log1p(m)
    value = float(np.corrcoef(x, y)[0, 1])
    return agreement(value, SURE / math.sqrt(len(n)))


def same_numbers(first: Floats, second: Floats) -> float:
    """Correlation between two columns, in [-1, 1], of how much more frequent an id is than the next one; 0 where they
    share few.

    Columns of the same things have about the same ids, and the frequent ones of one are frequent in the other. That
    both are numbered from 0 says nothing, nor that both are numbered by frequency: hence the differences.
    """
    size = min(len(first), len(second))
    both = (first[:size] > 0) & (second[:size] > 0)
    if both.sum() < max(LEAST_IDS, 0.5 * min((first > 0).sum(), (second > 0).sum())):
        return 0.0
    x, y = (np.diff(np.log1p(counts[:size][both])) for counts in (first, second))
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0


def make_up(counts: Floats, sizes: NDArray[np.int64], distinct: NDArray[np.int64]) -> tuple[float, float, float]:
    """Distinct ids of batches against those of rows in random order: median ratio, share of batches below half, and
    number of batches that this rests on; NaN for the first two where there is none.

    Args:
        counts: rows of each id in an epoch.
        sizes: rows of each batch.
        distinct: ids that each of them held.
    """
    kinds, which = np.unique(sizes, return_inverse=True)
    if len(kinds) > 64:  # batches of many lengths: by the nearest of some
        kinds = np.unique(np.quantile(sizes, np.linspace(0, 1, 32)).astype(np.int64))
        which = np.searchsorted(kinds, sizes)
    expected = np.array([expected_distinct(counts, int(size)) for size in kinds])[which]
    enough = expected >= LEAST_EXPECTED
    if not enough.any():
        return math.nan, math.nan, 0.0
    ratio = distinct[enough] / expected[enough]
    return float(np.median(ratio)), float((ratio < FEW).mean()), float(enough.sum())


def are_positions(counts: list[Floats]) -> bool:
    """Whether columns of one tensor are positions of a sequence: neighbours draw from one vocabulary.

    Fields have vocabularies of their own. Where fields number theirs from 0, the rows of the larger one tell: most of
    its ids are not in the smaller one.

    Args:
        counts: rows by id of each column, in their order.

    >>> are_positions([np.array([0.0, 5, 3, 2])] * 4), are_positions([np.ones(2), np.ones(90), np.ones(7), np.ones(40)])
    (True, False)
    """
    vary = [one for one in counts if (one > 0).sum() > 1]
    if len(vary) < LEAST_POSITIONS:
        return False
    pairs = [(vary[place], vary[place + 1]) for place in range(len(vary) - 1)]
    shared = [min(_found_in(one, other), _found_in(other, one)) for one, other in pairs]
    return float(np.median(shared)) >= SHARED


def _found_in(one: Floats, other: Floats) -> float:
    """Share of the rows of `one` whose id `other` has too."""
    common = min(len(one), len(other))
    return float(one[:common][other[:common] > 0].sum() / one.sum())
