"""Calibration of the tests: how often each rejects where there is nothing to find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowgrad.html.figures import Interval, Intervals
from flowgrad.html.findings import number

if TYPE_CHECKING:
    import pandas as pd

FILE = "calibration.csv"
COLUMNS = {"setting", "metric", "test", "rate", "level", "low", "high", "within"}


def calibration_pictures(table: pd.DataFrame) -> Iterator[Intervals]:
    """Draw one picture a level: the share of rejections of each test with its interval, against the level that it
    should not exceed.
    """
    if not set(table.columns) >= COLUMNS:
        return
    known = table[table["rate"].notna()]
    for level in sorted(set(known["level"].astype(float))):
        lines = known[known["level"] == level]
        rows = tuple(
            Interval(
                " ".join(str(one[name]) for name in ("test", "metric", "setting") if isinstance(one[name], str)),
                number(one["rate"]),
                number(one["low"]),
                number(one["high"]),
                "holds" if str(one["within"]) == "True" else "rejects too often",
            )
            for one in lines.to_dict("records")
        )
        kept = sum(one.verdict == "holds" for one in rows)
        yield Intervals(
            f"Calibration at the level {level:g}",
            f"Share of tests that rejected where both arms were the same, with its interval: {kept} of {len(rows)} "
            f"hold the level of {level:g}, which the dashed line marks.",
            (FILE,),
            "share of rejections",
            rows,
            level,
        )
