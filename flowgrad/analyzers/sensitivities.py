"""What rounding each layer alone does to the loss, foretold by several scores or measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from flowgrad.analyzers.calibration import Bench
from flowgrad.analyzers.reading import Layer
from flowgrad.analyzers.rounding import Rounding
from flowgrad.errors import FlowGradError
from flowgrad.measures import quantization as measures
from flowgrad.measures.saliency import expected_rise
from flowgrad.rules.suggestion import did_you_mean


class Sensitivities:
    """Rises of the loss by score, each computed when first asked for.

    Attributes:
        unavailable: scores that could not be computed, with the reason of each.
    """

    def __init__(self, rounding: Rounding, bench: Callable[[], Bench] | None, *, moments: bool) -> None:
        """Compute nothing yet.

        Args:
            rounding: of the layers.
            bench: the model with its calibration; None without one.
            moments: whether some layer has a second moment; else the Fisher of the calibration stands for it.
        """
        self._rounding, self._make, self._moments = rounding, bench, moments
        self._known: dict[str, np.ndarray] = {}
        self.unavailable: dict[str, str] = {}

    def of(self, score: str) -> np.ndarray:
        """Rise of the loss when one layer alone is rounded, shape (layers, levels); NaN where it is not known.

        Raises:
            FlowGradError: an unknown score, one that needs a calibration, or `gauss_newton` of a model that has no
                forward-mode derivatives.
        """
        if score not in measures.SCORES:
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, measures.SCORES)}")
        if score not in self._known:
            layers, levels = self._rounding.layers, self._rounding.levels
            found = [[self._rise(score, layer, bits) for bits in levels] for layer in layers]
            self._known[score] = np.array(found, dtype=float).reshape(len(layers), len(levels))
        return self._known[score]

    @cached_property
    def candidates(self) -> list[str]:
        """Scores at hand, in the order in which they are tried."""
        if self._make is None:
            return ["second_moment"]
        found = [score for score in measures.SCORES if score != "second_moment" or self._moments]
        try:
            self.of("gauss_newton")
        except FlowGradError as error:
            self.unavailable["gauss_newton"] = str(error)
            found.remove("gauss_newton")
        return found

    def _rise(self, score: str, layer: Layer, bits: int) -> float:
        change = self._rounding.change(layer, bits)
        if score == "measured":
            after = self._bench.losses({layer.name: layer.data + change})
            return float(np.mean(after) - np.mean(self._before))
        if score == "gauss_newton":
            return self._bench.gauss_newton(layer.name, change)
        if score == "fisher" or not self._moments:
            return expected_rise(change, self._squares[layer.name])
        return math.nan if layer.moments is None else expected_rise(change, layer.moments.second)

    @property
    def _bench(self) -> Bench:
        if self._make is None:
            raise FlowGradError("no calibration was given; QuantizationAdvisor(..., calibration=...)")
        return self._make()

    @cached_property
    def _before(self) -> np.ndarray:
        return self._bench.losses()

    @cached_property
    def _squares(self) -> dict[str, np.ndarray]:
        return self._bench.squared_gradients([layer.name for layer in self._rounding.layers])
