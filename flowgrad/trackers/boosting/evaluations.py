"""Keeps the evaluations of a booster's rounds, and chooses which of them it is judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from flowgrad.measurements import Judged
from flowgrad.measures import trees
from flowgrad.trackers.boosting.told import BOOSTED, DART

TRAINING = ("train", "training", "dtrain", "learn")
"""Names that are taken for the training data."""

HIGHER = frozenset(
    ("auc", "aucpr", "pre", "map", "ndcg", "auc_mu", "average_precision", "accuracy", "r2",
     "interval-regression-accuracy", "accuracy_score", "average_precision_score", "balanced_accuracy_score",
     "cohen_kappa_score", "d2_absolute_error_score", "explained_variance_score", "f1_score", "jaccard_score",
     "matthews_corrcoef", "ndcg_score", "precision_score", "r2_score", "recall_score", "roc_auc_score")
)  # fmt: skip
"""Metrics of XGBoost, LightGBM and scikit-learn, without what follows `@`, that are better when higher."""
LOWER = frozenset(
    (
        "rmse", "rmsle", "mae", "mape", "mphe", "logloss", "error", "merror", "mlogloss", "quantile", "expectile",
        "poisson-nloglik", "gamma-nloglik", "gamma-deviance", "cox-nloglik", "tweedie-nloglik", "aft-nloglik",
        "l1", "l2", "huber", "fair", "poisson", "gamma", "gamma_deviance", "tweedie", "binary_logloss", "binary_error",
        "multi_logloss", "multi_error", "cross_entropy", "cross_entropy_lambda", "kullback_leibler", "mse",
        "brier_score_loss", "hamming_loss", "hinge_loss", "log_loss", "max_error", "mean_absolute_error",
        "mean_absolute_percentage_error", "mean_gamma_deviance", "mean_pinball_loss", "mean_poisson_deviance",
        "mean_squared_error", "mean_squared_log_error", "median_absolute_error", "root_mean_squared_error",
        "root_mean_squared_log_error", "zero_one_loss",
    )
)  # fmt: skip
"""Metrics that are better when lower."""
ROOTS = frozenset(("rmse", "l2_root", "root_mean_squared_error"))
"""Roots of squared errors."""
SQUARED = frozenset(("l2", "mse", "mean_squared_error"))
"""Squared errors, whose roots are compared."""
COMPARED = SQUARED | ROOTS | frozenset(("mae", "l1", "mean_absolute_error", "auc", "roc_auc_score"))
"""Metrics whose difference between training and held-out rows is reported, relative to the latter. Logarithmic losses
and error rates fall to nearly nothing on the training rows of healthy boosters, and a ranking has no scale of its own.
"""


_EXPLAINING = {
    **dict.fromkeys(SQUARED | ROOTS, "squared"),
    **dict.fromkeys(("logloss", "binary_logloss", "log_loss"), "log_loss"),
    **dict.fromkeys(("auc", "roc_auc_score"), "auc"),
}
"""Kinds of metrics that say which share of a target is explained, as of `trees.explained`."""


_LOG_LOSSES = frozenset(
    ("logloss", "binary_logloss", "log_loss", "mlogloss", "multi_logloss", "multiclass", "cross_entropy")
)
"""Logarithmic losses of classes."""
_OF_ORDER = frozenset(
    ("auc", "aucpr", "pre", "map", "ndcg", "auc_mu", "average_precision", "average_precision_score", "ndcg_score",
     "roc_auc_score")
)  # fmt: skip
"""Metrics that tell of the order of rows alone."""


_LINKED = frozenset(
    ("logloss", "error", "mlogloss", "poisson-nloglik", "gamma-nloglik", "gamma-deviance", "tweedie-nloglik",
     "cox-nloglik", "aft-nloglik", "interval-regression-accuracy", "rmsle", "binary_logloss", "binary_error",
     "multi_logloss", "cross_entropy", "cross_entropy_lambda", "kullback_leibler", "poisson", "gamma",
     "gamma_deviance", "tweedie", "log_loss", "brier_score_loss", "mean_poisson_deviance", "mean_gamma_deviance",
     "mean_squared_log_error", "root_mean_squared_log_error")
)  # fmt: skip
"""Metrics that take what they are given for probabilities, for means above zero or for times: a link was applied."""


class Stop(NamedTuple):
    """Choice that early stopping made: evaluation set, metric and direction."""

    held: str
    """Evaluation set that it went by."""
    metric: str
    higher_is_better: bool | None
    """Direction that it took the metric to have; None where the values do not tell."""


class Evaluations:
    """One value a round, set and metric."""

    def __init__(
        self, metric: str | None, validation: str | None, training: str | None, directions: Mapping[str, bool]
    ) -> None:
        self._metric, self._validation, self._training = metric, validation, training
        self._given = dict(directions)
        """Directions that the user gave, by metric."""
        self._told: dict[str, bool] = {}
        """Directions that the library stated, by metric."""
        self._stop: Stop | None = None
        self._values: dict[tuple[str, str], list[float]] = {}
        self._last = True
        self._raw = self._two_values = False
        self._found: tuple[str, ...] = ()
        """Sets that were found to hold the training rows."""

    def take_raw_scores(self, raw: bool, two_values: bool) -> None:
        """Take whether metrics are given raw scores, and whether the target has two values: their distance from scores
        says nothing either then.
        """
        self._raw, self._two_values = raw, two_values

    def take_training(self, sets: Iterable[str]) -> None:
        """Take the sets that were found to hold the training rows, whatever their names."""
        self._found = (*self._found, *sets)

    def of_raw_scores(self, metric: str) -> bool:
        """Whether the metric's values are none of the model, for it was given raw scores and takes them for something
        else.
        """
        name = _family(metric)
        return self._raw and (
            name in _LINKED or (self._two_values and name in LOWER - {"merror", "multi_error", "hinge_loss"})
        )

    @property
    def without_link(self) -> tuple[str, ...]:
        """Metrics whose values are none of the model, as `of_raw_scores` tells."""
        return tuple(dict.fromkeys(metric for _, metric in self._values if self.of_raw_scores(metric)))

    def without_model(self) -> dict[str, float]:
        """Flags: whether such a metric is all there is to judge by, and whether early stopping went by one."""
        return {
            "raw_metric": float(self.chosen is not None and self.of_raw_scores(self.chosen[1])),
            "stopped_by_raw": float(self._stop is not None and self.of_raw_scores(self._stop.metric)),
        }

    def end_round(self, evaluated: Sequence[tuple[str, str, float, bool | None]], *, last: bool) -> None:
        """Note one round."""
        self._last = last
        for held, metric, value, better in evaluated:
            self._values.setdefault((held, metric), []).append(float(value))
            if better is not None:
                self._told[metric] = better

    def take(self, recorded: Mapping[str, Mapping[str, Sequence[float]]], *, last: bool) -> None:
        """Note all rounds at once: set -> metric -> values."""
        self._last = last
        for held, metrics in recorded.items():
            for metric, values in metrics.items():
                self._values[held, metric] = [float(value) for value in values]

    def ends_as(self, recorded: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
        """Whether another record ends with the values that this one ends with, as far as both have them."""
        ends = [
            (values[-1], self._values[held, metric][-1])
            for held, metrics in recorded.items()
            for metric, values in metrics.items()
            if len(values) and self._values.get((held, metric))
        ]
        return all(math.isclose(*pair, rel_tol=1e-6, abs_tol=1e-12) or pair[0] != pair[0] for pair in ends)

    def table(self) -> pd.DataFrame:
        """Table with a column `SET METRIC` each."""
        columns = {" ".join(key): pd.Series(values) for key, values in self._values.items()}
        table = pd.DataFrame(columns, dtype=float)
        table.index = pd.RangeIndex(1, len(table) + 1, name="round")
        return table

    def prefer(self, metric: str) -> None:
        """Judge by this metric unless another was asked for."""
        if self._metric is None and any(metric == known for _, known in self._values):
            self._metric = metric

    def take_directions(self, directions: Mapping[str, bool]) -> None:
        """Take directions that a library states; those that the user gave stand."""
        self._told.update(directions)

    def take_stop(self, best: int, score: float, first: int) -> bool:
        """Take the round that early stopping chose: find out by which set and metric, and which way, where the values
        show it.

        Args:
            best: the round, from 1.
            score: value of its metric then; NaN where the library does not state it (LightGBM).
            first: round that the training began with.

        Returns:
            Whether such a round was evaluated; what an earlier training left in the booster is none.
        """
        if not self._values:
            return True
        places = [key for key, values in self._values.items() if len(values) >= best and self._fits(key, best, score)]
        if not places:
            return False
        if not math.isnan(score):
            self._stop = Stop(*places[-1], chosen_way(self._values[places[-1]], best, first))
            return True
        ways = {key: extreme_way(self._values[key], best) for key in places if best < len(self._values[key])}
        # Of the set that it went by, the round is the best one.
        went_by = [key for key, way in ways.items() if way is not None and self._agrees(key[1], way)] or list(ways)
        if len({metric for _, metric in went_by}) == 1:
            self._stop = Stop(*went_by[-1], ways[went_by[-1]])
        return True

    def _agrees(self, metric: str, higher: bool) -> bool:
        """Whether nothing is known that tells that the metric is better in the other direction."""
        return self.higher_is_better(metric) in (higher, None)

    def _fits(self, key: tuple[str, str], best: int, score: float) -> bool:
        return math.isnan(score) or math.isclose(self._values[key][best - 1], score, rel_tol=1e-5, abs_tol=1e-12)

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Metric -> evaluation set -> one value a round."""
        found: dict[str, dict[str, list[float]]] = {}
        for (held, metric), values in self._values.items():
            found.setdefault(metric, {})[held] = list(values)
        return found

    def by_set(self) -> dict[str, dict[str, list[float]]]:
        """Evaluation set -> metric -> one value a round."""
        found: dict[str, dict[str, list[float]]] = {}
        for (held, metric), values in self._values.items():
            found.setdefault(held, {})[metric] = list(values)
        return found

    @property
    def chosen(self) -> tuple[str, str] | None:
        """Set and metric that are judged; None where there is none."""
        held = self.validation
        metric = self._chosen(held)
        return None if held is None or metric is None else (held, metric)

    def explained(self, value: float, target: np.ndarray) -> float:
        """Share of a target that the judged metric says is explained; NaN where it does not tell."""
        name = _family(self.chosen[1]) if self.chosen is not None else ""
        if name not in _EXPLAINING or not len(target):
            return math.nan
        return trees.explained(value**2 if name in ROOTS else value, _EXPLAINING[name], target)

    def above_constant(self, value: float, target: np.ndarray) -> float:
        """Ratio of the root of a squared error, or of a log-loss, to that of the constant that fits the target best;
        NaN of other metrics.
        """
        unexplained = math.nan if self.order_alone else 1 - self.explained(value, target)
        return math.sqrt(unexplained) if unexplained >= 0 else math.nan

    def error(self, value: float) -> float:
        """Squared error, in squares of the target's unit, or log-loss, in nats, that a value of the judged metric is;
        NaN of other metrics.
        """
        name = _family(self.chosen[1]) if self.chosen is not None else ""
        if name in ROOTS:
            return value**2
        return value if name in SQUARED | _LOG_LOSSES else math.nan

    @property
    def order_alone(self) -> float:
        """Flag: 1 where the judged metric tells of the order of rows alone; 0 where it does not, or there is none."""
        return float(self.chosen is not None and _family(self.chosen[1]) in _OF_ORDER)

    def judged(self, model: str) -> Judged | None:
        """The evaluation that verdicts rest on; None where there is none.

        Args:
            model: which one is judged, as `Judged.model`.
        """
        if self.chosen is None:
            return None
        held, metric = self.chosen
        direction = {True: "higher", False: "lower", None: "unknown"}[self.higher_is_better(metric)]
        return Judged(metric, direction, held, model)

    def course(self, kept: int | None, mode: str) -> dict[str, float]:
        """Measures of the metric that is judged; NaN where there is none, or its direction is not known.

        Args:
            kept: last round of the model that is kept; None: not known.
            mode: how the rounds add up, as in `told.py`; empty: not known.
        """
        if self.chosen is None:
            return dict.fromkeys(_NAMES, math.nan) | {"evaluated": 0.0, "stopped_by_train": self._stopped_by_train}
        held, metric = self.chosen
        values = self._values[held, metric]
        nonfinite = {"evaluated": 1.0, "val_nonfinite": float(not np.isfinite(values).all())}
        better = None if self.of_raw_scores(metric) else self.higher_is_better(metric)
        if better is None:
            return dict.fromkeys(_NAMES, math.nan) | nonfinite
        squared = _family(metric) in SQUARED
        seen = trees.course(values, better, kept, squared=squared)
        train = self._values.get((self.training or "", metric), [])
        fitted = trees.course(train, better, kept) if train else None
        found = {
            "higher_is_better": float(better),
            **{f"val_{key}": seen[key] for key in ("best", "last", "excess", "drift", "climb", "lost")},
            "best_round": seen["best_round"],
            "best_round_share": seen["best_round"] / len(values),
            "late_val_gain": seen["late_gain"],
            "val_improved": seen["improved"],
            "squared": float(_family(metric) in SQUARED | ROOTS),
            "val_first": values[0],
            "train_first": train[0] if train else math.nan,
            **self._others(held, metric, better, kept, squared),
            "stopped_by_train": self._stopped_by_train,
            "val_is_train": float(len(set(values)) > 1 and values == train) if train else math.nan,
            "train_last": fitted["last"] if fitted else math.nan,
            "late_train_gain": fitted["late_gain"] if fitted else math.nan,
            "generalisation_gap": trees.gap(fitted["last"], seen["last"], better, squared=squared)
            if fitted and _family(metric) in COMPARED
            else math.nan,
        }
        hidden = _OF_LAST if kept is None else ()
        if mode not in ("", BOOSTED):
            hidden = (*hidden, *_OF_BOOSTING, *(() if mode == DART else ("generalisation_gap",)))
        return found | nonfinite | dict.fromkeys(hidden, math.nan)

    @property
    def _stopped_by_train(self) -> float:
        return float(self._stop is not None and self._stop.held in (self.training, *self._found))

    def _others(self, held: str, metric: str, better: bool, kept: int | None, squared: bool) -> dict[str, float]:
        """Measures of the set that lost most, of those that are neither judged nor called the training data."""
        found = [
            trees.course(values, better, kept, squared=squared)
            for (name, of), values in self._values.items()
            if of == metric and name not in (held, self.training, *self._found)
        ]
        known = [one for one in found if math.isfinite(one["excess"])]
        worst = max(known, key=lambda one: one["excess"], default={})
        return {"other_sets": float(len(found))} | {
            f"other_{key}": worst.get(key, math.nan) for key in ("excess", "drift")
        }

    @property
    def sets(self) -> tuple[str, ...]:
        """Evaluation sets, in their order."""
        return tuple(dict.fromkeys(held for held, _ in self._values))

    @property
    def training(self) -> str | None:
        """The set that is the training data."""
        if self._training is not None:
            return self._known(self._training, "training")
        named = (held for held in self._found or self.sets if held.lower() in TRAINING)
        return next(named, next(iter(self._found), None))

    @property
    def validation(self) -> str | None:
        """Name of the set that is judged."""
        if self._validation is not None:
            return self._known(self._validation, "validation")
        if self._stop is not None and self._stop.held != self.training:
            return self._stop.held
        others = [held for held in reversed(self.sets) if held != self.training]
        return next((held for held in others if held not in self._found), next(iter(others), None))

    def _known(self, name: str, what: str) -> str | None:
        if self._values and name not in self.sets:
            raise ValueError(f"{what}={name!r} is no evaluation set; those given are {', '.join(self.sets)}")
        return name if self._values else None

    def _chosen(self, held: str | None) -> str | None:
        metrics = [metric for of, metric in self._values if of == held]
        if self._metric is not None and metrics and self._metric not in metrics:
            raise ValueError(f"metric={self._metric!r} was not evaluated on {held!r}; those are {', '.join(metrics)}")
        if not metrics:
            return None
        stop = self._stop.metric if self._stop is not None and self._stop.metric in metrics else None
        usual = self._metric or stop or metrics[-1 if self._last else 0]
        if self._metric is not None or not self._raw or (stop is not None and not self.of_raw_scores(stop)):
            return usual
        return min((usual, *metrics), key=self._told_by)

    def _told_by(self, metric: str) -> int:
        """Rank of a metric, lower is better, where the library's own are given raw scores: the user's own come first,
        then those of the order of rows.
        """
        name = _family(metric)
        if name not in HIGHER | LOWER:
            return 0
        if self.of_raw_scores(metric):
            return 3
        return 1 if name in _OF_ORDER else 2

    def higher_is_better(self, metric: str) -> bool | None:
        """Direction of a metric by the user, else by the library, else by its name; None where it is not known.

        A round that early stopping kept shows the direction that it took. XGBoost takes a user's own metric for better
        when lower by default; there a known name decides.
        """
        for known in (self._given, self._told):
            if metric in known:
                return known[metric]
        stop = self._stop.higher_is_better if self._stop is not None and self._stop.metric == metric else None
        name = metric.partition("@")[0].rstrip("-")
        if stop or name not in HIGHER | LOWER:
            return stop
        return name in HIGHER


