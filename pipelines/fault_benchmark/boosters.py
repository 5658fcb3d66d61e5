"""Faults of a booster's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pipelines.boosting.faults import inject
from pipelines.boosting.program import TRACKER
from pipelines.fault_benchmark.datasets import Datasets
from pipelines.fault_benchmark.ground import Ground

if TYPE_CHECKING:
    from pipelines.peer_boosting import PeerAlert, PeerBoosting, PeerBoostingTracker


class Boosters(Ground):
    """XGBoost and LightGBM; the rows of their tracker are columns of the table."""

    TABLES = (TRACKER,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """Overrides that inject the fault; see `Ground.row_overrides`."""
        return (f"fault={choice}",)

    def truth(self, config: DictConfig, data: Datasets) -> tuple[str, ...]:
        """Columns that have the fault; see `Ground.truth`."""
        return inject(config, data.of(config)).columns

    def other_fixes(self, config: DictConfig, data: Datasets) -> tuple[tuple[str, ...], ...]:
        """Fixes that drop one column each."""
        columns = inject(config, data.of(config)).data.columns
        return tuple((f"training.dropped_columns.{TRACKER}={_listed(column)}",) for column in columns)

    def peers(self, config: DictConfig) -> tuple[Sequence[Any], Mapping[str, PeerBoostingTracker]]:
        """Observers of the peer; see `Ground.peers`."""
        from pipelines.peer_boosting import PeerBoostingTracker

        peer = PeerBoostingTracker()
        return (peer,), {TRACKER: peer}

    def rows_for(self, fault: str, diagnosis: PeerBoosting) -> Sequence[str]:
        """Columns that the peer names for a fault; see `Ground.rows_for`."""
        from pipelines.peer_boosting import columns_for

        return columns_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """Whether an alert is credited with the fault; see `Ground.credited`."""
        from pipelines.peer_boosting import credited

        return credited(fault, alert)


def _listed(column: str) -> str:
    from flowgrad.prescription import change_text

    return change_text([column])
