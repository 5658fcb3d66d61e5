"""Reads weights, and the moments of their gradients that training left, once after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from flowgrad.compression.applying import apply_recipe
from flowgrad.compression.planning.second_moment import Moments, has_state, moments_of, optimizer_of
from flowgrad.compression.recipe import Plan, Recipe
from flowgrad.compression.weights import LeftOut, Weight, as_float32, nonfinite, weights_of
from flowgrad.errors import FlowGradError
from flowgrad.trackers.flow import FlowTracker
from flowgrad.trackers.flow.parameters import plain_name
from flowgrad.trackers.squared_gradients import SquaredGradients


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight tensor as it was when the analyzer was made."""

    weight: Weight
    data: np.ndarray
    """float32, of the tensor's shape."""
    moments: Moments | None
    """Moments of the tensor's gradient; None where it had none, or its optimizer keeps no second moment."""

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.weight.name

    @property
    def entries(self) -> int:
        """Number of weights, those of a padding row left out."""
        padding = 0 if self.weight.padding is None else self.data[self.weight.padding].size
        return self.data.size - padding


@dataclass(frozen=True, eq=False)
class ModelSnapshot:
    """Everything that analyzers of compression know of a model."""

    model: nn.Module
    """The model without its wrappers."""
    optimizer: Optimizer | None
    tracker: FlowTracker | None
    layers: tuple[Layer, ...]
    left_out: tuple[LeftOut, ...]
    nonfinite: tuple[str, ...]
    """Tensors with NaN or infinite weights; they are not among the layers."""

    @property
    def steps(self) -> int:
        """Largest number of steps that a second moment rests on."""
        return max((layer.moments.steps for layer in self.layers if layer.moments), default=0)

    @property
    def shared(self) -> int:
        """Number of tensors that several layers hold."""
        return sum(bool(layer.weight.aliases) for layer in self.layers)

    @property
    def known(self) -> bool:
        """Whether some layer has a second moment."""
        return any(layer.moments for layer in self.layers)

    def check_finite(self, what: str) -> None:
        """Refuse where weights are not finite.

        Raises:
            FlowGradError: names the first such tensor.
        """
        if self.nonfinite:
            raise FlowGradError(
                f"{self.nonfinite[0]} holds NaN or infinite weights; {what} of a broken model says nothing. Train it "
                "anew, or load a checkpoint from before"
            )


def name_of(source: Any) -> str:
    """Name of the model in the report: its tracker's, or `model`."""
    return source.name if isinstance(source, FlowTracker) else "model"


def read_model(
    source: Any,
    optimizer: Any,
    squares: SquaredGradients | None,
    name: str,
    *,
    need: bool,
    after: Recipe | Plan | None = None,
) -> ModelSnapshot:
    """Read a model and its optimizer.

    Args:
        source: a `FlowTracker`, or a model.
        optimizer: that trained it; a tracker has it.
        squares: second moments for an optimizer that keeps none.
        name: for errors.
        need: whether a second moment must be known.
        after: what is done to the model first; weights are those that it leaves.

    Raises:
        TypeError: `source` is neither.
        FlowGradError: `need`, and there is no optimizer, it has not stepped, or it keeps no second moment.
    """
    tracker = source if isinstance(source, FlowTracker) else None
    model = source if tracker is None else tracker.model
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name}: give a FlowTracker or an nn.Module, got {type(source).__name__}")
    if optimizer is None and tracker is not None:
        optimizer = tracker.optimizer
    found = None if optimizer is None else optimizer_of(optimizer)
    weights, left_out = weights_of(model, name)
    broken = nonfinite(weights)
    inner = unwrapped(model)
    if after is not None:
        inner = apply_recipe(inner, after, backend="fake").model
    now = {plain_name(path): parameter for path, parameter in inner.named_parameters()}
    layers = tuple(
        Layer(one, as_float32(now[one.name]), _finite(moments_of(found, one.parameter, squares)))
        for one in weights
        if one.name not in set(broken)
    )
    reading = ModelSnapshot(inner, found, tracker, layers, tuple(left_out), tuple(broken))
    if need and layers and not reading.known:
        raise FlowGradError(f"{name}: {_why_unknown(found, squares)}")
    return reading


def model_of(source: FlowTracker | nn.Module) -> nn.Module:
    """The model without its wrappers."""
    return unwrapped(source.model if isinstance(source, FlowTracker) else source)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within `DistributedDataParallel`, `DataParallel` or `torch.compile`."""
    inner = model.module if isinstance(model, DistributedDataParallel | DataParallel) else None
    inner = getattr(model, "_orig_mod", None) if inner is None else inner
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def _finite(moments: Moments | None) -> Moments | None:
    """The moments, or None where a gradient was not finite: its mean says nothing of the others."""
    return moments if moments is not None and bool(np.isfinite(moments.second).all()) else None


def _why_unknown(optimizer: Optimizer | None, squares: SquaredGradients | None) -> str:
    ways = (
        "attach squares = flowgrad.trackers.squared_gradients.SquaredGradients(optimizer) before training and give "
        "squares=squares, or give calibration=Calibration(...), whose gradients then stand for it"
    )
    if optimizer is None:
        return (
            "no optimizer, whose state says how steep the loss is; give it to FlowTracker(model, optimizer) or here, "
            f"or {ways}"
        )
    if squares is not None:
        return "squares has seen no gradient yet; train first, with it attached to the optimizer that steps"
    kind = type(optimizer).__name__
    if not has_state(optimizer) and not _keeps_none(optimizer):
        return f"{kind} has no state: the model is not trained yet, or its optimizer was made anew; load its state_dict"
    return f"{kind} keeps no mean of squared gradients; {ways}"


def _keeps_none(optimizer: Optimizer) -> bool:
    """Whether the optimizer never keeps state: SGD without momentum has none however long it trains."""
    return not ({"betas", "alpha", "rho", "lr_decay", "beta2_decay"} & set(optimizer.param_groups[0]))
