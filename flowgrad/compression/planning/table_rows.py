"""Scores how much each row of an embedding table matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from flowgrad.compression.planning.pruning_units import ordered
from flowgrad.compression.planning.reading import Layer
from flowgrad.compression.plans import RowPlan
from flowgrad.trackers.embedding import EmbeddingTracker

ROW_SCORES = ("second_moment", "frequency", "norm")


def row_scores(
    score: str, layer: Layer, v: np.ndarray | None, exposures: pd.DataFrame | None, *, lazy: bool
) -> np.ndarray:
    """Score of each row of a table, shape (rows,); rows without a score are ranked by their norm, below 0.

    Args:
        score: one of `ROW_SCORES`.
        layer: the table.
        v: its second moment, for that score.
        exposures: of its rows, and their gradient steps, where a tracker counted them.
        lazy: whether v is over the steps that looked a row up (SparseAdam), and not over all.
    """
    norm = np.linalg.norm(layer.data.astype(np.float64), axis=1)
    if score == "norm":
        return norm
    if score == "frequency":
        assert exposures is not None
        seen = exposures["exposures"].reindex(range(len(norm)), fill_value=0).to_numpy(dtype=float)
        return ordered(seen, norm)
    assert v is not None
    v = v.astype(np.float64)
    if exposures is not None:
        counted = exposures.reindex(np.flatnonzero(layer.weight.counted()[:, 0]))
        v = _by_exposure(v, counted.reindex(range(len(norm)), fill_value=0), lazy=lazy)
    return ordered(np.sum(v * np.square(layer.data, dtype=np.float64), axis=1), norm)


def _by_exposure(v: np.ndarray, exposures: pd.DataFrame, *, lazy: bool) -> np.ndarray:
    """Second moments over all steps, and of no row less than its table's rows have by exposure.

    A row that was seen little fits what it was seen with: its own gradients are smaller than those that other rows'
    losses will ask of it.
    """
    if lazy:
        steps = exposures["gradient_steps"].to_numpy(dtype=float)
        v = v * np.nan_to_num(steps, nan=float(np.nanmean(steps)) if np.isfinite(steps).any() else 1.0)[:, None]
    seen = np.nan_to_num(exposures["exposures"].to_numpy(dtype=float))
    total = seen.sum()
    return np.maximum(v, seen[:, None] * (v.sum(axis=0) / total)) if total else v


def exposures_of(chosen: Sequence[Layer], trackers: Iterable[EmbeddingTracker]) -> dict[str, pd.DataFrame]:
    """Exposures and gradient steps of the rows of tables that trackers watch, by tensor."""
    found = {}
    for tracker in trackers:
        layer = next((one for one in chosen if one.weight.parameter is tracker.layer.weight), None)
        if layer is not None:
            found[layer.name] = tracker.row_table()[["exposures", "gradient_steps"]]
    return found


def zeroed_values(layers: Sequence[Layer]) -> Callable[[RowPlan], dict[str, np.ndarray]]:
    """Make the function from a plan of these tables to the values that they have under it."""
    values = {layer.name: layer.data for layer in layers}

    def of(plan: RowPlan) -> dict[str, np.ndarray]:
        changed = {}
        for table in plan.tables:
            changed[table.name] = values[table.name].copy()
            changed[table.name][list(table.rows)] = 0
        return changed

    return of
