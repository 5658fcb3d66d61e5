"""Says whether targets belong to their rows, by the agreement of each row's target with those of like rows.

Three probes predict the target from the columns: the mean target of the ten nearest rows, ridge regression, and, for
columns of codes, the mean target of each code. Each row is predicted by the other rows of its part (leave one out), and
validation rows by the training rows. Where rows were sorted and targets were not, all probes are at chance in both
parts; where a join went wrong in training alone, the training rows agree less with each other than validation rows
agree with them; where a class has another number in validation, each part agrees within itself, and one map of classes
to classes makes them agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule

optimize = LazyModule("scipy.optimize")

Floats = NDArray[np.float64]

NEIGHBOURS = 10
"""Number of neighbours of each row; a tenth of the rows where they are few."""
FARTHEST = 4.0
"""Distance from the mean, in standard deviations, at which a column is cut off, so that no outlier outweighs all other
columns.
"""
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Ridge penalties over the number of rows; the one with the least error on rows left out is taken."""
MOST_CLASSES = 200
"""Number of classes that are kept separate; rarer ones count as one."""
LEAST_ROWS = 40
"""Number of rows of a part below which nothing is said of it."""
SHOWN = 5.0
"""Number of standard errors at which a relation counts as shown."""
_SAME = 1e-12
"""Squared distance up to which two rows count as copies, over the sum of their squared lengths."""
MOST_CODES = 8
"""Number of columns of codes whose values are used."""
SHRINKAGE = 5.0
"""Number of rows by which the mean of a code is shrunk."""
MOST_NEIGHBOURS = 2000
"""Number of rows of a part whose neighbours are searched for."""
_DENSE = 1000
"""Number of rows that are regressed on at least; and at most, where there are more columns than that."""
_WORK = 1e8
"""Product of rows and squared columns up to which all rows are regressed on."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of targets with the predictions of like rows; its figures are NaN where there were too few rows."""

    r: float = math.nan
    """Correlation of the targets with the predictions of like rows; over all classes together where targets are
    classes.
    """
    z: float = math.nan
    """Standard errors by which `r` lies above that of targets in random order."""
    error: float = math.nan
    """Standard error of `r`."""
    least: float = math.nan
    """Share of the targets' variance that would have stood at 5 standard errors."""


@dataclass(frozen=True)
class Agreements:
    """Agreements of one probe. Nothing is known of a part that has too few rows."""

    train: Agreement = Agreement()
    """Agreement within the training rows."""
    validation: Agreement = Agreement()
    """Agreement within the validation rows."""
    across: Agreement = Agreement()
    """Agreement of validation rows with predictions by training rows; those that copy a training row are left out."""
    predicted: Floats | None = None
    """Predictions by training rows of each validation row that was used, shape (rows, targets)."""
    targets: Floats | None = None
    """Targets of these rows, shape (rows, targets)."""
    fresh: NDArray[np.bool_] | None = None
    """Flags of validation rows that copy no training row, shape (rows,)."""

    @property
    def strongest(self) -> float:
        """Largest `z` of the three, in standard errors; in size for that across the parts."""
        return float(np.nanmax([self.train.z, self.validation.z, abs(self.across.z), -math.inf]))


def standardised(train: ArrayLike, validation: ArrayLike) -> tuple[Floats, Floats]:
    """Standardise both parts, each column centred and scaled as in training, cut off at 4 standard deviations; gaps are
    the mean. Columns that do not vary in training are left out.

    Args:
        train: shape (rows, columns).
        validation: shape (others, columns).

    >>> standardised([[0.0, 1.0], [2.0, 1.0]], [[3.0, 5.0]])[1].tolist()
    [[2.0]]
    """
    x, new = (np.asarray(part, dtype=float) for part in (train, validation))
    x, new = (np.where(np.isfinite(part), part, np.nan) for part in (x, new))
    varies = np.isfinite(x).any(axis=0)
    x, new = x[:, varies], new[:, varies]
    if not x.shape[1]:
        return x, new
    mean, deviation = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    kept = deviation > 1e-9 * np.maximum(np.abs(mean), 1e-30)
    parts = ((part[:, kept] - mean[kept]) / deviation[kept] for part in (x, new))
    first, second = (np.clip(np.nan_to_num(part), -FARTHEST, FARTHEST) for part in parts)
    return first, second


