"""Types of models, and of the teachers of students."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class ModelSettings:
    """What is trained."""

    _target_: str = MISSING


@dataclass
class BoosterSettings(ModelSettings):
    """A gradient booster. The names are XGBoost's where it has one; LightGBM is given what means the same."""

    rounds: int = MISSING
    """At most."""
    early_stopping_rounds: int = 0
    """Stop when the validated metric has not improved for so many, and predict with the best; 0: train all."""
    learning_rate: float = MISSING
    max_depth: int = MISSING
    """Splits from the root to a leaf."""
    min_child_weight: float = 1.0
    """Least sum of hessians in a leaf: rows, for squared errors."""
    reg_lambda: float = 1.0
    """L2 penalty on the leaves."""
    subsample: float = 1.0
    """Share of the rows that each tree is grown on."""
    column_share: float = 1.0
    """Share of the columns that each tree may split on."""


@dataclass
class NetworkSettings(ModelSettings):
    """A network on the rows of a table."""

    width: int = MISSING
    """Units of every hidden layer; channels of a convolution."""
    depth: int = MISSING
    """Hidden layers."""
    activation: str = "relu"
    """A key of `pipelines.networks.models.ACTIVATIONS`."""
    normalisation: str | None = None
    """Before each activation: `batch`, `layer` or null."""
    init: str = "kaiming"
    """`kaiming`, `xavier` or `torch`; see `pipelines.networks.initialisation`."""
    init_scale: float = 1.0
    """Factor on the initial weights of the hidden layers."""
    bias_init: float = 0.0
    """Initial biases of the hidden layers."""
    standardise: bool = True
    """Whether inputs are shifted and scaled to mean 0 and deviation 1, by the training rows."""
    residual: bool = False
    """Whether a layer adds to what it is given, where shapes allow."""


@dataclass
class RecurrentSettings(NetworkSettings):
    """A recurrent network on rows cut into pieces."""

    cell: str = "gru"
    """`rnn`, `gru` or `lstm`."""
    steps: int = 8
    """Pieces."""


@dataclass
class StudentSettings(ModelSettings):
    """A network that learns from a teacher. Its layers: `user_emb` and `item_emb` (with `dim`), `fc1`, ..., `out`."""

    _target_: str = "pipelines.distillation.students.build_student"
    widths: list[int] = MISSING
    """Units of each hidden layer."""
    dim: int | None = None
    """Columns of the embeddings; null: inputs are features."""
    widened_layers: dict[str, list[str]] = MISSING
    """Tracker -> layers made as wide as the median of the others of their kind, and at least twice what they were."""


@dataclass
class TeacherSettings:
    """What a student learns from: a network that is trained once and then belongs to the data."""

    widths: list[int] = MISSING
    """Units of each hidden layer."""
    dim: int | None = None
    """As `StudentSettings.dim`."""
    lr: float = 0.001
    """Of Adam."""
    batch_size: int = MISSING
    epochs: int = MISSING
    """At most: it stops early."""
    patience: int = 3
    """Epochs."""
    seed: int = 0
    """Of weights and order; the same for every arm and seed of the student."""


@dataclass
class FactorizationSettings(ModelSettings):
    """Matrix factorisation."""

    _target_: str = "pipelines.models.factorization.MatrixFactorization"
    dim: int = MISSING
    biases: bool = MISSING
    """Global mean, user bias and item bias."""
    init_std: float = MISSING
    """Standard deviation of the embeddings' initial entries."""


@dataclass
class NeuMFSettings(FactorizationSettings):
    """Neural matrix factorisation: a perceptron with embeddings of its own beside the factorisation."""

    _target_: str = "pipelines.models.neumf.NeuMF"
    mlp_dim: int = MISSING
    """Columns of the perceptron's embeddings."""
    widths: list[int] = MISSING
    """Units of each of its hidden layers."""
