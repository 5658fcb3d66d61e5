"""Faults of networks: all are of the run, injected into its config."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.fault_benchmark.datasets import Datasets
from pipelines.fault_benchmark.ground import Ground
from pipelines.networks.models import Network
from pipelines.networks.program import TRACKER

if TYPE_CHECKING:
    from pipelines.peer_flow import PeerAlert, PeerFlow, PeerFlowTracker


class Layers(Ground):
    """Perceptrons, convolutional and recurrent networks."""

    TABLES = (TRACKER,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """No overrides: no fault of networks is of rows."""
        raise FlowGradError(f"job.row_faults names {choice!r}; faults of networks are written in job.run_faults")

    def truth(self, config: DictConfig, data: Datasets) -> tuple[Hashable, ...]:
        """No rows: no fault of networks is of rows."""
        return ()

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, PeerFlowTracker]]:
        """Observers of the peer; see `Ground.peers`."""
        from pipelines.peer_flow import PeerFlowTracker

        watching: dict[str, PeerFlowTracker] = {}

        def observers(network: Network, optimizer: torch.optim.Optimizer) -> Sequence[PeerFlowTracker]:
            watching[TRACKER] = PeerFlowTracker(network, optimizer)
            return tuple(watching.values())

        return observers, watching

    def rows_for(self, fault: str, diagnosis: PeerFlow) -> Sequence[Hashable]:
        """Layers that the peer names for a fault; see `Ground.rows_for`."""
        from pipelines.peer_flow import layers_for

        return layers_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """Whether an alert is credited with the fault; see `Ground.credited`."""
        from pipelines.peer_flow import credited

        return credited(fault, alert)
