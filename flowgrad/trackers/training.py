"""Tracks the course of the losses of a run, whatever the model."""

from __future__ import annotations

import math
import statistics
from collections import deque
from numbers import Integral
from threading import get_ident
from typing import Any

from flowgrad.measurements import Coverage, Judged, Measurements
from flowgrad.measures import training
from flowgrad.rules import RuleBook
from flowgrad.trackers import schema, states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.watching import ArgumentError, entry, loss_of, told_value

_LISTS = ("train", "validation", "metrics", "recent", "latest")
_SCHEMA: dict[str, schema.Check] = {
    **{name: schema.listed(schema.number()) for name in ("train", "validation", "metrics")},
    "recent": schema.listed(schema.number(finite=True), most=training.PEAK_STEPS),
    "target_variance": schema.number(),
    "l2_penalty": schema.number(),
    "lower_bound": schema.number(),
    "loss": schema.text(),
    "steps": schema.count(),
    "told": schema.count(),
    "start": schema.number(),
    "peak": schema.number(),
    "least": schema.number(),
    "first_nonfinite": schema.number(least=0.0),
    "stopped": schema.flag,
}
_LATER: dict[str, schema.Check] = {
    "late_rate_fall": schema.number(),
    "latest": schema.listed(schema.number(finite=True), most=training.LATE_STEPS),
    "typical_peak": schema.number(),
}
"""Parts that states of earlier releases lack."""
_fits = schema.together(
    (
        lambda state: len(state["train"]) == len(state["validation"]) == len(state["metrics"]),
        ": train, validation and metrics must be of one length",
    ),
    (lambda state: state["told"] <= state["steps"], "['told'] is above state['steps']"),
)
_UNSEEN = {
    "epochs": "no epoch was told; call end_epoch(train_loss, validation_loss) after each",
    "validation_loss": "never told; call end_epoch(train_loss, validation_loss)",
    "metric": "never told; call end_epoch(..., metric=...) with one that is better when higher, such as an accuracy",
    "step_losses": "never told; call step(loss) at every batch, and the course within epochs is known",
    "target_variance": "not told; give target_variance=targets.var() where the loss is a squared error",
}
"""Advice on how each figure that may be missing would be given."""


