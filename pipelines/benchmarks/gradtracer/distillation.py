"""Runs the peer library `gradtracer` 0.9.0 on a distillation, judged by its own `DistillationTracker` and thresholds.

It is used as it documents: one of its `FlowTracker`s watched the teacher while it trained, another the student. Nothing
of it is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.benchmarks.gradtracer.embedding import guarded, import_peer
from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker

STRUGGLING = ("STRUGGLING", "CRITICAL")
"""Its statuses of a layer that does not follow the teacher's, the worse one last."""
NOISY = "NOISY"
"""Its status of a layer whose gradient is mostly noise compared with the teacher's."""


@dataclass(frozen=True)
class PeerDistillation:
    """Findings of the peer on one student, layer by layer: parameters of the student, in their order."""

    gap_ratio: Mapping[str, float] = field(default_factory=dict)
    """Difference of the velocities of student and teacher, as a share of the teacher's."""
    status: Mapping[str, str] = field(default_factory=dict)
    """Status of each layer: `OK`, `STRUGGLING` (a gap above 2) or `CRITICAL` (above 5)."""
    noise: Mapping[str, str] = field(default_factory=dict)
    """Noise status of each layer: `OK` or `NOISY`."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of the loss of each layer, as it suggests them; about 1 together."""
    error: str = ""
    """Errors that the peer raised, its two `FlowTracker`s too, each different exception once, one a line."""

    @property
    def struggling(self) -> tuple[str, ...]:
        """Layers that it calls struggling or critical, the largest gap first."""
        return self._by_gap(layer for layer, status in self.status.items() if status in STRUGGLING)

    @property
    def noisy(self) -> tuple[str, ...]:
        """Layers that it calls noisy, the largest gap first."""
        return self._by_gap(layer for layer, status in self.noise.items() if status == NOISY)

    @property
    def says_healthy(self) -> bool:
        """Whether it has judged layers and has a complaint about none."""
        return bool(self.status) and not self.struggling and not self.noisy

    @property
    def named(self) -> str | None:
        """The layer that it names by its statuses: the largest gap of the struggling ones, else of the noisy ones;
        None where it has no complaint.
        """
        return next(iter(self.struggling + self.noisy), None)

    @property
    def largest_gap(self) -> str | None:
        """Layer of the largest gap, whether or not it reaches the threshold, in the peer's favour; None without any."""
        return next(iter(self._by_gap(self.gap_ratio)), None)

    def _by_gap(self, layers: Iterable[str]) -> tuple[str, ...]:
        """Order layers, the largest gap first; one without a gap last; ties in the order of the network."""
        return tuple(sorted(layers, key=self._gap, reverse=True))

    def _gap(self, layer: str) -> float:
        gap = self.gap_ratio.get(layer, math.nan)
        return -math.inf if math.isnan(gap) else gap


def diagnosis(
    teacher: PeerFlowTracker, student: PeerFlowTracker, pairs: Mapping[str, str] | None = None
) -> PeerDistillation:
    """Make the diagnosis of the peer, which has watched both trainings.

    Args:
        teacher: watched the teacher while it trained.
        student: watched the student.
        pairs: parameter of the teacher -> parameter of the student; None: its own way, by position.

    Raises:
        FlowGradError: the peer is not installed.
    """
    import_peer()
    from gradtracer.analyzers.distillation import DistillationTracker

    errors = dict.fromkeys([*teacher.errors, *student.errors])
    gaps: dict[str, dict[str, Any]] = {}
    noise: dict[str, dict[str, Any]] = {}
    weights: dict[str, float] = {}
    with guarded(errors, "DistillationTracker"):
        peer = DistillationTracker(teacher.tracker, student.tracker, None if pairs is None else dict(pairs))
        with guarded(errors, "flow_gap"):
            gaps = peer.flow_gap()
        with guarded(errors, "snr_comparison"):
            noise = peer.snr_comparison()
        with guarded(errors, "suggest_distillation_weights"):
            weights = peer.suggest_distillation_weights()
    return PeerDistillation(
        gap_ratio={layer: float(found["gap_ratio"]) for layer, found in gaps.items()},
        status={layer: found["status"] for layer, found in gaps.items()},
        noise={layer: found["status"] for layer, found in noise.items()},
        weights=weights,
        error="\n".join(errors),
    )
