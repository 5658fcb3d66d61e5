"""Compresses whole models by plans of each score, and by baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from flowgrad.compression.planning.table_rows import ROW_SCORES
from flowgrad.compression.planning.weight_scores import SCORES as WEIGHT_SCORES
from flowgrad.compression.plans import LayerMask, PruningPlan, QuantizationPlan, RowPlan, TableRows
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import FLOAT_BITS, LEVELS, SCORES, quantize, storage_bytes
from pipelines.benchmarks.compression.held_out import HeldOut
from pipelines.benchmarks.gradtracer.compression import PeerCompression, pruned_by_peer
from pipelines.trainers.compressible import Compressible

PRUNED, MIXED, ROWS = "pruned", "mixed bits", "rows kept"
SPARSITIES = (0.7, 0.8, 0.9)
BUDGETS = (0.8, 0.6, 0.4)
CHOSEN = "chosen"
"""Name of the library's own choice: it compares scores on the calibration rows."""
PEER = "peer"
MAGNITUDE, RANDOM, UNIFORM = "global magnitude", "random", "uniform"
AGAINST = {PRUNED: (MAGNITUDE, RANDOM), MIXED: (UNIFORM,), ROWS: ("norm", "frequency", RANDOM)}
"""Baselines of each kind of plan."""
_PEER_SLACK = 0.02
"""Distance by which the peer's plan may miss the share of weights that it was asked for; where it prunes less, it is
left out.
"""


def pruning_lines(
    analyzer: SaliencyAnalyzer, subject: Compressible, truth: HeldOut, peer: Any, seed: int
) -> Iterator[dict]:
    """Yield lines of plans by each score, without regard to the calibration; by the chosen one; by global magnitude and
    at random.
    """
    known = [score for score in WEIGHT_SCORES if score in analyzer.layer_saliency() and score != "magnitude"]
    for share in SPARSITIES:
        plans = {score: analyzer.pruning_plan(share, score=score) for score in known}
        plans[CHOSEN] = analyzer.pruning_plan(share)
        plans[MAGNITUDE] = analyzer.pruning_plan(share, score="magnitude", least_kept=0)
        plans[RANDOM] = _random_mask(plans[MAGNITUDE], analyzer, share, seed)
        for score, plan in plans.items():
            yield _line(PRUNED, share, score, truth.with_plan(plan))
        if peer is not None:
            model = pruned_by_peer(peer, subject.model, share)
            if model is not None and _zeros(model, analyzer) >= share - _PEER_SLACK:
                yield _line(PRUNED, share, PEER, truth.of(model))


def mixed_lines(
    advisor: QuantizationAdvisor, weights: Mapping[str, np.ndarray], truth: HeldOut, peer: PeerCompression | None
) -> Iterator[dict]:
    """Yield lines of plans at the size of uniform bits: by each score, unchecked, and as chosen on the calibration."""
    for bits in LEVELS[1:]:
        plans: dict[str, QuantizationPlan] = {UNIFORM: advisor.uniform_plan(bits)}
        for score in SCORES:
            try:
                plans[score] = advisor.mixed_precision_plan(bits=bits, score=score)
            except FlowGradError:  # no forward-mode derivatives
                continue
        plans[CHOSEN] = advisor.mixed_precision_plan(bits=bits)
        for score, plan in plans.items():
            yield _line(MIXED, float(bits), score, truth.with_plan(plan))
    if peer is not None and peer.bits:
        yield from _at_size_of_peer(advisor, weights, truth, peer)


def row_lines(analyzer: SaliencyAnalyzer, subject: Compressible, truth: HeldOut, seed: int) -> Iterator[dict]:
    """Yield lines of plans for the tables that trackers watched, which know how often each row was seen."""
    watched = {id(tracker.layer.weight) for tracker in subject.trackers}
    tables = [name for name, parameter in subject.model.named_parameters() if id(parameter) in watched]
    if not tables:
        return
    make = partial(analyzer.row_plan, tables=tables, trackers=subject.trackers)
    for budget in BUDGETS:
        plans = {score: make(budget, score=score) for score in ROW_SCORES}
        plans[CHOSEN] = make(budget)
        plans[RANDOM] = _random_rows(plans["norm"], seed)
        for score, plan in plans.items():
            yield _line(ROWS, budget, score, truth.with_plan(plan))


def _line(what: str, level: float, score: str, rise: float) -> dict:
    return {"what": what, "level": level, "score": score, "rise": rise}


def _random_mask(like: PruningPlan, analyzer: SaliencyAnalyzer, share: float, seed: int) -> PruningPlan:
    rng = np.random.default_rng(seed)
    shapes = {name: values.shape for name, values in analyzer.weight_saliency("magnitude").items()}
    masks = [LayerMask(name, shape, rng.random(shape) >= share) for name, shape in shapes.items()]
    return PruningPlan(share, RANDOM, None, tuple(masks), like.entries)


def _random_rows(like: RowPlan, seed: int) -> RowPlan:
    """Plan as many random rows of each table as another plan takes."""
    rng = np.random.default_rng(seed)
    tables = [
        TableRows(one.name, one.shape, tuple(int(row) for row in np.sort(_drawn(rng, one)))) for one in like.tables
    ]
    return RowPlan(like.budget, RANDOM, tuple(tables), like.rows)


def _drawn(rng: np.random.Generator, table: TableRows) -> np.ndarray:
    return rng.permutation(table.shape[0])[: len(table.rows)]


def _zeros(model: nn.Module, analyzer: SaliencyAnalyzer) -> float:
    """Share of the weights that are 0, in [0, 1]."""
    names = set(analyzer.weight_saliency("magnitude"))
    kept = [p.detach() for name, p in model.named_parameters() if name in names]
    return sum(int((p == 0).sum()) for p in kept) / sum(p.numel() for p in kept)


def _at_size_of_peer(
    advisor: QuantizationAdvisor, weights: Mapping[str, np.ndarray], truth: HeldOut, peer: PeerCompression
) -> Iterator[dict]:
    """Yield lines of the peer's bits, rounded as ours are (16 bits and tensors that it does not name: as they are), and
    of ours at no more bytes.
    """
    layers = advisor.uniform_plan(8).layers
    bits = {layer.name: peer.bits.get(layer.name, FLOAT_BITS) for layer in layers}
    changed = {
        layer.name: quantize(weights[layer.name], bits[layer.name], layer.axis).values()
        for layer in layers
        if bits[layer.name] <= 8
    }
    size = advisor.size - sum(4 * weights[layer.name].size for layer in layers)
    for layer in layers:
        channels = 1 if layer.axis is None else layer.shape[layer.axis]
        halved = 2 * weights[layer.name].size
        size += (
            halved if bits[layer.name] == 16 else storage_bytes(weights[layer.name].size, bits[layer.name], channels)
        )
    fitting = [one for one in LEVELS if advisor.uniform_size(one) <= size]
    if not fitting:
        return
    level = f"{PEER}'s size"
    yield _line(level, np.nan, PEER, truth.with_values(changed))
    yield _line(level, np.nan, UNIFORM, truth.with_plan(advisor.uniform_plan(max(fitting))))
    yield _line(level, np.nan, CHOSEN, truth.with_plan(advisor.mixed_precision_plan(size=size)))


def plan_table(lines: Iterator[dict]) -> pd.DataFrame:
    """Table of the lines: what, level, score, rise."""
    return pd.DataFrame(lines, columns=["what", "level", "score", "rise"])
