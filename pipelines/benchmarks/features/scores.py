"""Makes the tables from single runs: recall and precision by method, rates of false alarms by protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from pipelines.benchmarks.aa_tests.rates import rejection_rate
from pipelines.benchmarks.faults.scores import RESAMPLES
from pipelines.benchmarks.features.nulls import PROMISED, NullRun
from pipelines.benchmarks.features.screening import Screened, Screening
from pipelines.benchmarks.features.speed import Cost, Size

SHOWN = [
    "method", "kind", "setting", "runs", "recall", "precision", "rejections", "rate", "low", "high", "limit", "within",
    "seconds", "peak_mib", "columns",
]  # fmt: skip
"""Columns of the tables. `low` and `high` are of the recall, or of the rate of a null table's rejections."""
ALL = "all"
"""Name of the setting that holds all of one kind together."""
JUDGED = "partial_f"
_CONFIDENCE = 0.95
_MIB = 2.0**20


def case_table(runs: Sequence[Screening], found: Sequence[Screened]) -> pd.DataFrame:
    """Table of one line an interaction, a method and a seed."""
    lines = []
    for run, seen in zip(runs, found, strict=True):
        for interaction, hit in zip(seen.truth, seen.found, strict=True):
            lines.append(
                {"method": run.method, "kind": run.case.kind, "setting": run.case.name, "seed": run.seed,
                 "interaction": interaction, "shape": interaction.rpartition(": ")[2], "found": hit,
                 "named": seen.named, "right": seen.right, "seconds": seen.seconds}
            )  # fmt: skip
    return pd.DataFrame(lines)


def screening_lines(runs: Sequence[Screening], found: Sequence[Screened], limits: DictConfig) -> list[dict]:
    """Make for each method a line for all made-up tables, one for all real ones, and one a setting.

    The pairs that `interactions()` names by default are judged, over all tables of a kind.
    """
    table = pd.DataFrame(
        [
            {"method": run.method, "kind": run.case.kind, "setting": run.case.name, "seed": run.seed,
             "true": len(seen.truth), "hits": sum(seen.found), "named": seen.named, "right": seen.right,
             "seconds": seen.seconds}
            for run, seen in zip(runs, found, strict=True)
        ]
    )  # fmt: skip
    lines = []
    for (method, kind), own in table.groupby(["method", "kind"], sort=False):
        for setting, part in _with_pooled(own):
            recall = float(part["hits"].sum() / part["true"].sum())
            low, high = recall_interval(part)
            named = int(part["named"].sum())
            lines.append(
                {"method": str(method), "kind": str(kind), "setting": setting, "runs": len(part), "recall": recall,
                 "precision": part["right"].sum() / named if named else float("nan"), "low": low, "high": high,
                 "seconds": float(part["seconds"].median())}
                | (_judged(limits.recall, recall >= limits.recall) if setting == ALL and method == JUDGED else {})
            )  # fmt: skip
    return lines


def _judged(limit: float, within: bool) -> dict:
    return {"limit": float(limit), "within": bool(within)}


def _with_pooled(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Group all lines together, then each setting's."""
    return [(ALL, table), *((str(setting), part) for setting, part in table.groupby("setting", sort=False))]


def recall_interval(part: pd.DataFrame) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of the pooled recall, whole seeds drawn with replacement (Efron 1979):
    tables of one seed share what was drawn. NaN with fewer than 2 seeds; columns `seed`, `hits`, `true`.
    """
    counts = part.groupby("seed")[["hits", "true"]].sum().to_numpy()
    if len(counts) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(len(counts), size=(RESAMPLES, len(counts)))].sum(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (tail, 1 - tail))
    return float(low), float(high)


def p_table(runs: Sequence[NullRun], found: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Table of one line a null table and protocol."""
    return pd.DataFrame(
        [
            {"setting": run.case.name, "seed": run.seed, "protocol": protocol, "p": p}
            for run, seen in zip(runs, found, strict=True)
            for protocol, p in seen.items()
        ]
    )


def null_lines(table: pd.DataFrame, alpha: float, limits: DictConfig) -> list[dict]:
    """Make for each protocol a line over all settings, which is judged where it promises a level, then one a setting.

    Args:
        table: table of `p_table`. A p that is not known is of a table where nothing was left to test: no rejection.
        alpha: level.
        limits: the `job.limits` node.
    """
    lines = []
    for protocol, own in table.groupby("protocol", sort=False):
        for setting, part in _with_pooled(own):
            rejections = int((part["p"] < alpha).sum())
            rate = rejection_rate(rejections, len(part), alpha, at_most=True, confidence=_CONFIDENCE)
            judged = setting == ALL and protocol in PROMISED
            lines.append(
                {"method": str(protocol), "kind": "null table", "setting": setting, "runs": len(part),
                 "rejections": rejections, "rate": rate.rate, "low": rate.low, "high": rate.high}
                | (_judged(limits.false_alarms, rate.rate <= limits.false_alarms) if judged else {})
            )  # fmt: skip
    return lines


def speed_lines(size: Size, ours: Cost, peer_columns: int | None, limits: DictConfig) -> list[dict]:
    """Make a line for this project, and one for the peer where it was asked."""
    setting = f"{size.columns} columns x {size.rows} rows"
    peak = float("nan") if ours.peak_bytes is None else ours.peak_bytes / _MIB
    lines: list[dict] = [
        {"method": "partial_f", "kind": "speed", "setting": setting, "runs": 1, "seconds": ours.seconds,
         "peak_mib": peak, "columns": size.columns}
        | _judged(limits.seconds, ours.seconds <= limits.seconds)
    ]  # fmt: skip
    if peer_columns is not None:
        lines.append({"method": "peer_permutation", "kind": "speed", "setting": setting, "columns": peer_columns})
    return lines
