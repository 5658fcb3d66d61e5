"""Gradients and updates of a network's layers over time."""

from __future__ import annotations

from collections.abc import Iterator
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
        "A layer that is pale throughout gets little gradient.",
    ),
    "update_ratio": (
        "update against weight",
        "update / weight",
        "About 0.001 is usual; an empty cell is a layer at rest.",
    ),
}


def layer_pictures(table: pd.DataFrame, title: str, files: tuple[str, ...]) -> Iterator[Heat]:
    """Draw gradient and update ratio as grids: a line a layer in order of depth, a column a sampled step.

    Args:
        table: of `flowgrad.html.extracts.layer_history`.
        title: what the network is called.
        files: that the figures are in.
    """
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
        )
