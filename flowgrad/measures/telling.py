"""Says whether a model's outputs tell of the targets of their rows, whatever its loss does.

A loss that hangs on its targets by little, as that of clicks does, falls by less than single batches differ. Outputs
that follow their own rows' targets more closely than those of other rows show that something was learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flowgrad.measurements import Measure

TELLING_MEASURES = (
    Measure(
        "outputs_tell_z",
        "ratio",
        "How far outputs agree with their own rows' targets beyond what those of other rows of the batch give, in "
        "standard errors over the later half of the looks: by the covariance of numbers, and by the largest output of "
        "classes. Not known where targets are neither.",
    ),
)
LEAST_ROWS = 8
"""Number of rows of a batch from which on it is looked at."""
MOST_CLASSES = 10_000


def telling_facts(outputs: np.ndarray, targets: np.ndarray | None) -> dict[str, float]:
    """Measure how outputs agree with the targets of their rows, and the variance of that over permutations of the rows;
    empty where these are neither one number a row, both, nor class numbers.

    >>> facts = telling_facts(np.arange(10.0), np.arange(10) > 4)
    >>> round(facts["telling"] / facts["telling_variance"] ** 0.5, 1)
    2.6
    """
    if targets is None or len(targets) < LEAST_ROWS or not len(outputs) == len(targets) == targets.size:
        return {}
    t = targets.reshape(-1)
    rows = len(t)
    if outputs.size == rows:
        x = outputs.reshape(-1) - outputs.mean()
        y = t - t.mean()
        found, variance = float(x @ y), float((x**2).sum() * (y**2).sum()) / (rows - 1)
    elif outputs.ndim == 2 and t.dtype.kind == "i" and t.min() >= 0 and t.max() < outputs.shape[1] <= MOST_CLASSES:
        said = outputs.argmax(1)
        shares = np.bincount(said, minlength=outputs.shape[1]) * np.bincount(t, minlength=outputs.shape[1]) / rows
        chance = float(shares.sum())
        found, variance = float((said == t).sum()) - chance, chance * (1 - chance / rows)
    else:
        return {}
    return {"telling": found, "telling_variance": variance} if variance > 0 and math.isfinite(found) else {}


def telling_figures(found: Sequence[float], variances: Sequence[float]) -> dict[str, float]:
    """Figures of `TELLING_MEASURES`, from those of each look; none where there are none."""
    # Looks count alike, however large the outputs were.
    scores = [one / math.sqrt(variance) for one, variance in zip(found, variances, strict=True)][len(found) // 2 :]
    return {"outputs_tell_z": sum(scores) / math.sqrt(len(scores))} if scores else {}
