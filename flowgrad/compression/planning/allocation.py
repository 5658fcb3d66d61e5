"""Shares bits out between layers for a budget, and tries plans on the calibration batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flowgrad.compression.planning.calibration import Bench, clearly_lower, highest_rise, relative_rise
from flowgrad.compression.planning.rounding import Rounding
from flowgrad.compression.planning.sensitivities import FITTED_BELOW, Sensitivities
from flowgrad.compression.plans import QuantizationPlan
from flowgrad.errors import FlowGradError
from flowgrad.measures.saliency import expected_rise

_ERRORS = 1.5
"""Standard errors by which a plan must be better than the same bits everywhere. The value was chosen on other models
and seeds: with fewer, some plans for 4 bits were worse on rows of the test, where there is little to win.
"""


class BitAllocation:
    """Makes plans; see `QuantizationAdvisor.mixed_precision_plan`, which says what they hold to."""

    def __init__(
        self,
        sensitivities: Sensitivities,
        bench: Callable[[], Bench] | None,
        *,
        kept: Callable[[], int],
        whole_losses: Callable[[], np.ndarray] | None,
        chooses_scales: bool,
        doubt: Callable[[], str],
    ) -> None:
        """Try nothing yet.

        Args:
            sensitivities: of the layers, rounded as uniform plans are.
            bench: the model with its calibration; None without one.
            kept: bytes of what is never quantised.
            whole_losses: on the calibration, of the model as it was before anything was done to it; None: as it is.
            chooses_scales: fit scales of mixed plans where that is better.
            doubt: makes what plans add to their reason.
        """
        self._sensitivities, self._make, self._get_kept = sensitivities, bench, kept
        self._whole, self._chooses_scales, self._doubt = whole_losses, chooses_scales, doubt
        self._rounding = sensitivities.rounding
        self.levels = self._rounding.levels
        self._uniform_losses: dict[int, np.ndarray] = {}

    @cached_property
    def _scaled(self) -> Sensitivities:
        """Sensitivities with the scales fitted where that is predicted to do less damage."""
        if not self._chooses_scales:
            return self._sensitivities
        return self._sensitivities.with_chosen_scales()

    @cached_property
    def _bench(self) -> Bench:
        assert self._make is not None
        return self._make()

    @cached_property
    def _kept(self) -> int:
        return self._get_kept()

    @cached_property
    def losses(self) -> np.ndarray:
        """Losses of the calibration batches with the weights as they are, shape (batches,)."""
        return self._bench.losses()

    @cached_property
    def whole_losses(self) -> np.ndarray:
        """Losses of the calibration batches before anything was done to the model, shape (batches,)."""
        return self.losses if self._whole is None else self._whole()

    def uniform_size(self, bits: int) -> int:
        """Bytes of the model with so many bits everywhere."""
        return self._kept + self._rounding.size(self._rounding.everywhere(bits))

    def uniform(self, bits: int) -> QuantizationPlan:
        """Plan with the same bits everywhere."""
        one = self._tried("uniform", self._rounding.everywhere(bits), plain=True)
        return self._planned(one, bits, "asked for")

    def again(self, plan: QuantizationPlan) -> QuantizationPlan:
        """Plan the same bits for the weights as they are; see `QuantizationAdvisor.plan_again`."""
        asked = {layer.name: layer for layer in plan.layers}
        if odd := sorted({layer.name for layer in self._rounding.layers} ^ set(asked)):
            raise FlowGradError(f"{odd[0]} is in one of the plan and the model, and not in the other")
        if unknown := sorted({layer.bits for layer in plan.layers} - set(self.levels)):
            raise FlowGradError(f"the plan has {unknown[0]} bits, and the levels are {list(self.levels)}")
        level = np.array([self.levels.index(asked[layer.name].bits) for layer in self._rounding.layers])
        fitted = np.zeros((len(level), len(self.levels)), dtype=bool)
        fitted[np.arange(len(level)), level] = [asked[layer.name].fitted for layer in self._rounding.layers]
        rounding = self._rounding.refitted(fitted)
        one = _Tried(plan.score, level, self._loss_of(level, rounding), rounding)
        made = rounding.plan(level)
        for layer in made:
            if layer.axis != asked[layer.name].axis:
                raise FlowGradError(f"{layer.name}: the plan has axis={asked[layer.name].axis}; give scales= as it had")
            if asked[layer.name].rounded is not None and self._make is None:
                raise FlowGradError(f"{layer.name}: the plan's numbers are of a calibration; give one here too")
        size = self._kept + rounding.size(level)
        fitting = [bits for bits in self.levels if self.uniform_size(bits) <= size]
        return self._planned(one, max(fitting, default=self.levels[-1]), "the bits of another plan")

    def for_size(self, size: int, score: str | None) -> QuantizationPlan:
        """Plan of no more than so many bytes.

        Raises:
            FlowGradError: the fewest bits exceed them.
        """
        fitting = [bits for bits in self.levels if self.uniform_size(bits) <= size]
        if not fitting:
            least = min(self.uniform_size(bits) for bits in self.levels)
            raise FlowGradError(f"size={size} bytes: with {self.levels[-1]} bits everywhere the model has {least}")
        top = max(fitting)
        level = self._rounding.everywhere(top)
        if top == self.levels[0]:
            return self._chosen([], level, top)
        if score is not None:
            one = self._tried(score, self._path(score, size)[-1])
            return self._planned(one, top, "asked for")
        paths = {score: self._path(score, size)[-1] for score in self._scaled.planned_by}
        if self._make is None:
            return self._planned(self._tried("second_moment", paths["second_moment"]), top, "no calibration chose")
        return self._chosen([self._tried(score, one) for score, one in paths.items()], level, top)

    def _tried(self, score: str, level: np.ndarray, *, plain: bool = False) -> _Tried:
        rounding = self._rounding if plain else self._scaled.rounding
        return _Tried(score, level, self._loss_of(level, rounding), rounding)

    def _chosen(self, tried: Sequence[_Tried], level: np.ndarray, top: int) -> QuantizationPlan:
        """The plan whose loss is lowest, among those clearly below the same bits everywhere."""
        plain = self._tried("uniform", level, plain=True)
        base = plain
        even = [plain]
        if top < FITTED_BELOW and self._chooses_scales:
            even.append(self._tried("uniform", level))
            base = self._no_worse(even[-1], plain)
        better = [one for one in tried if clearly_lower(one.losses, base.losses, _ERRORS)]
        told = ", ".join(one.told for one in (*even, *tried))
        if not better:
            why = f"no sharing out is clearly better than {top} bits everywhere; calibration loss: {told}"
            room = f"the budget has room for {top} bits everywhere"
            return self._planned(base, top, why if tried else room)
        best = min(better, key=lambda one: float(np.mean(one.losses)))
        return self._planned(best, top, f"lowest calibration loss of those clearly below uniform: {told}")

    def _no_worse(self, fitted: _Tried, plain: _Tried) -> _Tried:
        """Round tensors to the nearest again, those first that lower the calibration loss most, until the loss is no
        higher than that of the plain plan. Plain rounding can win by chance on so few rows.
        """
        flags, rows = fitted.rounding.fitted, np.arange(len(fitted.level))

        def without(gone: Sequence[int]) -> _Tried:
            left = flags.copy()
            left[rows[list(gone)], fitted.level[list(gone)]] = False
            rounding = fitted.rounding.refitted(left)
            return _Tried("uniform", fitted.level, self._loss_of(fitted.level, rounding), rounding)

        most = float(np.mean(plain.losses))
        if np.mean(fitted.losses) <= most or not np.isfinite(most):
            return fitted
        changed = [int(place) for place in np.flatnonzero(flags[rows, fitted.level])]
        order = sorted(changed, key=lambda place: float(np.mean(without([place]).losses)))
        for count in range(1, len(order)):
            one = without(order[:count])
            if np.mean(one.losses) <= most:
                return one
        return plain

    def for_loss(self, loss: float, asked: str | None) -> QuantizationPlan:
        """Smallest plan tried that raises the calibration loss by no more.

        Raises:
            FlowGradError: the most bits raise it by more, or there is no calibration.
        """
        if self._make is None:
            raise FlowGradError(f"loss={loss}: to hold a loss, it must be measured; give the advisor calibration=...")
        if not loss >= 0:
            raise FlowGradError(f"loss={loss}: a rise over the calibration loss, 0 or more")
        scaled = self._scaled.rounding
        scores = self._scaled.planned_by if asked is None else [asked]
        found = [self._smallest(score, self._path(score, 0), scaled, loss) for score in scores]
        if asked is None:
            everywhere = [scaled.everywhere(bits) for bits in self.levels]
            found += [self._smallest("uniform", everywhere, one, loss) for one in (self._rounding, scaled)]
        rises = [relative_rise(one.losses, self.whole_losses) for one in found]
        found = [one for one, rise in zip(found, rises, strict=True) if rise <= loss]
        if not found:
            what = f"{self.levels[0]} bits everywhere" + ("" if self._whole is None else " and what was done before")
            raise FlowGradError(
                f"loss={loss}: {what} raise the calibration loss by {min(rises):.3g} of it; "
                "allow more, or give levels with more bits (32 keeps a tensor as it is)"
            )
        best = min(found, key=lambda one: (self._rounding.size(one.level), one.score != "uniform"))
        size = self._kept + self._rounding.size(best.level)
        fitting = [bits for bits in self.levels if self.uniform_size(bits) <= size]
        reason = f"the smallest found that raises the calibration loss by {loss:.3g} of it at most"
        return self._planned(best, max(fitting, default=self.levels[-1]), reason)

    def _smallest(self, score: str, path: Sequence[np.ndarray], rounding: Rounding, loss: float) -> _Tried:
        """The last allocation on the way from the most bits to the fewest that holds the loss, by bisection."""
        low, high, losses = 0, len(path) - 1, self._loss_of(path[0], rounding)
        while low < high:
            middle = (low + high + 1) // 2
            after = self._loss_of(path[middle], rounding)
            if highest_rise(after, self.whole_losses) <= loss:
                low, losses = middle, after
            else:
                high = middle - 1
        return _Tried(score, path[low], losses, rounding)

    def _path(self, score: str, size: int) -> list[np.ndarray]:
        return self._scaled.rounding.path(self._scaled.of(score), float(size - self._kept))

    def _loss_of(self, level: np.ndarray, rounding: Rounding) -> np.ndarray:
        """Losses of an allocation; without a calibration there are none."""
        if self._make is None:
            return np.array([math.nan])
        if rounding is self._rounding and len(set(level.tolist())) == 1:
            return self.uniform_losses(self.levels[level[0]])
        return self._bench.losses(rounding.values(level))

    def uniform_losses(self, bits: int) -> np.ndarray:
        """Losses with these bits everywhere; without a calibration there are none."""
        if self._make is None:
            return np.array([math.nan])
        if bits not in self._uniform_losses:
            level = self._rounding.everywhere(bits)
            self._uniform_losses[bits] = self._bench.losses(self._rounding.values(level))
        return self._uniform_losses[bits]

    def _planned(self, one: _Tried, uniform: int, reason: str) -> QuantizationPlan:
        expected = [
            expected_rise(one.rounding.change(layer, self.levels[at]), layer.moments.second)
            for layer, at in zip(self._rounding.layers, one.level, strict=True)
            if layer.moments is not None
        ]
        calibrated = self._make is not None
        return QuantizationPlan(
            one.rounding.plan(one.level),
            one.score,
            self._kept + one.rounding.size(one.level),
            uniform,
            self.uniform_size(uniform),
            sum(expected) if expected else math.nan,
            relative_rise(one.losses, self.losses) if calibrated else math.nan,
            relative_rise(self.uniform_losses(uniform), self.losses) if calibrated else math.nan,
            reason + self._doubt(),
        )


@dataclass(frozen=True, eq=False)
class _Tried:
    """A plan that was tried on the calibration batches."""

    score: str
    level: np.ndarray
    losses: np.ndarray
    rounding: Rounding

    @property
    def told(self) -> str:
        fitted = ", some fitted" if any(layer.fitted for layer in self.rounding.plan(self.level)) else ""
        return f"{self.score}{fitted} {np.mean(self.losses):.4g}"
