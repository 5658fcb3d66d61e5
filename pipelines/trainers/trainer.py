"""Holds the interface of a kind of model: all that the closed loop asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.report import Report, Treated
from pipelines.config.targets import target
from pipelines.trainers.evaluation import Evaluation, higher_is_better

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.trainers.compressible import Compressible


ENDING = ("epochs", "early_stopping", "patience")
"""Settings of `training` that decide when it ends, and which of its weights are kept, and nothing before that."""


class Dataset(Protocol):
    """Data as a trainer loads them; it is sent to other processes once."""

    @property
    def source(self) -> str:
        """Origin of this copy."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""


@dataclass(frozen=True)
class Trained:
    """Result of one run."""

    model: Any
    train_losses: tuple[float, ...]
    """Training loss of each epoch or round; a booster that was not watched has none."""
    validation_losses: tuple[float, ...]
    """Validation loss after each epoch or round."""
    steps: int
    """Number of optimizer steps, or rounds."""
    measurements: tuple[Measurements, ...] = ()
    """Measurements of the trackers; empty for a run that was not watched."""
    treated: tuple[Treated, ...] = ()
    """Changes that findings made while it trained, by `training.treat`."""
    trackers: tuple[Any, ...] = ()
    """Trackers of a watched run, detached, for pictures and for compression."""
    optimizer: Any = None
    """The optimizer that trained the model; compression reads its state."""
    reports: tuple[Report, ...] = ()
    """Reports that a script of the user's own left, instead of measurements."""
    sooner: tuple[Trained | None, ...] = ()
    """Results of the same training with other endings, `Trainer.train_stack`."""
    seconds: float = 0.0
    """Seconds that the run took when it was made, where it may be used again; 0 where it is made each time."""


