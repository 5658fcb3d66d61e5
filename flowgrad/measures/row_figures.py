"""Computes figures on the rows themselves: whether targets belong to their rows, whether both parts mean the same by
them, and whether their columns are the same.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure
from flowgrad.measures.drift import drift
from flowgrad.measures.strong import strongest
from flowgrad.measures.targets import Agreement, Agreements, agreements, better_probe, class_map, coded
from flowgrad.measures.trees import part_distance

BELONGING_MEASURES = (
    Measure("rows_looked_at", "count", "Training rows whose targets were compared with those of like rows."),
    Measure("new_rows_looked_at", "count", "Validation rows whose targets were compared with those of like rows."),
    Measure(
        "train_agreement",
        "correlation",
        "Correlation of training targets with what the other training rows say: the nearest rows, ridge regression, or "
        "rows of the same codes, whichever sees more. Over all classes together where targets are classes.",
    ),
    Measure(
        "train_agreement_z",
        "ratio",
        "Largest agreement within training of any of the three, in standard errors above that of targets in random "
        "order.",
    ),
    Measure("val_agreement", "correlation", "The same within validation as `train_agreement` within training."),
    Measure("val_agreement_z", "ratio", "The same within validation as `train_agreement_z` within training."),
    Measure(
        "across_agreement",
        "correlation",
        "Correlation of validation targets with what the training rows say; validation rows that copy a training row "
        "are left out.",
    ),
    Measure("across_agreement_z", "ratio", "The same, in standard errors from that of targets in random order."),
    Measure(
        "least_agreement",
        "share",
        "Share of the targets' variance that would have stood at 5 standard errors within training; 1 where there were "
        "too few rows to look.",
    ),
    Measure("least_new_agreement", "share", "The same as `least_agreement`, within validation."),
    Measure(
        "agreement_lost_z",
        "ratio",
        "How much less training rows agree with each other than validation rows agree with them, in standard errors.",
    ),
    Measure(
        "agreement_ratio",
        "ratio",
        "`train_agreement` over `across_agreement`: 1 - s where the targets of a share s of the training rows are "
        "wrong.",
    ),
    Measure(
        "targets_apart",
        "share",
        "Kolmogorov distance of the targets of both parts (of classes: largest difference of their shares), beyond "
        "what chance gives at p = .001.",
    ),
    Measure("wrong_share", "share", "1 less `agreement_ratio`, 0 at least."),
    Measure(
        "mapped_agreement",
        "correlation",
        "`across_agreement` under the best one-to-one map of classes, on rows that it was not found on; NaN where "
        "targets are amounts.",
    ),
    Measure(
        "map_gain_z",
        "ratio",
        "Standard errors by which `mapped_agreement` is above that of classes as named; 0 for amounts.",
    ),
    Measure(
        "renamed_classes",
        "count",
        "Classes of validation whose best match is another class of training; 0 for amounts.",
    ),
    Measure("renamed_from", "class", "The class of validation of which that is clearest; NaN where there is none."),
    Measure("renamed_to", "class", "The class of training that it matches."),
    Measure("columns_compared", "count", "Columns whose values in validation were compared with those in training."),
    Measure("differing_columns", "count", "Columns whose quantiles are others in validation, beyond chance."),
    Measure(
        "reordered_columns",
        "count",
        "Differing columns that a one-to-one match with other columns brings back to within chance, on rows that it "
        "was not found on; 0 where it explains less than four in five.",
    ),
    Measure(
        "rescaled_columns",
        "count",
        "Differing columns of the same shape whose spread is twice or half, or whose mean is 2 standard deviations "
        "off; 0 where another order explains them.",
    ),
    Measure("column_stretch", "ratio", "Median spread of the rescaled columns in validation over that in training."),
)
STRONG_MEASURES = (
    Measure("strong_r2", "r2", "Share of the target's variance that the best single column explains in validation."),
    Measure("strong_ratio", "ratio", "`strong_r2` over that of the next column."),
    Measure("strong_rest", "ratio", "What `strong_r2` leaves unexplained, over what the next column leaves."),
    Measure("strong_column", "count", "Number of that column, from 0."),
)
TARGET_MEASURES = BELONGING_MEASURES + STRONG_MEASURES
"""Measures that `row_figures` gives, but for `class_map`, which is text."""


def row_figures(
    train_x: ArrayLike, train_y: ArrayLike, validation_x: ArrayLike, validation_y: ArrayLike, classes: bool
) -> dict[str, float | str]:
    """The figures of `TARGET_MEASURES` by name, and `class_map`: the map of classes in words, empty where each is its
    own. A figure that is not known is NaN. The same rows give the same figures; no random number is drawn.

    Args:
        train_x: training rows, shape (rows, ...); NaN where missing. Some 2,000 rows suffice.
        train_y: their targets, shape (rows,): classes as whole numbers, or amounts.
        validation_x: validation rows.
        validation_y: their targets.
        classes: whether targets are classes.

    Raises:
        ValueError: rows and targets are not equally many, or the parts have other columns.
    """
    x, y, new_x, new_y = _rows(train_x, train_y, validation_x, validation_y)
    told, new_told, names = coded(y, new_y, classes=classes)
    strong = strongest(x, told, new_x, new_told)
    return belonging(x, told, new_x, new_told, names if classes else None) | {
        "strong_r2": strong.r2,
        "strong_ratio": strong.ratio,
        "strong_rest": strong.rest,
        "strong_column": strong.place,
    }


def belonging_figures(
    train_x: ArrayLike, train_y: ArrayLike, validation_x: ArrayLike, validation_y: ArrayLike, classes: bool
) -> dict[str, float | str]:
    """The figures of `BELONGING_MEASURES` alone, and `class_map`. Arguments and errors as for `row_figures`."""
    x, y, new_x, new_y = _rows(train_x, train_y, validation_x, validation_y)
    told, new_told, names = coded(y, new_y, classes=classes)
    return belonging(x, told, new_x, new_told, names if classes else None)


def _rows(
    train_x: ArrayLike, train_y: ArrayLike, validation_x: ArrayLike, validation_y: ArrayLike
) -> tuple[NDArray[np.float64], NDArray, NDArray[np.float64], NDArray]:
    """Rows as tables, those without a target left out."""
    parts = []
    for rows, targets, what in ((train_x, train_y, "train"), (validation_x, validation_y, "validation")):
        x, y = np.asarray(rows, dtype=float), np.asarray(targets).ravel()
        if x.ndim < 1 or len(x) != len(y):
            raise ValueError(f"{what}_x has the shape {x.shape}, {what}_y {len(y)} targets; give one target a row")
        known = np.isfinite(y.astype(float))
        parts += [x.reshape(len(x), math.prod(x.shape[1:]))[known], y[known]]
    x, y, new_x, new_y = parts
    if x.shape[1] != new_x.shape[1]:
        raise ValueError(f"train_x has {x.shape[1]} columns, validation_x {new_x.shape[1]}; give the same")
    return x, y, new_x, new_y


def belonging(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    new_x: NDArray[np.float64],
    new_y: NDArray[np.float64],
    names: NDArray | None,
) -> dict[str, float | str]:
    """`belonging_figures` of rows whose targets are columns already.

    Args:
        x: training rows, shape (rows, columns).
        y: their targets, shape (rows, targets), as `targets.coded` gives them.
        new_x: validation rows.
        new_y: their targets.
        names: of the classes; None where targets are amounts.
    """
    probes = agreements(x, y, new_x, new_y)
    best = better_probe(probes)
    return {
        "rows_looked_at": float(len(x)),
        "new_rows_looked_at": float(len(new_x)),
        "targets_apart": _apart(y, new_y),
        **_agreement_figures(probes, best),
        **_map_figures(best, names),
        **_column_figures(x, new_x),
    }


def _apart(y: NDArray[np.float64], new_y: NDArray[np.float64]) -> float:
    """Largest distance of the targets of both parts; each class is a column of 0 and 1, whose Kolmogorov distance is
    that of shares.
    """
    found = [part_distance(one, other) for one, other in zip(y.T, new_y.T, strict=True)]
    return max(found, default=math.nan)


def _agreement_figures(probes: dict[str, Agreements], best: Agreements) -> dict[str, float | str]:
    across, train = best.across, best.train
    certain = across.r > 0 and across.z > 0
    ratio = train.r / across.r if certain else math.nan
    return {
        "train_agreement": train.r,
        "train_agreement_z": _most([one.train.z for one in probes.values()]),
        "val_agreement": best.validation.r,
        "val_agreement_z": _most([one.validation.z for one in probes.values()]),
        "across_agreement": across.r,
        "across_agreement_z": across.z,
        "least_agreement": _least([one.train for one in probes.values()]),
        "least_new_agreement": _least([one.validation for one in probes.values()]),
        "agreement_lost_z": (across.r - train.r) / math.hypot(across.error, train.error) if certain else math.nan,
        "agreement_ratio": ratio,
        "wrong_share": max(1 - ratio, 0.0),
    }


def _most(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known, default=math.nan)


def _least(parts: list[Agreement]) -> float:
    return min((part.least for part in parts if not math.isnan(part.least)), default=1.0)


def _map_figures(best: Agreements, names: NDArray | None) -> dict[str, float | str]:
    if names is None or best.predicted is None or best.targets is None or best.fresh is None:
        least = 0.0 if names is None else math.nan
        known = dict.fromkeys(("mapped_agreement", "renamed_from", "renamed_to"), math.nan)
        return {**known, "map_gain_z": least, "renamed_classes": least, "class_map": ""}
    told = class_map(best.predicted[best.fresh], best.targets[best.fresh], names)
    one, other = told.renamed[0] if told.renamed else (math.nan, math.nan)
    return {
        "mapped_agreement": told.mapped,
        "map_gain_z": told.gain_z,
        "renamed_classes": float(len(told.renamed)),
        "renamed_from": one,
        "renamed_to": other,
        "class_map": told.text,
    }


def _column_figures(x: NDArray[np.float64], new_x: NDArray[np.float64]) -> dict[str, float | str]:
    found = drift(x, new_x)
    return {
        "columns_compared": found.columns,
        "differing_columns": found.differing,
        "reordered_columns": found.reordered,
        "rescaled_columns": found.rescaled,
        "column_stretch": found.stretch,
    }
