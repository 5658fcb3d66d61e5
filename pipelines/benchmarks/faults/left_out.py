"""Chooses thresholds without a pair of model and data, and judges that pair's runs by them.

Each threshold of a rule that a fault asks for is chosen by itself, all else as shipped: where F1 over the other pairs'
runs is highest, in the middle of the widest gap there. Runs with a fault that asks for the rule are to be found; those
in which the rule is right too, or another finding explains it, say nothing; in all others it is wrong. A threshold that
those runs do not bound on both sides keeps its shipped value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.rules import RuleBook
from flowgrad.verification.run_config import pair_of
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.figures import Figure, Threshold, with_values
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.faults.observation import DiagnosedRun, judged_again
from pipelines.benchmarks.faults.scoring import case_table, score_table

WAYS = ("pair", "model and data")
"""Ways to leave out: that pair; or every pair that shares its model or its data."""
_POOLED = ("all rows", "all runs", "false alarms")
_ORDERS = 10.0
"""Ratio of the largest figure to the least from which gaps are measured, and halved, on a scale of logarithms."""


@dataclass(frozen=True)
class Fold:
    """Thresholds that were chosen without a pair."""

    way: str
    """Way of leaving out, one of `WAYS`."""
    pair: tuple[str, str]
    """Model and data left out."""
    chosen: Mapping[Threshold, float]
    """Values of the thresholds that the other pairs bound."""


def folds(cases: Sequence[FaultCase], found: Sequence[DiagnosedRun]) -> list[Fold]:
    """Choose thresholds for each pair left out, in both ways; without those for which no pair is left to choose on."""
    pairs = [pair_of(case.config) for case in cases]
    made = []
    for way in WAYS:
        for pair in dict.fromkeys(pairs):
            apart = [_is_apart(other, pair, way) for other in pairs]
            if any(apart):
                rest = [one for one, chosen in zip(zip(cases, found, strict=True), apart, strict=True) if chosen]
                made.append(Fold(way, pair, _chosen(rest)))
    return made


def threshold_table(made: Sequence[Fold], found: Sequence[DiagnosedRun]) -> pd.DataFrame:
    """Make one line a way and threshold that some fold bounds: its shipped value, and where folds put it (those that do
    not bound it keep it as shipped).
    """
    lines = []
    for way in WAYS:
        of_way = [fold for fold in made if fold.way == way]
        for threshold in found[0].kept.figures if found[0].kept else ():
            values = [fold.chosen.get(threshold, threshold.shipped) for fold in of_way]
            bounded = sum(threshold in fold.chosen for fold in of_way)
            if bounded:
                place = (way, threshold.rule, threshold.clause, threshold.comparison, len(of_way), bounded)
                lines.append((*place, threshold.shipped, float(np.median(values)), min(values), max(values)))
    columns = ["left_out", "rule", "clause", "comparison", "folds", "bounded", "shipped", "median", "low", "high"]
    return pd.DataFrame(lines, columns=columns)


def left_out_table(
    made: Sequence[Fold], cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook, ground: FaultFamily
) -> pd.DataFrame:
    """Make the scores of runs that were left out, by pair and pooled, beside those by the shipped thresholds."""
    pairs = [pair_of(case.config) for case in cases]
    shipped = case_table(cases, found, book, ground)
    tables = {"as shipped": [shipped[[pair == one for one in pairs]] for pair in dict.fromkeys(pairs)]}
    names = {"as shipped": list(dict.fromkeys(pairs))}
    for fold in made:
        moved = {rule: with_values(book[rule], _of_rule(fold, rule)) for rule in {one.rule for one in fold.chosen}}
        other = replace(book, rules={**book.rules, **moved})
        own = [one for one, pair in zip(zip(cases, found, strict=True), pairs, strict=True) if pair == fold.pair]
        again = [judged_again(run, other, case.config) for case, run in own]
        way = f"without {fold.way}"
        tables.setdefault(way, []).append(case_table([case for case, _ in own], again, other, ground))
        names.setdefault(way, []).append(fold.pair)
    return pd.DataFrame([line for way in tables for line in _scored(way, names[way], tables[way])])


def figure_table(cases: Sequence[FaultCase], found: Sequence[DiagnosedRun]) -> pd.DataFrame:
    """Make one line a run and threshold: the rule fires in the run where the threshold is below `below` or above
    `above`.
    """
    return pd.DataFrame(
        [
            {"kind": case.kind, "fault": case.fault, "setting": case.setting, "seed": case.seed,
             "rule": threshold.rule, "clause": threshold.clause, "comparison": threshold.comparison,
             "below": turn.below, "above": turn.above, "label": _label(case, run, threshold.rule)}
            for case, run in zip(cases, found, strict=True)
            for threshold, turn in (run.kept.figures.items() if run.kept else ())
        ]
    )  # fmt: skip


def _of_rule(fold: Fold, rule: str) -> dict[Threshold, float]:
    return {threshold: value for threshold, value in fold.chosen.items() if threshold.rule == rule}


def _is_apart(other: tuple[str, str], pair: tuple[str, str], way: str) -> bool:
    return other != pair if way == "pair" else other[0] != pair[0] and other[1] != pair[1]


def _label(case: FaultCase, run: DiagnosedRun, rule: str) -> str:
    if rule in case.rules:
        return "sick"
    return "" if rule in case.also or (run.kept and rule in run.kept.explained) else "well"


def _chosen(rest: Sequence[tuple[FaultCase, DiagnosedRun]]) -> dict[Threshold, float]:
    chosen = {}
    for threshold in rest[0][1].kept.figures if rest[0][1].kept else ():
        labels = [_label(case, run, threshold.rule) for case, run in rest]
        turns = [run.kept.figures[threshold] for _, run in rest if run.kept]
        told = [(turn, label == "sick") for turn, label in zip(turns, labels, strict=True) if label]
        value = best_value([turn for turn, _ in told], np.array([sick for _, sick in told]))
        if value is not None:
            chosen[threshold] = value
    return chosen


def best_value(turns: Sequence[Figure], sick: NDArray[np.bool_]) -> float | None:
    """Choose a threshold's value: in the middle of the widest of the gaps between figures where F1 is highest.

    Args:
        turns: verdicts of each run by the threshold's value.
        sick: whether the rule is to fire in each.

    Returns:
        The value; None where a value beyond all figures, which is no limit, serves as well.
    """
    below, above = (np.array([getattr(turn, name) for turn in turns]) for name in ("below", "above"))
    points = np.unique(np.concatenate([below, above]))
    points = points[np.isfinite(points)]
    if len(points) < 2:
        return None
    spans_orders = points[0] * points[-1] > 0 and max(points[-1] / points[0], points[0] / points[-1]) > _ORDERS
    scale = np.log(np.abs(points)) if spans_orders else points
    middles = (scale[1:] + scale[:-1]) / 2
    values = np.sign(points[0]) * np.exp(middles) if spans_orders else middles

    def f1(value: float) -> float:
        fires = (value < below) | (value > above)
        return 2 * float((fires & sick).sum()) / max(float(fires.sum() + sick.sum()), 1.0)

    inner = np.array([f1(value) for value in values])
    if inner.max() <= max(f1(points[0] - 1), f1(points[-1] + 1)):
        return None
    best = np.flatnonzero(inner == inner.max())
    return float(values[best[np.argmax(np.abs(np.diff(scale))[best])]])


def _scored(way: str, pairs: Sequence[tuple[str, str]], tables: Sequence[pd.DataFrame]) -> Iterator[dict]:
    scores = {" on ".join(pair): _lines(table) for pair, table in zip(pairs, tables, strict=True)}
    for name, lines in ({"all pairs": _lines(pd.concat(tables))} | scores).items():
        yield from ({"thresholds": way, "left_out": name, **line} for line in lines)


def _lines(table: pd.DataFrame) -> list[dict]:
    scores = score_table(table[table["method"] == "flowgrad"], ())
    return scores[scores["fault"].isin(_POOLED) & (scores["runs"] > 0)].drop(columns=["method"]).to_dict("records")
