"""Reads the mean squared gradient of a tensor from where its optimizer keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from flowgrad.compression.weights import as_float32
from flowgrad.trackers.squared_gradients import SquaredGradients


class Moments(NamedTuple):
    """Running moments of a tensor's gradient, of its shape, float32, without the bias of a start at 0."""

    first: np.ndarray | None
    """Mean gradient; None where the optimizer keeps none."""
    second: np.ndarray
    """Mean squared gradient."""
    steps: int
    """Number of steps that the moments rest on; 0 where the optimizer does not say."""
    source: str
    """Name of the state that the moments were read from."""


def optimizer_of(given: Any) -> Optimizer:
    """The optimizer itself, without the wrapper that some libraries put around it.

    Raises:
        TypeError: it has no `state` and `param_groups`.
    """
    inner = getattr(given, "optimizer", None)
    found = inner if isinstance(inner, Optimizer) else given
    if not (hasattr(found, "state") and hasattr(found, "param_groups")):
        raise TypeError(f"optimizer is {type(found).__name__}, which has no state to read as torch.optim.Optimizer has")
    return found


def moments_of(
    optimizer: Optimizer | None, parameter: nn.Parameter, squares: SquaredGradients | None = None
) -> Moments | None:
    """Moments of a tensor's gradient; None where none are known.

    They are read by the names in the state, so that other packages' optimizers with the same names are read too:
    `exp_avg_sq` (Adam, AdamW, AMSGrad, NAdam, RAdam), `square_avg` (RMSprop, Adadelta), `sum` (Adagrad), `row_var` and
    `col_var` (Adafactor: the rank-one estimate). Of AMSGrad the running mean is read, not its largest value, which is
    no mean. Of SparseAdam, means are over the steps at which a row was looked up. `squares` comes first.
    """
    if squares is not None and (found := squares.of(parameter)) is not None:
        first, second, looks = found
        return Moments(as_float32(first), as_float32(second), looks, "squared gradients at looks")
    if optimizer is None:
        return None
    state = optimizer.state.get(parameter)
    group = next((g for g in optimizer.param_groups if any(p is parameter for p in g["params"])), None)
    if not state or group is None:
        return None
    return _from_state(state, group, parameter)


def has_state(optimizer: Optimizer | None) -> bool:
    """Whether the optimizer has stepped, as far as its state says."""
    return optimizer is not None and any(bool(state) for state in optimizer.state.values())


def _from_state(state: Mapping[str, Any], group: Mapping[str, Any], parameter: nn.Parameter) -> Moments | None:
    steps = _steps(state, group)
    betas = group.get("betas", (0.0, 0.0))
    if _fits(state, "exp_avg_sq", parameter):
        first = _unbiased(state["exp_avg"], betas[0], steps) if _fits(state, "exp_avg", parameter) else None
        return Moments(first, _unbiased(state["exp_avg_sq"], betas[1], steps), steps, "exp_avg_sq")
    first = _momentum(state, group, parameter)
    if _fits(state, "square_avg", parameter):
        decay = group.get("alpha", group.get("rho", 0.0))
        return Moments(first, _unbiased(state["square_avg"], decay, steps), steps, "square_avg")
    if _fits(state, "sum", parameter) and steps:
        began = float(group.get("initial_accumulator_value", 0.0))
        return Moments(first, np.maximum(as_float32(state["sum"]) - began, 0) / steps, steps, "sum")
    if isinstance(state.get("row_var"), torch.Tensor) and isinstance(state.get("col_var"), torch.Tensor):
        rows, columns = as_float32(state["row_var"]), as_float32(state["col_var"])
        second = rows * columns / np.maximum(rows.mean(axis=-2, keepdims=True), np.finfo(np.float32).tiny)
        return Moments(None, second, steps, "row_var, col_var") if second.shape == tuple(parameter.shape) else None
    return None


def _fits(state: Mapping[str, Any], key: str, parameter: nn.Parameter) -> bool:
    kept = state.get(key)
    return isinstance(kept, torch.Tensor) and kept.is_floating_point() and kept.shape == parameter.shape


def _momentum(state: Mapping[str, Any], group: Mapping[str, Any], parameter: nn.Parameter) -> np.ndarray | None:
    """Mean gradient of a momentum buffer, which sums gradients: times 1 - momentum it is about their mean."""
    if not _fits(state, "momentum_buffer", parameter):
        return None
    return as_float32(state["momentum_buffer"]) * (1 - float(group.get("momentum", 0.0)))


def _unbiased(kept: torch.Tensor, decay: Any, steps: int) -> np.ndarray:
    """The mean without the bias of a start at 0 (Kingma & Ba 2015, section 3)."""
    beta = float(decay)
    correction = 1 - beta**steps if steps and 0 < beta < 1 else 1.0
    return as_float32(kept) / np.float32(correction)


def _steps(state: Mapping[str, Any], group: Mapping[str, Any]) -> int:
    kept = state.get("step", group.get("step", 0))
    return int(kept)
