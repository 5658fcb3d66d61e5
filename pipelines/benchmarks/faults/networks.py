"""Faults of networks: all are of the run, injected into its config."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.trainers.networks.models import Network
from pipelines.trainers.networks.trainer import TRACKER

if TYPE_CHECKING:
    from pipelines.benchmarks.gradtracer.flow import PeerAlert, PeerFlow, PeerFlowTracker


class Layers(FaultFamily):
    """Perceptrons, convolutional and recurrent networks."""

    TABLES = (TRACKER,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """No overrides: no fault of networks is of rows."""
        raise FlowGradError(f"job.row_faults names {choice!r}; faults of networks are written in job.run_faults")

    def truth(self, config: DictConfig, data: Datasets) -> tuple[Hashable, ...]:
        """No rows: no fault of networks is of rows."""
        return ()

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, PeerFlowTracker]]:
        """Observers of the peer; see `FaultFamily.peers`."""
        from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker

        watching: dict[str, PeerFlowTracker] = {}

        def observers(network: Network, optimizer: torch.optim.Optimizer) -> Sequence[PeerFlowTracker]:
            watching[TRACKER] = PeerFlowTracker(network, optimizer)
            return tuple(watching.values())

        return observers, watching

    def rows_for(self, fault: str, diagnosis: PeerFlow) -> Sequence[Hashable]:
        """Layers that the peer names for a fault; see `FaultFamily.rows_for`."""
        from pipelines.benchmarks.gradtracer.flow import layers_for

        return layers_for(fault, diagnosis)

    def credited(self, fault: str, alert: PeerAlert) -> bool:
        """Whether an alert is credited with the fault; see `FaultFamily.credited`."""
        from pipelines.benchmarks.gradtracer.flow import credited

        return credited(fault, alert)
