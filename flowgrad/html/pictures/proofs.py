"""Effects with their intervals, and the seeds behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowgrad.html.figures import Interval, Intervals, Pair, Pairs
from flowgrad.html.findings import number
from flowgrad.html.page import Proof
from flowgrad.statistics import CONTROL, NO_WORSE, PRIMARY, PROVEN, reason_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("comparison", "metric", "test", "verdict", "family", "unit", "baseline_arm", "treated_arm")
NUMBERS = ("n", "baseline", "treated", "difference", "ci_low", "ci_high", "p_adjusted", "wins", "alpha")
TESTED = (*PRIMARY, NO_WORSE)
"""Tests that a verdict rests on."""


Line = Mapping[str, Any]
"""A line of `significance.csv`."""


def lines_of(table: pd.DataFrame | None) -> list[Line]:
    """The lines that a verdict rests on, which say how many pairs they are of, and at what level."""
    if table is None:
        return []
    asked = table[table["test"].isin(TESTED) & table["n"].notna() & table["alpha"].notna()]
    return [{str(key): value for key, value in one.items()} for one in asked.to_dict("records")]


def control_of(lines: Sequence[Line]) -> Proof | None:
    """The control that found a difference between two arms of the same configuration, which it should not."""
    found = [one for one in lines if one["family"] == CONTROL and one["verdict"] in ("confirmed", "refuted")]
    return proof_of_line(found[0]) if found else None


def proof_of_line(line: Line, higher_is_better: bool | None = None) -> Proof:
    """Make the proof of a line of `significance.csv`."""
    wins = number(float(line["wins"]))
    return Proof(
        verdict=verdict_of(line),
        metric=str(line["metric"]),
        before=number(line["baseline"]),
        after=number(line["treated"]),
        difference=number(line["difference"]),
        low=number(line["ci_low"]),
        high=number(line["ci_high"]),
        level=1 - float(line["alpha"]) * (2 if line["test"] == NO_WORSE else 1),
        p=number(line["p_adjusted"]),
        n=int(line["n"]),
        unit=str(line["unit"]),
        test=str(line["test"]),
        wins=None if wins is None else int(wins),
        higher_is_better=higher_is_better,
        detectable=number(line["detectable"]) if "detectable" in line else None,
        reason=reason_of(line),
    )


def verdict_of(line: Any) -> str:
    """Verdict of a line; that a change costs nothing that matters is a proof where that was to be shown."""
    return PROVEN.get(str(line["verdict"]), str(line["verdict"]))


def effects(table: pd.DataFrame, directions: Mapping[str, bool], file: str) -> Iterator[Intervals]:
    """Draw one picture a metric: the difference of each comparison with its interval."""
    primary = table[table["test"].isin(TESTED)]
    for metric, lines in primary.groupby("metric", sort=False):
        rows = tuple(
            Interval(
                f"{line['comparison']}{' (control)' if line['family'] == CONTROL else ''}",
                number(line["difference"]),
                number(line["ci_low"]),
                number(line["ci_high"]),
                verdict_of(line),
                number(line["p_adjusted"]),
            )
            for line in lines.to_dict("records")
        )
        yield told_effect(f"Effect on {metric} by comparison", str(metric), rows, directions.get(str(metric)), file)


def told_effect(title: str, metric: str, rows: tuple[Interval, ...], better: bool | None, file: str) -> Intervals:
    """Draw differences in a metric.

    Args:
        title: above the picture.
        metric: name of the metric.
        rows: the differences.
        better: whether more is better; None where that is not known.
        file: that the figures are in.
    """
    way = "" if better is None else f" ({'above' if better else 'below'} 0 is better)"
    counts = Counter(one.verdict for one in rows)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return Intervals(
        title,
        f"Difference in {metric}, after minus before, with its interval: {told}.",
        (file,),
        f"difference in {metric}{way}",
        rows,
    )


def seed_pairs(observations: pd.DataFrame, metric: str, before: str, after: str, file: str) -> Pairs | None:
    """Draw the metric of both arms, a line a seed."""
    held = observations[observations["metric"] == metric]
    values = {arm: held[held["arm"] == arm].set_index("seed")["value"].to_dict() for arm in (before, after)}
    seeds = [seed for seed in values[before] if seed in values[after]]
    if not seeds:
        return None
    pairs = tuple(Pair(str(seed), number(values[before][seed]), number(values[after][seed])) for seed in seeds)
    return Pairs(
        f"{metric} by seed, {before} and {after}",
        f"Each line is one of {len(pairs)} seeds: {metric} of {before} and of {after}, trained on the same seed.",
        (file,),
        metric,
        before,
        after,
        pairs,
    )
