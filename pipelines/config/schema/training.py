"""Types of the training of a model: optimizer, sampler, loss, loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from pipelines.config.schema.limits import BELOW_1, COUNT, FROM_0, FROM_0_TO_1, POSITIVE, SCALE, TIMES, Limit


@dataclass
class OptimizerSettings:
    """One optimizer over all parameters. A setting that its class lacks must stay at its default."""

    _target_: str = MISSING
    lr: Annotated[float, POSITIVE] = MISSING
    weight_decay: Annotated[float, SCALE] = 0.0
    """Weight decay of every row at every step; `loss.l2` is the one on the rows in the batch."""
    momentum: Annotated[float, BELOW_1] = 0.0
    """Momentum of SGD only."""
    sparse_gradients: bool = False
    """Whether the tables' gradients hold the rows in the batch only."""


@dataclass
class SamplerSettings:
    """Order of the training examples."""

    _target_: str = "pipelines.trainers.factorization.sampling.shuffled_batches"
    quarantine: Annotated[dict[str, list[int]], FROM_0] = MISSING
    """Rows, by table, whose examples are left out of training."""


@dataclass
class LossSettings:
    """Settings of the loss."""

    _target_: str = MISSING


@dataclass
class FactorizationLossSettings(LossSettings):
    """Loss of a factorisation: a data term and a penalty."""

    l2: Annotated[float, SCALE] = 0.0
    """Strength of the penalty: squared norm of the rows of each example, averaged over the batch."""
    logq: Annotated[float, FROM_0_TO_1] = 0.0
    """Strength of the log-Q correction of in-batch negatives, in [0, 1] (losses that take negatives only)."""


@dataclass
class DistillationLossSettings(LossSettings):
    """Distance to the teacher's outputs and to the labels."""

    _target_: str = "pipelines.trainers.distillation.losses.KnowledgeDistillation"
    temperature: Annotated[float, POSITIVE] = MISSING
    """Temperature that divides the logits of both; of a single output, without effect."""
    label_weight: Annotated[float, FROM_0_TO_1] = MISSING
    """Weight of the labels, in [0, 1]; the teacher has the rest."""


@dataclass
class TrainingSettings:
    """Settings of the training; `_target_` is the kind of training, a `pipelines.trainers.trainer.Trainer`."""

    _target_: str = MISSING
    threads: Annotated[int, Limit(1, 1024)] = 1
    """Number of CPU threads; results are the same bytes only for the same number."""


@dataclass
class EpochSettings(TrainingSettings):
    """Epochs of a torch optimizer."""

    treat: bool = False
    """Whether findings change the training while it runs, where their rules call that safe: `flowgrad.watch(...,
    on_finding="apply")`, by the shipped rules.
    """


@dataclass
class BoostingSettings(TrainingSettings):
    """Rounds of a booster."""

    _target_: str = "pipelines.trainers.boosting.trainer.Boosting"
    dropped_columns: dict[str, list[str]] = MISSING
    """Columns, by tracker, that are kept from the booster."""
    added_columns: dict[str, list[str]] = MISSING
    """Columns, by analyzer, computed from others, such as `user_mean * item_mean`."""


@dataclass
class NetworkLoopSettings(EpochSettings):
    """Epochs of a torch optimizer on a network. Parameters are named by a prefix, such as `layers.0`."""

    _target_: str = "pipelines.trainers.networks.trainer.Networks"
    epochs: Annotated[int, TIMES] = MISSING
    """Number of epochs, at most."""
    batch_size: Annotated[int, Limit(2, 10**9)] = MISSING
    early_stopping: bool = True
    """Whether training stops when the validation loss has not improved for `patience` epochs, and the best weights are
    kept.
    """
    patience: Annotated[int, TIMES] = 5
    """Number of epochs without a better validation loss after which it stops."""
    clip_norm: Annotated[float | None, Limit(above=0, most=1e30)] = None
    """Largest norm of the whole gradient; null: as it comes."""
    frozen: list[str] = field(default_factory=list)
    """Parameters that are not trained, on purpose: they ask for no gradient."""
    left_out: list[str] = field(default_factory=list)
    """Parameters that ask for a gradient and that the optimizer does not hold: a mistake, to see whether it is
    found.
    """
    layer_lr: Annotated[Any, SCALE] = None
    """Factor on the learning rate by prefix; null: one rate for all."""
    full_rate: dict[str, list[str]] = MISSING
    """Parameters, by tracker, that train at the full learning rate, whatever `left_out` and `layer_lr` say."""


