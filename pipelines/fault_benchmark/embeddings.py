"""Faults of embedding tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig

from pipelines.fault_benchmark.datasets import Datasets
from pipelines.fault_benchmark.ground import Ground
from pipelines.models.factorization import MatrixFactorization
from pipelines.peer import PeerAlert, PeerDiagnosis, PeerTracker, detects, rows_for
from pipelines.targets import target
from pipelines.training.faults import OF_LABELS, SIDES, inject


class Embeddings(Ground):
    """Factorisations; faults are of their tables' rows."""

    TABLES = tuple(SIDES)

    def can_hold(self, base: DictConfig, choice: str, table: str) -> bool:
        """As `Ground.can_hold`."""
        if choice in OF_LABELS and base.training.evaluation != "rating":
            return False  # clicks carry no labels that could disagree
        # No item is dead that is drawn as a negative.
        return not (choice == "dead" and SIDES.get(table) == "items" and target(base, "loss").draws_from_catalogue)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """As `Ground.row_overrides`."""
        return f"fault={choice}", f"fault.table={table}"

    def truth(self, config: DictConfig, data: Datasets) -> tuple[int, ...]:
        """As `Ground.truth`."""
        return tuple(map(int, inject(config, data.of(config)).rows))

    def can_run(self, config: DictConfig) -> bool:
        """The loss itself refuses a correction that it has no negatives for, and only when it is made."""
        return not config.loss.logq or target(config, "loss").in_batch_negatives

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, PeerTracker]]:
        """As `Ground.peers`."""
        watching: dict[str, PeerTracker] = {}

        def observers(model: MatrixFactorization, optimizer: torch.optim.Optimizer) -> Sequence[PeerTracker]:
            watching.update(
                {table: PeerTracker(getattr(model, table), table, optimizer) for table in config.tracker.tables}
            )
            return tuple(watching.values())

        return observers, watching

    def rows_for(self, fault: str, diagnosis: PeerDiagnosis) -> Sequence[int]:
        """As `Ground.rows_for`."""
        return rows_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """As `Ground.credited`."""
        return detects(fault, PeerDiagnosis(alerts=(alert,)))
