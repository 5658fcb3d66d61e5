"""Says what rounding each layer alone does to the loss, predicted by several scores or measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from flowgrad.compression.planning.calibration import Bench
from flowgrad.compression.planning.reading import Layer
from flowgrad.compression.planning.rounding import Rounding
from flowgrad.errors import FlowGradError
from flowgrad.measures import quantization as measures
from flowgrad.measures.saliency import expected_rise
from flowgrad.rules.suggestion import did_you_mean

FITTED_BELOW = 8
"""Bits from which on fitted scales gain next to nothing."""


class Sensitivities:
    """Rises of the loss by score, each computed when first asked for.

    Attributes:
        rounding: of the layers.
        unavailable: scores that could not be computed, with the reason of each.
    """

    def __init__(self, rounding: Rounding, bench: Callable[[], Bench] | None, *, moments: bool) -> None:
        """Compute nothing yet.

        Args:
            rounding: of the layers.
            bench: the model with its calibration; None without one.
            moments: whether some layer has a second moment; else the Fisher of the calibration stands for it.
        """
        self.rounding, self._make, self._moments = rounding, bench, moments
        self._known: dict[tuple[str, int, int, bool], float] = {}
        """Rises of the loss by score, layer, level, and whether scales are fitted."""
        self.unavailable: dict[str, str] = {}

    def _refitted(self, fitted: np.ndarray) -> Sensitivities:
        other = Sensitivities(self.rounding.refitted(fitted), self._make, moments=self._moments)
        other._known = self._known
        return other

    def with_chosen_scales(self) -> Sensitivities:
        """The same sensitivities, with rounding errors made up for below `FITTED_BELOW` bits where the layer's inputs
        are known, and else with scales fitted where `best` predicts less damage of that.
        """
        few = np.broadcast_to([bits < FITTED_BELOW for bits in self.rounding.levels], self.rounding.fitted.shape)
        fitted = self._refitted(few)
        chosen = fitted.rounding.compensated.copy()
        for layer, level in zip(*np.nonzero(few & ~chosen), strict=True):
            chosen[layer, level] = fitted._at(self.best, layer, level) < self._at(self.best, layer, level)
        return self._refitted(chosen)

    def of(self, score: str) -> np.ndarray:
        """Rise of the loss when one layer alone is rounded, shape (layers, levels); NaN where it is not known.

        Raises:
            FlowGradError: an unknown score, one that needs a calibration, or `gauss_newton` and `combined` of a model
                that has no forward-mode derivatives.
        """
        if score not in measures.SCORES:
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, measures.SCORES)}")
        found = np.zeros(self.rounding.fitted.shape)
        for layer, level in np.ndindex(found.shape):
            found[layer, level] = self._at(score, layer, level)
        return found

    def _at(self, score: str, layer: int, level: int) -> float:
        if score == "combined":
            foretold, measured = self._at("gauss_newton", layer, level), self._at("measured", layer, level)
            return foretold + measures.MEASURED_PART * (measured - foretold)
        key = score, int(layer), int(level), bool(self.rounding.fitted[layer, level])
        if key not in self._known:
            self._known[key] = self._rise(score, self.rounding.layers[layer], self.rounding.levels[level])
        return self._known[key]

    @property
    def best(self) -> str:
        """Name of the score at hand that predicts best."""
        if self._make is None:
            return "second_moment"
        return "combined" if "combined" in self.candidates else "measured"

    @property
    def planned_by(self) -> list[str]:
        """Scores that plans are tried by: `gauss_newton` alone where it is known. The more are tried, the more of what
        the best one wins on the calibration is chance; and most of what rounding that is made up for is measured to do
        there is chance too, so that `combined` shares out worse.
        """
        return ["gauss_newton"] if "gauss_newton" in self.candidates else self.candidates

    @cached_property
    def candidates(self) -> list[str]:
        """Scores at hand, in the order in which they are tried."""
        if self._make is None:
            return ["second_moment"]
        found = [score for score in measures.SCORES if score != "second_moment" or self._moments]
        try:
            for layer, level in np.ndindex(self.rounding.fitted.shape):
                if self._at("gauss_newton", layer, level):  # one that was computed: without change it is 0
                    break
        except FlowGradError as error:
            self.unavailable["gauss_newton"] = str(error)
            found = [score for score in found if score not in ("gauss_newton", "combined")]
        return found

    def _rise(self, score: str, layer: Layer, bits: int) -> float:
        change = self.rounding.change(layer, bits)
        if score in ("measured", "gauss_newton") and not change.any():
            return 0.0
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
        return self._bench.squared_gradients([layer.name for layer in self.rounding.layers])
