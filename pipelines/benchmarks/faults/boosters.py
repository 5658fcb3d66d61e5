"""Faults of a booster's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.trainers.boosting.faults import inject
from pipelines.trainers.boosting.trainer import TRACKER

if TYPE_CHECKING:
    from pipelines.benchmarks.gradtracer.boosting import PeerAlert, PeerBoosting, PeerBoostingTracker


class Boosters(FaultFamily):
    """XGBoost and LightGBM; the rows of their tracker are columns of the table."""

    TABLES = (TRACKER,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """Overrides that inject the fault; see `FaultFamily.row_overrides`."""
        return (f"fault={choice}",)

    def truth(self, config: DictConfig, data: Datasets) -> tuple[str, ...]:
        """Columns that have the fault; see `FaultFamily.truth`."""
        return inject(config, data.of(config)).columns

    def other_fixes(self, config: DictConfig, data: Datasets) -> tuple[tuple[str, ...], ...]:
        """Fixes that drop one column each."""
        columns = inject(config, data.of(config)).data.columns
        return tuple((f"training.dropped_columns.{TRACKER}={_listed(column)}",) for column in columns)

    def peers(self, config: DictConfig) -> tuple[Sequence[Any], Mapping[str, PeerBoostingTracker]]:
        """Observers of the peer; see `FaultFamily.peers`."""
        from pipelines.benchmarks.gradtracer.boosting import PeerBoostingTracker

        peer = PeerBoostingTracker()
        return (peer,), {TRACKER: peer}

    def rows_for(self, fault: str, diagnosis: PeerBoosting) -> Sequence[str]:
        """Columns that the peer names for a fault; see `FaultFamily.rows_for`."""
        from pipelines.benchmarks.gradtracer.boosting import columns_for

        return columns_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """Whether an alert is credited with the fault; see `FaultFamily.credited`."""
        from pipelines.benchmarks.gradtracer.boosting import credited

        return credited(fault, alert)


def _listed(column: str) -> str:
    from flowgrad.prescription import change_text

    return change_text([column])
