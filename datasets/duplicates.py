"""Counts ratings that a file holds several times, and resolves them as the user says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

CHOICES = ("error", "keep", "drop", "last", "mean")
"""Choices of what to do about repeated pairs; see `resolved`."""


@dataclass(frozen=True)
class Duplicates:
    """Counts of (user, item) pairs that occur more than once."""

    pairs: int = 0
    """Number of pairs that occur more than once."""
    rows: int = 0
    """Number of rows of these pairs, the first of each among them."""
    copies: int = 0
    """Number of rows that repeat an earlier row in every column: user, item, rating, and time where the source has
    times.
    """

    def __bool__(self) -> bool:
        return self.pairs > 0


def count_duplicates(frame: DataFrame, timed: bool) -> Duplicates:
    """Count the repeated pairs of a frame with the columns user, item, rating, timestamp.

    Args:
        frame: one row a rating.
        timed: whether `timestamp` holds times; False where it is the order of the rows, which no two rows share.
    """
    repeated = frame.duplicated(["user", "item"], keep=False)
    if not repeated.any():
        return Duplicates()
    several = frame[repeated]
    whole = ["user", "item", "rating", *(["timestamp"] if timed else [])]
    pairs = len(several.drop_duplicates(["user", "item"]))
    return Duplicates(pairs, len(several), int(several.duplicated(whole).sum()))


def resolved(frame: DataFrame, how: str) -> DataFrame:
    """Resolve repeated pairs, so that each stands once; rows keep their order.

    Args:
        frame: one row a rating, with the columns user, item, rating, timestamp.
        how: `drop` keeps the earliest row of each pair, `last` the latest (equal times follow the order of the rows),
            `mean` the latest with the mean rating of the pair. Any other choice keeps all rows.
    """
    if how not in ("drop", "last", "mean"):
        return frame
    by_time = frame.sort_values("timestamp", kind="stable")
    once = by_time.drop_duplicates(["user", "item"], keep="first" if how == "drop" else "last").sort_index()
    if how == "mean":
        means = frame.groupby(["user", "item"])["rating"].transform("mean")
        once = once.assign(rating=means[once.index])
    return once


def pair_codes(frame: DataFrame) -> NDArray[np.int64]:
    """Number each row's (user, item) pair, in the order in which pairs first occur: 0, 1, 2, ..."""
    return np.asarray(frame.groupby(["user", "item"], sort=False).ngroup(), dtype=np.int64)
