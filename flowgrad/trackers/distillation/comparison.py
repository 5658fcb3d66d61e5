"""Compares student and teacher at one moment: how much each student layer holds of its teacher layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flowgrad.measures import representation
from flowgrad.measures.embedding import effective_rank_of_gram
from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.distillation.probe import ProbeSnapshot, Response, examples, has_channels_first, units

FloatArray = NDArray[np.float64]

_DETERMINISTIC = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag)
"""Types of layers that give the same for the same inputs also while they train."""
COLUMNS = (
    "width", "width_ratio", "too_narrow", "rank", "rank_ratio", "unexplained", "lost", "cka", "constant_units", "noise",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Result of one comparison."""

    columns: Mapping[str, FloatArray]
    """Figures named in `COLUMNS`, each of shape (student layers,); NaN where a layer was not called, has no pair or is
    not finite.
    """
    cka: FloatArray
    """Debiased linear CKA, shape (student layers, teacher layers)."""
    outputs: Mapping[str, float]
    """Figures `logit_kl`, `agreement`, `output_r2` and `output_spread`, by name."""
    nonfinite: int
    """Number of layers of the student with activations that are not finite."""

    @classmethod
    def unknown(cls, ours: int, theirs: int) -> Comparison:
        """Make an empty comparison."""
        columns = {name: np.full(ours, math.nan) for name in COLUMNS}
        return cls(columns, np.full((ours, theirs), math.nan), {}, 0)

    def state_dict(self) -> dict[str, Any]:
        """State of the comparison, as tensors and numbers."""
        return {
            "columns": {name: torch.from_numpy(values.copy()) for name, values in self.columns.items()},
            "cka": torch.from_numpy(self.cka.copy()),
            "outputs": dict(self.outputs),
            "nonfinite": self.nonfinite,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Comparison:
        """Make the comparison of a state that `state_dict` gave."""
        columns = {name: values.cpu().numpy().copy() for name, values in state["columns"].items()}
        return cls(columns, state["cka"].cpu().numpy().copy(), dict(state["outputs"]), state["nonfinite"])


def compare(
    ours: Sequence[Layer],
    theirs: Sequence[Layer],
    pairs: Mapping[str, str],
    student: Response,
    teacher: Response,
    repeated: Sequence[Sequence[Response]],
) -> Comparison:
    """Compare two models' responses to one probe.

    Args:
        ours: layers of the student.
        theirs: layers of the teacher.
        pairs: {student layer: teacher layer}.
        student: the student's response.
        teacher: the teacher's response.
        repeated: pairs of the student's responses to the same inputs, in evaluation mode and in training mode.
    """
    found = Comparison.unknown(len(ours), len(theirs))
    by_name = {layer.name: layer for layer in theirs}
    outer = [_products(teacher.layers.get(layer.name)) for layer in theirs]
    nonfinite = 0
    for place, layer in enumerate(ours):
        seen = student.layers.get(layer.name)
        if seen is None:
            continue
        if not _finite(seen):
            nonfinite += 1
            continue
        own = _alone(layer, seen) | {"noise": _noise(layer, repeated)}
        partner = teacher.layers.get(pairs.get(layer.name, ""))
        if partner is not None and _finite(partner):
            own |= _beside(layer, seen, own, by_name[pairs[layer.name]], partner)
        products = _products(seen)
        for column, other in enumerate(outer):
            if products is not None and other is not None and len(products) == len(other):
                found.cka[place, column] = representation.debiased_alignment(products, other)
        if layer.name in pairs:
            own["cka"] = found.cka[place, [other.name for other in theirs].index(pairs[layer.name])]
        for name, value in own.items():
            found.columns[name][place] = value
    return Comparison(found.columns, found.cka, _outputs(student.output, teacher.output), nonfinite)


def _finite(seen: ProbeSnapshot) -> bool:
    return all(bool(torch.isfinite(call).all()) for call in seen.outputs)


def _products(seen: ProbeSnapshot | None) -> FloatArray | None:
    if seen is None or not _finite(seen):
        return None
    return representation.debiased_gram(examples(seen.outputs))


def _alone(layer: Layer, seen: ProbeSnapshot) -> dict[str, float]:
    """Figures of a layer's own activations."""
    observed = units(seen.outputs, has_channels_first(layer))
    spread = np.ptp(observed, axis=0)
    return {
        "width": float(observed.shape[1]),
        "rank": _rank(observed),
        "constant_units": float((spread == 0).mean()),
    }


def _noise(layer: Layer, repeated: Sequence[Sequence[Response]]) -> float:
    """Difference that the layer adds between two passes over the same inputs, in the mode where it is larger.

    In training mode layers with dropout of their own (attention, recurrent ones) are left out: they differ on purpose.
    """
    modes = repeated if isinstance(layer.module, _DETERMINISTIC) else repeated[:1]
    found = [_added(layer, *(response.layers.get(layer.name) for response in both)) for both in modes]
    return max(found, key=lambda noise: -math.inf if math.isnan(noise) else noise)


def _added(layer: Layer, seen: ProbeSnapshot | None, again: ProbeSnapshot | None) -> float:
    if seen is None or again is None or not (_finite(seen) and _finite(again)):
        return math.nan
    coming = 0.0 if layer.embeds else representation.noise_share(examples(seen.inputs), examples(again.inputs))
    return representation.noise_share(examples(seen.outputs), examples(again.outputs)) - coming


def _rank(observed: FloatArray) -> float:
    """Effective rank of outputs of shape (examples, units), from the smaller one of their two Gram matrices."""
    centred = observed - observed.mean(axis=0)
    few = len(centred) < centred.shape[1]
    return effective_rank_of_gram(centred @ centred.T if few else centred.T @ centred)


def _beside(
    layer: Layer, seen: ProbeSnapshot, own: Mapping[str, float], partner: Layer, theirs: ProbeSnapshot
) -> dict[str, float]:
    """Figures of a layer's activations compared with its teacher layer's."""
    target = units(theirs.outputs, has_channels_first(partner))
    width = int(own["width"])
    found = {
        "width_ratio": width / target.shape[1],
        "too_narrow": 1 - representation.variance_share(target, width),
        "rank_ratio": own["rank"] / _rank(target),
    }
    going, wanted = examples(seen.outputs), examples(theirs.outputs)
    if len(going) == len(wanted):
        kept = _first_of_each(going, wanted)
        explained = representation.ridge_r2(going[kept], wanted[kept])
        found["unexplained"] = 1 - explained
        coming = None if layer.embeds else examples(seen.inputs)
        if layer.embeds:
            found["lost"] = found["unexplained"]
        elif coming is not None and len(coming) == len(wanted) and np.isfinite(coming).all():
            found["lost"] = representation.ridge_r2(coming[kept], wanted[kept]) - explained
    return found


def _first_of_each(a: FloatArray, b: FloatArray) -> list[int]:
    """Examples without those that repeat an earlier one in both layers, as lookups of one row do: they would be
    predicted from themselves.
    """
    first: dict[bytes, int] = {}
    for place, both in enumerate(zip(a, b, strict=True)):
        first.setdefault(both[0].tobytes() + both[1].tobytes(), place)
    return list(first.values())


def _outputs(student: FloatArray, teacher: FloatArray) -> dict[str, float]:
    """Figures of the distance between the student's outputs and the teacher's."""
    found = dict.fromkeys(("logit_kl", "agreement", "output_r2", "output_spread"), math.nan)
    if student.shape != teacher.shape or not (np.isfinite(student).all() and np.isfinite(teacher).all()):
        return found
    spread = float(np.square(teacher - teacher.mean(axis=0)).mean())
    if spread > 0:
        found["output_r2"] = 1 - float(np.square(student - teacher).mean()) / spread
        found["output_spread"] = math.sqrt(float(np.square(student - student.mean(axis=0)).mean()) / spread)
    if student.shape[1] > 1:
        found["logit_kl"] = representation.logit_kl(teacher, student)
        found["agreement"] = float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean())
    return found
