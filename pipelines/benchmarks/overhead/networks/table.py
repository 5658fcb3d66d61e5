"""Makes one table of the figures of all comparisons."""

from __future__ import annotations

import math

import numpy as np

from pipelines.benchmarks.overhead.blocks import Measured
from pipelines.benchmarks.overhead.networks.cases import NetworkCase
from pipelines.benchmarks.overhead.ratios import paired_ratio

SHOWN = [
    "case", "network", "depth", "width", "batch", "tokens", "parameters", "watcher", "steps", "bare_ms", "watched_ms",
    "ratio_median", "ratio_low", "ratio_high", "ratio_mean", "cpu_ratio", "ratio_limit", "aa_ratio", "aa_cpu_ratio",
    "held_mib", "held_share", "memory_limit", "peak_mib", "within",
]  # fmt: skip
"""Columns for a reader; the CSV has more."""

HEADINGS = {
    "case": "\ncase",
    "watcher": "\nwatcher",
    "bare_ms": "bare\nms",
    "watched_ms": "watched\nms",
    "ratio_median": "median\nratio",
    "interval": "95 %\ninterval",
    "cpu_ratio": "CPU\nratio",
    "ratio_limit": "\nlimit",
    "aa_ratio": "bare to\nbare",
    "held_mib": "MiB\nheld",
    "held_share": "of the\nweights",
    "within": "within\nlimit",
}
"""Heading of each printed column, in two lines so that the table fits a terminal."""

_MIB = 2.0**20
_ENTRY_BYTES = 4
"""Size of a weight in single precision, in bytes."""


def row(
    case: NetworkCase,
    watcher: str,
    seen: Measured,
    control: Measured,
    limit: float | None,
    memory_limit: float | None = None,
) -> dict[str, object]:
    """Make one line of the table, without the columns that say where it was measured.

    `bare_ms` and `watched_ms` are medians over blocks, per step. `aa_*` compare two bare arms of the same case.

    Args:
        case: what was trained.
        watcher: what watched.
        seen: what was measured.
        control: figures of two bare arms.
        limit: the most that the typical step and all of them together may take, over bare ones; None: not judged.
        memory_limit: the most that the watcher may hold, as a share of the weights; None: not judged.
    """
    ratio, bare = (paired_ratio(measured.bare_ms, measured.watched_ms) for measured in (seen, control))
    share = seen.held_bytes / seen.weight_bytes
    kept = [] if limit is None else [max(ratio.median, seen.cpu_ratio) <= limit]
    kept += [] if memory_limit is None else [share <= memory_limit]
    return {
        "case": case.id,
        "network": case.network,
        "depth": case.depth,
        "width": case.width,
        "batch": case.batch,
        "tokens": case.tokens if case.tokens is not None else 1,
        "parameters": seen.weight_bytes // _ENTRY_BYTES,
        "watcher": watcher,
        "steps": seen.steps,
        "bare_ms": float(np.median(seen.bare_ms)),
        "watched_ms": float(np.median(seen.watched_ms)),
        "ratio_median": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "ratio_mean": ratio.mean,
        "cpu_ratio": seen.cpu_ratio,
        "ratio_limit": math.nan if limit is None else limit,
        "aa_ratio": bare.median,
        "aa_low": bare.low,
        "aa_high": bare.high,
        "aa_mean": bare.mean,
        "aa_cpu_ratio": control.cpu_ratio,
        "held_mib": seen.held_bytes / _MIB,
        "held_share": share,
        "memory_limit": math.nan if memory_limit is None else memory_limit,
        "weights_mib": seen.weight_bytes / _MIB,
        "peak_mib": math.nan if seen.peak_bytes is None else seen.peak_bytes / _MIB,
        "within": all(kept) if kept else None,
    }
