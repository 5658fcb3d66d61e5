"""Types of every config node. A key that is not here is an error, and so is a value of another type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class DatasetSettings:
    """Which ratings, and how they are split. `_target_` makes a `datasets.ratings.Ratings`."""

    _target_: str = MISSING
    split: str = "leave_one_out"
    """`leave_one_out` (by time) or `random`."""
    test_share: float = 0.1
    """Of the ratings; `random` split only."""
    validation_share: float = 0.1
    """As `test_share`."""
    split_seed: int = 0
    """Seed of the `random` split; the same for every arm and seed of training."""


@dataclass
class MovieLensSettings(DatasetSettings):
    """MovieLens-100K."""

    _target_: str = "datasets.movielens.load_movielens_100k"
    path: str | None = None
    """A copy of the data set at hand: folder, file, or archive."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class RatingsCsvSettings(DatasetSettings):
    """A user's own ratings."""

    _target_: str = "datasets.ratings_csv.load_ratings_csv"
    path: str = MISSING
    columns: dict[str, str | None] = MISSING
    """Our name -> the file's column; `timestamp: null` takes the order of the lines as time."""
    separator: str = MISSING


@dataclass
class SyntheticSettings(DatasetSettings):
    """A small generator with known structure; needs no network."""

    _target_: str = "datasets.synthetic.make_ratings"
    n_users: int = 120
    n_items: int = 80
    n_ratings: int = 3000
    dim: int = 3
    noise: float = 0.5
    popularity_exponent: float = 1.0
    seed: int = 0


@dataclass
class ModelSettings:
    """Matrix factorisation."""

    _target_: str = "pipelines.models.factorization.MatrixFactorization"
    dim: int = MISSING
    biases: bool = MISSING
    """Global mean, user bias and item bias."""
    init_std: float = MISSING
    """Standard deviation of the embeddings' initial entries."""


@dataclass
class OptimizerSettings:
    """One optimizer over all parameters. A setting that its class lacks must stay at its default."""

    _target_: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0
    """On every row at every step; `loss.l2` is the one on the rows in the batch."""
    momentum: float = 0.0
    """SGD only."""
    sparse_gradients: bool = False
    """The tables' gradients hold the rows in the batch only."""


@dataclass
class SamplerSettings:
    """Order of the training examples."""

    _target_: str = "pipelines.training.sampling.shuffled_batches"


@dataclass
class LossSettings:
    """What is minimised."""

    _target_: str = MISSING
    l2: float = 0.0
    """Squared norm of the rows of each example, averaged over the batch."""
    logq: float = 0.0
    """Strength of the log-Q correction of in-batch negatives, 0..1 (losses that take negatives only)."""


@dataclass
class TrainingSettings:
    """The loop."""

    epochs: int = MISSING
    batch_size: int = MISSING
    early_stopping: bool = False
    """Stop when the validation loss has not improved for `patience` epochs, and go back to the best weights."""
    patience: int = 2
    """Epochs."""
    threads: int = 1
    """CPU threads of torch; results are the same bytes only for the same number."""
    evaluation: str = MISSING
    """`rating` (MSE, RMSE, MAE) or `ranking` (NDCG@k, HR@k over all items)."""
    cutoff: int = 10
    """k of the ranking metrics."""


@dataclass
class TrackerSettings:
    """Which embedding tables are watched, by attribute name of the model."""

    tables: list[str] = MISSING


@dataclass
class ComparisonSettings:
    """How the arms are compared."""

    metrics: list[str] = MISSING
    """Metrics tested; the first is the primary one."""
    alpha: float = MISSING
    aa_offset: int = 1000
    """The A/A arm trains the baseline on `seeds.test` plus this."""


@dataclass
class SeedSettings:
    """Seeds of training. Diagnosis and proof never share one."""

    diagnosis: int = 0
    test: list[int] = field(default_factory=lambda: list(range(101, 111)))


@dataclass
class Settings:
    """A whole run."""

    name: str = MISSING
    """The experiment's name: first column of the tables."""
    dataset: DatasetSettings = MISSING
    model: ModelSettings = MISSING
    optimizer: OptimizerSettings = MISSING
    sampler: SamplerSettings = MISSING
    loss: LossSettings = MISSING
    training: TrainingSettings = MISSING
    tracker: TrackerSettings = MISSING
    comparison: ComparisonSettings = MISSING
    rules: dict[str, Any] = field(default_factory=dict)
    """The rule book: id -> rule."""
    seeds: SeedSettings = field(default_factory=SeedSettings)
    rounds: int = 4
    """At most so many rounds of diagnose-and-fix."""
    workers: int | None = None
    """Processes that train the arms; null: one a core. Changes no result."""
    tuned: str | None = None
    """Experiment whose config is the reference for `gap_closed`; null: none."""


def register() -> None:
    """Make the types known to Hydra, for the YAML files to build on."""
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    for name, node in {
        "movielens": MovieLensSettings,
        "ratings_csv": RatingsCsvSettings,
        "synthetic": SyntheticSettings,
        "model": ModelSettings,
        "optimizer": OptimizerSettings,
        "sampler": SamplerSettings,
        "loss": LossSettings,
        "training": TrainingSettings,
        "tracker": TrackerSettings,
        "comparison": ComparisonSettings,
    }.items():
        store.store(group="types", name=name, node=node)