class TrainingTracker(Tracker):
    """Collects one training and one validation loss an epoch.

    Example::

        tracker = TrainingTracker(target_variance=ratings.var())
        tracker.end_epoch(train_loss=0.92, validation_loss=1.01)
        print(tracker.to_agent_xml())
    """

    KIND = "training"
    MEASURES = training.MEASURES

    def __init__(
        self,
        name: str = "training",
        target_variance: float | None = None,
        l2_penalty: float | None = None,
        rules: RuleBook | None = None,
        *,
        loss: str = "loss",
        lower_bound: float | None = None,
    ) -> None:
        """Start with no epoch seen.

        Args:
            name: what is trained; `layer` of the report.
            target_variance: variance of the training targets, for losses that are squared errors; None otherwise.
            l2_penalty: strength of the L2 penalty that is part of the loss, 0 for none; None where it is not known.
            rules: rule book to judge by; the shipped one if None.
            loss: name of the loss, in words: `cross-entropy`. Findings on its validation name it.
            lower_bound: bound that the loss cannot fall below: 0 for a cross-entropy of classes or a divergence. 0
                where a `target_variance` is given; None where there is no bound.
        """
        super().__init__(name, rules)
        self._loss = loss
        bound = 0.0 if lower_bound is None and target_variance is not None else lower_bound
        self._lower_bound = math.nan if bound is None else float(bound)
        self._metrics: list[float] = []
        self._told = 0
        """Number of steps whose loss was given."""
        self._least = math.nan
        self._first_nonfinite = math.nan
        self._stopped = False
        self.weights_rewritten = self.rewritten_alike = 0.0
        """Flags of the model's weights, by what sees them: other ones stand there than after the last step; they were
        written to since, with the very values that they had.
        """
        self._target_variance = math.nan if target_variance is None else float(target_variance)
        self._l2_penalty = math.nan if l2_penalty is None else float(l2_penalty)
        self._train: list[float] = []
        self._validation: list[float] = []
        self._steps = 0
        self._late_rate_fall = math.nan
        self._start = math.nan
        self._peak = math.nan
        self._typical_peak = math.nan
        self._recent: deque[float] = deque(maxlen=training.PEAK_STEPS)
        self._latest: deque[float] = deque(maxlen=training.LATE_STEPS)

    def step(self, loss: float) -> None:
        """Note the training loss of one batch, as it was before the optimizer stepped. Counts the step.

        Raises:
            ValueError: the first loss given is not one number. One that comes later ends the watching (see `Tracker`).
        """
        if self._halt is not None:
            return
        try:
            self._note(loss)
        except Exception as error:
            self._failed("step()", self._refusal(error))

    def _note(self, loss: float) -> None:
        if (thread := get_ident()) != self._thread:
            self._turn(thread)
        value = loss_of(loss, self.name)
        self._steps += 1
        self._told += 1
        if self._told == 1:
            self._start = value
        if not math.isfinite(value):
            if math.isnan(self._first_nonfinite):
                self._first_nonfinite = float(self._steps)
                self._note_peak()  # of fewer batches, where it came early
            return
        self._recent.append(value)
        self._latest.append(value)
        self._note_least(value)
        if len(self._recent) == training.PEAK_STEPS and math.isnan(self._first_nonfinite):
            self._note_peak()

    def _count(self) -> int:
        return self._steps

    def _begun(self) -> bool:
        return self._steps > 0 or bool(self._train)

    def _note_peak(self) -> None:
        if self._recent:
            recent = sum(self._recent) / len(self._recent)
            self._peak = recent if not recent <= self._peak else self._peak
            typical = statistics.median(self._recent)
            self._typical_peak = typical if not typical <= self._typical_peak else self._typical_peak

    def _note_least(self, *losses: float) -> None:
        for loss in losses:
            if math.isfinite(loss) and not loss >= self._least:
                self._least = loss

    @entry("end_epoch()")
    def end_epoch(
        self,
        train_loss: float,
        validation_loss: float | None = None,
        steps: int = 0,
        *,
        metric: float | None = None,
        late_rate_fall: float = math.nan,
    ) -> None:
        """Note one finished epoch.

        Args:
            train_loss: mean over the epoch.
            validation_loss: lower is better; None where the epoch was not validated.
            steps: those taken in it without a call of `step`.
            metric: a validated figure that is better when higher, such as an accuracy or an NDCG. While it gains, a
                rising validation loss is not called overfitting.
            late_rate_fall: share by which the learning rate fell within the last fifth of the steps so far: what
                improves while a schedule descends need not be a training cut short. NaN: not known.
        """
        train = loss_of(train_loss, self.name, "train_loss")
        validation = math.nan if validation_loss is None else loss_of(validation_loss, self.name, "validation_loss")
        told = math.nan if metric is None else loss_of(metric, self.name, "metric")
        if not isinstance(steps, Integral | float) or not 0 <= steps < schema.MOST or steps != int(steps):
            raise ArgumentError(f"{self.name}: steps={told_value(steps)} must be a whole number, 0 or more")
        self._train.append(train)
        self._validation.append(validation)
        self._metrics.append(told)
        self._note_least(self._train[-1], self._validation[-1])
        self._steps += int(steps)
        self._late_rate_fall = float(late_rate_fall)

    def stop_early(self) -> None:
        """Note that early stopping ended the training and the best weights are kept: nothing is cut short then."""
        self._stopped = True

    @property
    def train_losses(self) -> tuple[float, ...]:
        """Mean training loss of each epoch."""
        return tuple(self._train)

    @property
    def validation_losses(self) -> tuple[float, ...]:
        """Validation loss after each epoch that was validated."""
        return tuple(loss for loss in self._validation if not math.isnan(loss))

    def _end(self) -> float:
        """Mean loss of the last batches given; NaN where they are too few or not finite."""
        if len(self._recent) < training.PEAK_STEPS or not all(map(math.isfinite, self._recent)):
            return math.nan
        return sum(self._recent) / len(self._recent)

    def _later(self) -> list[float]:
        """The last losses told, of the second half of the steps."""
        return list(self._latest)[-max(self._told // 2, 1) :]

    def _measure(self) -> Measurements:
        """Compare losses by epoch with their best and with the target's variance."""
        course = training.loss_course(self._train)
        if not math.isnan(self._first_nonfinite):
            course["loss_nonfinite"] = 1.0
        elif self._told and not self._train:
            course["loss_nonfinite"] = 0.0
        told = (self._start, *self._train, *self._validation, self._least)
        scalars = {
            "epochs": float(len(self._train)),
            "steps": float(self._steps),
            **course,
            "loss_peak_ratio": training.peak_ratio(self._start, self._peak, self._typical_peak, self._later()),
            "loss_end_ratio": self._end() / self._start if self._start > 0 else math.nan,
            "first_nonfinite": self._first_nonfinite,
            "loss_least": self._least,
            "loss_size": next((abs(loss) for loss in told if math.isfinite(loss)), math.nan),
            "loss_bound": self._lower_bound,
            "squared_error": float(not math.isnan(self._target_variance)),
            "stopped_early": float(self._stopped or self.weights_rewritten == 1),
            "rewritten_alike": self.rewritten_alike,
            **training.validation_course(self._validated()),
            "val_still": training.still(self._validated()),
            "val_swing": training.swing(self._validated()),
            "train_swing": training.swing(self._train[1:]),
            "rate_told": float(not math.isnan(self._late_rate_fall)),
            "late_rate_fall": self._late_rate_fall,
            **training.since_best(self._train, self._validation, self._metrics),
            "metric_told": float(any(not math.isnan(metric) for metric in self._metrics)),
            "target_variance": self._target_variance,
            "l2_penalty": self._l2_penalty,
            "loss_to_variance": course["loss_last"] / self._target_variance if self._target_variance else math.nan,
        }
        if self._stopped:
            scalars["val_fall"] = math.nan
        validated = bool(self._validated())
        return Measurements(
            self.KIND,
            self.name,
            scalars,
            step=self._steps,
            coverage=self._coverage(),
            judged=Judged(f"validation {self._loss}", "lower", "validation") if validated else None,
            framework="torch",
        )

    def _validated(self) -> list[float]:
        return [loss for loss in self._validation if not math.isnan(loss)]

    def _coverage(self) -> Coverage:
        """The coverage of a report: which figures were given, and which were not."""
        told = {
            "epochs": len(self._train),
            "validation_loss": len(self._validated()),
            "metric": sum(not math.isnan(metric) for metric in self._metrics),
            "step_losses": self._told,
        }
        seen = {"steps": float(self._steps), **{name: float(count) for name, count in told.items()}}
        missing = [name for name, count in told.items() if not count]
        if math.isnan(self._target_variance):
            missing.append("target_variance")
        blind = (
            "" if self._train or self._told else "no loss was told; call step(loss) at every batch, or end_epoch(...)"
        )
        return Coverage(seen, {name: _UNSEEN[name] for name in missing}, blind)

    def state_dict(self) -> dict[str, Any]:
        """Everything noted so far, for a checkpoint: numbers and lists of numbers."""
        if self._halt is not None:
            return self._state_of_halt(self._halt)
        content = {key: getattr(self, f"_{key}") for key in (*_SCHEMA, *_LATER)}
        return states.headed(
            self.KIND, {key: list(value) if key in _LISTS else value for key, value in content.items()}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Name and rule book stay this tracker's own; all else, the variance
        and the penalty included, comes from the state.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, or damaged: then the message
                names where. Nothing has changed.
        """
        if not self._takes(state):
            return
        states.check(state, self.name, self.KIND, _SCHEMA, optional=_LATER, also=_fits)
        for key in _SCHEMA:
            setattr(self, f"_{key}", list(state[key]) if key in _LISTS else state[key])
        self._late_rate_fall = state.get("late_rate_fall", math.nan)
        self._recent = deque(state["recent"], maxlen=training.PEAK_STEPS)
        self._latest = deque(state.get("latest", state["recent"]), maxlen=training.LATE_STEPS)
        self._typical_peak = state.get("typical_peak", self._peak)
