"""Holds the interface of a kind of model to the benchmark: which faults it can hold, their truth, and how the peer
watches it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from omegaconf import DictConfig
from pandas import DataFrame

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.datasets import Datasets

if TYPE_CHECKING:
    from pipelines.benchmarks.faults.cases import FaultCase
    from pipelines.benchmarks.faults.observation import DiagnosedRun


class Alert(Protocol):
    """A finding of the peer."""

    @property
    def type(self) -> str:
        """The peer's name of the finding."""


class PeerDiagnosis(Protocol):
    """Findings of the peer on one table."""

    @property
    def alerts(self) -> Sequence[Alert]:
        """Every rule that fired."""


class FaultFamily(ABC):
    """One kind of model; `job.ground` names it."""

    TABLES: ClassVar[tuple[str, ...]]
    """Subjects of its trackers whose rows can have faults."""

    def can_hold(self, base: DictConfig, choice: str, table: str) -> bool:
        """Whether this fault of rows (a choice of the group `fault`) means anything in a setting."""
        return True

    @abstractmethod
    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """Overrides that inject a fault of rows into a setting."""

    def places(self, base: DictConfig, choice: str) -> Mapping[str, tuple[str, ...]]:
        """Places in a setting where this fault of rows is injected, each a case of its own, with further overrides by
        name. There is one without a name where the fault chooses its rows itself.
        """
        return {"": ()}

    @abstractmethod
    def truth(self, config: DictConfig, data: Datasets) -> tuple[Hashable, ...]:
        """Rows or columns that have the fault; empty for faults of the run."""

    def can_run(self, config: DictConfig) -> bool:
        """Whether a fixed config can be trained, beyond what its check says."""
        return True

    def other_fixes(self, config: DictConfig, data: Datasets) -> tuple[tuple[str, ...], ...]:
        """Fixes that could be drawn at random, besides those of the rule book, that name no rows."""
        return ()

    def tables(self, cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook) -> dict[str, DataFrame]:
        """Further tables of this kind of model, by the names of their files."""
        return {}

    @abstractmethod
    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, Any]]:
        """Observers for the trainer, and places where each table's tracker of the peer will be: objects with
        `diagnosis()`.
        """

    @abstractmethod
    def rows_for(self, fault: str, diagnosis: Any) -> Sequence[Hashable]:
        """Rows or columns that the peer names and that are credited with the fault."""

    @abstractmethod
    def credited(self, fault: str, alert: Any) -> bool:
        """Whether an alert of the peer is credited with the fault."""
