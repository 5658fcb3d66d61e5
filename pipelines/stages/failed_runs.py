"""Says what runs without a result mean for the proof, so that nothing is confirmed for want of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from flowgrad.errors import FlowGradError
from flowgrad.statistics import LEAST_PAIRS

_BEFORE = ("baseline", "aa")
"""Arms whose failed runs leave a seed without anything to compare with."""
_logger = logging.getLogger(__name__)


def without_failed(
    observations: pd.DataFrame, failures: Mapping[tuple[str, int], str], offset: int
) -> tuple[pd.DataFrame, list[str]]:
    """Take out the seeds on which a run of the baseline, or of its control, has no result. A run of another arm without
    one keeps its NaN, which is worse than any number: a change that ends a run is no improvement.

    Args:
        observations: of all runs; columns `OBSERVATION_COLUMNS`.
        failures: reason by arm and seed.
        offset: of the control's seeds.

    Returns:
        The observations that stay, and a line for each kind of failure.

    Raises:
        FlowGradError: fewer than three seeds stay.
    """
    if not failures:
        return observations, []
    for (arm, seed), reason in failures.items():
        _logger.warning("%s: no result: %s", arm, reason if reason.startswith("seed") else f"seed {seed}: {reason}")
    gone = {seed - offset * (arm == "aa") for arm, seed in failures if arm in _BEFORE}
    own = observations["seed"] - offset * (observations["arm"] == "aa")
    kept = observations[~own.isin(gone)].reset_index(drop=True)
    left = kept.loc[kept["arm"] == "baseline", "seed"].nunique()
    if left < LEAST_PAIRS:
        told = next(reason for (arm, _), reason in failures.items() if arm in _BEFORE)
        raise FlowGradError(
            f"{left} seed(s) are left where the baseline and its control have a result, and {LEAST_PAIRS} are needed; "
            f"e.g. {told}"
        )
    lines = [f"{len(gone)} seed(s) left out: {_told(gone)} have no result of the baseline"] if gone else []
    worst = [(arm, seed) for arm, seed in failures if arm not in _BEFORE and seed not in gone]
    if worst:
        told = ", ".join(f"{arm} seed {seed}" for arm, seed in worst)
        lines.append(f"{len(worst)} run(s) without a result count as the worst: {told}")
    return kept, lines


def check_seeds_matter(observations: pd.DataFrame) -> None:
    """Refuse runs of a script that are one run on every seed.

    Raises:
        FlowGradError: every arm has one value on all its seeds, in every metric.
    """
    spread = observations.groupby(["arm", "metric"])["value"]
    if (spread.count() > 1).all() and (spread.min() == spread.max()).all():
        metric, value = observations["metric"].iloc[0], observations["value"].iloc[0]
        raise FlowGradError(
            f"the script gives {metric} {value:.6g} on every seed: it ignores its seed, and many runs of it are one; "
            "let the seed reach the model's weights and the order of its data"
        )


def _told(seeds: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