@dataclass
class ClickLoopSettings(NetworkLoopSettings):
    """Epochs of a torch optimizer on a model of clicks."""

    _target_: str = "pipelines.trainers.clicks.trainer.ClickModels"
    positive_weight: Annotated[float, POSITIVE] = 1.0
    """Weight of clicked rows in the training loss; 1 for all others. Other values than 1 make probabilities wrong."""
    id_dropout: Annotated[float, BELOW_1] = 0.0
    """Share of the ids of a training batch, in [0, 1), that stand for a value that is not known, so that its row is
    trained (Volkovs et al. 2017, DropoutNet, NeurIPS).
    """


@dataclass
class DistillationLoopSettings(NetworkLoopSettings):
    """Epochs of a student. Layers are named as in `StudentSettings`."""

    _target_: str = MISSING
    unfrozen_layers: dict[str, list[str]] = MISSING
    """Layers, by tracker, that are trained, whatever `frozen` and `left_out` say."""


@dataclass
class LoopSettings(EpochSettings):
    """Epochs of a torch optimizer on tables."""

    _target_: str = "pipelines.trainers.factorization.trainer.Factorization"
    epochs: Annotated[int, TIMES] = MISSING
    batch_size: Annotated[int, COUNT] = MISSING
    early_stopping: bool = False
    """Whether training stops when the validation loss has not improved for `patience` epochs, and the best weights are
    kept.
    """
    patience: Annotated[int, TIMES] = 2
    """Number of epochs without a better validation loss after which it stops."""
    capped_rows: Annotated[dict[str, list[int]], FROM_0] = MISSING
    """Rows, by table, whose steps are capped at the median step of the batch's rows: a learning rate of their own is
    taken from them.
    """
    evaluation: str = MISSING
    """Kind of evaluation: `rating` (MSE, RMSE, MAE) or `ranking` (NDCG@k, HR@k over all items)."""
    cutoff: Annotated[int, TIMES] = 10
    """Rank k of the ranking metrics."""


@dataclass
class ScriptSettings(TrainingSettings):
    """A program of the user's own, run as a process an arm and seed; `parameters` holds what it is given."""

    _target_: str = "pipelines.trainers.script.trainer.Script"
    command: str = ""
    """Command line, without a shell. `{seed}`, `{folder}` (the run's own) and the name of each parameter in braces
    stand for their values; `{biases:--biases}` is that text where the parameter is true, and nothing where it is false.
    `{assigned}` stands for a copy of `assigns`.
    """
    callable: str | None = None
    """`FILE.py:FUNCTION` of a `train(parameters, seed) -> metrics`, instead of a command."""
    assigns: str | None = None
    """Script of which a copy is run, in which names assigned at its top have the values of `seed` and `parameters`."""
    metrics: dict[str, Any] = MISSING
    """Metrics by name: `better` (`higher` or `lower`), and where the value is read. `pattern`: the last match of a
    regular expression in the output; `file`: JSON or CSV, or a folder of TensorBoard's, in the run's folder; `mlflow:
    true`: the run that the script logs. `key`: its name there, where that is another.
    """
    validation: str | None = None
    """Metric that the script computes on rows which those of the comparison are not of; what is prescribed is pruned by
    it. null: nothing is left out.
    """
    report: str = "report.xml"
    """Report of the diagnosed run, in its folder. With `watched`, `flowgrad run` writes it; else the script does."""
    watched: bool = True
    """Whether the diagnosed run is made by `python -m flowgrad run`; its command must begin with a Python then."""
    fixes: dict[str, str] = field(default_factory=dict)
    """Name here of what a rule changes: `optimizer.lr: parameters.lr`. A change without a name is told and not
    tried.
    """
    values: dict[str, str] = field(default_factory=dict)
    """Name in the script of a text that a rule sets: `torch.optim.AdamW: adamw`."""
    cwd: str = "."
    """Folder in which it runs; `{folder}` is the run's own."""
    files: list[str] = field(default_factory=list)
    """Files and folders that it reads, such as data: finished runs are used again only while none of them changed. The
    Python files beside a script count by themselves.
    """
    runs: str = "outputs/${name}-runs"
    """Folder that holds a folder for each run; what is finished there is not run again."""
    timeout: Annotated[float, POSITIVE] = 3600.0
    """Seconds after which a run is ended."""
    retries: Annotated[int, Limit(0, 100)] = 1
    """Number of times that a run without a result is tried again."""
