"""Says how many bits each layer of a trained model needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.compression.planning.allocation import BitAllocation
from flowgrad.compression.planning.calibration import (
    Bench,
    Calibration,
    coverage_of,
    doubt_of,
    highest_rise,
    relative_rise,
    unsound,
)
from flowgrad.compression.planning.gptq import Compensation
from flowgrad.compression.planning.reading import Layer, model_of, name_of, read_model
from flowgrad.compression.planning.rounding import Rounding
from flowgrad.compression.planning.sensitivities import Sensitivities
from flowgrad.compression.plans import QuantizationPlan
from flowgrad.compression.recipe import Plan, Recipe
from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures import quantization as measures
from flowgrad.measures.saliency import rank_agreement
from flowgrad.rules import RuleBook
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.subject import Subject
from flowgrad.trackers.squared_gradients import SquaredGradients

SCALES = ("channel", "tensor")
_SIGNALS = ("snr", "variance")


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
    and the report says how well each score predicted it. Biases and other tensors of one dimension stay as they are.

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
                (`nn.Linear`, convolutions), make up for rounding errors (`flowgrad.compression.planning.gptq`); else by
                least squares. Much closer below 8 bits. None: in mixed plans with a calibration,
                below 8 bits, of layers whose inputs are known, and of others where less damage is predicted; not in
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
        bench = None if calibration is None else lambda: self._bench
        self._sensitivities = Sensitivities(self._rounding, bench, moments=self._reading.known)
        self._allocation = BitAllocation(
            self._sensitivities,
            bench,
            kept=lambda: self._kept,
            whole_losses=None if self._before is None else lambda: self._losses_before,
            chooses_scales=fitted is None and calibration is not None,
            doubt=lambda: "" if calibration is None else doubt_of(self._bench.objection),
        )
        self.left_out = {one.name: one.reason for one in self._reading.left_out}
        self.left_out |= dict.fromkeys(self._reading.nonfinite, "NaN or infinite weights")

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
    def _losses_before(self) -> np.ndarray:
        """Losses of the calibration batches before `after` was applied, shape (batches,)."""
        assert self._before is not None
        assert self._calibration is not None
        return Bench(self._before, self._calibration).losses()

    def sensitivity(self, score: str | None = None) -> pd.DataFrame:
        """Rise of the loss when one tensor alone is rounded: a line a tensor, a column a level.

        Args:
            score: `second_moment`: half the sum of v times change^2, NaN for a tensor without moments; `fisher`: the
                same with the squared gradients of the calibration batches; `gauss_newton`: the change's quadratic form
                in the Gauss-Newton matrix, on them; `measured`: the rise of the loss on them; `combined`: a mean of the
                last two. All are rises of the loss; the first two up to one factor. None: the best predictor,
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
        return self._allocation.uniform_size(bits)

    def uniform_rise(self, bits: int) -> float:
        """Rise of the calibration loss with the same bits everywhere, as a share of the loss, with the effect of
        `after` counted in; NaN without a calibration.
        """
        if self._calibration is None:
            return math.nan
        return relative_rise(self._allocation.uniform_losses(bits), self._allocation.whole_losses)

    def uniform_plan(self, bits: int) -> QuantizationPlan:
        """Plan the same bits everywhere, with the rise of the calibration loss.

        Raises:
            FlowGradError: bits that are not among the levels, weights that are not finite, or nothing to quantise.
        """
        self._ready()
        if bits not in self.levels:
            raise FlowGradError(f"bits={bits} is not among the levels {list(self.levels)}")
        return self._allocation.uniform(bits)

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
            return self._allocation.for_loss(loss, score)
        if bits is not None:
            if bits not in self.levels:
                raise FlowGradError(f"bits={bits} is not among the levels {list(self.levels)}")
            size = self.uniform_size(bits)
        assert size is not None
        return self._allocation.for_size(size, score)

    def plan_again(self, plan: QuantizationPlan) -> QuantizationPlan:
        """Plan the same bits for the weights as they are now, such as after further training.

        Raises:
            FlowGradError: the plan has other tensors, bits or scales than this advisor, or was made with a calibration
                and this one was not, or weights are not finite.
        """
        self._ready()
        return self._allocation.again(plan)

    def _ready(self) -> None:
        self._reading.check_finite("a quantisation plan")
        if not self._layers:
            told = ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
            raise FlowGradError(f"{self.name}: no tensor can be quantised; left out: {told}")

    def agreement(self, truth: pd.DataFrame | None = None) -> pd.Series:
        """Agreement of each score with the damage of quantising one tensor alone: Spearman's rank correlation over
        tensors and bits, by score.

        Args:
            truth: what to predict, as `sensitivity` gives it, such as rises of a held-out loss; None: `measured`, on
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
        """Proposed signs of sensitivity, by tensor: signal-to-noise ratio, variance and range."""
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
            "calibration_unsound": unsound(self._bench if calibrated else self._calibration),
            "calibration_loss": float(np.mean(self._allocation.losses)) if calibrated else math.nan,
            **{f"uniform_{b}": math.nan for b in measures.LEVELS},
            **{f"uniform_{b}_high": math.nan for b in measures.LEVELS},
            **{f"mixed_{b}": math.nan for b in measures.LEVELS[1:]},
            **{f"{score}_agreement": math.nan for score in measures.AGREEMENTS},
        }
        if finite and self._reading.known:
            frame = self.sensitivity("second_moment")
            scalars |= {f"expected_{b}": float(np.nansum(frame[b])) for b in asked}
        if calibrated:
            losses, uniform = self._allocation.losses, self._allocation.uniform_losses
            scalars |= {f"uniform_{b}": relative_rise(uniform(b), losses) for b in asked}
            if not scalars["calibration_unsound"]:
                scalars |= {f"uniform_{b}_high": highest_rise(uniform(b), losses) for b in asked}
            scalars |= {f"mixed_{b}": self._mixed[b].calibration_rise for b in asked if b in self._mixed}
            found = self.agreement()
            scalars |= {f"{score}_agreement": float(found[score]) for score in measures.AGREEMENTS if score in found}
        rows = self._rows(finite, calibrated, asked)
        seen = coverage_of(self._calibration, self._reading.steps)
        return Measurements(self.KIND, self.name, scalars, {"rows": rows}, self._reading.steps, seen)

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
        base = abs(float(np.mean(self._allocation.losses))) if calibrated else math.nan
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
        """Make the picture of `plot_sensitivity`, a `matplotlib.figure.Figure`."""
        from flowgrad.compression.planning.plots import sensitivity_figure

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
