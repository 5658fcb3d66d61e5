"""The evaluations of a booster's rounds, and which of them it is judged by."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import pandas as pd

from flowgrad.measures import trees

TRAINING = ("train", "training", "dtrain", "learn")
"""Names that are taken for the training data."""

HIGHER = frozenset(
    ("auc", "aucpr", "pre", "map", "ndcg", "auc_mu", "average_precision", "accuracy", "r2",
     "interval-regression-accuracy")
)  # fmt: skip
"""Metrics of XGBoost and LightGBM, without what follows `@`, that are better when higher, and what scikit-learn calls
the usual ones."""
LOWER = frozenset(
    (
        "rmse", "rmsle", "mae", "mape", "mphe", "logloss", "error", "merror", "mlogloss", "quantile", "expectile",
        "poisson-nloglik", "gamma-nloglik", "gamma-deviance", "cox-nloglik", "tweedie-nloglik", "aft-nloglik",
        "l1", "l2", "huber", "fair", "poisson", "gamma", "gamma_deviance", "tweedie", "binary_logloss", "binary_error",
        "multi_logloss", "multi_error", "cross_entropy", "cross_entropy_lambda", "kullback_leibler", "mse",
    )
)  # fmt: skip
"""Those that are better when lower."""

_logger = logging.getLogger(__name__)


class Evaluations:
    """One value a round, set and metric."""

    def __init__(
        self, metric: str | None, validation: str | None, training: str | None, directions: Mapping[str, bool]
    ) -> None:
        self._metric, self._validation, self._training = metric, validation, training
        self._directions = dict(directions)
        self._values: dict[tuple[str, str], list[float]] = {}
        self._last = True

    def end_round(self, evaluated: Sequence[tuple[str, str, float, bool | None]], *, last: bool) -> None:
        """Note one round."""
        self._last = last
        for held, metric, value, better in evaluated:
            self._values.setdefault((held, metric), []).append(float(value))
            if better is not None:
                self._directions.setdefault(metric, better)

    def take(self, recorded: Mapping[str, Mapping[str, Sequence[float]]], *, last: bool) -> None:
        """Note all rounds at once: set -> metric -> values."""
        self._last = last
        for held, metrics in recorded.items():
            for metric, values in metrics.items():
                self._values[held, metric] = [float(value) for value in values]

    def table(self) -> pd.DataFrame:
        """A column `SET METRIC` each."""
        columns = {" ".join(key): pd.Series(values) for key, values in self._values.items()}
        table = pd.DataFrame(columns, dtype=float)
        table.index = pd.RangeIndex(1, len(table) + 1, name="round")
        return table

    def prefer(self, metric: str) -> None:
        """Judge by this metric unless another was asked for."""
        if self._metric is None and any(metric == known for _, known in self._values):
            self._metric = metric

    def take_directions(self, directions: Mapping[str, bool]) -> None:
        """Directions that a library tells of; those that the user gave stand."""
        self._directions = {**directions, **self._directions}

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Metric -> evaluation set -> one value a round."""
        found: dict[str, dict[str, list[float]]] = {}
        for (held, metric), values in self._values.items():
            found.setdefault(metric, {})[held] = list(values)
        return found

    @property
    def judged(self) -> tuple[str, str] | None:
        """Set and metric that are judged by; None where there is none."""
        held = self.validation
        metric = self._chosen(held)
        return None if held is None or metric is None else (held, metric)

    def course(self) -> dict[str, float]:
        """The measures of the metric that is judged by; NaN where there is none."""
        if self.judged is None:
            return {"evaluated": 0.0, **dict.fromkeys(_NAMES, math.nan)}
        held, metric = self.judged
        better = self._higher_is_better(metric)
        seen = trees.course(self._values[held, metric], better)
        train = self._values.get((self.training or "", metric), [])
        fitted = trees.course(train, better) if train else None
        return {
            "evaluated": 1.0,
            "higher_is_better": float(better),
            **{f"val_{key}": seen[key] for key in ("best", "last", "excess", "lost", "nonfinite")},
            "best_round": seen["best_round"],
            "best_round_share": seen["best_round"] / len(self._values[held, metric]),
            "late_val_gain": seen["late_gain"],
            "train_last": fitted["last"] if fitted else math.nan,
            "late_train_gain": fitted["late_gain"] if fitted else math.nan,
            "generalisation_gap": trees.gap(fitted["last"], seen["last"], better) if fitted else math.nan,
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
        return next((held for held in self.sets if held.lower() in TRAINING), None)

    @property
    def validation(self) -> str | None:
        """The set that is judged by."""
        if self._validation is not None:
            return self._known(self._validation, "validation")
        return next((held for held in reversed(self.sets) if held != self.training), None)

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
        return self._metric or metrics[-1 if self._last else 0]

    def _higher_is_better(self, metric: str) -> bool:
        if metric in self._directions:
            return self._directions[metric]
        name = metric.partition("@")[0].rstrip("-")
        if name not in HIGHER | LOWER:
            _logger.warning(
                "metric %r is not known: lower is taken for better; if it is not, say higher_is_better={%r: True}",
                metric, metric,
            )  # fmt: skip
            self._directions[metric] = False  # said once
        return name in HIGHER


_NAMES = (
    "higher_is_better", "val_best", "val_last", "val_excess", "val_lost", "val_nonfinite", "best_round",
    "best_round_share", "late_val_gain", "train_last", "late_train_gain", "generalisation_gap",
)  # fmt: skip
