"""Measures a table of features before anything is trained on it: which columns repeat each other, and how closely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measure

hierarchy = LazyModule("scipy.cluster.hierarchy")
distances = LazyModule("scipy.spatial.distance")

Floats = NDArray[np.float64]

MEASURES = (
    Measure("rows", "count", "Rows of the table."),
    Measure("features", "count", "Columns looked at; constant ones are not."),
    Measure("left_out", "count", "Columns left out because they are constant."),
    Measure("suggested", "count", "Products and ratios of two columns that were selected on the one half of the rows."),
    Measure("proven", "count", "Those of them that the other half confirms one by one, Holm-adjusted."),
    Measure("adjusted_r2", "r2", "Adjusted R2 on the other half, of the additive model and what was selected."),
    Measure("adjusted_r2_gain", "r2", "The same less that of the additive model."),
    Measure("control_gain", "r2", "Median of that gain for as many products of pairs drawn at random."),
    Measure("joint_f", "ratio", "F of all that was selected together, on the other half."),
    Measure("joint_p", "p", "Larger p-value of that F-test and of its robust form (HC3; over groups, a jackknife)."),
    Measure("copied_rows", "count", "Rows that repeat another; 0 where chance explains them."),
    Measure("effective_rows", "count", "Rows that they all are worth where those that are equal say the same."),
    Measure("unproven", "flag", "1 where rows are no evidence, so that nothing is tested or confirmed; else 0."),
    Measure("clusters", "count", "Groups of columns alike, of a mean correlation of .7 or more in size."),
    Measure("clustered_share", "share", "Share of the columns that have another in their group."),
    Measure("f", "ratio", "Partial F of the suggestion on the other half.", per_row=True),
    Measure("p_adjusted", "p", "Its p-value, Holm-adjusted over the suggestions.", per_row=True),
    Measure("partial_eta2", "share", "Share of what the others leave unexplained that it explains.", per_row=True),
    Measure("vif", "ratio", "Its variance over what the curves and the other suggestions leave of it.", per_row=True),
    Measure(
        "twin_correlation",
        "correlation",
        "Largest correlation of the column with an earlier one, in size.",
        per_row=True,
    ),
    Measure("cluster_size", "count", "Columns in the column's group.", per_row=True),
)

TWINS = 0.98
"""Correlation, in size, above which `redundant_features` lists a column by default; a report leaves that to a rule."""
ALIKE = 0.7
"""Correlation, in size, at which columns make a group."""


def correlations(X: Floats) -> Floats:
    """Pearson's r of all columns; shape (columns, columns).

    Args:
        X: shape (rows, columns), finite, no constant column.
    """
    centred = X - X.mean(axis=0)
    unit = centred / np.sqrt((centred**2).sum(axis=0))
    return np.clip(unit.T @ unit, -1.0, 1.0)


def nearest_earlier(r: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Place of the earlier column that each column is most correlated with, in size, and that r; -1 and NaN for the
    first.

    >>> nearest_earlier(np.array([[1.0, -0.9], [-0.9, 1.0]]))
    (array([-1,  0]), array([ nan, -0.9]))
    """
    sizes = np.where(np.tri(len(r), k=-1, dtype=bool), np.abs(r), -1.0)
    place = sizes.argmax(axis=1)
    found = r[np.arange(len(r)), place].copy()
    place[:1], found[:1] = -1, np.nan
    return place, found


def clusters(r: Floats, threshold: float) -> NDArray[np.intp]:
    """Number of each column's group, from 1 in order of appearance: average linkage on 1 - |r|, cut where groups have
    a mean |r| below `threshold`.

    >>> clusters(np.array([[1.0, 0.1, -0.9], [0.1, 1.0, 0.2], [-0.9, 0.2, 1.0]]), 0.7).tolist()
    [1, 2, 1]
    """
    if len(r) < 2:
        return np.ones(len(r), dtype=np.intp)
    distance = 1 - np.abs((r + r.T) / 2)
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(distances.squareform(np.maximum(distance, 0.0), checks=False), method="average")
    labels = hierarchy.fcluster(tree, 1 - threshold, criterion="distance")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse] + 1
