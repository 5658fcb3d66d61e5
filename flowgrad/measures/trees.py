"""Measures the rounds of a booster: the course of its evaluation, the gains of its splits, and its columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measure

special = LazyModule("scipy.special")
stats = LazyModule("scipy.stats")

MEASURES = (
    Measure("rounds", "count", "Boosting rounds seen."),
    Measure(
        "boosts",
        "flag",
        "1 where each round corrects those before it and stays as it is; 0 for forests, DART and linear boosters.",
    ),
    Measure("evaluated", "flag", "1 where an evaluation set other than the training data was given, else 0."),
    Measure("higher_is_better", "flag", "1 where the validated metric is better when higher, else 0; NaN: not told."),
    Measure("stopped", "flag", "1 where early stopping chose the round that is kept, else 0."),
    Measure(
        "stopped_by_train",
        "flag",
        "1 where the value that early stopping states to have kept is that of the training data, else 0.",
        on_evaluation=True,
    ),
    Measure(
        "raw_metric",
        "flag",
        "1 where the metric that is there to judge takes the raw scores that it is given for something else "
        "(probabilities, means above zero), else 0. Nothing is judged by it.",
    ),
    Measure("stopped_by_raw", "flag", "1 where early stopping went by such a metric, else 0."),
    Measure("kept_round", "count", "Last round of the model that is kept, from 1; what follows it is not judged."),
    Measure("val_best", "metric", "Best value of the validated metric up to `kept_round`.", on_evaluation=True),
    Measure("val_last", "metric", "Its value in `kept_round`.", on_evaluation=True),
    Measure(
        "val_excess",
        "ratio",
        "How much worse `val_last` is than `val_best`, over the size of `val_best`; of squared errors, their roots. "
        "Not known where `boosts` is 0.",
        on_evaluation=True,
    ),
    Measure(
        "val_drift",
        "ratio",
        "Steady worsening after `best_round`, in standard errors of the steps between up to 12 blocks of rounds.",
        on_evaluation=True,
    ),
    Measure(
        "val_climb",
        "ratio",
        "Steady improvement in the last half of the rounds, in the same standard errors.",
        on_evaluation=True,
    ),
    Measure(
        "val_lost",
        "share",
        "Worsening from `val_best` to `val_last`, over itself plus all improvement before. Not known where `boosts` "
        "is 0.",
        on_evaluation=True,
    ),
    Measure(
        "val_improved",
        "ratio",
        "By how much `val_best` is better than the value of the first round, over the size of that; of squared errors, "
        "their roots.",
        on_evaluation=True,
    ),
    Measure("squared", "flag", "1 where the validated metric is a squared error or the root of one, else 0."),
    Measure("other_sets", "count", "Evaluation sets that are neither judged nor named as the training data."),
    Measure("val_first", "metric", "The validated metric after the first round.", on_evaluation=True),
    Measure("train_first", "metric", "The same metric on the training data.", on_evaluation=True),
    Measure(
        "val_start",
        "ratio",
        "Root of the squared error, or of the binary log-loss, after the first round, over that of the constant that "
        "fits the validation target best: about 1 where the first round starts at that constant. Not known of other "
        "metrics, and where the booster had rounds before.",
        on_evaluation=True,
    ),
    Measure(
        "train_start",
        "ratio",
        "The same of the training rows, before the first round (`first_gain`).",
        on_evaluation=True,
    ),
    Measure(
        "first_gain",
        "share",
        "Share of the training rows' squared error that the first round took away; where trees are fitted to something "
        "else, or the library is LightGBM, the most that a round of its rate may take, 1 - (1 - rate)^2. Not known of "
        "rows that are weighted.",
        on_evaluation=True,
    ),
    Measure(
        "start_ratio",
        "ratio",
        "Root of the squared error, or of the log-loss, of the validated set after the first round, over that of the "
        "training rows before it (`first_gain`). Not known of other metrics.",
        on_evaluation=True,
    ),
    Measure("start_reached", "ratio", "The same of the best validated round.", on_evaluation=True),
    Measure(
        "starts_told", "flag", "1 where the library tells which sets were given initial scores (LightGBM), else 0."
    ),
    Measure(
        "start_difference",
        "sign",
        "1 where initial scores were given to the training rows alone, -1 where to the validated set alone, else 0.",
    ),
    Measure(
        "other_excess",
        "ratio",
        "`val_excess` of the evaluation set that has most of it, of those that are neither judged nor the training "
        "data.",
        on_evaluation=True,
    ),
    Measure("other_drift", "ratio", "`val_drift` of that set.", on_evaluation=True),
    Measure(
        "val_is_train",
        "flag",
        "1 where the metric is the same on both sets in every round, to the last bit, though it changes; else 0. Not "
        "known where the training data were not evaluated.",
        on_evaluation=True,
    ),
    Measure("val_nonfinite", "flag", "1 where the validated metric was NaN or infinite in some round, else 0."),
    Measure("best_round", "count", "Round of `val_best`, from 1; the first of several.", on_evaluation=True),
    Measure(
        "best_round_share",
        "share",
        "`best_round` over `rounds`: 1 where the last round is the best.",
        on_evaluation=True,
    ),
    Measure(
        "late_val_gain",
        "share",
        "Part of the validated metric's improvement made in the last fifth of rounds.",
        on_evaluation=True,
    ),
    Measure("train_last", "metric", "The same metric on the training data in `kept_round`.", on_evaluation=True),
    Measure(
        "late_train_gain",
        "share",
        "Part of the improvement of `train_last` made in the last fifth of rounds.",
        on_evaluation=True,
    ),
    Measure(
        "generalisation_gap",
        "ratio",
        "How much worse `val_last` is than `train_last`, over the former in size. Of absolute errors, roots of squared "
        "errors and the area under the ROC curve; not known of other metrics, of forests and of linear boosters.",
        on_evaluation=True,
    ),
    Measure(
        "val_explained",
        "share",
        "Share of the held-out target that `val_best` explains: of its variance for squared errors, of its entropy for "
        "a binary log-loss, and the squared correlation of two normal scores with the classes for the area under the "
        "ROC curve. Not known of other metrics.",
        on_evaluation=True,
    ),
    Measure(
        "train_explained",
        "share",
        "The same share of the training target, by `train_last`.",
        on_evaluation=True,
    ),
    Measure("leading_r2_loss", "r2", "`r2_loss` of the column with most gain. Not known without held-out rows of it."),
    Measure("leading_shift_z", "ratio", "`shift_z` of that column."),
    Measure(
        "zeros_for_missing",
        "share",
        "Share of zeros in the part that was given as an array, where the other part is a sparse matrix and the "
        "library takes what that leaves out for missing (XGBoost); 0 where both have one form, or the library does "
        "not.",
    ),
    Measure(
        "groups",
        "count",
        "Groups that were told, in the part that has fewer of them; not known of a ranking whose groups were not told.",
    ),
    Measure(
        "grouped_columns",
        "count",
        "Columns, the target among them, whose ranks differ between groups beyond chance (analysis of variance, p < "
        ".001 in all columns together), in the part that has fewer of them.",
    ),
    Measure(
        "learning_rate",
        "ratio",
        "What each tree's values are multiplied by, as the library tells; not known of forests and linear boosters.",
    ),
    Measure("trees", "count", "Trees read."),
    Measure(
        "late_tree_gain",
        "ratio",
        "Mean gain of a tree of the last fifth of rounds, over that of the first fifth. Not known where `boosts` is 0, "
        "of rankings, and, as all that speaks of first rounds, where the booster had rounds before.",
    ),
    Measure("tree_depth", "count", "Mean depth of the trees: splits from the root to the deepest leaf."),
    Measure("leaf_hessian", "count", "Median sum of hessians of a leaf: its training rows, for squared errors."),
    Measure(
        "leaf_room",
        "ratio",
        "Sum of hessians of all training rows in the first round, over what the settings ask of each leaf: no tree can "
        "have more leaves than that. Not known of CatBoost, nor where LightGBM split no first tree.",
    ),
    Measure(
        "leaf_limit",
        "ratio",
        "The same, or the training rows over those that the settings ask of each leaf, where that is less (LightGBM; "
        "CatBoost's trees that are not symmetric, where no row is weighted).",
    ),
    Measure("least_hessian", "count", "Sum of hessians that the settings ask of each leaf. Not known of CatBoost."),
    Measure(
        "least_rows",
        "count",
        "Training rows that the settings ask of each leaf; of CatBoost, half of those that they ask of one that is "
        "split. 0 where there is no such setting.",
    ),
    Measure("tree_leaves", "count", "Mean number of leaves of the trees."),
    Measure(
        "refused_z",
        "ratio",
        "Standard errors from chance of the largest effect that the settings let no split take: the root of the gain "
        "that they ask of a split, over `val_best` as a squared error. Of trees that are fitted to squared errors.",
        on_evaluation=True,
    ),
    Measure(
        "refused_share",
        "share",
        "That gain over the squared error that is left of as many rows: what a split that is refused could explain.",
        on_evaluation=True,
    ),
    Measure("most_leaves", "count", "Leaves that the settings allow a tree."),
    Measure(
        "positive_weight",
        "ratio",
        "Weight in the loss of a row of the positive class over that of one of the other, by the settings of the "
        "library; weights of single rows are not seen. 1 of other objectives than a binary log-loss. Not known where "
        "classes are balanced by their numbers and the data were not observed.",
    ),
    Measure("positive_rate", "share", "Share of the training rows that are of the positive class."),
    Measure(
        "weighted_rate",
        "share",
        "The same with each row counted by `positive_weight`: what a tree without a split predicts.",
    ),
    Measure(
        "order_alone",
        "flag",
        "1 where the validated metric tells of the order of rows alone, as the area under the ROC curve does; else 0.",
    ),
    Measure("columns", "count", "Columns that the trees could split on."),
    Measure("unused_share", "share", "Share of the columns that no tree split on."),
    Measure("top_gain_share", "share", "Share of all gain that the column with most of it has."),
    Measure(
        "leak_r2",
        "r2",
        "Highest validation R2 of a column that predicts the target alone, of those that nobody said are known in time "
        "and that bear no sign of being written down after the target. High values alone are no such sign.",
    ),
    Measure("leak_ratio", "ratio", "`leak_r2` over that of the next column."),
    Measure("leak_rest", "ratio", "What `leak_r2` leaves unexplained, over what the next column leaves."),
    Measure("told_after", "count", "Columns that the user said are written down after the target."),
    Measure("target_copies", "count", "Columns that hold the target itself, in another code or unit."),
    Measure("target_presence", "count", "Columns that have a value in rows of one class alone."),
    Measure("target_windows", "count", "Columns that are a running mean or sum in which the row's own target stands."),
    Measure("observed", "flag", "1 where the rows were given to `observe_data`, else 0."),
    Measure("val_rows", "count", "Validation rows that were observed."),
    Measure("twins", "count", "Columns that repeat an earlier one: of a correlation above .98 in size."),
    Measure("val_error", "ratio", "1 over the root of `val_rows`."),
    Measure("seen_rows", "count", "Validation rows that copy a training row, target too; 0 where this is open."),
    Measure("seen_share", "share", "The same over the validation rows; NaN where they were not observed."),
    Measure(
        "near_share",
        "share",
        "Validation rows that copy a training row but for noise or for one column. Not known where less than three "
        "columns have a hundred values or more.",
    ),
    Measure("near_rows", "count", "Their number."),
    Measure("near_within", "share", "Training rows that are such copies of another one; 0 where `near_rows` is."),
    Measure(
        "between_share",
        "share",
        "Validation rows of a class that are on a straight line with two others of it, a training row among them, less "
        "the share of the largest class. Not known where less than three columns have a hundred values or more.",
    ),
    Measure("target_values", "count", "Distinct values of the training target."),
    Measure("new_target_sd", "target", "Standard deviation of the validation target."),
    Measure(
        "target_distance",
        "share",
        "Kolmogorov distance of the training target from that held out, beyond what chance gives at p = .001.",
    ),
    Measure("gain_share", "share", "The column's part of all gain.", per_row=True),
    Measure("splits", "count", "Splits on the column.", per_row=True),
    Measure("first_round", "count", "Round of its first split, from 1; NaN where it has none.", per_row=True),
    Measure("train_r2", "r2", "R2 of the column alone, on the rows that it was fitted to.", per_row=True),
    Measure("val_r2", "r2", "R2 of that fit on the validation rows.", per_row=True),
    Measure("r2_loss", "r2", "`train_r2` less `val_r2`.", per_row=True),
    Measure(
        "recovered",
        "share",
        "Part of what `train_r2` has over `val_r2` (0 at least) that comes back when the column is fitted anew on half "
        "of the held-out rows and judged on the other; 0 where they are too few. What drifts comes back, what knew the "
        "training targets does not.",
        per_row=True,
    ),
    Measure("twin_correlation", "correlation", "Largest correlation with an earlier column, in size.", per_row=True),
    Measure(
        "shift_z",
        "ratio",
        "`r2_loss` beyond what chance gives a fit of as many bins, in standard errors.",
        per_row=True,
    ),
    Measure("distinct_share", "share", "Distinct values over training rows.", per_row=True),
    Measure("distinct", "count", "Distinct values in the training rows.", per_row=True),
    Measure("mode_share", "share", "Training rows that hold the most frequent value, or none.", per_row=True),
    Measure("whole", "flag", "1 where all values are whole numbers, else 0.", per_row=True),
    Measure("alone_p", "p", "Probability that a column of no use fits the training rows as well.", per_row=True),
    Measure(
        "code_r2_loss", "r2", "`r2_loss` of a mean for each value; 0 unless they are whole and recur.", per_row=True
    ),
    Measure("code_shift_z", "ratio", "`shift_z` of that fit.", per_row=True),
    Measure(
        "code_p_held_out",
        "p",
        "Probability that values of no use fit the held-out rows as well, by a mean for each; 1 unless they are whole "
        "and recur. Codes that were learned by heart tell nothing there, codes that are numbered otherwise do.",
        per_row=True,
    ),
    Measure("peak_gain", "ratio", "Largest gain of its splits, over the median split's in that window.", per_row=True),
    Measure(
        "part_distance",
        "share",
        "Kolmogorov distance of its values in training from those held out, beyond what chance gives at p = .001.",
        per_row=True,
    ),
    Measure(
        "joined_by_index",
        "flag",
        "1 where it lacks its value in just the rows whose label in the index is the number of rows or more.",
        per_row=True,
    ),
    Measure(
        "one_value_held_out",
        "flag",
        "1 where all held-out rows hold one value, that a quarter of the training rows or more hold, or none, while "
        "the training rows differ.",
        per_row=True,
    ),
    Measure("known_in_time", "flag", "1 where the user said that it is known when predictions are made.", per_row=True),
    Measure("told_late", "flag", "1 where the user said that it is written down after the target.", per_row=True),
    Measure(
        "copies_target",
        "flag",
        "1 where it is the target itself, in both parts: value for value, or on a line up to rounding.",
        per_row=True,
    ),
    Measure(
        "tells_by_presence",
        "flag",
        "1 where it has a value in rows of one class alone, in both parts, and in half of them or more.",
        per_row=True,
    ),
    Measure(
        "holds_own_target",
        "flag",
        "1 where its differences from row to row are those of a running mean or sum of the target that ends with the "
        "row itself, and not those of one that ends with the row before.",
        per_row=True,
    ),
    Measure("categorical", "flag", "1 where the library takes it for categories, 0 where for a number.", per_row=True),
    Measure(
        "value_effect",
        "share",
        "Share of the target's variance that lies between its values (intraclass correlation); 0 unless they are "
        "whole, 20 or more, and recur three times on the mean. Amounts of the target count by their ranks; of several "
        "classes, the one that it tells most of against the rest.",
        per_row=True,
    ),
    Measure(
        "value_p",
        "p",
        "Probability that values of no use differ as much, times the columns asked (Bonferroni); 1 as `value_effect` "
        "is 0.",
        per_row=True,
    ),
    Measure(
        "neighbours_alike",
        "correlation",
        "Correlation of the effects of consecutive values, three standard errors up: near 1 of an amount, near 0 of "
        "codes; 1 as `value_effect` is 0.",
        per_row=True,
    ),
)

LATE = 0.2
"""Share of the rounds that count as late."""
BINS, LEAST_ROWS = 16, 20
"""Bins of the fit of one column, as many leaves as a tree of depth 4 has; fewer where they would hold fewer rows."""
TWINS = 0.98


def columns_of_groups(columns: NDArray[np.float64], groups: ArrayLike) -> int:
    """Number of columns whose ranks differ between groups beyond chance: by one-way analysis of variance, at p = .001
    divided by the number of columns (Bonferroni).

    Args:
        columns: shape (rows, columns); NaN, where missing, is the lowest rank.
        groups: what each row belongs to, shape (rows,).

    >>> columns_of_groups(np.array([[1.0, 0.0], [1.1, 1.0], [9.0, 1.0], [9.1, 0.0]] * 9), [0, 0, 1, 1] * 9)
    1
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    within = len(codes) - len(sizes)
    if within < 1 or len(sizes) < 2:
        return 0
    ranks = stats.rankdata(np.where(np.isnan(columns), -np.inf, columns), axis=0)
    ranks -= ranks.mean(0)
    means = np.stack([np.bincount(codes, column) for column in ranks.T], 1) / sizes[:, None]
    between, whole = (sizes[:, None] * means**2).sum(0), (ranks**2).sum(0)
    varied = whole > 0
    left = np.maximum(whole - between, 1e-12 * whole)[varied]
    p = stats.f.sf(between[varied] / (len(sizes) - 1) / (left / within), len(sizes) - 1, within)
    return int((p < 0.001 / columns.shape[1]).sum())