class Trainer(ABC):
    """A kind of model: how it is configured, given data, trained and judged. `training._target_` names it."""

    SUBJECTS: ClassVar[tuple[str, ...]]
    """Subjects of the rules that its trackers feed."""
    TREATABLE: ClassVar[tuple[str, ...]]
    """Config nodes that a fix may change; the proof rests on data, seeds and comparison."""
    UNJUDGED: ClassVar[tuple[str, ...]] = ()
    """Config paths whose effect validation rows cannot show, so that nothing is left out there by them."""
    LACKS: ClassVar[tuple[str, ...]] = ()
    """Paths, or nodes, that shipped rules on these subjects change and its config may not have: without them such a
    change is told, and not tried.
    """
    PACKAGES: ClassVar[tuple[str, ...]]
    """Packages whose versions the report lists."""
    STEP: ClassVar[str]
    """Unit that the losses of a run are counted by: `epoch`, `round`."""
    NODES: ClassVar[dict[str, tuple[type, str] | None]]
    """Type of each config node, and a choice to offer; None: it must be null."""
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """Nodes with a type that may be null."""

    def __init__(self, config: DictConfig) -> None:
        """Bind the config that says what is trained, on what data and how; nothing is read or checked yet."""
        self.config = config

    def check_nodes(self) -> None:
        """Refuse choices that belong to another kind of model.

        Raises:
            FlowGradError: names the node and a choice that fits.
        """
        name = type(self).__name__
        for node, fitting in self.NODES.items():
            found = None if self.config[node] is None else OmegaConf.get_type(self.config[node])
            if found is None and node in self.OPTIONAL:
                continue
            if fitting is None and found is not None:
                raise FlowGradError(f"{node}: training by {name} has none; leave it out")
            if fitting is not None and not (isinstance(found, type) and issubclass(found, fitting[0])):
                raise FlowGradError(
                    f"{node}: training by {name} cannot use this choice{_foreign(found, fitting[0])}; choose e.g. "
                    f"{fitting[1]}"
                )

    @abstractmethod
    def check(self) -> None:
        """Refuse values that cannot be meant.

        Raises:
            FlowGradError: names the key, the value and what would be right.
        """

    @abstractmethod
    def load(self) -> Any:
        """Load the data that the config names, a `Dataset`.

        Raises:
            FlowGradError: any error of the loader.
        """

    @abstractmethod
    def check_data(self, data: Any) -> None:
        """Refuse data that the config does not fit; `load` has done so for those that it gives.

        Raises:
            FlowGradError: names the key, the value and what would be right.
        """

    @abstractmethod
    def train(self, data: Any, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Make one training run, by the config and the seed alone.

        Args:
            data: as `load` gives them.
            seed: of everything random.
            watched: attach the trackers that the config names.
            observers: makes further ones; how is each trainer's own affair.
        """

    def stack_size(self, data: Any) -> int:
        """Number of seeds that are best trained together by one call of `train_stack`; 1 where none are."""
        return 1

    def train_stack(self, data: Any, seeds: Sequence[int], sooner: Sequence[DictConfig] = ()) -> list[Trained]:
        """Train several seeds, unwatched; together where `stack_size` is above 1. The figures of each are those of a
        run of its own but for rounding, a relative 1e-5.

        Args:
            data: as `load` gives them.
            seeds: of the runs.
            sooner: configs that differ in `ENDING` alone. Where this training goes as far as theirs, the
                result of each stands in `Trained.sooner`; None where it does not.
        """
        return [self.train(data, seed) for seed in seeds]

    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that `evaluate` gives.

        Raises:
            FlowGradError: the config asks for an evaluation that there is not.
        """

    @abstractmethod
    def evaluate(self, trained: Trained, data: Any, seed: int) -> Evaluation:
        """Compute metrics of a run of that seed on the test data."""

    def fixed_length(self) -> int:
        """Number of epochs that every run has; 0 where runs may stop early, or it is not known here."""
        training = self.config.training
        return 0 if "epochs" not in training or training.early_stopping else int(training.epochs)

    def validating(self, data: Any) -> Any:
        """Make the data with the validation rows in the place of the test rows, for choices that the proof is not to
        see; None where this kind of training holds no validation rows.
        """
        return None

    def validation_metric(self) -> str:
        """Name of the metric by which runs on `validating` data are judged: the first of the proof."""
        return str(self.config.comparison.metrics[0])

    def higher_is_better(self, metric: str) -> bool:
        """Direction of one of the metrics."""
        return higher_is_better(metric)

    def facts(self, trained: Trained) -> dict[str, str | float | int]:
        """Attributes of the report's `<training>`: optimizer, its settings, and the losses' ends."""
        config = self.config
        return {
            "optimizer": config.optimizer._target_.rpartition(".")[2],
            "lr": config.optimizer.lr,
            "batch_size": config.training.batch_size,
            "epochs": len(trained.train_losses),
            "steps": trained.steps,
            "loss_first": trained.train_losses[0],
            "loss_last": trained.train_losses[-1],
        }

    def plots(self, trained: Trained) -> dict[str, bytes]:
        """Draw pictures of one watched run, as PNG, by the stems of their file names; none for most kinds of model."""
        return {}

    def tables(self, trained: Trained) -> dict[str, pd.DataFrame]:
        """Make further tables that `report.html` draws pictures of, of one watched run, by the stems of their file
        names; none for most kinds of model.
        """
        return {}

    def check_compressible(self) -> None:
        """Refuse models that cannot be compressed.

        Raises:
            FlowGradError: the message names models that can be.
        """
        raise self._incompressible()

    def compressible(self, trained: Trained, data: Any, seed: int) -> Compressible:
        """Make a run of that seed the subject that compression is planned on and judged by.

        Raises:
            FlowGradError: as `check_compressible`.
        """
        raise self._incompressible()

    def _incompressible(self) -> FlowGradError:
        return FlowGradError(
            f"training._target_: what {type(self).__name__} trains cannot be compressed; use training=network (tables) "
            "or training=rating (model=mf, model=neumf)"
        )

    def row_ids(self, data: Any, subject: str) -> np.ndarray | None:
        """The data set's own id of each row of a subject; None where rows have names, or no other ids."""
        return None


def trainer_of(config: DictConfig) -> Trainer:
    """Make the trainer that `training._target_` names, bound to the config.

    Raises:
        FlowGradError: there is no such thing.
    """
    found = target(config, "training")
    if not (isinstance(found, type) and issubclass(found, Trainer)):
        raise FlowGradError(f"training._target_={config.training._target_} is no kind of training; use training=rating")
    return found(config)


def _foreign(found: object, fitting: type) -> str:
    """Hint for settings of a user's own that build on none of the family."""
    if not isinstance(found, type) or found.__module__.partition(".")[0] in ("pipelines", "builtins"):
        return ""
    return f" ({found.__module__}.{found.__name__} is no subclass of {fitting.__module__}.{fitting.__name__})"
