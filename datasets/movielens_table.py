"""Makes MovieLens-100K a table: one row a rating, columns that only look back."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from datasets.movielens import load_movielens_100k
from datasets.movielens_files import Wanted, fetch
from datasets.ratings import Ratings
from datasets.tables import Table, by_time, content_sha256
from flowgrad.errors import FlowGradError

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
OCCUPATIONS = (
    "administrator", "educator", "engineer", "librarian", "other", "programmer", "student", "writer",
)  # fmt: skip
"""Occupations of 40 users or more; the 13 others have no column."""
LIKED = 4
"""Number of stars from which a rating counts as liked."""

_MEANS, _BIASES = 1.0, 5.0
"""Number of ratings that the mean of all counts for in a mean, and that no deviation at all counts for in a bias. The
values were chosen, of 1 to 10, by the RMSE on the validation rows.
"""
_DAY = 86_400
_USERS = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
_ITEMS = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq")
_GROUPLENS_GENRES = ("unknown", *GENRES)
"""Order of the flags in `u.item`."""


def load_movielens_table(path: str | Path | None = None, cache: str | Path | None = None) -> Table:
    """Load the 100,000 ratings in order of time, with 41 columns known before each was given.

    Targets are `rating` (stars) and `liked` (1 from `LIKED` stars on). The split is by time: 70 % to train, 10 % to
    validate, the last 20 % to test; ratings of one second stay together. Groups are users.

    Sources are those of the ratings. GroupLens' file gives the day of release and RecBole's the year alone, so the
    column `year` may differ between the two for a film whose title names another year.

    Raises:
        FlowGradError: as `datasets.movielens_files.fetch`.
    """
    ratings = load_movielens_100k(path, cache)
    frame = ratings.frame.sort_values("timestamp", kind="stable").reset_index(drop=True)
    features = features_of(frame, *users_and_items(ratings, path, cache))
    rating = frame["rating"].to_numpy()
    targets = {"rating": rating, "liked": (rating >= LIKED).astype(float)}
    return Table(
        name="ml-100k-table",
        source=ratings.source,
        features=features,
        targets=targets,
        parts=by_time(frame["timestamp"].to_numpy(), validation_share=0.1, test_share=0.2),
        groups=frame["user"].to_numpy(),
        sha256=content_sha256(features, targets),
    )


def users_and_items(
    ratings: Ratings, path: str | Path | None = None, cache: str | Path | None = None
) -> tuple[DataFrame, DataFrame]:
    """Load what is known of users (`age`, `male`, `occupation`) and items (`year`, `genres`), in the order of their
    codes.

    Raises:
        FlowGradError: as `datasets.movielens_files.fetch`; or nothing is known of one.
    """
    (users, items), _ = fetch(_WANTED, path, cache)
    return _in_order(users, ratings.user_ids), _in_order(items, ratings.item_ids)


def features_of(frame: DataFrame, users: DataFrame, items: DataFrame) -> DataFrame:
    """Compute columns known of each rating before it is given.

    Ratings of one second share one past, which holds those of earlier seconds alone. Means are shrunk towards the mean
    of all past ratings (3.5 before the first), and biases towards 0.

    Args:
        frame: ratings in order of time; `user`, `item` (codes), `rating`, `timestamp` (seconds).
        users: `age`, `male`, `occupation` by user code.
        items: `year` (NaN: not known) and `genres` (a set of names) by item code.

    Returns:
        float64, in the order of `frame`:

        - `user_mean`, `user_count`, `user_std`, `user_days` (since the user's first rating), and the same of `item`
        - `user_bias`: excess of the user's ratings over the films' means as they were then; `item_bias`: excess of the
        film's ratings over its users' means - `affinity`, `affinity_count`: the user's mean rating of films of these
        genres; one of several counts as often - `age`, `male`, `occupation_*`, `year`, `genre_*`
    """
    time, rating = frame["timestamp"].to_numpy(), frame["rating"].to_numpy(dtype=float)
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    everyone = np.zeros(len(frame), dtype=np.int64)
    sums, counts = past_sum(everyone, time, rating), past_sum(everyone, time, np.ones(len(frame)))
    overall = np.divide(sums, counts, out=np.full(len(frame), 3.5), where=counts > 0)
    columns: dict[str, NDArray] = {}
    for name, key in (("user", user), ("item", item)):
        columns |= {f"{name}_{what}": values for what, values in _history(key, time, rating, overall).items()}
    for name, key, other in (("user", user, "item"), ("item", item, "user")):
        deviation = past_sum(key, time, rating - columns[f"{other}_mean"])
        columns[f"{name}_bias"] = deviation / (columns[f"{name}_count"] + _BIASES)
    flags = {genre: np.array([genre in g for g in items["genres"]], dtype=float)[item] for genre in GENRES}
    columns |= _affinity(user, time, rating, flags, columns["user_mean"])
    columns["age"] = users["age"].to_numpy(dtype=float)[user]
    columns["male"] = users["male"].to_numpy(dtype=float)[user]
    columns["year"] = items["year"].to_numpy(dtype=float)[item]
    work = users["occupation"].to_numpy(dtype=object)[user]
    columns |= {f"occupation_{name}": (work == name).astype(float) for name in OCCUPATIONS}
    columns |= {f"genre_{genre}": flag for genre, flag in flags.items()}
    return DataFrame(columns)


def past_sum(key: NDArray, time: NDArray, value: NDArray) -> NDArray[np.float64]:
    """Sum of `value`, for each row, over the rows of the same key with a smaller time, shape (rows,).

    >>> past_sum(np.array([0, 0, 1, 0]), np.array([1, 1, 1, 2]), np.array([1.0, 2.0, 4.0, 8.0])).tolist()
    [0.0, 0.0, 0.0, 3.0]
    """
    order = np.lexsort((time, key))
    k, t, v = key[order], time[order], value[order]
    before = np.concatenate([[0.0], np.cumsum(v)[:-1]])
    new_key = np.concatenate([[True], k[1:] != k[:-1]])
    new_time = new_key | np.concatenate([[True], t[1:] != t[:-1]])
    starts, places = np.flatnonzero(new_key), np.flatnonzero(new_time)
    past = before[places][np.cumsum(new_time) - 1] - before[starts][np.cumsum(new_key) - 1]
    result = np.empty(len(key))
    result[order] = past
    return result


def _history(key: NDArray, time: NDArray, rating: NDArray, overall: NDArray) -> dict[str, NDArray]:
    ones = np.ones(len(key))
    count, total, squares = (past_sum(key, time, values) for values in (ones, rating, rating**2))
    seen = np.maximum(count, 1)
    variance = squares / seen - (total / seen) ** 2
    first = pd.Series(time).groupby(key).transform("min").to_numpy()
    return {
        "mean": (total + _MEANS * overall) / (count + _MEANS),
        "count": count,
        "std": np.sqrt(np.maximum(variance, 0)),
        "days": (time - first) / _DAY,
    }


def _affinity(
    user: NDArray, time: NDArray, rating: NDArray, flags: dict[str, NDArray], user_mean: NDArray
) -> dict[str, NDArray]:
    total, count = np.zeros(len(user)), np.zeros(len(user))
    for flag in flags.values():
        total += flag * past_sum(user, time, rating * flag)
        count += flag * past_sum(user, time, flag)
    return {"affinity": (total + _BIASES * user_mean) / (count + _BIASES), "affinity_count": count}


def _in_order(table: DataFrame, ids: NDArray) -> DataFrame:
    """Lines of the ids, in their order."""
    missing = set(ids) - set(table.index)
    if missing:
        raise FlowGradError(f"MovieLens-100K: nothing is known of id {min(missing)!r} in {table.index.name}")
    return table.loc[ids]


def _read(files: Sequence[bytes], source: str) -> tuple[DataFrame, DataFrame]:
    """Read users (`age`, `male`, `occupation`) and items (`year`, `genres`), by their ids as text."""
    users = _lines(files[0], _USERS, "|", 5)
    people = DataFrame({"age": users[1].astype(float), "male": users[2] == "M", "occupation": users[3]})
    people.index = pd.Index(users[0], name="the users' file")
    items = _lines(files[1], _ITEMS, "|", 5 + len(_GROUPLENS_GENRES))
    if items.shape[1] == len(_ITEMS):
        year, genres = items[2], [set(text.split()) for text in items[3]]
    else:
        year = items[2].str[-4:]
        flags = items.iloc[:, 5:].to_numpy()
        genres = [{g for g, flag in zip(_GROUPLENS_GENRES, line, strict=True) if flag == "1"} for line in flags]
    unknown = set().union(*genres) - {*_GROUPLENS_GENRES}
    if unknown:
        raise FlowGradError(f"the genre {min(unknown)!r} is not one of {', '.join(_GROUPLENS_GENRES)}")
    # One film has neither a year nor a genre.
    films = DataFrame({"year": pd.to_numeric(year, errors="coerce"), "genres": genres})
    films.index = pd.Index(items[0], name="the films' file")
    return people, films


def _lines(data: bytes, header: tuple[str, ...], separator: str, columns: int) -> DataFrame:
    """Read RecBole's file, recognised by its header, or GroupLens'."""
    first = "\t".join(header).encode()
    if data.startswith(first):
        data, separator, columns = data.removeprefix(first), "\t", len(header)
    table = pd.read_csv(
        io.BytesIO(data), sep=separator, header=None, quoting=3, dtype=str, keep_default_na=False, encoding="latin-1"
    )
    if table.shape[1] != columns:
        raise FlowGradError(f"{table.shape[1]} columns instead of {columns}")
    return table


def _kept(tables: tuple[DataFrame, DataFrame]) -> tuple[bytes, bytes]:
    users, items = tables
    people = [
        (i, f"{age:.0f}", "M" if male else "F", work, "")
        for i, age, male, work in zip(users.index, users["age"], users["male"], users["occupation"], strict=True)
    ]
    films = [
        (i, "", "" if np.isnan(year) else f"{year:.0f}", " ".join(sorted(genres)))
        for i, year, genres in zip(items.index, items["year"], items["genres"], strict=True)
    ]
    return _text(_USERS, people), _text(_ITEMS, films)


def _text(header: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> bytes:
    return ("\n".join("\t".join(line) for line in (header, *lines)) + "\n").encode("latin-1")


_WANTED = Wanted((("u.user", "ml-100k.user"), ("u.item", "ml-100k.item")), _read, _kept)
