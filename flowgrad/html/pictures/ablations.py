"""Shares of the gain that go with single overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgrad.html.figures import Interval, Intervals
from flowgrad.html.findings import number

if TYPE_CHECKING:
    import pandas as pd

FILE = "shares.csv"
COLUMNS = ("overrides", "outcome", "metric")
NUMBERS = ("n", "with_it", "without", "loss", "ci_low", "ci_high", "p", "share", "share_low", "share_high", "lost")
SHOWN = (*COLUMNS, *NUMBERS, "left_out_of", "because")


def share_picture(table: pd.DataFrame) -> Intervals | None:
    """Draw the last test of each override, or of several that were left out together: the share of the gain that is
    lost without it, with its interval.

    Args:
        table: of `shares.csv`.
    """
    last = table.drop_duplicates("overrides", keep="last")
    rows = tuple(
        Interval(
            str(line["overrides"]),
            number(line["share"]),
            number(line["share_low"]),
            number(line["share_high"]),
            str(line["outcome"]),
        )
        for line in last.to_dict("records")
    )
    if not rows:
        return None
    counts = {
        outcome: sum(one.verdict == outcome for one in rows) for outcome in dict.fromkeys(r.verdict for r in rows)
    }
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return Intervals(
        "Share of the gain that is lost without it",
        f"Each is left out of what is kept at that point, with the interval of the paired test: {told}.",
        (FILE,),
        "share of the gain",
        rows,
    )
