"""Makes one table of the figures of all comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.benchmarks.overhead.blocks import Measured
from pipelines.benchmarks.overhead.cases import TableCase
from pipelines.benchmarks.overhead.ratios import paired_ratio
from pipelines.benchmarks.overhead.watchers import PEER_INTERVAL
from pipelines.output.tables import rounded

SHOWN = [
    "case", "rows", "dim", "optimizer", "batch", "steps", "bare_ms", "tracked_ms", "ratio_median", "ratio_low",
    "ratio_high", "ratio_mean", "ratio_limit", "aa_ratio", "tracker_mib", "memory_share", "peak_mib", "within",
    "peer_ms", "peer_ratio", f"peer_interval{PEER_INTERVAL}_ratio", "peer_mib",
]  # fmt: skip
"""Columns for a reader; the CSV has more."""

_MIB = 2.0**20
HEADINGS = {
    "case": "\ncase",
    "bare_ms": "bare\nms",
    "tracked_ms": "tracked\nms",
    "ratio_median": "median\nratio",
    "interval": "95 %\ninterval",
    "ratio_mean": "mean\nratio",
    "aa_ratio": "bare to\nbare",
    "tracker_mib": "MiB\nheld",
    "memory_share": "of the\ntable",
    "within": "within\nlimits",
    "peer_ratio": "peer:\nratio",
    f"peer_interval{PEER_INTERVAL}_ratio": f"1 step\nin {PEER_INTERVAL}",
    "peer_mib": "MiB\nheld",
}
"""Heading of each printed column, in two lines so that the table fits a terminal."""


def row(case: TableCase, seen: Mapping[str, Measured], limits: DictConfig) -> dict[str, object]:
    """Make one line of the table, without the columns that say where it was measured.

    `bare_ms` and the like are medians over blocks, `peer_ratio` and the next are ratios of the means: one step in a
    hundred would not show in a median. `aa_*` compare two bare arms: their distance from 1 is the machine's noise.
    Figures of a watcher that is not in `seen` are NaN.

    Args:
        case: what was trained.
        seen: watcher -> what was measured; `tracker` and `none` must be there.
        limits: the `job.limits` node.
    """
    ours, peer, spaced = seen["tracker"], seen.get("peer"), seen.get("peer_interval")
    ratio, control = (paired_ratio(m.bare_ms, m.watched_ms) for m in (ours, seen["none"]))
    share = ours.held_bytes / ours.weight_bytes
    limit = limits.ratio.get(f"b{case.batch}")
    return {
        "case": case.id,
        "rows": case.rows,
        "dim": case.dim,
        "optimizer": case.optimizer,
        "batch": case.batch,
        "steps": ours.steps,
        "bare_ms": float(np.median(ours.bare_ms)),
        "tracked_ms": float(np.median(ours.watched_ms)),
        "ratio_median": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "ratio_mean": ratio.mean,
        "aa_ratio": control.median,
        "aa_low": control.low,
        "aa_high": control.high,
        "aa_mean": control.mean,
        "ratio_limit": math.nan if limit is None else float(limit),
        "tracker_mib": ours.held_bytes / _MIB,
        "memory_share": share,
        "memory_limit": float(limits.memory_share),
        "within": None if limit is None else _within(max(ratio.median, ratio.mean), share, limits, limit),
        "table_mib": ours.weight_bytes / _MIB,
        "peak_mib": _mib(ours.peak_bytes),
        "peer_ms": math.nan if peer is None else float(np.median(peer.watched_ms)),
        "peer_ratio": _mean_ratio(peer),
        f"peer_interval{PEER_INTERVAL}_ratio": _mean_ratio(spaced),
        "peer_mib": _mib(peer.held_bytes if peer else None),
        "peer_peak_mib": _mib(peer.peak_bytes if peer else None),
    }


def show(table: pd.DataFrame, folder: Path, note: str, headings: Mapping[str, str] = HEADINGS) -> None:
    """Print the columns that have a heading, where the table was written, and the note."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    cells = rounded(table.drop(columns=["ratio_low", "ratio_high"]))
    ends = zip(table["ratio_low"], table["ratio_high"], strict=True)
    cells["interval"] = [_interval(low, high) for low, high in ends]
    for name, heading in headings.items():
        shown.add_column(heading, overflow="fold", justify="left" if name == "case" else "right")
    for _, line in cells.iterrows():
        shown.add_row(*(escape(line[name]) for name in headings))
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(shown)
    for text in (note, f"files: {folder}"):
        if text:
            console.print(f" {text}", markup=False, highlight=False, soft_wrap=True)


def _within(ratio: float, share: float, limits: DictConfig, limit: float) -> bool:
    """Whether both the typical step and the mean, with its periodic work, keep to the limit, and so does the memory."""
    return ratio <= limit and share <= limits.memory_share


def _mean_ratio(measured: Measured | None) -> float:
    return math.nan if measured is None else paired_ratio(measured.bare_ms, measured.watched_ms).mean


def _mib(size: int | None) -> float:
    return math.nan if size is None else size / _MIB


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.3f}-{high:.3f}"
