"""Loads the ratings of MovieLens-100K, checked against one checksum of their content."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.movielens_files import Wanted, fetch
from datasets.ratings import Ratings, encode_ratings
from flowgrad.errors import FlowGradError

NAME = "ml-100k"
N_RATINGS, N_USERS, N_ITEMS = 100_000, 943, 1_682

CONTENT_SHA256 = "0366ee810ad1c0e18e7d7c285e4ff367e4a250848fa6bfab7d254e688c6555c3"
"""`datasets.ratings.content_sha256` of MovieLens-100K: the same for every source, for all keep the rows' order."""

_FIELDS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")


def load_movielens_100k(path: str | Path | None = None, cache: str | Path | None = None) -> Ratings:
    """Load MovieLens-100K from the first source that can be reached (`datasets.movielens_files.fetch`).

    Whatever the source, the content must have `CONTENT_SHA256`.

    Raises:
        FlowGradError: as `fetch`.
    """
    return fetch(_WANTED, path, cache)[0]


def _read(files: Sequence[bytes], source: str) -> Ratings:
    """Parse `u.data` or `ml-100k.inter` (distinguished by the header) and check that it is MovieLens-100K, whole."""
    body = files[0].removeprefix("\t".join(_FIELDS).encode())
    table = pd.read_csv(io.BytesIO(body), sep="\t", header=None, quoting=3, dtype=str, keep_default_na=False)
    if table.shape[1] != len(_FIELDS):
        raise FlowGradError(f"{table.shape[1]} columns instead of {len(_FIELDS)}")
    users, items = (table[column].to_numpy(dtype=object) for column in (0, 1))
    numbers = table[[2, 3]].astype(np.float64)
    ratings = encode_ratings(NAME, source, users, items, numbers[2], numbers[3])
    fault = _fault(ratings)
    if fault is not None:
        raise FlowGradError(fault)
    return ratings


def _fault(ratings: Ratings) -> str | None:
    counts = (
        (len(ratings.frame), N_RATINGS, "ratings"),
        (ratings.n_users, N_USERS, "users"),
        (ratings.n_items, N_ITEMS, "items"),
    )
    for found, expected, what in counts:
        if found != expected:
            return f"{found:,} {what} instead of {expected:,}"
    if not ratings.frame["rating"].isin([1, 2, 3, 4, 5]).all():
        return "ratings other than 1, 2, 3, 4 and 5"
    if ratings.sha256 != CONTENT_SHA256:
        return f"content checksum {ratings.sha256} instead of {CONTENT_SHA256}"
    return None


def _kept(ratings: Ratings) -> tuple[bytes]:
    frame = ratings.frame
    rows = zip(
        ratings.user_ids[frame["user"]],
        ratings.item_ids[frame["item"]],
        frame["rating"].astype(int),
        frame["timestamp"],
        strict=True,
    )
    lines = ["\t".join(_FIELDS), *("\t".join(map(str, row)) for row in rows)]
    return (("\n".join(lines) + "\n").encode("ascii"),)


_WANTED = Wanted((("u.data", "ml-100k.inter"),), _read, _kept)
