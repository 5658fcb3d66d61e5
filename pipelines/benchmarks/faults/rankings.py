"""Faults of ranking models: all are of the run, injected into its config."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.trainers.ranking.auditing import NAME


class Rankings(FaultFamily):
    """Two towers, models of sequences, graphs and factorisations."""

    TABLES = (NAME,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """No overrides: no fault of ranking models is of rows."""
        raise FlowGradError(f"job.row_faults names {choice!r}; faults of ranking models are written in job.run_faults")

    def truth(self, config: DictConfig, data: Datasets) -> tuple[Hashable, ...]:
        """No rows: no fault of ranking models is of rows."""
        return ()

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, Any]]:
        """No observers: the peer watches no ranking."""
        return None, {}

    def rows_for(self, fault: str, diagnosis: Any) -> Sequence[Hashable]:
        """No rows; see `FaultFamily.rows_for`."""
        return ()

    def credited(self, fault: str, alert: Any) -> bool:
        """No alerts; see `FaultFamily.credited`."""
        return False
