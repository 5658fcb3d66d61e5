"""Holds ratings in one canonical form, and two ways to split them into train, validation and test."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame

from datasets.duplicates import Duplicates, count_duplicates, pair_codes
from flowgrad.errors import FlowGradError

COLUMNS = ("user", "item", "rating", "timestamp")

LARGEST_RATING = 1e12
"""Size up to which a rating can be learned: numbers of 32 bits hold the sum of many squares of no larger ones."""

_CANONICAL_INTEGER = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_TRAIN, _VALIDATION, _TEST = 0, 1, 2
_LEAVE_ONE_OUT_MINIMUM = 3


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings with users and items coded from 0.

    `encode_ratings` is the usual way to make one; the constructor only checks that the parts agree.

    Raises:
        FlowGradError: `frame` lacks a column, a code has no id, an id occurs twice, or a rating or a timestamp is
            not finite, or a rating larger than `LARGEST_RATING`.
    """

    name: str
    """Short name of the data set, e.g. "ml-100k"."""
    source: str
    """Origin of this copy, for people to read. Two copies with different sources can have the same `sha256`."""
    frame: DataFrame
    """One row per rating: `user` and `item` (int64 codes), `rating` (float64), `timestamp` (int64 or float64)."""
    user_ids: NDArray[np.object_]
    """The original user ids as text: `user_ids[code]`."""
    item_ids: NDArray[np.object_]
    """The original item ids as text: `item_ids[code]`."""
    sha256: str
    """SHA-256 by `content_sha256` of the rows in their order: it depends on neither the source nor the codes."""
    rated: bool = True
    """False where the source holds interactions without ratings, and every `rating` is 1."""
    timed: bool = True
    """False where the source holds no times, and `timestamp` is the order of the rows."""

    def __post_init__(self) -> None:
        if tuple(self.frame.columns) != COLUMNS:
            raise FlowGradError(f"ratings {self.name!r}: columns {list(self.frame.columns)}; expected {list(COLUMNS)}")
        for role, ids in (("user", self.user_ids), ("item", self.item_ids)):
            codes = self.frame[role].to_numpy()
            if len(codes) and not (codes.min() >= 0 and codes.max() < len(ids)):
                raise FlowGradError(
                    f"ratings {self.name!r}: {role} codes run from {codes.min()} to {codes.max()}, "
                    f"but there are {len(ids)} {role} ids; expected codes from 0 to {len(ids) - 1}"
                )
            if len(set(ids)) != len(ids):
                raise FlowGradError(f"ratings {self.name!r}: {role} ids occur more than once; expected one code per id")
        for column in ("rating", "timestamp"):
            if not np.isfinite(self.frame[column].to_numpy()).all():
                raise FlowGradError(f"ratings {self.name!r}: column {column!r} holds NaN or inf; expected numbers")
        largest = self.frame["rating"].abs().max() if len(self.frame) else 0.0
        if largest > LARGEST_RATING:
            raise FlowGradError(
                f"ratings {self.name!r}: a rating of {largest:g} in size; expected at most {LARGEST_RATING:g}: give "
                "ratings on a smaller scale"
            )

    @property
    def n_users(self) -> int:
        """Number of user ids; codes are 0..n_users-1."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of item ids; codes are 0..n_items-1."""
        return len(self.item_ids)

    @cached_property
    def duplicates(self) -> Duplicates:
        """Count of (user, item) pairs that occur more than once in `frame`."""
        return count_duplicates(self.frame, self.timed)


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one `Ratings.frame`: every row stands in exactly one, in frame order and with its row label."""

    train: DataFrame
    """Rows to learn from."""
    validation: DataFrame
    """Rows to choose settings by; never empty."""
    test: DataFrame
    """Rows to report on; never empty."""


def encode_ratings(
    name: str,
    source: str,
    users: Sequence[str] | NDArray[np.object_],
    items: Sequence[str] | NDArray[np.object_],
    ratings: ArrayLike,
    timestamps: ArrayLike,
    *,
    rated: bool = True,
    timed: bool = True,
) -> Ratings:
    """Code the ids; rows stay in the order given.

    Codes follow the sorted ids: by value where every id is a plain decimal integer without leading zeros (so MovieLens'
    user "1" is code 0 and "10" comes after "9"), else as text. The order of the rows is kept, for nothing else
    distinguishes ratings of one user and second (`leave_one_out`). Repeated (user, item) pairs stay as rows, which
    `Ratings.duplicates` counts. Timestamps are int64 if all are whole numbers, else float64. `rated` and `timed` go
    into the fields of these names.

    Raises:
        FlowGradError: the four columns differ in length, or a rating or a timestamp is not finite.
    """
    rating = np.asarray(ratings, dtype=np.float64)
    timestamp = _whole_if_possible(np.asarray(timestamps))
    lengths = (len(users), len(items), len(rating), len(timestamp))
    if len(set(lengths)) != 1:
        raise FlowGradError(f"ratings {name!r}: columns of lengths {lengths} (user, item, rating, timestamp) differ")
    user, user_ids = _encode(users)
    item, item_ids = _encode(items)
    frame = DataFrame(dict(zip(COLUMNS, (user, item, rating, timestamp), strict=True)))
    sha256 = content_sha256(frame, user_ids, item_ids)
    return Ratings(name, source, frame, user_ids, item_ids, sha256, rated, timed)


def content_sha256(frame: DataFrame, user_ids: NDArray[np.object_], item_ids: NDArray[np.object_]) -> str:
    """SHA-256 of the content, as a hex string.

    The canonical bytes are one line per row, in row order, `user<TAB>item<TAB>rating<TAB>timestamp<LF>`: ids as JSON
    strings (so no id can hold a bare tab), whole numbers without a decimal point, others as Python's shortest repr.
    Original ids are hashed and not codes; ids without ratings do not count.
    """
    users = np.array([json.dumps(identifier) for identifier in user_ids], dtype=object)[frame["user"].to_numpy()]
    items = np.array([json.dumps(identifier) for identifier in item_ids], dtype=object)[frame["item"].to_numpy()]
    ratings = map(_number_text, frame["rating"].tolist())
    timestamps = map(_number_text, frame["timestamp"].tolist())
    lines = map("{}\t{}\t{}\t{}\n".format, users, items, ratings, timestamps)
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


def leave_one_out(ratings: Ratings) -> Split:
    """Split off each user's last item to test, the one before to validation, the rest to train.

    "Last" is by timestamp; equal timestamps keep the order of the rows, as a stable sort of the file does. An order
    by item would not be fair: item ids go with popularity, and in MovieLens-100K three ratings in four share their
    second with another of the same user. The rows of a repeated (user, item) pair stay in one part, that of the last
    of them. Users with fewer than three items stay wholly in train. Items of the validation and test parts need not
    occur in train.

    Raises:
        FlowGradError: no user has three items, which would leave validation and test empty.
    """
    frame = ratings.frame
    user, timestamp = frame["user"].to_numpy(), frame["timestamp"].to_numpy()
    order = np.lexsort((timestamp, user))  # stable
    pair = pair_codes(frame)
    last_place = np.zeros(pair.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(last_place, pair[order], np.arange(len(order)))
    by_time = np.argsort(last_place)  # pairs by user, and by the last of their rows
    counts = np.bincount(user[order[last_place]], minlength=ratings.n_users)
    last = np.cumsum(counts)[counts >= _LEAVE_ONE_OUT_MINIMUM] - 1
    if len(last) == 0:
        raise FlowGradError(
            f"leave_one_out on {ratings.name!r}: no user has {_LEAVE_ONE_OUT_MINIMUM} ratings or more (the largest "
            f"count is {counts.max(initial=0)}, a repeated item counting once), so validation and test would be empty; "
            "use the random split"
        )
    part_of_pair = np.full(len(last_place), _TRAIN)
    part_of_pair[by_time[last]] = _TEST
    part_of_pair[by_time[last - 1]] = _VALIDATION
    return _split(frame, part_of_pair[pair])


def random_split(ratings: Ratings, test_share: float, validation_share: float, seed: int) -> Split:
    """Split rows at random, whoever the user is: `numpy.random.default_rng(seed)` permutes the (user, item) pairs.

    The first `round(test_share * n)` of the n pairs of the permutation are the test part, the next
    `round(validation_share * n)` the validation part, the rest train. The rows of a repeated pair stay in one part;
    without such pairs, pairs are rows. Time plays no part, so train holds ratings later than test ones:
    `leave_one_out` is the split without that leak.

    Raises:
        FlowGradError: a share outside (0, 1), shares that add up to 1 or more, a negative or fractional seed, or too
            few rows for the shares, which would leave a part empty.
    """
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0 < share < 1:
            raise FlowGradError(f"random_split: {name} is {share}; expected a share between 0 and 1, both excluded")
    if test_share + validation_share >= 1:
        raise FlowGradError(
            f"random_split: test_share {test_share} and validation_share {validation_share} add up to 1 or more and "
            "leave no ratings to train on; expected a sum below 1"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise FlowGradError(f"random_split: seed is {seed!r}; expected an integer of 0 or more")
    pair = pair_codes(ratings.frame)
    n_pairs = int(pair.max(initial=-1)) + 1
    n_test, n_validation = round(test_share * n_pairs), round(validation_share * n_pairs)
    sizes = {"train": n_pairs - n_test - n_validation, "validation": n_validation, "test": n_test}
    empty = [name for name, size in sizes.items() if size <= 0]
    if empty:
        raise FlowGradError(
            f"random_split on {ratings.name!r}: {n_pairs} ratings (a repeated pair counts once) with test_share "
            f"{test_share} and validation_share {validation_share} leave the {' and '.join(empty)} part empty; "
            "use larger shares or more ratings"
        )
    order = np.random.default_rng(seed).permutation(n_pairs)
    part_of_pair = np.full(n_pairs, _TRAIN)
    part_of_pair[order[:n_test]] = _TEST
    part_of_pair[order[n_test : n_test + n_validation]] = _VALIDATION
    return _split(ratings.frame, part_of_pair[pair])


def _split(frame: DataFrame, part: NDArray[np.int64]) -> Split:
    return Split(frame[part == _TRAIN], frame[part == _VALIDATION], frame[part == _TEST])


def _encode(ids: Sequence[str] | NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    codes, found = pd.factorize(np.asarray(ids, dtype=object))
    ordered = sorted(range(len(found)), key=_id_key(found).__getitem__)
    rank = np.empty(len(found), dtype=np.int64)
    rank[ordered] = np.arange(len(found))
    return rank[codes], np.asarray(found, dtype=object)[ordered]


def _id_key(ids: NDArray[np.object_]) -> list[tuple[int, str]]:
    # Length and then text orders plain decimal integers of any size by value.
    by_value = all(_CANONICAL_INTEGER.fullmatch(identifier) for identifier in ids)
    return [(len(identifier) if by_value else 0, identifier) for identifier in ids]


def _whole_if_possible(values: NDArray[np.generic]) -> NDArray[np.int64] | NDArray[np.float64]:
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    numbers = values.astype(np.float64)
    # Beyond 2**53 a float64 is always whole, which says nothing about the number it came from.
    if np.all(np.abs(numbers) < 2.0**53) and np.all(numbers == np.floor(numbers)):
        return numbers.astype(np.int64)
    return numbers


def _number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)