def coded(train: ArrayLike, validation: ArrayLike, *, classes: bool) -> tuple[Floats, Floats, NDArray]:
    """Code targets as columns: one a class (0 or 1), or the rank of a number among those of both parts; and the
    classes.

    Args:
        train: shape (rows,).
        validation: shape (others,).
        classes: whether targets are names of classes, not amounts.

    >>> coded([3, 5], [5], classes=True)[1].tolist()
    [[0.0, 1.0]]
    """
    y, new = np.asarray(train).ravel(), np.asarray(validation).ravel()
    both = np.concatenate([y, new])
    if not classes:
        values, place, counts = np.unique(both.astype(float), return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts + 1) / 2) / len(both)
        column = ranks[place].reshape(-1, 1)
        return column[: len(y)], column[len(y) :], values
    values, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    if len(values) > MOST_CLASSES:
        common = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
        number = np.full(len(values), MOST_CLASSES)
        number[common] = np.arange(MOST_CLASSES)
        place, values = number[place], values[common]
    told = np.eye(int(place.max()) + 1)[place]
    return told[: len(y)], told[len(y) :], values


def agreements(x: Floats, y: Floats, new_x: Floats, new_y: Floats) -> dict[str, Agreements]:
    """Compute agreements by each probe: `neighbours` and `values`, on 2,000 rows of each part at most, and `ridge`.

    Args:
        x: training rows, shape (rows, columns); NaN where missing.
        y: their targets as columns, shape (rows, targets).
        new_x: validation rows.
        new_y: their targets.
    """
    if min(len(x), len(new_x)) < LEAST_ROWS:
        return {}
    scaled, new_scaled = standardised(x, new_x)
    if not scaled.shape[1]:
        return {}
    found = {
        "neighbours": _by_neighbours(scaled, y, new_scaled, new_y),
        "ridge": _by_ridge(scaled, y, new_scaled, new_y),
    }
    codes = codes_of(x)
    return found | ({"values": _by_values(x[:, codes], y, new_x[:, codes], new_y)} if len(codes) else {})