def weighted_classes(weight: float, target: ArrayLike) -> dict[str, float]:
    """`positive_weight`, `positive_rate` and `weighted_rate`; NaN where they are not known.

    >>> found = weighted_classes(3.0, [0.0, 0.0, 0.0, 1.0])
    >>> found["positive_rate"], found["weighted_rate"]
    (0.25, 0.5)

    Args:
        weight: of the positive class by the settings; infinite where both classes are made to weigh alike.
        target: of training, shape (rows,); empty where it is not known.
    """
    values = np.asarray(target, dtype=float)
    rate = float((values == 1).mean()) if len(values) and np.isin(values, (0.0, 1.0)).all() else math.nan
    if math.isinf(weight):
        weight = (1 - rate) / rate if rate > 0 else math.nan
    return {
        "positive_weight": weight,
        "positive_rate": rate,
        "weighted_rate": weight * rate / (weight * rate + 1 - rate),
    }


def explained(value: float, kind: str, target: ArrayLike) -> float:
    """Share of a target that a metric says is explained; NaN where the kind of metric does not tell, or the target is
    not one of two classes where it has to be.

    Args:
        value: of the metric.
        kind: `squared` (a mean squared error), `log_loss` or `auc`.
        target: shape (rows,); of 0 and 1 for the latter two.

    >>> explained(0.25, "squared", [0.0, 1.0, 2.0])
    0.625
    >>> round(explained(0.9, "auc", [0, 1]), 3)
    0.451
    """
    y = np.asarray(target, dtype=float)
    if kind == "squared":
        return 1 - value / float(y.var()) if y.var() > 0 else math.nan
    rate = float(y.mean())
    if not np.isin(y, (0.0, 1.0)).all() or not 0 < rate < 1:
        return math.nan
    if kind == "log_loss":
        return 1 + value / (rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    apart = 2 * float(stats.norm.ppf(min(max(value, 0.5), 1 - 1e-9))) ** 2 * rate * (1 - rate)
    return apart / (1 + apart)


def root_ratio(value: float, other: float) -> float:
    """Root of the ratio of two values; NaN unless one is 0 or more, and the other above 0.

    >>> root_ratio(4.0, 1.0)
    2.0
    """
    return math.sqrt(value / other) if value >= 0 and other > 0 else math.nan


def course(
    values: Sequence[float], higher_is_better: bool, kept: int | None = None, *, squared: bool = False
) -> dict[str, float]:
    """Measure where an evaluation stands against its best: `best`, `last`, `excess`, `lost`, `best_round`, `drift`,
    `climb`, `late_gain`, `improved`, `nonfinite`.

    Rounds that are not finite are never the best. `late_gain` is NaN where the best is no better than the first round.

    Args:
        values: one a round.
        higher_is_better: direction of the metric.
        kept: rounds of the model that is kept: what comes after them is not part of `best` and `last`. None: all.
        squared: whether `excess` is taken of the values' roots.

    >>> course([4.0, 2.0, 1.0, 1.5], higher_is_better=False)["excess"]
    0.5
    >>> course([4.0, 2.0, 1.0, 1.5], higher_is_better=False, kept=3)["excess"]
    0.0
    """
    seen = np.asarray(values, dtype=float)
    names = ("best", "last", "excess", "lost", "best_round", "drift", "climb", "late_gain", "improved")
    nonfinite = float(not np.isfinite(seen).all())
    all_loss = np.where(np.isfinite(seen), -seen if higher_is_better else seen, np.inf)
    seen, loss = seen[:kept], all_loss[:kept]
    if not np.isfinite(seen).any():
        return dict.fromkeys(names, float("nan")) | {"nonfinite": nonfinite}
    place = int(loss.argmin())
    best, last = float(seen[place]), float(seen[-1])
    return {
        "best": best,
        "last": last,
        "excess": _excess(best, last, higher_is_better, squared),
        "lost": lost(loss),
        "best_round": float(place + 1),
        "drift": drift(loss[place:]),
        "climb": steadiness(-all_loss[len(all_loss) // 2 :]),
        "late_gain": late_gain(all_loss),
        "improved": _improved(float(seen[0]), best, squared),
        "nonfinite": nonfinite,
    }


def _excess(best: float, last: float, higher_is_better: bool, squared: bool) -> float:
    if squared and min(best, last) >= 0:
        best, last = math.sqrt(best), math.sqrt(last)
    worse = (best - last) if higher_is_better else (last - best)
    return worse / abs(best) if best else float("nan")


def _improved(first: float, best: float, squared: bool) -> float:
    if squared and min(best, first) >= 0:
        best, first = math.sqrt(best), math.sqrt(first)
    return abs(first - best) / abs(first) if first and math.isfinite(first) else float("nan")


BLOCKS, LEAST_BLOCKS, MOST = 12, 4, 1000.0


def drift(loss: NDArray[np.float64]) -> float:
    """Steadiness, in standard errors, of a curve's rise from its first value, the lowest: its `steadiness` over all
    rounds, or two thirds of that over the rounds until it has risen by nine tenths, where that is more: a booster that
    learns its rows by heart in ten rounds moves no more in the next hundred. It is two thirds because the end of that
    stretch is chosen by the curve.

    >>> drift(np.array([1.0, 1.0]))
    0.0
    >>> levelling = 1 - 0.5 ** np.arange(200.0)
    >>> bool(drift(levelling) > steadiness(levelling))
    True
    """
    rise = float(loss[-1] - loss[0])
    if not rise > 0:
        return 0.0 if rise == 0 else float("nan")
    there = int(np.argmax(loss >= loss[0] + 0.9 * rise))
    whole, early = steadiness(loss), steadiness(loss[: max(there, LEAST_BLOCKS) + 1])
    return float(np.fmax(whole, early / 1.5))


def steadiness(values: NDArray[np.float64]) -> float:
    """Rise of a curve in standard errors, judged by its own wobble: the mean step between successive blocks of steps
    over the standard error that successive differences of those steps give (von Neumann 1941), so that a rise that
    comes early and then levels off counts as steady too. NaN below 4 steps; 1000 at most in size.

    A held-out metric moves from round to round by what each tree does to those few rows. Where the true curve is flat,
    it walks at random: from its best value it has always worsened, and the fewer the rows, the farther.

    >>> float(round(steadiness(np.array([0.0, 1.0, 2.2, 3.1, 4.0])), 1))
    13.6
    """
    steps = np.diff(values)
    if len(steps) < LEAST_BLOCKS or not np.isfinite(steps).all():
        return float("nan")
    width = -(-len(steps) // BLOCKS)
    count = len(steps) // width
    blocks = steps[len(steps) - count * width :].reshape(count, width).sum(axis=1)
    wobble = math.sqrt(float((np.diff(blocks) ** 2).mean()) / 2)
    rise = float(blocks.mean()) * math.sqrt(count)
    return math.copysign(min(abs(rise) / max(wobble, 1e-300), MOST), rise) if rise else 0.0


def lost(loss: NDArray[np.float64]) -> float:
    """Share of the fall to the lowest loss that is lost by the last round, in [0, 1]: the rise over rise plus fall. 1
    where the first round was the best and the last is worse, 0 where the last is the best.

    >>> lost(np.array([4.0, 1.0, 2.0]))
    0.25
    """
    fall, rise = float(loss[0] - loss.min()), float(loss[-1] - loss.min())
    if rise == math.inf or fall == math.inf:
        return math.nan
    return rise / (rise + fall) if rise else 0.0


def late_gain(loss: NDArray[np.float64]) -> float:
    """Share of the fall from the first to the lowest loss that came in the last fifth of the rounds, in [0, 1].

    >>> late_gain(np.array([10.0, 6.0, 4.0, 3.0, 2.0]))
    0.125
    """
    fall = float(loss[0] - loss.min())
    if len(loss) < 1 / LATE or not 0 < fall < np.inf:
        return float("nan")
    early = float(loss[: round(len(loss) * (1 - LATE))].min())
    return (early - float(loss.min())) / fall


def late_tree_gain(gain: NDArray[np.float64], number: NDArray[np.int64], rounds: int) -> float:
    """Ratio of the mean gain of the trees in the last fifth of rounds to that of the first fifth. NaN below 5 rounds.

    Boosting by squared errors at a rate r leaves (1 - r)^t of what can be explained after t rounds, and the gain of a
    tree is proportional to the square of that: early on the ratio is near 1 whatever the metric, and it falls to the
    level of chance.

    Args:
        gain: of each tree, shape (trees,).
        number: round of each tree, from 1.
        rounds: all rounds.

    >>> late_tree_gain(np.array([8.0, 4.0, 2.0, 1.0, 0.5]), np.arange(1, 6), 5)
    0.0625
    """
    part = int(rounds * LATE)
    early, late = gain[number <= part], gain[number > rounds - part]
    if not len(early) or not len(late) or not early.mean() > 0:
        return float("nan")
    return float(late.mean() / early.mean())


def gap(train: float, validation: float, higher_is_better: bool, *, squared: bool = False) -> float:
    """Gap by which the validated value is worse, as a share of its size; of squared errors, their roots.

    >>> gap(0.9, 0.6, higher_is_better=True)
    0.5000000000000001
    """
    if squared and min(train, validation) >= 0:
        train, validation = math.sqrt(train), math.sqrt(validation)
    worse = train - validation if higher_is_better else validation - train
    return worse / abs(validation) if validation else float("nan")


class Fit(NamedTuple):
    """Fit of the target by one column alone."""

    train_r2: float
    """R2 on the rows that were fitted."""
    val_r2: float
    """R2 on held-out rows."""
    shift_z: float
    """Number of standard errors by which R2 fell more than it does for a column that carries over: fitting as many
    means raises the one and lowers the other by what chance gives.
    """
    p: float
    """Probability that a column of no use fits the training rows as well: F test of the means (one-way ANOVA); NaN for
    a column of a single bin."""


def alone(column: ArrayLike, target: ArrayLike, column_held_out: ArrayLike, target_held_out: ArrayLike) -> Fit:
    """Predict the target by one column, by whichever fits the training rows better (by adjusted R2): its mean in each
    of up to 16 bins of equally many rows (20 or more), or of each value where those are no more; or a straight line.
    Rows where the column is missing have a mean of their own.

    Raises:
        ValueError: not one row in either part.

    >>> x = np.arange(400.0)
    >>> alone(x, x > 199, x, x > 199)[:2]
    (1.0, 1.0)
    """
    x, y = np.asarray(column, dtype=float), np.asarray(target, dtype=float)
    x_new, y_new = np.asarray(column_held_out, dtype=float), np.asarray(target_held_out, dtype=float)
    if not len(x) or not len(x_new):
        raise ValueError("no row to fit to, or none to hold out")
    known = x[~np.isnan(x)]
    edges = bin_edges(known, min(max(len(known) // LEAST_ROWS, 2), BINS))
    place, new_place = bins_of(x, edges), bins_of(x_new, edges)
    means, count = _means(place, y, len(edges) + 2)
    by_bin = _Predicted(means[place], means[new_place], int(np.count_nonzero(count)))
    p = _f_p(_r2(y, by_bin.rows)[0], by_bin.means, len(y))
    line = _line(x, y, x_new)
    best = by_bin if line is None or _adjusted(by_bin, y) >= _adjusted(line, y) else line
    return _judged(best, y, y_new, p)


def alone_by_value(codes: ArrayLike, target: ArrayLike, codes_held_out: ArrayLike, target_held_out: ArrayLike) -> Fit:
    """Predict the target as `alone` does, with a mean for each value, for columns without order.

    Args:
        codes: whole numbers from 0, shape (rows,); NaN where missing.
        target: of the same rows.
        codes_held_out: of others; a value that was not fitted gets the mean of all.
        target_held_out: of those.

    >>> alone_by_value([0, 0, 1, 1], [1.0, 1.0, 3.0, 3.0], [0, 1, 2], [1.0, 3.0, 2.0])[:2]
    (1.0, 1.0)
    """
    x, x_new = np.asarray(codes, dtype=float), np.asarray(codes_held_out, dtype=float)
    missing = int(np.nanmax(np.concatenate([x, x_new, [-1.0]]))) + 1
    place, new_place = (np.where(np.isnan(c), missing, c).astype(np.intp) for c in (x, x_new))
    return _fitted(place, np.asarray(target, dtype=float), new_place, np.asarray(target_held_out, float), missing + 1)


class _Predicted(NamedTuple):
    rows: NDArray[np.float64]
    held_out: NDArray[np.float64]
    means: int
    """Number of means that were fitted."""


def _fitted(
    place: NDArray[np.intp], y: NDArray[np.float64], new_place: NDArray[np.intp], y_new: NDArray[np.float64], bins: int
) -> Fit:
    means, count = _means(place, y, bins)
    fit = _Predicted(means[place], means[new_place], int(np.count_nonzero(count)))
    return _judged(fit, y, y_new, _f_p(_r2(y, fit.rows)[0], fit.means, len(y)))


def _means(place: NDArray[np.intp], y: NDArray[np.float64], bins: int) -> tuple[NDArray, NDArray]:
    """Mean of each bin, that of all where it is empty; and the number of its rows."""
    count = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=y, minlength=bins)
    return np.divide(sums, count, out=np.full(bins, y.mean()), where=count > 0), count


def _line(x: NDArray[np.float64], y: NDArray[np.float64], x_new: NDArray[np.float64]) -> _Predicted | None:
    """Least-squares line; None where the column does not vary. Held-out values count as the nearest that was fitted."""
    known = ~np.isnan(x)
    if known.sum() < 3 or not np.ptp(x[known]):
        return None
    low, high = x[known].min(), x[known].max()
    scaled, scaled_new = ((np.clip(part, low, high) - low) / (high - low) for part in (x, x_new))
    slope, start = np.polyfit(scaled[known], y[known], 1)
    rest = y[~known].mean() if not known.all() else y.mean()
    predicted = [np.where(np.isnan(part), rest, start + slope * part) for part in (scaled, scaled_new)]
    return _Predicted(predicted[0], predicted[1], 2 + int(not known.all()))


def _adjusted(fit: _Predicted, y: NDArray[np.float64]) -> float:
    """Adjusted R2."""
    return 1 - (1 - _r2(y, fit.rows)[0]) * (len(y) - 1) / max(len(y) - fit.means, 1)


def _judged(fit: _Predicted, y: NDArray[np.float64], y_new: NDArray[np.float64], p: float) -> Fit:
    (r2, error), (new_r2, new_error) = _r2(y, fit.rows), _r2(y_new, fit.held_out)
    # Fitting k means to n rows raises R2 there by (k - 1) / n of what is left to explain, and lowers it elsewhere.
    chance = 2 * (fit.means - 1) / len(y) * (1 - new_r2)
    return Fit(r2, new_r2, (r2 - new_r2 - chance) / max(math.hypot(error, new_error), 1e-12), p)


def _f_p(r2: float, means: int, rows: int) -> float:
    """P-value of the F test that `means` means are equal."""
    if means < 2 or rows <= means or math.isnan(r2):
        return float("nan")
    left = max(1 - r2, 1e-300)
    return float(special.fdtrc(means - 1, rows - means, max(r2, 0.0) / (means - 1) / (left / (rows - means))))


def twins(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest correlation, in size, of each column with one before it.

    Args:
        columns: shape (rows, columns).

    >>> twins(np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 1.0], [3.0, 6.0, 1.0]])).round(6).tolist()
    [nan, 1.0, nan]
    """
    missing = np.isnan(columns)
    known = np.where(missing, 0.0, columns)
    centred = np.where(missing, 0.0, known - known.sum(axis=0) / np.maximum((~missing).sum(axis=0), 1))
    length = np.sqrt((centred**2).sum(axis=0))
    varies = length > 1e-12 * np.sqrt((known**2).sum(axis=0))  # less is what rounding leaves
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=varies)
    correlation = np.abs(unit.T @ unit)
    earlier = np.tril(correlation, k=-1).max(axis=1, initial=0.0)
    earlier[~varies] = np.nan
    if len(earlier):
        earlier[0] = np.nan
    return np.minimum(earlier, 1.0)


def part_distance(values: ArrayLike, others: ArrayLike) -> float:
    """Kolmogorov distance, in [0, 1], of two samples beyond the critical value at p = .001, which is 1.95 sqrt(1/n +
    1/m) for n and m values (Smirnov 1948); 0 where it is within. NaN where either has no value; missing ones are left
    out.

    Parts that are split by time drift away from each other, and so do the fits to them: a column that fits the one and
    not the other is then no sign against it.

    >>> part_distance(np.arange(100), np.arange(100))
    0.0
    >>> round(part_distance(np.arange(100), 100 + np.arange(100)), 3)
    0.724
    """
    x, y = (np.sort(part[~np.isnan(part)]) for part in (np.asarray(values, float), np.asarray(others, float)))
    if not len(x) or not len(y):
        return math.nan
    places = np.concatenate([x, y])
    below, other = (np.searchsorted(part, places, side="right") / len(part) for part in (x, y))
    distance = float(np.abs(below - other).max())
    return max(distance - 1.95 * math.sqrt(1 / len(x) + 1 / len(y)), 0.0)


def linear_p(column: ArrayLike, target: ArrayLike) -> float:
    """Two-sided p-value of the correlation of a column with the target, over the rows where it is known; NaN where one
    does not vary. With few rows it finds relations that `alone` lacks the bins for.
    """
    x, y = np.asarray(column, dtype=float), np.asarray(target, dtype=float)
    known = ~np.isnan(x)
    if known.sum() < 3 or not np.ptp(x[known]) or not np.ptp(y[known]):
        return float("nan")
    return float(stats.pearsonr(x[known], y[known]).pvalue)


def bin_edges(known: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Lower edges of the bins, but for the first."""
    distinct = np.unique(known)
    if len(distinct) <= bins:
        return distinct[1:]
    return np.unique(np.quantile(known, np.arange(1, bins) / bins, method="higher"))


def bins_of(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Bin of each value; missing values have the last one to themselves."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))


def _r2(target: NDArray[np.float64], predicted: NDArray[np.float64]) -> tuple[float, float]:
    """R2 and its standard error, the target's variance taken as known."""
    spread = float(((target - target.mean()) ** 2).mean())
    if not spread:
        return math.nan, math.nan
    squares = (target - predicted) ** 2 / spread
    return 1 - float(squares.mean()), float(squares.std()) / math.sqrt(len(target))
