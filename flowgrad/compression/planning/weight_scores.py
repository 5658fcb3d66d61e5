"""Computes the saliency of single weights, by any score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from flowgrad.compression.planning.reading import Layer
from flowgrad.errors import FlowGradError
from flowgrad.measures import saliency as measures
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.trackers.flow import FlowTracker

SCORES = ("second_moment", "layer_adaptive", "obd", "taylor", "fisher", "magnitude", "motion")


class WeightScores:
    """Scores of every weight of some layers, each computed when first asked for."""

    def __init__(
        self,
        layers: Sequence[Layer],
        tracker: FlowTracker | None,
        fisher: Callable[[], Mapping[str, np.ndarray]] | None,
        *,
        moments: bool,
    ) -> None:
        """Compute nothing yet.

        Args:
            layers: that may be pruned.
            tracker: that saw them train.
            fisher: squared gradients of the calibration batches, by tensor; None without a calibration.
            moments: whether the layers' moments are used; else the Fisher stands for them.
        """
        self._layers, self._tracker, self._fisher, self._moments = layers, tracker, fisher, moments
        self._known: dict[str, list[np.ndarray]] = {}

    def of(self, score: str) -> list[np.ndarray]:
        """The score of each weight, one array a layer, of its shape; 0 in a padding row.

        Raises:
            FlowGradError: an unknown score, or one that needs what was not given.
        """
        if score not in SCORES:
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, SCORES)}")
        if score not in self._known:
            self._known[score] = self._computed(score)
        return self._known[score]

    def at_hand(self, score: str) -> bool:
        """Whether the score can be computed."""
        if score == "fisher":
            return self._fisher is not None
        if score == "taylor":
            return all(layer.moments is not None and layer.moments.first is not None for layer in self._layers)
        return score != "motion" or bool(np.isfinite(self.motion()).all() and len(self._layers))

    def second_moment(self, layer: Layer) -> np.ndarray:
        """Second moment v of a layer; of a model whose optimizer keeps none, the Fisher of the calibration batches."""
        if layer.moments is not None and self._moments:
            return layer.moments.second
        return self._squares()[layer.name]

    def _squares(self) -> Mapping[str, np.ndarray]:
        if self._fisher is None:
            raise FlowGradError("score='fisher': no calibration was given; SaliencyAnalyzer(..., calibration=...)")
        return self._fisher()

    def motion(self) -> np.ndarray:
        """Motion of each layer that may be pruned, shape (layers,); NaN where nothing is known of it."""
        velocity = np.full(len(self._layers), math.nan)
        if self._tracker is not None:
            rows = self._tracker.measurements().tables["rows"]
            velocity = rows["update_ratio"].reindex([layer.name for layer in self._layers]).to_numpy(dtype=float)
        momentum = [
            math.nan
            if layer.moments is None or layer.moments.first is None
            else float(np.linalg.norm(layer.moments.first)) / math.sqrt(layer.data.size)
            for layer in self._layers
        ]
        return measures.motion(velocity, momentum)

    def _computed(self, score: str) -> list[np.ndarray]:
        if score == "magnitude":
            found = [measures.magnitude(layer.data) for layer in self._layers]
        elif score == "second_moment":
            found = [measures.second_moment(layer.data, self.second_moment(layer)) for layer in self._layers]
        elif score == "layer_adaptive":
            found = [
                measures.layer_adaptive(np.where(layer.weight.counted(), values, 0))
                for layer, values in zip(self._layers, self.of("second_moment"), strict=True)
            ]
        elif score == "obd":
            found = [measures.obd(layer.data, self.second_moment(layer)) for layer in self._layers]
        elif score == "fisher":
            found = [measures.obd(layer.data, self._squares()[layer.name]) for layer in self._layers]
        elif score == "taylor":
            found = [measures.taylor(layer.data, _first(layer)) for layer in self._layers]
        else:
            motion = self.motion()
            if not np.isfinite(motion).all():
                raise FlowGradError("score='motion' needs a FlowTracker that has looked at steps, or a mean gradient")
            found = [
                magnitude / max(float(magnitude.mean()), np.finfo(np.float32).tiny) * rate
                for magnitude, rate in zip(self.of("magnitude"), motion, strict=True)
            ]
        for layer, values in zip(self._layers, found, strict=True):
            if layer.weight.padding is not None:
                values[layer.weight.padding] = 0
        return found


def _first(layer: Layer) -> np.ndarray:
    if layer.moments is None or layer.moments.first is None:
        raise FlowGradError(
            f"score='taylor' needs the mean gradient of {layer.name}, which its optimizer does not keep"
        )
    return layer.moments.first