def _thinned(x: Floats, y: Floats, most: int) -> tuple[Floats, Floats]:
    """The rows thinned to every so many-th, so that `most` are left."""
    step = -(-len(x) // most)
    return x[::step], y[::step]


def _recentred(x: Floats) -> Floats:
    """Columns standardised by their own mean and deviation in this part."""
    deviation = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def _by_neighbours(x: Floats, y: Floats, new_x: Floats, new_y: Floats) -> Agreements:
    x, y = _thinned(x, y, MOST_NEIGHBOURS)
    new_x, new_y = _thinned(new_x, new_y, MOST_NEIGHBOURS)
    own = _recentred(new_x)
    across, fresh = _nearest(new_x, x)
    predicted = _said(across, y)
    return Agreements(
        _of_weights(_nearest(x, x, own=True)[0], y),
        _of_weights(_nearest(own, own, own=True)[0], new_y),
        _against(predicted[fresh], new_y[fresh]),
        predicted,
        new_y,
        fresh,
    )


def _nearest(rows: Floats, others: Floats, *, own: bool = False) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Places of the nearest of the other rows that are no copies, shape (rows, k), and which rows have no copy there.

    Args:
        rows: shape (n, columns).
        others: shape (m, columns).
        own: whether both are the same rows.
    """
    size = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    apart = size - 2 * (rows @ others.T)
    near = apart <= _SAME * size
    if own:
        np.fill_diagonal(near, False)
    fresh = ~near.any(axis=1)
    apart[near] = np.inf
    if own:
        np.fill_diagonal(apart, np.inf)
    k = max(1, min(NEIGHBOURS, len(others) // 10))
    return np.argpartition(apart, k - 1, axis=1)[:, :k], fresh


def _said(places: NDArray[np.intp], y: Floats) -> Floats:
    """Mean target of the rows at these places, less that of all; shape (rows, targets)."""
    centred = y - y.mean(axis=0)
    return np.asarray(centred[places].mean(axis=1))


def _of_weights(places: NDArray[np.intp], y: Floats) -> Agreement:
    """Agreement of targets with the mean of their neighbours'."""
    rows, k = places.shape
    mutual = _mutual(places)
    ones = np.bincount(places.ravel(), minlength=rows) / k
    sums = (ones + 1) / 2
    squares = (rows / k + mutual / k**2) / 2 - 2 * float((sums**2).sum()) / rows + 1
    return _within(_said(places, y), y, np.ones(rows), squares)


def _mutual(places: NDArray[np.intp]) -> int:
    """Number of pairs of rows that are neighbours both ways, counted from either."""
    rows, k = places.shape
    ways = np.repeat(np.arange(rows), k) * rows + places.ravel()
    back = places.ravel() * rows + np.repeat(np.arange(rows), k)
    return int(np.isin(ways, back).sum())


def _by_ridge(x: Floats, y: Floats, new_x: Floats, new_y: Floats) -> Agreements:
    most = max(_DENSE, int(_WORK / x.shape[1] ** 2)) if x.shape[1] <= _DENSE else _DENSE
    x, y = _thinned(x, y, most)
    new_x, new_y = _thinned(new_x, new_y, most)
    fit = _Ridge(x, y)
    predicted = fit.predict(new_x)
    fresh = _uncopied(new_x, x)
    return Agreements(
        fit.agreement(), _Ridge(_recentred(new_x), new_y).agreement(), _against(predicted[fresh], new_y[fresh]),
        predicted, new_y, fresh,
    )  # fmt: skip


def codes_of(x: Floats) -> NDArray[np.intp]:
    """Columns of whole numbers that recur and of which there are more than two: codes, perhaps. Those of most values
    first; 8 at most.

    >>> codes_of(np.column_stack([np.arange(60) % 7, np.arange(60) / 7, np.arange(60)])).tolist()
    [0]
    """
    counts = np.zeros(x.shape[1])
    for place, column in enumerate(x.T):
        known = column[np.isfinite(column)]
        if not len(known) or (known[:50] != np.round(known[:50])).any() or (known != np.round(known)).any():
            continue
        distinct = len(np.unique(known))
        counts[place] = distinct if 2 < distinct <= len(known) / 2 else 0
    found = np.argsort(-counts, kind="stable")[:MOST_CODES]
    return np.asarray(found[counts[found] > 0])


def _by_values(x: Floats, y: Floats, new_x: Floats, new_y: Floats) -> Agreements:
    x, y = _thinned(x, y, MOST_NEIGHBOURS)
    new_x, new_y = _thinned(new_x, new_y, MOST_NEIGHBOURS)
    fresh = _uncopied(new_x, x)
    predicted = _alike(new_x, x) @ (y - y.mean(axis=0))
    found = _against(predicted[fresh], new_y[fresh])
    return Agreements(_of_values(x, y), _of_values(new_x, new_y), found, predicted, new_y, fresh)


def _alike(rows: Floats, others: Floats, *, own: bool = False) -> NDArray[np.float32]:
    """Weights of the others of the same value in the prediction of each row, summed over the columns; means are shrunk
    to that of all by as much as 5 rows.
    """
    weights = np.zeros((len(rows), len(others)), dtype=np.float32)
    for column, other in zip(rows.astype(np.float32).T, others.astype(np.float32).T, strict=True):
        same = (column[:, None] == other).astype(np.float32)
        if own:
            np.fill_diagonal(same, 0.0)
        same /= (same.sum(axis=1) + np.float32(SHRINKAGE))[:, None]
        weights += same
    return weights


def _of_values(x: Floats, y: Floats) -> Agreement:
    weights = _alike(x, x, own=True)
    out, back, rows = weights.sum(axis=1, dtype=float), weights.sum(axis=0, dtype=float), len(y)
    half = (float((weights**2).sum(dtype=float)) + float((weights * weights.T).sum(dtype=float))) / 2
    squares = half - 2 * float((((out + back) / 2) ** 2).sum()) / rows + (float(out.sum()) / rows) ** 2
    return replace(_within(weights @ (y - y.mean(axis=0)), y, out, squares), least=math.nan)


def _uncopied(rows: Floats, others: Floats) -> NDArray[np.bool_]:
    """Flags of the rows that equal none of the others, up to rounding to 32 bits."""
    known = {row.tobytes() for row in np.round(others, 6).astype(np.float32) + np.float32(0)}
    return np.array([row.tobytes() not in known for row in np.round(rows, 6).astype(np.float32) + np.float32(0)])


class _Ridge:
    """Ridge regression of the targets on the columns, each row also predicted by all others."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self._mean = x.mean(axis=0)
        self._y, self._rows = y - y.mean(axis=0), len(x)
        self._left, self._sizes, self._right = np.linalg.svd(x - self._mean, full_matrices=False)
        self._told = self._left.T @ self._y
        best: tuple[float, Floats] = (math.inf, np.zeros(len(self._sizes)))
        for penalty in PENALTIES:
            shrunk = self._sizes**2 / (self._sizes**2 + penalty * self._rows)
            error = float(((self._y - self._held_out(shrunk)) ** 2).sum())
            best = min(best, (error, shrunk), key=lambda one: one[0])
        self._shrunk = best[1]

    def _own(self, shrunk: Floats) -> Floats:
        """Weight of each row in its own prediction."""
        return np.asarray(np.minimum((self._left**2) @ shrunk, 1 - 1e-6))

    def _held_out(self, shrunk: Floats) -> Floats:
        own = self._own(shrunk)[:, None]
        return np.asarray((self._left @ (shrunk[:, None] * self._told) - own * self._y) / (1 - own))

    def predict(self, x: Floats) -> Floats:
        """Prediction for new rows, less the mean; shape (rows, targets)."""
        gains = np.divide(self._shrunk, self._sizes, out=np.zeros_like(self._sizes), where=self._sizes > 1e-9)
        return np.asarray(((x - self._mean) @ self._right.T * gains) @ self._told)

    def agreement(self) -> Agreement:
        """Agreement of each target with the prediction by the other rows. Its weights are the rows of the hat matrix H
        without its diagonal, over 1 - diagonal; they are never stored.
        """
        shrunk, left, rows = self._shrunk, self._left, self._rows
        own = self._own(shrunk)
        over = 1 / (1 - own)
        squares = float((over**2 * ((left**2) @ shrunk**2 - own**2)).sum())
        crossed = (left.T * over) @ left * shrunk
        mixed = float((crossed * crossed.T).sum()) - float((over**2 * own**2).sum())
        hat = left @ (shrunk * left.sum(axis=0))
        out, back = over * (hat - own), left @ (shrunk * (left.T @ over)) - over * own
        sums = (out + back) / 2
        total = float(out.sum())
        size = (squares + mixed) / 2 - 2 * float((sums**2).sum()) / rows + (total / rows) ** 2
        told = _within(self._held_out(shrunk), self._y, out, size)
        varying = int((self._sizes > 1e-9 * max(float(self._sizes.max(initial=0.0)), 1e-30)).sum())
        return replace(told, least=SHOWN * math.sqrt(2 * varying) / rows)


def _within(said: Floats, y: Floats, sums: Floats, squares: float) -> Agreement:
    """Agreement of targets with weighted sums of the others': a quadratic form, whose mean and variance over all orders
    of the targets are known (Cliff and Ord 1981, for Moran's I; targets taken as normal).

    Args:
        said: the sums, shape (rows, targets).
        y: the targets.
        sums: of the weights of each row.
        squares: sum of the squares of the weights, made symmetric and centred in rows and columns.
    """
    rows = len(y)
    t = y - y.mean(axis=0)
    size = float((t**2).sum())
    if not size:
        return Agreement()
    expected = -float(sums.sum()) * size / (rows * (rows - 1))
    spread = math.sqrt(2 * max(squares, 0.0) * float(((t.T @ t / rows) ** 2).sum()))
    # The mean that was taken off holds the row's own target; that of the others does not.
    r, error = _correlation(said + sums[:, None] * t / (rows - 1), t)
    z = (float((t * said).sum()) - expected) / spread if spread else math.nan
    return Agreement(r, z, error, SHOWN * spread / size)


def _against(predicted: Floats, y: Floats) -> Agreement:
    """Agreement of targets with predictions that do not know them."""
    if len(y) < LEAST_ROWS:
        return Agreement()
    p, t = predicted - predicted.mean(axis=0), y - y.mean(axis=0)
    rows = len(y)
    size = math.sqrt(float((p**2).sum()) * float((t**2).sum()))
    if not size:
        return Agreement()
    spread = math.sqrt(max(float(((p.T @ p / rows) * (t.T @ t / rows)).sum()) * rows, 0.0))
    r, error = _correlation(p, t)
    return Agreement(r, r * size / spread if spread else math.nan, error, (SHOWN * spread / size) ** 2)


def _correlation(p: Floats, t: Floats) -> tuple[float, float]:
    """Correlation of two tables, all columns together, and its standard error by the delta method."""
    p, t = p - p.mean(axis=0), t - t.mean(axis=0)
    one, other = float((p**2).sum(axis=1).mean()), float((t**2).sum(axis=1).mean())
    if not one > 0 or not other > 0:
        return math.nan, math.nan
    products = (p * t).sum(axis=1) / math.sqrt(one * other)
    r = float(products.mean())
    pulls = products - r / 2 * ((p**2).sum(axis=1) / one + (t**2).sum(axis=1) / other)
    return r, float(pulls.std()) / math.sqrt(len(p))


@dataclass(frozen=True)
class ClassMap:
    """The map of validation classes to training classes that explains the targets of validation."""

    identity: float = math.nan
    """Agreement of validation rows with training rows, classes as they are."""
    mapped: float = math.nan
    """Agreement under the map, on rows that it was not fitted to."""
    gain_z: float = math.nan
    """Distance between the two, in standard errors."""
    renamed: tuple[tuple[float, float], ...] = ()
    """Pairs (class of validation, class of training) that differ, the clearest first."""

    @property
    def text(self) -> str:
        """The map in words; empty where no class has another name.

        >>> ClassMap(renamed=((4.0, 5.0),)).text
        'class 4 of validation is class 5 of training'
        """
        return ", ".join(f"class {one:g} of validation is class {other:g} of training" for one, other in self.renamed)


LEAST_OF_CLASS = 5
"""Number of rows of a class in each half of validation below which nothing is said of its name."""


def class_map(predicted: Floats, new_y: Floats, classes: NDArray) -> ClassMap:
    """Find the one-to-one map of classes under which validation rows agree best with the predictions of training rows,
    fitted to one half of the rows and judged on the other, both ways (Kuhn 1955 for the assignment).

    Args:
        predicted: predictions of validation rows by training rows, centred, shape (rows, classes).
        new_y: their classes, one column each.
        classes: the names of the columns.
    """
    halves = (slice(0, None, 2), slice(1, None, 2))
    count = new_y.shape[1]
    if count < 2 or len(new_y) < 2 * LEAST_ROWS:
        return ClassMap()
    judged = np.empty_like(predicted)
    for one, other in (halves, halves[::-1]):
        judged[other] = predicted[other][:, _assigned(predicted[one], new_y[one])]
    (identity, error), (mapped, new_error) = _correlation(predicted, new_y), _correlation(judged, new_y)
    whole = _assigned(predicted, new_y)
    certain = [_assigned(predicted[half], new_y[half]) for half in halves]
    sure = [c for c in range(count) if whole[c] != c and all(of_half[c] == whole[c] for of_half in certain)]
    known = [c for c in sure if max(c, whole[c]) < len(classes)]
    known.sort(key=lambda c: -_clearness(predicted, new_y, c, int(whole[c])))
    renamed = tuple((float(classes[c]), float(classes[whole[c]])) for c in known)
    return ClassMap(identity, mapped, (mapped - identity) / max(math.hypot(error, new_error), 1e-12), renamed)


def _clearness(predicted: Floats, new_y: Floats, new_class: int, old_class: int) -> float:
    rows = new_y[:, new_class] > 0
    return float((predicted[rows, old_class] - predicted[rows, new_class]).mean())


def _assigned(predicted: Floats, new_y: Floats) -> NDArray[np.intp]:
    """Column of `predicted` for each class; itself for classes with too few rows, where that is free."""
    rows = new_y.sum(axis=0)
    told = new_y.T @ (predicted - predicted.mean(axis=0))
    told[rows < LEAST_OF_CLASS] = 0.0
    scale = float(np.abs(told).max()) or 1.0
    return np.asarray(optimize.linear_sum_assignment(-(told + 1e-6 * scale * np.eye(len(told))))[1])


def better_probe(found: Mapping[str, Agreements]) -> Agreements:
    """The probe that shows more: the one of the largest `strongest`."""
    return max(found.values(), key=lambda one: one.strongest, default=Agreements())
