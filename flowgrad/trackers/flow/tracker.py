"""Watches a whole network train: weights, gradients, updates and activations of every layer, and the losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer

from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Judged, Measurements
from flowgrad.measures import flow, flow_course, training
from flowgrad.rules import RuleBook
from flowgrad.trackers import schedules, states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.flow import form, plots
from flowgrad.trackers.flow.course import FlowHistory
from flowgrad.trackers.flow.coverage import Sight, coverage_of
from flowgrad.trackers.flow.freshness import freshness
from flowgrad.trackers.flow.half_precision import HalfPrecision
from flowgrad.trackers.flow.history import History
from flowgrad.trackers.flow.kept import LastEpoch
from flowgrad.trackers.flow.leftovers import Leftovers
from flowgrad.trackers.flow.losses import PendingLosses
from flowgrad.trackers.flow.modes import Modes
from flowgrad.trackers.flow.network import NetworkLook, NetworkSeen
from flowgrad.trackers.flow.outside import Outside
from flowgrad.trackers.flow.parameters import watched_parameters
from flowgrad.trackers.flow.readings import (
    InputFigures,
    decay_scalars,
    first_normalises,
    frozen_for,
    given_scalars,
    network_rows,
    network_scalars,
    observe,
    usual_norms,
)
from flowgrad.trackers.flow.rewrites import Rewrites
from flowgrad.trackers.flow.scattered_zeros import ScatteredZeros
from flowgrad.trackers.flow.shared_sums import sums_by_row
from flowgrad.trackers.flow.unregistered import Unregistered
from flowgrad.trackers.optimizers import Optimizers, is_skipped
from flowgrad.trackers.watching import OPTIMIZER, entry, loss_of

_FIGURES = ("weight_norm", "gradient_norm", "velocity", "gradient_cosine")
_ROUNDING = 1e-6
"""Share of a norm by which two readings of the same weights may differ."""
_FEWEST_RECENT = 8
_FLAGS = ("moved", "had_gradient", "nonfinite")


class FlowTracker(Tracker):
    """Watches every parameter tensor of a model while it trains, in any loop.

    Example::

        tracker = FlowTracker(model, optimizer)
        # training loop: loss.backward(); optimizer.step(); tracker.step(loss)
        print(tracker.to_agent_xml())

    Call `step()` after every `optimizer.step()`, once where gradients of several batches are accumulated; a call
    without a step before it (an overflow under AMP) counts as skipped. With the optimizer, gradients are read right
    before it steps, as it is going to use them: after clipping, unscaled under AMP, summed over accumulated batches,
    averaged over the ranks of `DistributedDataParallel`. Without it, `.grad` is read at `step()`, so that the loop must
    not clear gradients before.

    Steps are sampled as `schedule` says; a sample computes a handful of numbers a tensor on the tensors' device and
    fetches them by one transfer. It takes a copy of the weights that lives on the device. Weights that require no
    gradient are read but not followed. Dead and saturated units are read from the outputs of modules (`nn.ReLU`,
    `nn.ReLU6`, `nn.Tanh`, `nn.Sigmoid`, `nn.Hardsigmoid`, `nn.RNN`); where there are none, and in compiled models, dead
    units are those without any gradient. See docs/layers.md.
    """

    KIND = "flow"
    MEASURES = flow.MEASURES

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        scheduler: Any = None,
        *,
        name: str = "model",
        rules: RuleBook | None = None,
        schedule: schedules.Schedule | None = None,
        loss_at_least: float | None = None,
    ) -> None:
        """Attach to `model`.

        Args:
            model: whose parameters are watched; it may be wrapped (`DistributedDataParallel`) or compiled.
            optimizer: that trains them, any of `torch.optim` or of that interface, wrapped or not; a list of all where
                several do. Without one, it is not known which tensors it holds, nor the learning rate.
            scheduler: of the learning rate; its optimizer is taken where none is given.
            name: what is trained; `layer` of the report.
            rules: rule book to judge by; the shipped one if None.
            schedule: number of a step (from 1) -> whether it is sampled; `flowgrad.trackers.schedules` has some.
                None: the first 20 steps, then two in a row of every 41.
            loss_at_least: bound that the loss cannot fall below: 0 of squared errors and of cross-entropies. None: not
                known.

        Raises:
            TypeError: `model` is no module or has sharded parameters, `optimizer` is none, `schedule` cannot be called.
            ValueError: a parameter has no shape yet (lazy modules) or no numbers (meta device), or there is none.
        """
        super().__init__(name, rules)
        self.model = model
        if schedule is not None and not callable(schedule):
            raise TypeError(f"schedule={schedule!r} must be a function of the number of a step, such as every(10)")
        self._watched = watched_parameters(model, name)
        self._parameters = [one.parameter for one in self._watched]
        given = optimizer if optimizer is not None else getattr(scheduler, "optimizer", None)
        self._optimizers = Optimizers(given, name)
        self._course = FlowHistory(self._parameters, self._optimizers, self._failed)
        self._rewrites = Rewrites(self._watched, self._optimizers)
        self._leftovers = Leftovers(self._parameters)
        self._unregistered = Unregistered(model)
        self._halves = HalfPrecision()
        self._zeros = ScatteredZeros(self._watched)
        self._outside = Outside({id(one) for one in (*model.parameters(), *self._unregistered.parameters)})
        self.losses_differ = 0.0
        """Flag: 1 where what sees the batches has shown that training and validation loss are two quantities."""
        self.outputs_tell = 0.0
        """Standard errors by which outputs agree with their rows' targets beyond chance, by what sees the batches."""
        self._floor = math.nan if loss_at_least is None else float(loss_at_least)
        self._fresh: np.ndarray | None = None
        """Flags of tensors that were as initialisers leave them, before the first sampled step."""
        self._frozen_norms: np.ndarray | None = None
        """Norm of each tensor before the first sampled step, where some asked for no gradient then."""
        self._version = 0
        """Version counters of the weights, summed, at the last step."""
        self._schedule = schedules.default() if schedule is None else schedule
        self._network = NetworkLook(model, self._watched, name, self._failed)
        self._modes = self._network.activations.modes = Modes(model)
        self._epoch_start = self._epoch_steps = 0
        """Number of the step at which the last epoch ended, and its number of steps."""
        count = len(self._watched)
        self._history = History(len(_FIGURES), count)
        self._losses = PendingLosses()
        self._steps = self._looks = self._skipped = self._nonfinite_looks = 0
        self._early = False
        """Whether `step()` was called before any step of the optimizer."""
        self._flags = {flag: np.zeros(count, dtype=int) for flag in _FLAGS}
        self._train: list[float] = []
        self._validation: list[float] = []
        self._inputs: InputFigures = {}
        self._shown = 0
        """Number of rows of inputs shown."""
        self._lr_first = self._lr_most = flow.median_of(self._learning_rates())
        self._rates: list[Any] = []
        """Learning rates of the parameter groups, when they were last noted."""
        self._attached = True
        self._stepped = self._read = False
        self._last_epoch = LastEpoch([w.parameter for w in self._watched if getattr(w.owner, "max_norm", None) is None])
        self._written: dict[str, float] | None = None
        """Figures of what was written to the weights since the last step, when the tracker was detached."""
        self._final: np.ndarray | None = None
        """Figures of the weights when the tracker was detached."""
        self._handles = self._optimizers.hook(self._before_step, self._after_step)
        self._note_version()
        self._version_at_start = self._version
        self._plan()

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer that trains the watched tensors, where it was given, without its wrappers; the first of
        several.
        """
        return self._optimizers.all[0] if self._optimizers.known else None

    def add_optimizer(self, optimizer: Any) -> None:
        """Watch a further optimizer of the same model, from its next step on; one that is known is passed over.

        Args:
            optimizer: as where the tracker is made.

        Raises:
            TypeError: it has no step hooks.
        """
        fresh = self._optimizers.add(optimizer, self.name)
        for one in fresh:
            self._course.follow(one)
            self._rewrites.follow(self._watched, one)
        self._handles += self._optimizers.hook(self._before_step, self._after_step, fresh)
        if fresh and not self._steps:
            self._lr_first = self._lr_most = flow.median_of(self._learning_rates())

    def _count(self) -> int:
        return self._steps

    def _begun(self) -> bool:
        return self._steps + self._skipped > 0

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._attached:
            return
        try:
            self._rewrites.before(optimizer, self._steps + 1, due=self._due)
            self._course.stepping(optimizer)
            self._zeros.before(due=self._due)
            if not self._due:
                return
            # A closure computes the gradients within the step.
            self._read = kwargs.get("closure") is None and not any(callable(argument) for argument in args[1:])
            own = self._optimizers.share_of(optimizer, self._parameters)
            self._begin(own, share=self._read and sums_by_row(optimizer))
            if self._read:
                self._network.gradients(_scale(optimizer))
        except Exception as error:
            self._failed(OPTIMIZER, error)

    def _begin(self, chosen: list[int] | None = None, *, share: bool = False) -> None:
        if self._fresh is None:
            self._fresh = freshness(self._watched)
            if not all(parameter.requires_grad for parameter in self._parameters):
                self._frozen_norms = self._network.weights()[:, 0]
        self._network.before(chosen, share=share)

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._attached:
            return
        try:
            if self._due:
                self._network.stepped()
            if is_skipped(optimizer):
                return
            self._stepped = True
            self._rewrites.stepped(optimizer, self._steps + 1, due=self._due)
            self._course.stepped(optimizer)
            if self._due and not self._read:
                self._network.gradients(_scale(optimizer))
        except Exception as error:
            self._failed(OPTIMIZER, error)

    def step(self, loss: float | torch.Tensor | None = None) -> None:
        """Note the optimizer step just taken, and the loss of its batch as it was before.

        Args:
            loss: a number or a tensor of one number, on any device; it stays there until the next sampled step.

        Where a watched tensor was replaced, resized, converted or moved since tracking began, the tracker warns and
        stops (see `Tracker`).

        Raises:
            ValueError: `loss` is not one number, at the first call. Later on, that ends the watching.
        """
        if not self._attached:
            self._take_off_late()
            return
        try:
            if (thread := get_ident()) != self._thread:
                self._turn(thread)
            skipped = self._optimizers.known and not self._stepped
            if loss is not None:
                self._losses.add(loss, self.name, skipped=skipped)
                self.note_graph(loss)
            if skipped:
                self._skipped += 1
                self._early |= not self._steps
                return
            self._stepped = False
            self._steps += 1
            if not self._optimizers.known:
                self._course.stepped()
            if self._due:
                self._look()
            self._note_version()
            self._plan()
        except Exception as error:
            self._failed("step()", self._refusal(error))

    def note_loss(self, loss: float | torch.Tensor) -> None:
        """Note a loss apart from `step`: that of the last step, where it is told after it."""
        if not self._attached:
            return
        try:
            self._losses.add(loss, self.name)
        except Exception as error:
            self._failed("note_loss()", self._refusal(error))

    def note_graph(self, loss: Any) -> None:
        """Note which tensors the graph of a loss leads to. Costs a walk through the graph of a few losses of a run."""
        if not self._attached:
            return
        try:
            if self._outside.due(loss):
                self._outside.see(loss, {id(p) for group in self._optimizers.groups() for p in group["params"]})
        except Exception as error:
            self._failed("note_graph()", error)

    def _note_version(self) -> None:
        """Note the version of the weights, which any write after the step raises."""
        self._version = self._version_now()

    def _version_now(self) -> int:
        return sum(0 if p.is_inference() else p._version for p in (self._parameters[0], self._parameters[-1]))

    def _look(self) -> None:
        if not self._optimizers.known:
            self._network.gradients(None)
        losses, probes = self._losses.on_device(), self._course.waiting()
        seen, fetched = self._network.after(self._steps, [*losses, *probes])
        self._losses.settle(fetched[: len(losses)])
        self._course.settle(fetched[len(losses) :])
        self._note(seen)

    def _note(self, seen: NetworkSeen) -> None:
        self._course.note(self._steps, seen)
        self._modes.look(self._steps)
        self._halves.note(self._parameters, seen.still)
        self._looks += 1
        self._history.append(self._steps, np.stack([getattr(seen, figure) for figure in _FIGURES]))
        self._flags["moved"] |= seen.velocity > 0
        self._flags["had_gradient"] |= (seen.gradient_norm > 0) & ~self._left_over()
        # An infinite norm has overflowed or has an infinite entry; NaN is also what a tensor without gradient has.
        broken = seen.has_gradient & ~np.isfinite(seen.gradient_norm)
        self._flags["nonfinite"] += broken
        self._nonfinite_looks += bool(broken.any())
        self._note_rates()

    def _left_over(self) -> np.ndarray:
        """Flags of tensors that no optimizer holds and whose gradient is from before: no training has brought it."""
        flags = np.zeros(len(self._watched), dtype=bool)
        if still := self._leftovers.still():
            held = self._held()
            flags[still] = True if held is None else ~held[still]
        return flags

    def _note_rates(self) -> None:
        rates = self._optimizers.raw_rates()
        if rates and not any(isinstance(rate, torch.Tensor) for rate in rates) and rates == self._rates:
            return  # they seldom change, and the median of many tensors takes as long as a norm
        self._rates = rates
        self._lr_most = float(np.fmax(self._lr_most, flow.median_of(self._learning_rates(only_at_hand=True))))

    def _plan(self) -> None:
        """Get ready for the next step, if it is to be sampled."""
        self._due = bool(self._schedule(self._steps + 1))
        self._course.arm(self._steps, self._due)
        # An epoch is as long as the one before: behind its last step, passes without gradients are a validation.
        self._modes.evaluation.stepped()
        self._modes.expecting = 0 < self._epoch_steps == self._steps - self._epoch_start
        if not self._due:
            self._network.rest(root=self._modes.expecting)
            return
        self._network.arm()
        if not self._optimizers.known:
            self._zeros.before(due=True)
            self._begin()

    @entry("end_epoch()")
    def end_epoch(self, train_loss: float | None = None, validation_loss: float | None = None) -> None:
        """Note one finished epoch: mean training loss and validation loss (lower is better), where they are known."""
        if not self._attached:
            return
        train = math.nan if train_loss is None else loss_of(train_loss, self.name, "train_loss")
        validation = None if validation_loss is None else loss_of(validation_loss, self.name, "validation_loss")
        self._modes.evaluation.end_epoch(validated=validation is not None, expected=self._modes.expecting)
        self._epoch_start, self._epoch_steps = self._steps, self._steps - self._epoch_start
        self._losses.end_epoch()
        self._zeros.end_epoch()
        self._train.append(train)
        if validation is not None:
            self._validation.append(validation)
        self._last_epoch.end()

    def _steps_of_each_epoch(self) -> int:
        """Number of steps of every epoch so far; 0 where none ended, or they differ."""
        return self._epoch_steps if self._epoch_start == len(self._train) * self._epoch_steps else 0

    def late_rate_fall(self) -> float:
        """Deepest fall of the learning rate within the last fifth of the steps so far, as a share; NaN: not known."""
        return self._course.late_rate_fall()

    @entry("observe_inputs()", argued=True)
    def observe_inputs(self, inputs: torch.Tensor | np.ndarray) -> None:
        """Note the inputs that the network is trained on, as it is given them, shape (n, features...).

        Raises:
            ValueError: no rows, or no features.
        """
        self._inputs = observe(inputs, self.name)
        self._shown = len(inputs)

    def _measure(self) -> Measurements:
        """Compute scalars of the whole network, and a line a tensor in order of depth."""
        self._settle()
        rows = self._rows()
        units, tables = rows.attrs.pop("units"), rows.attrs.pop("tables")
        outside, readings = self._outside.figures(), self._network.activations.readings
        coverage = coverage_of(self._sight(rows, outside["outside_tensors"]))
        rates = self._learning_rates()
        losses = self._losses.curve
        spread, kept = self._network.activations.output_spread()
        scalars = {
            "steps": float(self._steps),
            "looks": float(self._looks),
            "skipped_steps": float(self._skipped),
            **network_scalars(rows, self._history.steps, self._by_figure(), units, tables),
            **self._course.scalars(losses, self._steps_of_each_epoch()),
            "output_spread": spread,
            "output_kept": kept,
            "input_normalised": float(first_normalises(self._watched, rows["depth"].to_numpy())),
            **given_scalars(self._network.activations),
            "steady_units": self._network.activations.steady_units(),
            **self._modes.scalars(self._steps),
            **{name: value for part in readings.values() for name, value in part.scalars().items()},
            "unregistered": float(len(self._hidden())) if self._optimizers.known else math.nan,
            **outside,
            **self._halves.scalars(),
            **self._zeros.scalars(),
            "losses_differ": self.losses_differ,
            "outputs_tell": self.outputs_tell,
            **self._losses.places.scalars(),
            **flow.loss_trend(*losses.windows, losses.first),
            "loss_floor": self._floor,
            "loss_floor_told": float(not math.isnan(self._floor)),
            "loss_nonfinite": float(losses.nonfinite > 0),
            **self._before_nonfinite(),
            **self._rewrites.scalars(),
            **flow_course.rise_at(*losses.windows[:2], self._rewrites.at),
            "nonfinite_looks": self._nonfinite_looks / self._looks if self._looks else math.nan,
            **dict.fromkeys(flow.INPUTS, math.nan),
            **self._inputs,
            "inputs_shown": float(self._shown > 0),
            "lr": flow.median_of(rates),
            "lr_first": self._lr_first,
            "lr_ratio": flow.ratio(flow.median_of(rates), float(np.fmax(self._lr_most, flow.median_of(rates)))),
            "epochs": float(len(self._train)),
            **training.validation_course(self._validation),
            **flow_course.overfitting(self._validation, self._train, self._losses.first_tail),
            "moved_unseen": float(not self._steps and self._version_at_start != self._version_now()),
            "frozen_for": frozen_for(rows, self._steps),
            **decay_scalars(rows, self._optimizers, *self._course.mean_rates()),
            **self.written_since(),
            "train_last": self._train[-1] if self._train else math.nan,
            "train_fall": training.loss_course(self._train)["loss_fall"],
        }
        if coverage.blind:
            scalars |= dict.fromkeys(flow.SEEN, math.nan)
        table = rows[flow.ROW_MEASURES].sort_values("depth", kind="stable")
        return Measurements(
            self.KIND, self.name, scalars, {"rows": table}, self._steps, coverage, self._judged(), "torch"
        )

    def _judged(self) -> Judged | None:
        return Judged("validation loss", "lower", "validation", "last_epoch") if self._validation else None

    def _sight(self, rows: pd.DataFrame, outside: float) -> Sight:
        held = self._held()
        return Sight(
            steps=self._steps,
            skipped=self._skipped,
            early=self._early,
            optimizer_steps=self._course.optimizer_steps,
            looks=self._looks,
            gradients=self._course.gradient_looks,
            moved=bool(self._flags["moved"].any()),
            asked=any(p.requires_grad for p in self._parameters),
            losses=self._losses.curve.told,
            epochs=len(self._train),
            validations=len(self._validation),
            inputs=float(self._shown),
            optimizer=self._optimizers.known,
            held=held is None or bool(held.any()),
            activations=bool(self._network.activations.order),
            compiled=self._network.compiled,
            checks=sum(probe.checks for probe in self._course.probes),
            elsewhere=int(((rows["in_optimizer"] == 0) & (rows["moved"] == 1)).sum()),
            hidden=tuple(self._hidden()),
            outside=outside,
            losses_differ=self.losses_differ == 1,
        )

    def _hidden(self) -> list[str]:
        """Names of tensors that took a gradient and are no parameters of the model, nor held by an optimizer."""
        return self._unregistered.with_gradient({id(p) for group in self._optimizers.groups() for p in group["params"]})

    def _before_nonfinite(self) -> dict[str, float]:
        losses, history = self._losses.curve, self._by_figure()
        at = [step for step in (losses.broken_at, self._course.broken_step) if step]
        unknown = dict.fromkeys(("loss_growth_before", "gradient_growth_before", "update_before"), math.nan)
        if not at:
            return {"nonfinite_step": math.nan, **unknown}
        steps = self._history.steps
        broken = int((steps < (self._course.broken_step or min(at))).sum())
        with np.errstate(all="ignore"):
            # Weights that begin far below the usual size outgrow it at once, and no step overshoots by that.
            usual = np.nan_to_num(usual_norms(self._watched))
            updates = history["velocity"] / np.maximum(history["weight_norm"], usual)
        # Layers that begin at zero grow by any share at first, on purpose.
        began = np.all(history["weight_norm"][:1] > 0, axis=0).tolist()
        weights = [i for i, p in enumerate(self._parameters) if p.dim() >= 2 and began[i]]
        largest = np.fmax.reduce(updates[:, weights], axis=1, initial=math.nan)
        total = flow.whole_norm(history["gradient_norm"])
        return {
            "nonfinite_step": float(min(at)),
            **flow_course.before_nonfinite(losses.before_break, losses.first, total, largest, broken),
        }

    def written_since(self) -> dict[str, float]:
        """Figures of what was written to the weights since the last step: whether others stand there now, and whether
        they are the very same.
        """
        if self._written is not None:
            return self._written
        written = self._steps > 0 and self._version != self._version_now()
        return self._last_epoch.scalars(
            written=written, between=self._epoch_start == self._steps, seldom=self._rewrites.count == 0
        )

    def _by_figure(self) -> dict[str, np.ndarray]:
        return {figure: self._history.of(i) for i, figure in enumerate(_FIGURES)}

    def _rows(self) -> pd.DataFrame:
        weights = self._network.weights() if self._final is None else self._final
        looks = self._looks or math.nan
        rates = self._learning_rates()
        middle = flow.median_of(rates)
        held = self._held()
        unknown = np.full(len(self._watched), math.nan)
        cut, proven = self._network.cut_off((self._flags["had_gradient"] > 0) | self._course.had_tensor)
        flags = {
            "nonfinite_gradients": self._flags["nonfinite"] / looks,
            "requires_grad": np.array([w.parameter.requires_grad for w in self._watched], dtype=float),
            "in_optimizer": unknown if held is None else held.astype(float),
            "had_gradient": self._flags["had_gradient"] if self._looks else unknown,
            "gradient_tensor": self._course.had_tensor.astype(float) if self._looks else unknown,
            "last_gradient": self._course.last_gradient,
            "moved": self._moved() if self._looks else unknown,
            "fresh": unknown if self._fresh is None else self._fresh,
            "kept": unknown if self._frozen_norms is None else _alike(weights[:, 0], self._frozen_norms),
            "used": self._network.used(),
            "cut_off": cut.astype(float) if self._looks else unknown,
            "stopped": self._stopped() if self._looks else unknown,
            "nonfinite_first": self._course.broken_first.astype(float),
            "dead_seen": self._network.dead_seen().astype(float),
            "lr_multiplier": flow.ratios(rates, np.full(len(rates), middle)),
            "lr_share": _of_fastest(rates),
        }
        rows = network_rows(
            self._watched,
            self._network,
            weights,
            self._history.steps,
            self._by_figure(),
            flags,
            self._losses.curve.first,
            self._optimizers.starts(self._parameters, self._history.steps, self._steps),
        )
        rows.attrs["cut_proven"] = float(proven)
        return rows

    def _moved(self) -> np.ndarray:
        """Flags of tensors that changed at a sampled step, or between two of them."""
        norms = self._history.of(_FIGURES.index("weight_norm"))
        with np.errstate(all="ignore"):
            spread = np.fmax.reduce(norms, axis=0) - np.fmin.reduce(norms, axis=0)
            between = spread > _ROUNDING * np.fmax.reduce(norms, axis=0)
        return ((self._flags["moved"] > 0) | between).astype(float)

    def _settle(self) -> None:
        """Fetch the losses that are still on an accelerator."""
        pending = self._losses.on_device()
        if pending:
            self._losses.settle([float(value) for value in torch.stack([p.float() for p in pending]).tolist()])

    def _stopped(self) -> np.ndarray:
        """Flags of tensors that had a gradient before the recent sampled steps and at none of them, where there are
        enough of both. Of a step that their optimizer does not take, as every fifth of a critic is the generator's
        alone, a tensor that asks for a gradient has no weight norm, and nothing is said.
        """
        steps = self._history.steps
        recent = flow.recent(steps)
        if recent.sum() < _FEWEST_RECENT or recent.all():
            return np.zeros(len(self._watched))
        start = steps[recent][0]
        norms = self._history.of(_FIGURES.index("weight_norm"))[recent]
        asks = np.array([one.requires_grad for one in self._parameters])
        told = ~asks | ((~np.isnan(norms)).sum(0) >= _FEWEST_RECENT)
        return (told & (self._course.last_gradient < start)).astype(float)

    def _held(self) -> np.ndarray | None:
        return self._optimizers.held(self._parameters)

    def _learning_rates(self, *, only_at_hand: bool = False) -> np.ndarray:
        """Learning rate of each tensor, shape (tensors,); NaN where it is in no group. With `only_at_hand`, rates on an
        accelerator are not fetched.
        """
        return self._optimizers.rates(self._parameters, only_at_hand=only_at_hand)

    def history(self, figure: str) -> pd.DataFrame:
        """Table of a figure of every tensor at the sampled steps that are kept (at most 256): a line a step, a column a
        tensor.

        Args:
            figure: `weight_norm`, `gradient_norm`, `velocity` or `gradient_cosine` (NaN unless the step before was
                sampled too).

        Raises:
            FlowGradError: another figure.
        """
        if figure not in _FIGURES:
            raise FlowGradError(f"figure={figure!r} must be one of {', '.join(_FIGURES)}")
        steps, names = pd.Index(self._history.steps, name="step"), pd.Index([w.name for w in self._watched])
        return pd.DataFrame(self._history.of(_FIGURES.index(figure)), index=steps, columns=names)

    def loss_curve(self) -> pd.DataFrame:
        """Table of the losses in at most 512 windows of equal length: the number of the last loss of each (`step`), and
        the mean of its losses (`loss`). Those that are not finite are in no window; `attrs["not_finite"]` counts them.
        """
        self._settle()
        count, mean, _ = self._losses.curve.windows
        table = pd.DataFrame({"step": np.cumsum(count).astype(int), "loss": mean})
        table.attrs["not_finite"] = self._losses.curve.nonfinite
        return table

    def plot_velocity(self, path: str | Path) -> None:
        """Draw the update-to-weight ratio of each layer over the steps, as a heat map.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.

        Raises:
            FlowGradError: another ending, or no step was sampled.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.velocity_figure(), path)

    def velocity_figure(self) -> Any:
        """Make the picture of `plot_velocity`, a `matplotlib.figure.Figure`."""
        weights = self._weights()
        with np.errstate(all="ignore"):
            ratios = self.history("velocity")[weights] / self.history("weight_norm")[weights]
        return plots.velocity_figure(ratios, self.name)

    def plot_gradient_flow(self, path: str | Path) -> None:
        """Draw the gradient's size by depth: early, in the middle and late in the run. Arguments and errors are those
        of `plot_velocity`.
        """
        path = picture_path(path)
        save(self.gradient_flow_figure(), path)

    def gradient_flow_figure(self) -> Any:
        """Make the picture of `plot_gradient_flow`, a `matplotlib.figure.Figure`."""
        weights = self._weights()
        entries = self.measurements().tables["rows"]["entries"][weights]
        return plots.gradient_flow_figure(self.history("gradient_norm")[weights] / np.sqrt(entries), self.name)

    def plot_health(self, path: str | Path) -> None:
        """Draw figures of the row table for each layer: gradient, update, noise, dead units. Arguments and errors are
        those of `plot_velocity`.
        """
        path = picture_path(path)
        save(self.health_figure(), path)

    def health_figure(self) -> Any:
        """Make the picture of `plot_health`, a `matplotlib.figure.Figure`."""
        return plots.health_figure(self.measurements().tables["rows"].loc[self._weights()], self.name)

    def _weights(self) -> list[str]:
        if not self._looks:
            raise FlowGradError(f"tracker {self.name!r} has looked at no step yet")
        rows = self.measurements().tables["rows"]
        chosen = rows.index[rows["is_weight"] == 1]
        return list(chosen if len(chosen) else rows.index)

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint: tensors, numbers, text, lists and dicts, which `torch.save` writes
        and `torch.load(..., weights_only=True)` reads. Take it between a `step()` and the next forward pass.
        """
        if self._halt is not None:
            return self._state_of_halt(self._halt)
        pending = self._losses.on_device()
        self._losses.settle([float(value) for value in pending])
        return states.headed(
            self.KIND,
            {
                **self._identity(),
                "steps": self._steps,
                "looks": self._looks,
                "skipped": self._skipped,
                "nonfinite_looks": self._nonfinite_looks,
                "history": self._history.state_dict(),
                "losses": self._losses.curve.state_dict(),
                "network": self._network.state_dict(),
                **{flag: torch.from_numpy(values.copy()) for flag, values in self._flags.items()},
                "train": list(self._train),
                "validation": list(self._validation),
                "inputs": dict(self._inputs),
                "lr_first": self._lr_first,
                "lr_most": self._lr_most,
                "shown": self._shown,
                "early": self._early,
                "course": self._course.state_dict(),
                "rewrites": self._rewrites.state_dict(),
                **{key: part.state_dict() for key, part in self._network.activations.readings.items()},
                "modes": {**self._modes.state_dict(), "epoch": [self._epoch_start, self._epoch_steps]},
                "evaluation": self._modes.evaluation.state_dict(),
                "places": {**self._losses.places.state_dict(), "first_tail": self._losses.first_tail},
                "outside": self._outside.state_dict(),
                "halves": self._halves.state_dict(),
                "zeros": self._zeros.state_dict(),
                "fresh": None if self._fresh is None else torch.from_numpy(self._fresh.copy()),
            },
        )

    def _identity(self) -> dict[str, Any]:
        return {"names": [w.name for w in self._watched], "shapes": [list(w.parameter.shape) for w in self._watched]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, whatever was seen since this tracker was attached.

        Load the model and the optimizer first: with both as they were then, the report will be the one of a run that
        was never interrupted. Name, rule book and schedule stay this tracker's own; all else comes from the state.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, of another network, or damaged:
                then the message names where. Nothing has changed.
        """
        if not self._takes(state):
            return
        parts = form.parts(self._watched, self._network.owners, len(_FIGURES))
        states.check(state, self.name, self.KIND, parts, self._identity(), form.LATER, form.fits)
        self._steps, self._looks, self._skipped = state["steps"], state["looks"], state["skipped"]
        self._nonfinite_looks = state["nonfinite_looks"]
        self._history.load_state_dict(state["history"])
        self._losses = PendingLosses()
        self._losses.curve.load_state_dict(state["losses"])
        if "modes" in state:  # else of a version that did not look at them
            self._losses.places.load_state_dict(state["places"])
            self._losses.first_tail = state["places"]["first_tail"]
            self._modes.load_state_dict(state["modes"])
            self._epoch_start, self._epoch_steps = state["modes"]["epoch"]
        self._network.load_state_dict(state["network"])
        if "evaluation" in state:
            self._modes.evaluation.load_state_dict(state["evaluation"])
        for key, part in self._network.activations.readings.items():
            if key in state:  # else of a version that did not look at it
                part.load_state_dict(state[key])
        if "halves" in state:
            self._halves.load_state_dict(state["halves"])
        if "zeros" in state:
            self._zeros.load_state_dict(state["zeros"])
        if "outside" in state:
            self._outside.load_state_dict(state["outside"])
        self._flags = {flag: state[flag].cpu().numpy().copy() for flag in _FLAGS}
        self._train, self._validation = list(state["train"]), list(state["validation"])
        self._inputs = dict(state["inputs"])
        self._lr_first, self._lr_most = state["lr_first"], state["lr_most"]
        self._shown, self._early = state["shown"], state["early"]
        self._course.load_state_dict(state["course"])
        fresh = state["fresh"]
        self._fresh = None if fresh is None else fresh.cpu().numpy().copy()
        self._rewrites.load_state_dict(state["rewrites"])
        self._stepped = False
        self._note_version()
        if self._attached:
            self._plan()

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy or a pickle, which reports what was seen so far and watches nothing."""
        state = self.__dict__.copy()
        state.update(_handles=[], _attached=False, _due=False)
        if self._final is None:
            state.update(_final=self._network.weights(), _written=self.written_since())
        return state

    def detach(self) -> None:
        """Take the hooks off the layers and the optimizer. Measurements stay readable, as they were then."""
        if not self._attached:
            return
        self._attached = self._due = False
        self._take_off(self._handles)
        self._network.stepped()
        self._network.detach()
        self._course.detach()
        try:
            self._written = self.written_since()
            self._final = self._network.weights()
        except Exception:  # of weights that have no numbers any more
            self._written = self._written or dict.fromkeys(("weights_rewritten", "rewritten_alike"), math.nan)
            self._final = np.full((len(self._watched), 5), math.nan)


def _alike(norms: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Flags of norms that are the same to rounding, shape (tensors,): nothing wrote to these tensors."""
    return (np.abs(norms - first) <= _ROUNDING * first).astype(float)


def _of_fastest(rates: np.ndarray) -> np.ndarray:
    """Ratio of each rate to the largest, shape of `rates`; 1 for all where a schedule has taken all of them to 0."""
    fastest = np.fmax.reduce(rates, initial=math.nan)
    if fastest == 0:
        return np.where(np.isnan(rates), math.nan, 1.0)
    return flow.ratios(rates, np.full(len(rates), fastest))


def _scale(optimizer: Optimizer) -> torch.Tensor | None:
    """Factor that the gradients are still multiplied by: fused optimizers unscale within the step."""
    scale = getattr(optimizer, "grad_scale", None)
    return scale if isinstance(scale, torch.Tensor) else None
