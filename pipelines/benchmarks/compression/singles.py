"""Rounds or prunes one layer alone: every score's prediction, and the effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from flowgrad.compression.planning.weight_scores import SCORES as WEIGHT_SCORES
from flowgrad.compression.plans import LayerBits
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import LEVELS, SCORES, quantize
from pipelines.benchmarks.compression.held_out import HeldOut
from pipelines.benchmarks.gradtracer.compression import PeerCompression

BITS, PRUNED = "bits", "pruned"
SHARES = (0.5, 0.7, 0.9)
CRITERIA = ("second_moment", "obd", "taylor", "fisher", "magnitude")
"""Criteria by which weights of a single layer go; `motion` orders them as magnitude does."""
DISTANCE = "squared_change"
"""Name of a control that knows nothing of the loss: the sum of the squared changes."""
_SIGNALS = ("snr", "weight_variance", "weight_range")
Weights = Mapping[str, np.ndarray]


def rounded_alone(
    advisor: QuantizationAdvisor, weights: Weights, truth: HeldOut, peer: PeerCompression | None
) -> pd.DataFrame:
    """Table of one line a tensor and number of bits: layer, level, truth, and a column a score."""
    asked = {score: partial(advisor.sensitivity, score) for score in SCORES}
    foretold = {score: table for score, ask in asked.items() if (table := _rises(ask))}
    signals: dict[Any, Any] = advisor.measurements().tables["rows"][list(_SIGNALS)].to_dict("index")
    lines = []
    for bits in LEVELS:
        for layer in advisor.uniform_plan(bits).layers:
            values = _rounded(weights[layer.name], layer)
            lines.append(
                {
                    "what": BITS,
                    "layer": layer.name,
                    "level": float(bits),
                    "truth": truth.with_values({layer.name: values}),
                    **{score: table[layer.name][bits] for score, table in foretold.items()},
                    **signals[layer.name],
                    DISTANCE: _squared(values - weights[layer.name]),
                    **({} if peer is None else {"peer_snr_range": peer.bit_sensitivity.get(layer.name, np.nan)}),
                }
            )
    return pd.DataFrame(lines)


def pruned_alone(
    analyzer: SaliencyAnalyzer, weights: Weights, truth: HeldOut, peer: PeerCompression | None
) -> pd.DataFrame:
    """Table of one line a tensor, share and criterion of pruning: layer, level, by, truth, and a column a score."""
    names = list(analyzer.layer_saliency().index)
    parts = []
    for by in _at_hand(analyzer, CRITERIA):
        scores = [*_at_hand(analyzer, WEIGHT_SCORES), "gauss_newton", "measured"]
        asked = {score: partial(analyzer.pruning_sensitivity, score, shares=SHARES, by=by) for score in scores}
        foretold = {score: table for score, ask in asked.items() if (table := _rises(ask))}
        for name in names:
            others = [other for other in names if other != name]
            for share in SHARES:
                plan = analyzer.pruning_plan(share, score=by, least_kept=0, exclude=others)
                values = weights[name] * (plan.layers[0].keep if plan.layers else 1)
                parts.append(
                    {
                        "what": PRUNED,
                        "layer": name,
                        "level": share,
                        "by": by,
                        "truth": truth.with_values({name: values}),
                        **{score: table[name][share] for score, table in foretold.items()},
                        DISTANCE: _squared(values - weights[name]),
                        **_peer_saliency(peer, name),
                    }
                )
    return pd.DataFrame(parts)


def _rounded(values: np.ndarray, layer: LayerBits) -> np.ndarray:
    return quantize(values, layer.bits, layer.axis, fitted=layer.fitted).values()


def _squared(change: np.ndarray) -> float:
    return float(np.square(change, dtype=np.float64).sum())


def _peer_saliency(peer: PeerCompression | None, name: str) -> dict[str, float]:
    if peer is None:
        return {}
    return {"peer_saliency": peer.saliency.get(name, np.nan), "peer_fisher": peer.fisher.get(name, np.nan)}


def _rises(ask: Callable[[], pd.DataFrame]) -> dict[Any, Any] | None:
    """Rises by layer and level; None of a score that this model does not have."""
    try:
        return ask().to_dict("index")
    except FlowGradError:
        return None


def _at_hand(analyzer: SaliencyAnalyzer, scores: Sequence[str]) -> list[Any]:
    found = analyzer.layer_saliency().columns
    return [score for score in scores if score in found]
