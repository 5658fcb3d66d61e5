"""Makes ratings with a known structure, without a network: for tests, examples and checks of the method itself."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from datasets.ratings import Ratings, content_sha256
from flowgrad.errors import FlowGradError

MINIMUM_PER_USER = 5
"""Number of ratings, at least, of every user: enough for `leave_one_out` and a profile to learn from."""

MAXIMUM_PAIRS = 20_000_000
"""Largest n_users * n_items: the sampling holds one float64 for each pair."""

GLOBAL_MEAN = 3.5
USER_BIAS_STD = 0.3
ITEM_BIAS_STD = 0.3
LOW_RANK_STD = 0.5
_LOWEST, _HIGHEST = 1.0, 5.0
_ACTIVITY_STD = 0.5
_FIRST_TIMESTAMP = 1_000_000_000
_LONGEST_PAUSE_SECONDS = 60


def make_ratings(
    n_users: int,
    n_items: int,
    n_ratings: int,
    dim: int,
    noise: float,
    popularity_exponent: float,
    seed: int,
) -> Ratings:
    """Make exactly `n_ratings` different (user, item) pairs, rated by a biased low-rank model.

    rating = clip(3.5 + b_u + b_i + p_u . q_i + noise * e, 1, 5), not rounded, with normal b_u and b_i of standard
    deviation 0.3, `dim` normal factors scaled so that p_u . q_i has standard deviation 0.5, and standard normal e.

    An item is drawn with a weight proportional to rank ** -popularity_exponent (Zipf; 0 is uniform), a user with a
    log-normal activity, without replacement; popularity ranks are shuffled, so an item's code does not reveal them.
    Each user has at least `MINIMUM_PER_USER` ratings. All items have a code, also those without a rating. Timestamps
    are whole seconds and strictly increasing along the rows, which stand in random order of pairs. The same arguments
    give the same ratings.

    Raises:
        FlowGradError: a count that is no positive integer, a negative or non-finite `noise` or `popularity_exponent`,
            a bad seed, fewer than `MINIMUM_PER_USER` items, `n_ratings` outside
            [MINIMUM_PER_USER * n_users, n_users * n_items], or more than `MAXIMUM_PAIRS` pairs.
    """
    _check_numbers(
        {"n_users": n_users, "n_items": n_items, "n_ratings": n_ratings, "dim": dim},
        {"noise": noise, "popularity_exponent": popularity_exponent},
        seed,
    )
    _check_sizes(n_users, n_items, n_ratings)
    rng = np.random.default_rng(seed)
    user, item = _draw_pairs(rng, n_users, n_items, n_ratings, popularity_exponent)
    rating = _rate(rng, user, item, (n_users, n_items), dim, noise)
    timestamp = _FIRST_TIMESTAMP + np.cumsum(rng.integers(1, _LONGEST_PAUSE_SECONDS, size=n_ratings, endpoint=True))
    frame = DataFrame({"user": user, "item": item, "rating": rating, "timestamp": timestamp})
    user_ids, item_ids = _ids(n_users), _ids(n_items)
    return Ratings(
        name="synthetic",
        source=f"make_ratings(n_users={n_users}, n_items={n_items}, n_ratings={n_ratings}, dim={dim}, noise={noise}, "
        f"popularity_exponent={popularity_exponent}, seed={seed})",
        frame=frame,
        user_ids=user_ids,
        item_ids=item_ids,
        sha256=content_sha256(frame, user_ids, item_ids),
    )


def _draw_pairs(
    rng: np.random.Generator, n_users: int, n_items: int, n_ratings: int, exponent: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # The largest of (log weight + Gumbel noise) are a weighted draw without replacement: first within each user for
    # the minimum, then over all remaining pairs for the rest.
    log_popularity = -exponent * np.log1p(rng.permutation(n_items))
    log_activity = _ACTIVITY_STD * rng.standard_normal(n_users)
    keys = rng.gumbel(size=(n_users, n_items)) + log_popularity + log_activity[:, np.newaxis]
    least = np.argpartition(keys, n_items - MINIMUM_PER_USER, axis=1)[:, -MINIMUM_PER_USER:]
    np.put_along_axis(keys, least, np.inf, axis=1)
    flat = keys.ravel()
    chosen = rng.permutation(np.sort(np.argpartition(flat, flat.size - n_ratings)[flat.size - n_ratings :]))
    return chosen // n_items, chosen % n_items


def _rate(
    rng: np.random.Generator,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    shape: tuple[int, int],
    dim: int,
    noise: float,
) -> NDArray[np.float64]:
    n_users, n_items = shape
    user_bias = USER_BIAS_STD * rng.standard_normal(n_users)
    item_bias = ITEM_BIAS_STD * rng.standard_normal(n_items)
    user_factors = rng.standard_normal((n_users, dim))
    item_factors = rng.standard_normal((n_items, dim)) * LOW_RANK_STD / math.sqrt(dim)
    low_rank = np.einsum("rd,rd->r", user_factors[user], item_factors[item])
    errors = noise * rng.standard_normal(len(user))
    return np.clip(GLOBAL_MEAN + user_bias[user] + item_bias[item] + low_rank + errors, _LOWEST, _HIGHEST)


def _ids(count: int) -> NDArray[np.object_]:
    return np.array([str(code) for code in range(count)], dtype=object)


def _check_numbers(counts: Mapping[str, object], scales: Mapping[str, object], seed: object) -> None:
    for name, value in counts.items():
        if not _is_integer_from(value, 1):
            raise FlowGradError(f"make_ratings: {name} is {value!r}; expected an integer of 1 or more")
    for name, value in scales.items():
        number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:  # type: ignore[operator]
            raise FlowGradError(f"make_ratings: {name} is {value!r}; expected a finite number of 0 or more")
    if not _is_integer_from(seed, 0):
        raise FlowGradError(f"make_ratings: seed is {seed!r}; expected an integer of 0 or more")


def _check_sizes(n_users: int, n_items: int, n_ratings: int) -> None:
    if n_items < MINIMUM_PER_USER:
        raise FlowGradError(
            f"make_ratings: n_items is {n_items}; expected {MINIMUM_PER_USER} or more, as each user rates "
            f"{MINIMUM_PER_USER} different items at least"
        )
    pairs = n_users * n_items
    if pairs > MAXIMUM_PAIRS:
        raise FlowGradError(
            f"make_ratings: n_users * n_items is {pairs}; expected {MAXIMUM_PAIRS} at most, as the generator is for "
            "small data"
        )
    if not MINIMUM_PER_USER * n_users <= n_ratings <= pairs:
        raise FlowGradError(
            f"make_ratings: n_ratings is {n_ratings}; expected between {MINIMUM_PER_USER * n_users} "
            f"({MINIMUM_PER_USER} per user) and {pairs} (n_users * n_items)"
        )


def _is_integer_from(value: object, lowest: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= lowest
