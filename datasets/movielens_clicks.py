"""Makes MovieLens-100K a log of clicks: does a user like a film, by who both are?"""

from pathlib import Path

import numpy as np
from pandas import DataFrame

from datasets.click_tables import MISSING, click_table
from datasets.movielens import load_movielens_100k
from datasets.movielens_table import GENRES, LIKED, users_and_items
from datasets.tables import Table, by_time

NAME = "ml-100k-clicks"
CATEGORICAL = ("user", "item", "gender", "occupation", "decade", "genre")
"""Columns of categories; `decade` is that of the film's release, `genre` the rarest of its genres."""
NUMERICAL = ("age",)


def load_movielens_clicks(path: str | Path | None = None, cache: str | Path | None = None) -> Table:
    """Load the 100,000 ratings in order of time, each an impression of a film by a user.

    The target `liked` is 1 from `LIKED` stars on. The split is by time: 70 % to train, 10 % to validate, the last 20 %
    to test; ratings of one second stay together. Most users rate within a few days, so that most of those in test were
    never met in training.

    Raises:
        FlowGradError: as `datasets.movielens_files.fetch`.
    """
    ratings = load_movielens_100k(path, cache)
    users, items = users_and_items(ratings, path, cache)
    frame = ratings.frame.sort_values("timestamp", kind="stable").reset_index(drop=True)
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    year = items["year"].to_numpy(dtype=float)[item]
    columns = DataFrame(
        {
            "user": ratings.user_ids[user],
            "item": ratings.item_ids[item],
            "gender": np.where(users["male"].to_numpy(dtype=bool)[user], "M", "F"),
            "occupation": users["occupation"].to_numpy(dtype=object)[user],
            "decade": [MISSING if np.isnan(one) else f"{one // 10 * 10:.0f}" for one in year],
            "genre": _rarest(items["genres"].tolist())[item],
            "age": users["age"].to_numpy(dtype=float)[user],
        }
    )
    liked = {"liked": (frame["rating"].to_numpy() >= LIKED).astype(float)}
    parts = by_time(frame["timestamp"].to_numpy(), validation_share=0.1, test_share=0.2)
    return click_table(NAME, ratings.source, columns, CATEGORICAL, NUMERICAL, liked, parts)


def _rarest(genres: list[set[str]]) -> np.ndarray:
    """The genre of each film that the fewest films have; `MISSING` where it has none of `GENRES`."""
    films = {genre: sum(genre in own for own in genres) for genre in GENRES}
    return np.array(
        [min((one for one in GENRES if one in own), key=films.__getitem__, default=MISSING) for own in genres],
        dtype=object,
    )
