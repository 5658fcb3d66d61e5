"""Faults of embedding tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig

from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.gradtracer.embedding import PeerAlert, PeerDiagnosis, PeerTracker, detects, rows_for
from pipelines.config.targets import target
from pipelines.trainers.factorization.faults import OF_LABELS, SIDES, inject
from pipelines.trainers.factorization.models.factorization import MatrixFactorization


class Embeddings(FaultFamily):
    """Factorisations; faults are of their tables' rows."""

    TABLES = tuple(SIDES)

    def can_hold(self, base: DictConfig, choice: str, table: str) -> bool:
        """Whether a setting can hold the fault; see `FaultFamily.can_hold`."""
        if choice in OF_LABELS and base.training.evaluation != "rating":
            return False  # clicks carry no labels that could disagree
        # No item is dead that is drawn as a negative.
        return not (choice == "dead" and SIDES.get(table) == "items" and target(base, "loss").draws_from_catalogue)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """Overrides that inject the fault; see `FaultFamily.row_overrides`."""
        return f"fault={choice}", f"fault.table={table}"

    def truth(self, config: DictConfig, data: Datasets) -> tuple[int, ...]:
        """Rows that have the fault; see `FaultFamily.truth`."""
        return tuple(map(int, inject(config, data.of(config)).rows))

    def can_run(self, config: DictConfig) -> bool:
        """Whether a fixed config can be trained: the loss itself refuses a correction that it has no negatives for, and
        only when it is made.
        """
        return not config.loss.logq or target(config, "loss").in_batch_negatives

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, PeerTracker]]:
        """Observers of the peer; see `FaultFamily.peers`."""
        watching: dict[str, PeerTracker] = {}

        def observers(model: MatrixFactorization, optimizer: torch.optim.Optimizer) -> Sequence[PeerTracker]:
            watching.update(
                {table: PeerTracker(getattr(model, table), table, optimizer) for table in config.tracker.tables}
            )
            return tuple(watching.values())

        return observers, watching

    def rows_for(self, fault: str, diagnosis: PeerDiagnosis) -> Sequence[int]:
        """Rows that the peer names for a fault; see `FaultFamily.rows_for`."""
        return rows_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """Whether an alert is credited with the fault; see `FaultFamily.credited`."""
        return detects(fault, PeerDiagnosis(alerts=(alert,)))