def chosen_way(values: Sequence[float], best: int, first: int) -> bool | None:
    """Direction in which a metric was taken to be better, by the round that early stopping kept: a round that is kept
    is better than the one before it, and, where it is the first, as good as what follows. None where the values are
    alike.

    >>> chosen_way([0.3, 0.5, 0.4], best=2, first=1)
    True
    >>> chosen_way([0.3, 0.5, 0.4], best=1, first=1)
    False
    """
    kept = values[best - 1]
    after = values[best - 1 :]
    step = kept - values[best - 2] if best > first else 2 * kept - min(after) - max(after)
    return None if math.isnan(step) or not step else step > 0


def extreme_way(values: Sequence[float], best: int) -> bool | None:
    """Direction as by `chosen_way`, where early stopping may have gone by another metric: None unless the round is the
    single best.

    >>> extreme_way([0.3, 0.5, 0.4], best=2)
    True
    >>> extreme_way([0.3, 0.5, 0.4], best=3) is None
    True
    """
    kept, others = values[best - 1], [*values[: best - 1], *values[best:]]
    above, below = all(kept > other for other in others), all(kept < other for other in others)
    return above if above != below else None


def _family(metric: str) -> str:
    return metric.partition(":")[0].partition("@")[0].rstrip("-").lower()


_NAMES = (
    "higher_is_better", "val_best", "val_last", "val_excess", "val_drift", "val_climb", "val_lost", "val_nonfinite",
    "best_round", "best_round_share", "late_val_gain", "val_improved", "val_is_train", "squared", "val_first",
    "train_first",
    "other_sets", "other_excess", "other_drift",
    "stopped_by_train", "train_last", "late_train_gain",
    "generalisation_gap",
)  # fmt: skip
_OF_LAST = ("val_last", "val_excess", "val_drift", "val_lost", "train_last", "generalisation_gap", "other_excess")
"""Measures that are not known where it is not known which model is kept."""
_OF_BOOSTING = (
    "val_excess", "val_drift", "val_climb", "val_lost", "late_val_gain", "late_train_gain", "val_first", "train_first",
    "other_excess", "other_drift",
)  # fmt: skip
"""Measures that hold only for rounds that correct those before them, and stay as they are."""
