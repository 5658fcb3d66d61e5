"""Loads the flights from New York in 2013 as a log of clicks: did a flight arrive late?"""

from pathlib import Path

import numpy as np

from datasets.click_tables import click_table
from datasets.rdatasets import load_frame
from datasets.tables import Table, by_time

NAME = "flights"
CATEGORICAL = ("carrier", "flight", "tailnum", "origin", "dest", "hour", "minute", "weekday")
"""Columns of categories; `hour` and `minute` are those of the scheduled departure."""
NUMERICAL = ("distance",)
LATE = 15.0
"""Number of minutes of delay above which a flight counts as late."""


def load_flights(path: str | Path | None = None, cache: str | Path | None = None) -> Table:
    """Load the 327,346 of 336,776 flights that arrived, in order of their days, with what is known weeks before.

    The target `late` is 1 where the arrival was more than `LATE` minutes behind schedule. Flights that were cancelled
    or diverted have no arrival, and are left out. The split is by day: 70 % to train, 10 % to validate, the last 20 %
    to test.

    Raises:
        FlowGradError: as `datasets.rdatasets.load_frame`.
    """
    frame, source = load_frame("nycflights13/flights", path, cache)
    frame = frame[frame["arr_delay"].notna()].sort_values("time_hour", kind="stable").reset_index(drop=True)
    for column in ("flight", "hour", "minute"):
        frame[column] = frame[column].astype(int)
    day = np.array(frame[["year", "month", "day"]].astype(int).to_numpy() @ [10_000, 100, 1])
    dates = np.array([f"{one // 10_000:04}-{one // 100 % 100:02}-{one % 100:02}" for one in day], dtype="datetime64[D]")
    frame["weekday"] = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    late = {"late": (frame["arr_delay"].to_numpy(dtype=float) > LATE).astype(float)}
    parts = by_time(day, validation_share=0.1, test_share=0.2)
    return click_table(NAME, source, frame, CATEGORICAL, NUMERICAL, late, parts)
