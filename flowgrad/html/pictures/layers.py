"""Gradients and updates of a network's layers over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowgrad.html.figures import Heat

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("layer",)
NUMBERS = ("step", "gradient", "update_ratio")
_SHOWN = {
    "gradient": (
        "gradient flow",
        "gradient (root mean square)",
        "A layer that keeps the shade of the lowest value gets little gradient.",
    ),
    "update_ratio": (
        "update against weight",
        "update / weight",
        "About 0.001 is usual; an empty cell is a layer at rest, or a number that is not known or not finite.",
    ),
}


Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each figure that is positive."""


def common_ranges(tables: Sequence[pd.DataFrame]) -> Ranges:
    """Ranges of all tables together, so that pictures of before and after have the same shades."""
    found = {}
    for name in _SHOWN:
        values = np.concatenate([table[name].to_numpy(dtype=float) for table in tables] or [np.array([])])
        known = values[np.isfinite(values) & (values > 0)]
        if len(known):
            found[name] = (float(known.min()), float(known.max()))
    return found


def layer_pictures(
    table: pd.DataFrame, title: str, files: tuple[str, ...], ranges: Ranges | None = None
) -> Iterator[Heat]:
    """Draw gradient and update ratio as grids: a line a layer in order of depth, a column a sampled step.

    Args:
        table: of `flowgrad.html.extracts.layer_history`.
        title: what the network is called.
        files: that the figures are in.
        ranges: of the shades; None: those of the table.
    """
    table = table[table["layer"].notna() & table["step"].notna()]
    layers = list(dict.fromkeys(table["layer"].astype(str)))
    for name, (what, label, hint) in _SHOWN.items():
        wide = table.pivot_table(index="layer", columns="step", values=name, sort=True, dropna=False)
        wide.index = wide.index.astype(str)
        values = wide.reindex(layers).to_numpy(dtype=float)
        known = values[np.isfinite(values) & (values > 0)]
        if not len(known):
            continue
        spread = f"from {known.min():.3g} to {known.max():.3g}"
        yield Heat(
            f"{title}: {what} by layer over time",
            f"{label.capitalize()} of {len(layers)} layers, the first at the top, at {values.shape[1]} sampled steps: "
            f"{spread}, on a logarithmic scale. {hint}",
            files,
            "step",
            "layer",
            label,
            tuple(layers),
            tuple(f"{step:g}" for step in wide.columns),
            tuple(tuple(map(float, line)) for line in values),
            log=True,
            value_range=(ranges or {}).get(name),
        )
