"""Types of models, and of the teachers of students."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import MISSING

from pipelines.config.schema.limits import COUNT, FROM_0, POSITIVE, SCALE, SEED, SHARE, SIZE, TIMES, Limit


@dataclass
class ModelSettings:
    """Settings of a model."""

    _target_: str = MISSING


@dataclass
class BoosterSettings(ModelSettings):
    """A gradient booster. The names are XGBoost's where it has one; LightGBM is given its equivalents."""

    rounds: Annotated[int, TIMES] = MISSING
    """Number of rounds, at most."""
    early_stopping_rounds: Annotated[int, Limit(0, 10**6)] = 0
    """Number of rounds without a better validated metric after which training stops and the best is kept; 0: train
    all.
    """
    learning_rate: Annotated[float, SHARE] = MISSING
    max_depth: Annotated[int, Limit(1, 30)] = MISSING
    """Number of splits from the root to a leaf, at most."""
    min_child_weight: Annotated[float, FROM_0] = 1.0
    """Least sum of hessians in a leaf: rows, for squared errors."""
    reg_lambda: Annotated[float, FROM_0] = 1.0
    """L2 penalty on the leaves."""
    subsample: Annotated[float, SHARE] = 1.0
    """Share of the rows that each tree is grown on."""
    column_share: Annotated[float, SHARE] = 1.0
    """Share of the columns that each tree may split on."""


@dataclass
class NetworkSettings(ModelSettings):
    """A network on the rows of a table."""

    width: Annotated[int, SIZE] = MISSING
    """Number of units of every hidden layer; channels of a convolution."""
    depth: Annotated[int, Limit(1, 1000)] = MISSING
    """Number of hidden layers."""
    activation: str = "relu"
    """Name of the activation, a key of `pipelines.trainers.networks.models.ACTIVATIONS`."""
    normalisation: str | None = None
    """Normalisation before each activation: `batch`, `layer` or null."""
    init: str = "kaiming"
    """Initialisation: `kaiming`, `xavier` or `torch`; see `pipelines.trainers.networks.initialisation`."""
    init_scale: Annotated[float, SCALE] = 1.0
    """Factor on the initial weights of the hidden layers."""
    bias_init: float = 0.0
    """Initial biases of the hidden layers."""
    standardise: bool = True
    """Whether inputs are shifted and scaled to mean 0 and deviation 1, by the training rows."""
    residual: bool = False
    """Whether a layer adds to its input, where shapes allow."""


@dataclass
class ClickModelSettings(NetworkSettings):
    """A model of clicks: a table of embeddings a column of categories, and perceptrons of `width` and `depth`."""

    dim: Annotated[int, SIZE] = MISSING
    """Number of columns of every table."""
    init_std: Annotated[float, SCALE] = MISSING
    """Standard deviation of the tables' initial entries."""
    min_count: Annotated[int, COUNT] = 1
    """Number of training rows from which a value has a row of its own; the others share one row, with those that
    training never meets.
    """
    buckets: Annotated[int | None, COUNT] = None
    """Number of rows of each table, into which values are hashed; null: each value has its own."""
    cross_layers: Annotated[int, FROM_0] = 0
    """Number of cross layers, of models that have them."""


@dataclass
class RecurrentSettings(NetworkSettings):
    """A recurrent network on rows cut into pieces."""

    cell: str = "gru"
    """Kind of cell: `rnn`, `gru` or `lstm`."""
    steps: Annotated[int, COUNT] = 8
    """Number of pieces that a row is cut into."""


@dataclass
class StudentSettings(ModelSettings):
    """A network that learns from a teacher. Its layers: `user_emb` and `item_emb` (with `dim`), `fc1`, ..., `out`."""

    _target_: str = "pipelines.trainers.distillation.students.build_student"
    widths: Annotated[list[int], SIZE] = MISSING
    """Number of units of each hidden layer."""
    dim: Annotated[int | None, SIZE] = None
    """Number of columns of the embeddings; null: inputs are features."""
    widened_layers: dict[str, list[str]] = MISSING
    """Layers, by tracker, made as wide as the median of the others of their kind, and at least twice their former
    width.
    """


@dataclass
class TeacherSettings:
    """Settings of a student's teacher: a network that is trained once and then belongs to the data."""

    widths: Annotated[list[int], SIZE] = MISSING
    """Number of units of each hidden layer."""
    dim: Annotated[int | None, SIZE] = None
    """Number of columns of the embeddings; null: inputs are features."""
    lr: Annotated[float, POSITIVE] = 0.001
    """Learning rate of Adam."""
    batch_size: Annotated[int, Limit(2, 10**9)] = MISSING
    epochs: Annotated[int, TIMES] = MISSING
    """Number of epochs, at most: it stops early."""
    patience: Annotated[int, TIMES] = 3
    """Number of epochs without a better validation loss after which it stops."""
    seed: Annotated[int, SEED] = 0
    """Seed of weights and order; the same for every arm and seed of the student."""


@dataclass
class FactorizationSettings(ModelSettings):
    """Matrix factorisation."""

    _target_: str = "pipelines.trainers.factorization.models.factorization.MatrixFactorization"
    dim: Annotated[int, SIZE] = MISSING
    biases: bool = MISSING
    """Whether there are a global mean, a user bias and an item bias."""
    init_std: Annotated[float, SCALE] = MISSING
    """Standard deviation of the embeddings' initial entries."""


@dataclass
class NeuMFSettings(FactorizationSettings):
    """Neural matrix factorisation: a perceptron with embeddings of its own, next to the factorisation."""

    _target_: str = "pipelines.trainers.factorization.models.neumf.NeuMF"
    mlp_dim: Annotated[int, SIZE] = MISSING
    """Number of columns of the perceptron's embeddings."""
    widths: Annotated[list[int], SIZE] = MISSING
    """Number of units of each of its hidden layers."""
