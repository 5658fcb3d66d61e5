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

FITTED_BELOW = 8
"""Bits from which on there is next to nothing to gain by fitted scales."""


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
        self._known: dict[str, np.ndarray] = {}
        self._elsewhere: Sensitivities | None = None
        """What is the same where scales are not fitted."""
        self.unavailable: dict[str, str] = {}

    def with_chosen_scales(self) -> Sensitivities:
        """The same, with rounding errors made up for below `FITTED_BELOW` bits where the layer's inputs are known, and
        else with scales fitted where `best` foretells less damage of that.
        """
        few = np.array([bits < FITTED_BELOW for bits in self.rounding.levels])
        fitted = Sensitivities(self.rounding.refitted(few), self._make, moments=self._moments)
        fitted._elsewhere = self
        less = fitted.rounding.compensated | (fitted.of(self.best) < self.of(self.best))
        made = Sensitivities(self.rounding.refitted(less), self._make, moments=self._moments)
        made._known = {score: np.where(less, fitted.of(score), self.of(score)) for score in self.candidates}
        return made

    def of(self, score: str) -> np.ndarray:
        """Rise of the loss when one layer alone is rounded, shape (layers, levels); NaN where it is not known.

        Raises:
            FlowGradError: an unknown score, one that needs a calibration, or `gauss_newton` and `combined` of a model
                that has no forward-mode derivatives.
        """
        if score not in measures.SCORES:
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, measures.SCORES)}")
        if score == "combined":
            foretold, measured = self.of("gauss_newton"), self.of("measured")
            return foretold + measures.MEASURED_PART * (measured - foretold)
        if score not in self._known:
            layers, levels = self.rounding.layers, self.rounding.levels
            found = np.zeros((len(layers), len(levels)))
            for place in np.ndindex(found.shape):
                if self._elsewhere is None or self.rounding.fitted[place]:
                    found[place] = self._rise(score, layers[place[0]], levels[place[1]])
                else:
                    found[place] = self._elsewhere.of(score)[place]
            self._known[score] = found
        return self._known[score]

    @property
    def best(self) -> str:
        """The score at hand that foretells best."""
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
            self.of("gauss_newton")
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
