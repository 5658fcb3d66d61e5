"""How many bits each layer of a trained model needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.analyzers.calibration import Bench, Calibration, clearly_lower, highest_rise, relative_rise
from flowgrad.analyzers.compensation import Compensation
from flowgrad.analyzers.reading import Layer, model_of, name_of, read_model
from flowgrad.analyzers.rounding import Rounding
from flowgrad.analyzers.sensitivities import FITTED_BELOW, Sensitivities
from flowgrad.compression.plans import QuantizationPlan
from flowgrad.compression.recipe import Plan, Recipe
from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures import quantization as measures
from flowgrad.measures.saliency import expected_rise, rank_agreement
from flowgrad.rules import RuleBook
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.subject import Subject
from flowgrad.trackers.squared_gradients import SquaredGradients

SCALES = ("channel", "tensor")
_SIGNALS = ("snr", "variance")
_ERRORS = 1.5
"""Standard errors by which a plan must be better than the same bits everywhere. Chosen on models and seeds apart: with
fewer, some plans for 4 bits were worse on rows of the test, where there is little to win."""


class QuantizationAdvisor(Subject):
    """Says how sensitive each layer of a trained model is to few bits, and shares bits out.

    Example::

        tracker = FlowTracker(model, optimizer)
        # ... training ...
        advisor = QuantizationAdvisor(tracker, calibration=Calibration.of_pairs(batches, loss))
        plan = advisor.mixed_precision_plan(bits=4)      # at the size of 4 bits everywhere
        smaller = apply_recipe(model, plan).model
        print(advisor.to_agent_xml())

    Weights and moments are read when it is made: make it after training. Sensitivity is v times the squared change that
    rounding makes, summed (`flowgrad.measures.saliency.expected_rise`), where v is the mean squared gradient that Adam
    and its like keep. With a calibration, plans by several scores are compared with uniform bits by the loss itself,
    and the report says how well each score foretold it. Biases and other tensors of one dimension stay as they are.

    Attributes:
        left_out: weight tensors that no plan touches, with the reason of each.
    """

    KIND = "quantization"
    MEASURES = measures.MEASURES

    def __init__(
        self,
        source: Any,
        optimizer: Any = None,
        *,
        calibration: Calibration | None = None,
        squares: SquaredGradients | None = None,
        levels: Sequence[int] = measures.LEVELS,
        scales: str = "channel",
        fitted: bool | None = None,
        after: Recipe | Plan | None = None,
        name: str | None = None,
        rules: RuleBook | None = None,
    ) -> None:
        """Read the weights and their moments.

        Args:
            source: a `FlowTracker`, or the model itself.
            optimizer: that trained it, where `source` is a model.
            calibration: batches that plans are chosen and measured on.
            squares: second moments, for an optimizer that keeps none.
            levels: bits that are tried, of 2 to 8; 32 besides lets a plan keep a tensor as it is.
            scales: `channel`: one an output of a layer; `tensor`: one a tensor. Tables have one a row either way.
            fitted: fit scales instead of taking the largest weight, and, of layers whose inputs the calibration shows
                (`nn.Linear`, convolutions), make up for rounding errors (`flowgrad.analyzers.compensation`); else by
                least squares. Much closer below 8 bits, and never by torchao. None: in mixed plans with a calibration,
                below 8 bits, of layers whose inputs are known, and of others as less damage is foretold of it; not in
                uniform ones.
            after: a plan that is applied before, such as a pruning plan: bits are shared out for what it leaves.
            name: of the model in the report; the tracker's, or `model`.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            TypeError: `source` is neither tracker nor model.
            FlowGradError: levels or scales that are not known; the model has no weight tensors or is under masks of
                `torch.nn.utils.prune`; no second moment is known and there is no calibration.
        """
        super().__init__(name or name_of(source), rules)
        self.levels = _checked(levels)
        if scales not in SCALES:
            raise FlowGradError(f"scales={scales!r} must be channel or tensor{did_you_mean(scales, SCALES)}")
        self._reading = read_model(source, optimizer, squares, self.name, need=calibration is None, after=after)
        self._calibration = calibration
        self._before = None if after is None else model_of(source)
        self._rounding = Rounding(
            self._layers,
            self.levels,
            per_tensor=scales == "tensor",
            fitted=bool(fitted),
            inputs=None if calibration is None else lambda: self._inputs,
        )
        self._sensitivities = self._of_rounding(self._rounding)
        self._chooses_scales = fitted is None and calibration is not None
        self.left_out = {one.name: one.reason for one in self._reading.left_out}
        self.left_out |= dict.fromkeys(self._reading.nonfinite, "NaN or infinite weights")

    def _of_rounding(self, rounding: Rounding) -> Sensitivities:
        bench = None if self._calibration is None else lambda: self._bench
        return Sensitivities(rounding, bench, moments=self._reading.known)

    @cached_property
    def _scaled(self) -> Sensitivities:
        """With the scales fitted where that is foretold to do less damage."""
        if not self._chooses_scales:
            return self._sensitivities
        return self._sensitivities.with_chosen_scales()

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return self._reading.layers

    @property
    def unavailable(self) -> dict[str, str]:
        """Scores that could not be computed, with the reason of each."""
        return self._sensitivities.unavailable

    @cached_property
    def _bench(self) -> Bench:
        if self._calibration is None:
            raise FlowGradError(f"{self.name}: no calibration was given; QuantizationAdvisor(..., calibration=...)")
        return Bench(self._reading.model, self._calibration)

    @cached_property
    def _inputs(self) -> dict[str, Compensation]:
        found = self._bench.input_moments([layer.name for layer in self._layers])
        return {name: Compensation(moments) for name, moments in found.items()}

    @cached_property
    def _losses(self) -> np.ndarray:
        return self._bench.losses()

    @cached_property
    def _whole_losses(self) -> np.ndarray:
        """Of the model as it was before `after`."""
        if self._before is None or self._calibration is None:
            return self._losses
        return Bench(self._before, self._calibration).losses()

    @cached_property
    def _uniform_losses(self) -> dict[int, np.ndarray]:
        return {}

    def sensitivity(self, score: str | None = None) -> pd.DataFrame:
        """What each number of bits does to each tensor alone: a line a tensor, a column a level.

        Args:
            score: `second_moment`: half the sum of v times change^2, NaN for a tensor without moments; `fisher`: the
                same with the squared gradients of the calibration batches; `gauss_newton`: the change's quadratic form
                in the Gauss-Newton matrix, on them; `measured`: the rise of the loss on them; `combined`: a mean of the
                last two. All are rises of the loss; the first two up to one factor. None: what foretells best,
                `combined` with a calibration (`measured` of a model without forward-mode derivatives), else
                `second_moment`.

        Raises:
            FlowGradError: an unknown score, one that needs a calibration that was not given, weights that are not
                finite, or a model without forward-mode derivatives (`gauss_newton`, `combined`).
        """
        self._reading.check_finite("the sensitivity")
        return self._frame(self._sensitivities.of(score or self._sensitivities.best))

    def _frame(self, values: np.ndarray) -> pd.DataFrame:
        names = pd.Index([layer.name for layer in self._layers], name="layer")
        return pd.DataFrame(values, index=names, columns=pd.Index(self.levels, name="bits"))

    @cached_property
    def size(self) -> int:
        """Bytes of all parameters and buffers as they are, each once."""
        tensors = {(t.data_ptr(), t.shape): t for t in self._reading.model.state_dict(keep_vars=True).values()}
        return sum(t.nelement() * t.element_size() for t in tensors.values())

    @cached_property
    def _kept(self) -> int:
        """Bytes of what is never quantised."""
        return self.size - sum(self._rounding.bytes(layer, measures.FLOAT_BITS) for layer in self._layers)

    def uniform_size(self, bits: int) -> int:
        """Bytes of the model with so many bits everywhere: codes, scales, and what is not quantised."""
        return self._kept + self._rounding.size(self._rounding.everywhere(bits))

    def uniform_rise(self, bits: int) -> float:
        """What the same bits everywhere do to the calibration loss, over the loss, with what was done `after` counted
        in; NaN without a calibration.
        """
        return relative_rise(self._uniform(bits), self._whole_losses) if self._calibration else math.nan

    def uniform_plan(self, bits: int) -> QuantizationPlan:
        """The same bits everywhere, with what that does to the calibration loss.

        Raises:
            FlowGradError: bits that are not among the levels, weights that are not finite, or nothing to quantise.
        """
        self._ready()
        if bits not in self.levels:
            raise FlowGradError(f"bits={bits} is not among the levels {list(self.levels)}")
        level = self._rounding.everywhere(bits)
        return self._planned(self._tried("uniform", level, plain=True), bits, "asked for")

    def mixed_precision_plan(
        self, *, bits: int | None = None, size: int | None = None, loss: float | None = None, score: str | None = None
    ) -> QuantizationPlan:
        """Share bits out between the tensors, for one budget.

        Greedy on the rise of the loss per byte, by `gauss_newton` (by every score at hand of a model without
        forward-mode derivatives), with scales fitted as `fitted` says; the plan is then compared on the calibration
        batches with the same bits everywhere, fitted too (in as many tensors as lower the loss there), which win unless
        it is lower by more than one and a half standard errors. So the plan is never worse on them than the nearest
        numbers of the same bits everywhere, and where nothing is sensitive bits are not shared out.
        Without a calibration the plan by the second moment is taken as it is; a tensor without moments then keeps the
        most bits.

        Args:
            bits: no larger than with so many bits everywhere.
            size: bytes of the whole model at most.
            loss: rise of the calibration loss at most, over the loss (.01: one percent), what was done `after`
                counted in; the smallest plan found that holds it at the upper end of the 95 % interval over the
                batches, and else the most bits everywhere, which need hold it on the mean only.
            score: as of `sensitivity`: take its plan, whether or not another is better; None: choose.

        Raises:
            FlowGradError: not exactly one budget, bits that are not among the levels, a size that the fewest bits
                exceed, a loss that the most bits exceed or that has no calibration, a score as `sensitivity` refuses
                it, weights that are not finite, or nothing to quantise.
        """
        if sum(one is not None for one in (bits, size, loss)) != 1:
            raise FlowGradError(f"bits={bits}, size={size}, loss={loss}: give exactly one budget")
        self._ready()
        if loss is not None:
            return self._for_loss(loss, score)
        if bits is not None:
            if bits not in self.levels:
                raise FlowGradError(f"bits={bits} is not among the levels {list(self.levels)}")
            return self._for_size(self.uniform_size(bits), score)
        assert size is not None
        return self._for_size(size, score)

    def plan_again(self, plan: QuantizationPlan) -> QuantizationPlan:
        """The bits of a plan for the weights as they are now, such as after they were trained on.

        Raises:
            FlowGradError: the plan has other tensors, bits or scales than this advisor, or was made with a calibration
                and this one was not, or weights are not finite.
        """
        self._ready()
        asked = {layer.name: layer for layer in plan.layers}
        if odd := sorted({layer.name for layer in self._layers} ^ set(asked)):
            raise FlowGradError(f"{self.name}: {odd[0]} is in one of the plan and the model, and not in the other")
        if unknown := sorted({layer.bits for layer in plan.layers} - set(self.levels)):
            raise FlowGradError(f"the plan has {unknown[0]} bits, and the levels are {list(self.levels)}")
        level = np.array([self.levels.index(asked[layer.name].bits) for layer in self._layers])
        fitted = np.zeros((len(level), len(self.levels)), dtype=bool)
        fitted[np.arange(len(level)), level] = [asked[layer.name].fitted for layer in self._layers]
        rounding = self._rounding.refitted(fitted)
        one = _Tried(plan.score, level, self._loss_of(level, rounding), rounding)
        made = rounding.plan(level)
        for layer in made:
            if layer.axis != asked[layer.name].axis:
                raise FlowGradError(f"{layer.name}: the plan has axis={asked[layer.name].axis}; give scales= as it had")
            if asked[layer.name].rounded is not None and self._calibration is None:
                raise FlowGradError(f"{layer.name}: the plan's numbers are of a calibration; give one here too")
        size = self._kept + rounding.size(level)
        fitting = [bits for bits in self.levels if self.uniform_size(bits) <= size]
        return self._planned(one, max(fitting, default=self.levels[-1]), "the bits of another plan")

    def _ready(self) -> None:
        self._reading.check_finite("a quantisation plan")
        if not self._layers:
            told = ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
            raise FlowGradError(f"{self.name}: no tensor can be quantised; left out: {told}")

    def _for_size(self, size: int, score: str | None) -> QuantizationPlan:
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
        if self._calibration is None:
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
        """The same bits with tensors rounded to the nearest again, those first that lower the calibration loss most,
        until it is no higher than of all of them so: by chance of its rows plain rounding may look better than it is.
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

    def _for_loss(self, loss: float, asked: str | None) -> QuantizationPlan:
        if self._calibration is None:
            raise FlowGradError(f"loss={loss}: to hold a loss, it must be measured; give the advisor calibration=...")
        if not loss >= 0:
            raise FlowGradError(f"loss={loss}: a rise over the calibration loss, 0 or more")
        scaled = self._scaled.rounding
        scores = self._scaled.planned_by if asked is None else [asked]
        found = [self._smallest(score, self._path(score, 0), scaled, loss) for score in scores]
        if asked is None:
            everywhere = [scaled.everywhere(bits) for bits in self.levels]
            found += [self._smallest("uniform", everywhere, one, loss) for one in (self._rounding, scaled)]
        rises = [relative_rise(one.losses, self._whole_losses) for one in found]
        found = [one for one, rise in zip(found, rises, strict=True) if rise <= loss]
        if not found:
            what = f"{self.levels[0]} bits everywhere" + ("" if self._before is None else " and what was done before")
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
        """The last on the way from the most bits to the fewest that holds the loss, by halving."""
        low, high, losses = 0, len(path) - 1, self._loss_of(path[0], rounding)
        while low < high:
            middle = (low + high + 1) // 2
            after = self._loss_of(path[middle], rounding)
            if highest_rise(after, self._whole_losses) <= loss:
                low, losses = middle, after
            else:
                high = middle - 1
        return _Tried(score, path[low], losses, rounding)

    def _path(self, score: str, size: int) -> list[np.ndarray]:
        return self._scaled.rounding.path(self._scaled.of(score), float(size - self._kept))

    def _loss_of(self, level: np.ndarray, rounding: Rounding) -> np.ndarray:
        """Losses of an allocation; without a calibration there are none."""
        if self._calibration is None:
            return np.array([math.nan])
        if rounding is self._rounding and len(set(level.tolist())) == 1:
            return self._uniform(self.levels[level[0]])
        return self._bench.losses(rounding.values(level))

    def _uniform(self, bits: int) -> np.ndarray:
        """Losses with these bits everywhere; without a calibration there are none."""
        if self._calibration is None:
            return np.array([math.nan])
        if bits not in self._uniform_losses:
            level = self._rounding.everywhere(bits)
            self._uniform_losses[bits] = self._bench.losses(self._rounding.values(level))
        return self._uniform_losses[bits]

    def _planned(self, one: _Tried, uniform: int, reason: str) -> QuantizationPlan:
        expected = [
            expected_rise(one.rounding.change(layer, self.levels[at]), layer.moments.second)
            for layer, at in zip(self._layers, one.level, strict=True)
            if layer.moments is not None
        ]
        calibrated = self._calibration is not None
        return QuantizationPlan(
            one.rounding.plan(one.level),
            one.score,
            self._kept + one.rounding.size(one.level),
            uniform,
            self.uniform_size(uniform),
            sum(expected) if expected else math.nan,
            relative_rise(one.losses, self._losses) if calibrated else math.nan,
            relative_rise(self._uniform(uniform), self._losses) if calibrated else math.nan,
            reason,
        )

    def agreement(self, truth: pd.DataFrame | None = None) -> pd.Series:
        """How well each score foretold the damage of quantising one tensor alone: Spearman's rank correlation over
        tensors and bits, by score.

        Args:
            truth: what to foretell, as `sensitivity` gives it, such as rises of a held-out loss; None: `measured`, on
                the calibration batches, on which `fisher` and `gauss_newton` are computed too.

        Raises:
            FlowGradError: no truth and no calibration, or a truth of other tensors or levels.
        """
        if truth is None:
            target = self._sensitivities.of("measured")
        else:
            names = [layer.name for layer in self._layers]
            if missing := [name for name in names if name not in truth.index]:
                raise FlowGradError(f"truth: no line for {missing[0]}")
            if missing_bits := [bits for bits in self.levels if bits not in truth.columns]:
                raise FlowGradError(f"truth: no column for {missing_bits[0]} bits")
            target = truth.loc[names, list(self.levels)].to_numpy(dtype=float)
        told = ("measured", "combined") if truth is None else ()
        scores = [score for score in self._sensitivities.candidates if score not in told]
        found = {score: rank_agreement(self._sensitivities.of(score), target) for score in scores}
        for signal in _SIGNALS:
            values = self._signals[signal].to_numpy()
            found[signal] = rank_agreement(np.repeat(values[:, None], len(self.levels), axis=1), target)
        return pd.Series(found, name="agreement", dtype=float)

    @cached_property
    def _signals(self) -> pd.DataFrame:
        """What was proposed as a sign of sensitivity, by tensor: signal-to-noise ratio, variance and range."""
        names = pd.Index([layer.name for layer in self._layers])
        snr = pd.Series(math.nan, index=names)
        if self._reading.tracker is not None:
            rows = self._reading.tracker.measurements().tables["rows"]
            snr = rows["snr"].reindex(names)
        for layer in self._layers:
            moments = layer.moments
            if math.isnan(snr[layer.name]) and moments is not None and moments.first is not None:
                snr[layer.name] = measures.signal_to_noise(moments.first, moments.second)
        return pd.DataFrame(
            {
                "snr": snr,
                "variance": [float(layer.data.var(dtype=np.float64)) for layer in self._layers],
                "range": [float(np.ptp(layer.data)) for layer in self._layers],
            },
            index=names,
        )

    def measurements(self) -> Measurements:
        """Scalars of the whole model, and a line a tensor."""
        finite = not self._reading.nonfinite and bool(self._layers)
        calibrated = finite and self._calibration is not None
        asked = [bits for bits in measures.LEVELS if bits in self.levels]
        scalars: dict[str, float] = {
            "layers": float(len(self._layers)),
            "weights": float(sum(layer.data.size for layer in self._layers)),
            "left_out": float(len(self.left_out)),
            "unknown": float(sum(layer.moments is None for layer in self._layers)),
            "shared": float(self._reading.shared),
            "nonfinite_layers": float(len(self._reading.nonfinite)),
            "size": float(self.size),
            **{f"size_{b}": float(self.uniform_size(b)) if b in asked else math.nan for b in measures.LEVELS},
            **{f"expected_{b}": math.nan for b in measures.LEVELS},
            "calibrated": float(self._calibration is not None),
            "calibration_loss": float(np.mean(self._losses)) if calibrated else math.nan,
            **{f"uniform_{b}": math.nan for b in measures.LEVELS},
            **{f"uniform_{b}_high": math.nan for b in measures.LEVELS},
            **{f"mixed_{b}": math.nan for b in measures.LEVELS[1:]},
            **{f"{score}_agreement": math.nan for score in measures.AGREEMENTS},
        }
        if finite and self._reading.known:
            frame = self.sensitivity("second_moment")
            scalars |= {f"expected_{b}": float(np.nansum(frame[b])) for b in asked}
        if calibrated:
            scalars |= {f"uniform_{b}": relative_rise(self._uniform(b), self._losses) for b in asked}
            scalars |= {f"uniform_{b}_high": highest_rise(self._uniform(b), self._losses) for b in asked}
            scalars |= {f"mixed_{b}": self._mixed[b].calibration_rise for b in asked if b in self._mixed}
            found = self.agreement()
            scalars |= {f"{score}_agreement": float(found[score]) for score in measures.AGREEMENTS if score in found}
        rows = self._rows(finite, calibrated, asked)
        return Measurements(self.KIND, self.name, scalars, {"rows": rows}, self._reading.steps)

    @cached_property
    def _mixed(self) -> dict[int, QuantizationPlan]:
        """Plans at the size of uniform bits below the most."""
        tried = [bits for bits in measures.LEVELS[1:] if bits in self.levels]
        return {bits: self.mixed_precision_plan(bits=bits) for bits in tried}

    def _rows(self, finite: bool, calibrated: bool, asked: Sequence[int]) -> pd.DataFrame:
        signals = self._signals
        table = pd.DataFrame(math.nan, index=signals.index, columns=measures.ROW_MEASURES)
        table["entries"] = [float(layer.data.size) for layer in self._layers]
        table["weight_variance"], table["weight_range"] = signals["variance"], signals["range"]
        table["snr"] = signals["snr"]
        table["is_table"] = [float(layer.weight.is_table) for layer in self._layers]
        base = abs(float(np.mean(self._losses))) if calibrated else math.nan
        for bits in asked:
            if finite and (self._reading.known or calibrated):
                table[f"sensitivity_{bits}"] = self.sensitivity()[bits]
            if calibrated and base:
                table[f"rise_{bits}"] = self.sensitivity("measured")[bits] / base
        for bits in (4, 3):
            if finite and bits in self._mixed:
                table[f"bits_{bits}"] = [float(layer.bits) for layer in self._mixed[bits].layers]
        return table.astype(float)

    def plot_sensitivity(self, path: str | Path, score: str | None = None) -> None:
        """Draw the rise of the loss by bits, a line a tensor.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.
            score: as of `sensitivity`.

        Raises:
            FlowGradError: another ending, an unknown score, or nothing to draw.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.sensitivity_figure(score), path)

    def sensitivity_figure(self, score: str | None = None) -> Any:
        """What `plot_sensitivity` draws, as a `matplotlib.figure.Figure`."""
        from flowgrad.analyzers.compression_plots import sensitivity_figure

        self._ready()
        return sensitivity_figure(self.sensitivity(score), self.name, score or self._sensitivities.best)


def _checked(levels: Sequence[int]) -> tuple[int, ...]:
    found = tuple(sorted({*levels}, reverse=True))
    for bits in found:
        if not (2 <= bits <= 8 or bits == measures.FLOAT_BITS):
            raise FlowGradError(f"levels: {bits} bits; they must lie between 2 and 8, or be {measures.FLOAT_BITS}")
    if not found:
        raise FlowGradError("levels: give one or more numbers of bits, such as 8, 4, 3, 2")
    return found


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
