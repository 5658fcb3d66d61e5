"""Runs the peer library `gradtracer` 0.9.0 on compression: its analyzers judge a model that its `FlowTracker` watched.

Nothing of it is computed here, but for two scores that it does not expose: the one that its bits are shared out by, in
its own formula from its own figures, and its pruning priority with the sign turned, so that more means that more is
lost.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from pipelines.benchmarks.gradtracer.embedding import guarded, import_peer
from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker


@dataclass(frozen=True)
class PeerCompression:
    """Figures of the peer on one network, by parameter; empty where it raised."""

    bit_sensitivity: Mapping[str, float] = field(default_factory=dict)
    """Score log(1 + SNR) x range of the weights, which `recommend_mixed_precision` compares with its quantiles."""
    bits: Mapping[str, int] = field(default_factory=dict)
    """Bits of its mixed plan: 16, 8 or 4."""
    saliency: Mapping[str, float] = field(default_factory=dict)
    """Negative of its pruning priority, which is highest where it prunes first."""
    fisher: Mapping[str, float] = field(default_factory=dict)
    """Its Fisher saliency, by which it makes pruning plans."""
    error: str = ""
    """Errors that the peer raised, each different exception once, one a line."""


def compression_advice(watching: PeerFlowTracker) -> PeerCompression:
    """Ask its analyzers after training.

    Raises:
        FlowGradError: the peer is not installed.
    """
    import_peer()
    from gradtracer.analyzers.pruning import PruningAdvisor
    from gradtracer.analyzers.quantization import QuantizationAdvisor
    from gradtracer.analyzers.saliency import SaliencyAnalyzer

    errors = dict.fromkeys(watching.errors)
    profile: dict[str, dict[str, Any]] = {}
    bits: dict[str, int] = {}
    priority: list[tuple[str, float, str]] = []
    fisher: dict[str, float] = {}
    with guarded(errors, "QuantizationAdvisor"):
        advisor = QuantizationAdvisor(watching.tracker)
        profile, bits = advisor.sensitivity_profile(), advisor.recommend_mixed_precision()
    with guarded(errors, "SaliencyAnalyzer"):
        priority = SaliencyAnalyzer(watching.tracker).pruning_priority()
    with guarded(errors, "PruningAdvisor"):
        fisher = PruningAdvisor(watching.tracker).fisher_saliency()
    return PeerCompression(
        bit_sensitivity={
            name: math.log1p(found["grad_snr"]) * (found["weight_range"] + 1e-9) for name, found in profile.items()
        },
        bits={name: int(found) for name, found in bits.items()},
        saliency={name: -float(found) for name, found, _ in priority},
        fisher={name: float(found) for name, found in fisher.items()},
        error="\n".join(errors),
    )


def pruned_by_peer(watching: PeerFlowTracker, model: nn.Module, sparsity: float) -> nn.Module | None:
    """Copy the model, pruned by the peer's plan for that share and by its own function; None where it raised.

    It prunes the weights of linear and convolutional layers only.
    """
    import_peer()
    from gradtracer.analyzers.pruning import PruningAdvisor, apply_heterogeneous_pruning

    errors: dict[str, None] = {}
    copied = copy.deepcopy(model)
    with guarded(errors, "PruningAdvisor"):
        apply_heterogeneous_pruning(copied, PruningAdvisor(watching.tracker).generate_pruning_plan(sparsity))
    return None if errors else copied
