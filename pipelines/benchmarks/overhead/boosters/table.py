"""Makes one table of the figures of all comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pipelines.benchmarks.overhead.boosters.measurement import BoosterCase, Measured
from pipelines.benchmarks.overhead.ratios import paired_ratio

SHOWN = [
    "case", "library", "rows", "columns", "rounds", "trainings", "bare_ms", "tracked_ms", "ratio_median", "ratio_low",
    "ratio_high", "ratio_mean", "cpu_ratio", "ratio_limit", "aa_ratio", "tracker_ms", "growth", "identical", "within",
    "peer_ratio", "peer_ms", "peer_growth",
]  # fmt: skip
"""Columns for a reader; the CSV has more."""

HEADINGS = {
    "case": "\ncase",
    "bare_ms": "bare\nms",
    "tracked_ms": "tracked\nms",
    "ratio_median": "median\nratio",
    "interval": "95 %\ninterval",
    "cpu_ratio": "CPU\nratio",
    "aa_ratio": "bare to\nbare",
    "tracker_ms": "tracker\nms",
    "growth": "\ngrowth",
    "identical": "same\nbytes",
    "within": "within\nlimit",
    "peer_ratio": "peer:\nratio",
    "peer_ms": "peer\nms",
    "peer_growth": "\ngrowth",
}
"""Heading of each printed column, in two lines so that the table fits a terminal."""


def row(case: BoosterCase, library: str, seen: Mapping[str, Measured], limit: float) -> dict[str, object]:
    """Make one line of the table, without the columns that say where it was measured.

    `bare_ms` and `tracked_ms` are medians over blocks, per round; `tracker_ms` and `peer_ms` means of the time in the
    callbacks, per round, and `growth` is its exponent over the rounds. `peer_ratio` is a ratio of the means, for its
    cost grows with the rounds. `aa_*` compare two bare arms. Figures of a watcher that is not in `seen` are NaN.

    Args:
        case: what was trained.
        library: with what.
        seen: watcher -> what was measured; `tracker` and `none` must be there.
        limit: the most that `ratio_median` and `cpu_ratio` may be.
    """
    ours, peer = seen["tracker"], seen.get("peer")
    ratio, control = (paired_ratio(m.bare_ms, m.watched_ms) for m in (ours, seen["none"]))
    return {
        "case": case.id,
        "library": library,
        "rows": ours.rows,
        "columns": ours.columns,
        "rounds": case.rounds,
        "trainings": case.trainings,
        "bare_ms": float(np.median(ours.bare_ms)),
        "tracked_ms": float(np.median(ours.watched_ms)),
        "ratio_median": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "ratio_mean": ratio.mean,
        "cpu_ratio": ours.cpu_ratio,
        "ratio_limit": limit,
        "aa_ratio": control.median,
        "aa_low": control.low,
        "aa_high": control.high,
        "aa_mean": control.mean,
        "aa_cpu_ratio": seen["none"].cpu_ratio,
        "tracker_ms": ours.own_ms,
        "growth": ours.growth,
        "identical": ours.identical,
        "within": ours.identical and max(ratio.median, ours.cpu_ratio) <= limit,
        "peer_ratio": math.nan if peer is None else paired_ratio(peer.bare_ms, peer.watched_ms).mean,
        "peer_cpu_ratio": math.nan if peer is None else peer.cpu_ratio,
        "peer_ms": math.nan if peer is None else peer.own_ms,
        "peer_growth": math.nan if peer is None else peer.growth,
        "peer_identical": None if peer is None else peer.identical,
    }
