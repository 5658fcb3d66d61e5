"""Takes from measurements and trackers the bounded tables that pictures are drawn from, for the files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flowgrad.html.figures import thinned
from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measurements

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

MOST_POINTS = 1_500
"""Number of rows of a table that are kept for its pictures."""
MOST_LOOKS = 40
"""Number of sampled steps that are kept for the pictures of layers."""
MOST_LAYERS = 40
"""Number of layers that are kept for these, evenly spaced by depth."""
_KEPT = ("exposures", "coherence", "jitter")


class Layered(Protocol):
    """A tracker of a network, such as `FlowTracker`."""

    def measurements(self) -> Measurements:
        """Measurements, with a line a tensor."""

    def history(self, figure: str) -> pd.DataFrame:
        """Table of a figure: a line a sampled step, a column a tensor."""


def row_points(measured: Measurements) -> pd.DataFrame | None:
    """Rows of an embedding table at even ranks of exposure, the most frequent first; None for other subjects.

    Returns:
        `row`, `rank` (from 1, of all rows), `exposures`, `coherence`, `jitter`; NaN where a figure is not known.
    """
    rows = measured.tables.get("rows")
    if measured.kind != "embedding" or rows is None or not len(rows):
        return None
    order = np.argsort(-rows["exposures"].fillna(0).to_numpy(dtype=float), kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(int))
    points = rows.iloc[order[ranks]][[name for name in _KEPT if name in rows]].reset_index(names="row")
    points.insert(1, "rank", ranks + 1)
    return points


def layer_history(tracker: Layered) -> pd.DataFrame | None:
    """Gradient and update of each layer's weights at sampled steps; None where no step was looked at.

    Returns:
        `step`, `layer`, `gradient` (root mean square of the entries), `update_ratio` (length of the step over that of
        the weights); in order of steps, then of depth. NaN where a figure is not known.
    """
    rows = tracker.measurements().tables["rows"]
    gradient = tracker.history("gradient_norm")
    if not len(gradient) or not len(rows):
        return None
    chosen = rows.index[rows["is_weight"] == 1]
    layers = thinned(list(chosen if len(chosen) else rows.index), MOST_LAYERS)
    looks = thinned(range(len(gradient)), MOST_LOOKS)
    with np.errstate(all="ignore"):
        parts = {
            "gradient": gradient[layers] / np.sqrt(rows["entries"][layers]),
            "update_ratio": tracker.history("velocity")[layers] / tracker.history("weight_norm")[layers],
        }
    steps = gradient.index[looks]
    return pd.DataFrame(
        {
            "step": np.repeat(steps.to_numpy(), len(layers)),
            "layer": np.tile(np.array(layers, dtype=object), len(steps)),
            **{name: part.iloc[looks].to_numpy(dtype=float).ravel() for name, part in parts.items()},
        }
    )


def teacher_map(tracker: Any) -> pd.DataFrame | None:
    """Similarity of each layer of a student with each of its teacher; None where nothing was compared.

    Args:
        tracker: a `DistillationTracker`.

    Returns:
        `student`, `teacher`, `cka` (debiased linear CKA), `paired` (whether the two are compared in the report).
    """
    if not tracker.compared:
        return None
    similarity, pairs = tracker.similarity(), tracker.pairs
    lines = [
        (student, teacher, float(value), pairs.get(student) == teacher)
        for student, values in zip(similarity.index, similarity.to_numpy(), strict=True)
        for teacher, value in zip(similarity.columns, values, strict=True)
    ]
    return pd.DataFrame(lines, columns=["student", "teacher", "cka", "paired"])


def booster_tables(tracker: Any) -> dict[str, pd.DataFrame]:
    """Evaluations by round, and gain by window and column, of a `BoostingTracker`, by the stems of their files."""
    lines = [
        (name, metric, place, value)
        for metric, sets in tracker.evaluation_curves().items()
        for name, values in sets.items()
        for place, value in enumerate(values, start=1)
    ]
    gain = tracker.gain_by_window()
    found = {"booster_curves": pd.DataFrame(lines, columns=["set", "metric", "round", "value"])}
    if not gain.empty:
        long = gain.reset_index().melt("round", var_name="column", value_name="gain")
        found["booster_gain"] = long[["column", "round", "gain"]]
    return found


def tables_of(measured: Sequence[Measurements], trackers: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """All tables for pictures of one watched run, by the stems of their files."""
    found = {f"points_{one.subject}": row_points(one) for one in measured}
    for one in trackers:
        if one.KIND == "flow":
            found[f"layers_{one.name}"] = layer_history(one)
        elif one.KIND == "distillation":
            found[f"teacher_{one.name}"] = teacher_map(one)
    return {stem: table for stem, table in found.items() if table is not None}
