"""Types of how a model is trained: optimizer, sampler, loss, loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


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
    quarantine: dict[str, list[int]] = MISSING
    """Table -> rows whose examples are left out of training."""


@dataclass
class LossSettings:
    """What is minimised."""

    _target_: str = MISSING


@dataclass
class FactorizationLossSettings(LossSettings):
    """Of a factorisation: a data term and a penalty."""

    l2: float = 0.0
    """Squared norm of the rows of each example, averaged over the batch."""
    logq: float = 0.0
    """Strength of the log-Q correction of in-batch negatives, 0..1 (losses that take negatives only)."""


@dataclass
class DistillationLossSettings(LossSettings):
    """Distance to the teacher's outputs and to the labels."""

    _target_: str = "pipelines.distillation.losses.KnowledgeDistillation"
    temperature: float = MISSING
    """Divides the logits of both; of a single output, without effect."""
    label_weight: float = MISSING
    """Of the labels, 0..1; the teacher has the rest."""


@dataclass
class TrainingSettings:
    """How it is trained; `_target_` is the kind of program, a `pipelines.program.Program`."""

    _target_: str = MISSING
    threads: int = 1
    """CPU threads; results are the same bytes only for the same number."""


@dataclass
class BoostingSettings(TrainingSettings):
    """Rounds of a booster."""

    _target_: str = "pipelines.boosting.program.Boosting"
    dropped_columns: dict[str, list[str]] = MISSING
    """Tracker -> columns that are kept from the booster."""
    added_columns: dict[str, list[str]] = MISSING
    """Analyzer -> columns computed from others, such as `user_mean * item_mean`."""


@dataclass
class NetworkLoopSettings(TrainingSettings):
    """Epochs of a torch optimizer on a network. Parameters are named by a prefix, such as `layers.0`."""

    _target_: str = "pipelines.networks.program.Networks"
    epochs: int = MISSING
    """At most."""
    batch_size: int = MISSING
    early_stopping: bool = True
    """Stop when the validation loss has not improved for `patience` epochs, and go back to the best weights."""
    patience: int = 5
    """Epochs."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; null: as it comes."""
    frozen: list[str] = field(default_factory=list)
    """Parameters that are not trained, on purpose: they ask for no gradient."""
    left_out: list[str] = field(default_factory=list)
    """Parameters that ask for a gradient and that the optimizer is not given: a mistake, to see whether it is found."""
    layer_lr: Any = None
    """Prefix -> factor on the learning rate; null: one rate for all."""
    full_rate: dict[str, list[str]] = MISSING
    """Tracker -> parameters that train at the full learning rate, whatever `left_out` and `layer_lr` say."""


@dataclass
class DistillationLoopSettings(NetworkLoopSettings):
    """Epochs of a student. Layers are named as in `StudentSettings`."""

    _target_: str = MISSING
    unfrozen_layers: dict[str, list[str]] = MISSING
    """Tracker -> layers that are trained, whatever `frozen` and `left_out` say."""


@dataclass
class LoopSettings(TrainingSettings):
    """Epochs of a torch optimizer."""

    _target_: str = "pipelines.training.program.Factorization"
    epochs: int = MISSING
    batch_size: int = MISSING
    early_stopping: bool = False
    """Stop when the validation loss has not improved for `patience` epochs, and go back to the best weights."""
    patience: int = 2
    """Epochs."""
    capped_rows: dict[str, list[int]] = MISSING
    """Table -> rows whose steps are held to the median step of the batch's rows: a learning rate of their own is
    taken from them."""
    evaluation: str = MISSING
    """`rating` (MSE, RMSE, MAE) or `ranking` (NDCG@k, HR@k over all items)."""
    cutoff: int = 10
    """k of the ranking metrics."""
