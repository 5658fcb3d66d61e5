"""Measures how the weights of each layer move under the optimizer, at sampled steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from flowgrad.measures import distillation as measures
from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.watching import Failed, raising

FloatArray = NDArray[np.float64]

SPACING, LOOKS = 4, 64
"""Steps from one sampled step to the next, and number of samples after which that distance doubles."""
WINDOW = 8
"""Number of sampled steps over which signal, noise and drift are taken."""
LAST = 3
"""Number of sampled steps that show whether a layer is alive now."""


_LISTS = ("figures", "windows", "alterations")
_COPIES = ("before", "anchor", "sum")
_NUMBERS = ("next", "spacing", "anchored", "inside", "heard")


class Motion:
    """Lengths of weights, updates and gradients of each layer, kept on their device until they are read."""

    def __init__(self, layers: Sequence[Layer], failed: Failed = raising) -> None:
        self._failed = failed
        """Function that is called with errors of a backward pass."""
        self._weights = [weight for layer in layers for weight in layer.weights]
        self._counts = np.array([sum(w.numel() for w in layer.weights) for layer in layers], dtype=float)
        owner = [place for place, layer in enumerate(layers) for _ in layer.weights]
        self._device = self._weights[0].device
        self._owner = torch.tensor(owner, device=self._device)
        self._figures: list[torch.Tensor] = []
        """Squared lengths of weights, update and gradient, shape (3, layers), one entry a sampled step."""
        self._windows: list[torch.Tensor] = []
        """Figures of each window, see `_close`; shape (5, layers) each."""
        self._alterations: list[torch.Tensor] = []
        """Alteration of gradients, shape (layers,), one entry for each sampled step whose computed gradients are known:
        see `note_gradients`.
        """
        self._computed: dict[int, torch.Tensor] = {}
        """Gradient of each weight, by its place, as the last backward pass left it, before a sampled step."""
        self._next, self._spacing = 1, SPACING
        self._before: list[torch.Tensor] | None = None
        """Weights before the step that is sampled."""
        self._gradient: torch.Tensor | None = None
        """Squared lengths of that step's gradients."""
        self._anchor: list[torch.Tensor] | None = None
        """Weights at the start of the window."""
        self._sum: list[torch.Tensor] | None = None
        """Sum of the gradients over the sampled steps of the window."""
        self._anchored = self._inside = 0
        self._heard = False
        """Whether any gradient was seen at a sampled step."""

    @property
    def heard(self) -> bool:
        """Whether a weight had a gradient, be it 0, at a sampled step."""
        return self._heard

    @property
    def moved(self) -> bool:
        """Whether any layer moved at a sampled step."""
        return bool(self._figures) and not bool((torch.stack(self._figures)[:, 1] == 0).all())

    @property
    def looks(self) -> int:
        """Number of steps sampled."""
        return len(self._figures)

    def due(self, step: int) -> bool:
        """Whether this step is sampled."""
        return step == self._next

    def before(self) -> None:
        """Note the weights before a step that is due."""
        self._before = [weight.detach().clone() for weight in self._weights]

    def after(self, step: int) -> None:
        """Measure the step that was due, once it is taken."""
        if self._gradient is None:
            self.note_gradients(cleared=True)
        assert self._gradient is not None
        if self._before is not None:
            weights = [weight.detach() for weight in self._weights]
            update = self._by_layer(torch._foreach_sub(weights, self._before))
            self._figures.append(torch.stack([self._by_layer(weights), update, self._gradient]))
            if self._anchor is None or self._inside >= WINDOW:
                self._close(weights, step)
            if self.looks % LOOKS == 0:
                self._spacing *= 2
        self._before = self._gradient = None
        self._next = step + self._spacing

    def listen(self) -> list[RemovableHandle]:
        """Record gradients as the backward pass leaves them, where `before` has said that they matter; the result takes
        the hooks off.
        """
        places = [place for place, weight in enumerate(self._weights) if weight.requires_grad and weight.is_leaf]
        return [self._weights[place].register_post_accumulate_grad_hook(partial(self._hear, place)) for place in places]

    def _hear(self, place: int, weight: torch.Tensor) -> None:
        try:
            if self._before is not None and self._gradient is None and weight.grad is not None:
                self._computed[place] = weight.grad.detach().clone()
        except Exception as error:
            self._failed("a backward pass", error)

    @property
    def noted(self) -> bool:
        """Whether the gradients of the step that is due are noted already."""
        return self._gradient is not None

    def note_gradients(self, *, cleared: bool = False) -> None:
        """Note the gradients of the step that is due, as they stand, and their distance from the computed ones: 1 less
        the squared cosine, which clipping by norm and loss scaling leave at 0.

        Args:
            cleared: whether the loop may have cleared them since; where all are 0 now, those computed count.
        """
        found = [_dense(weight) for weight in self._weights]
        self._heard = self._heard or bool(self._computed) or any(weight.grad is not None for weight in self._weights)
        self._gradient = self._by_layer(found)
        if self._computed:
            computed = [
                self._computed[place].to_dense() if place in self._computed else torch.zeros_like(gradient)
                for place, gradient in enumerate(found)
            ]
            lengths = self._by_layer(computed)
            self._alterations.append(1 - self._products(computed, found).square() / (lengths * self._gradient))
            if cleared:
                empty = (self._gradient == 0).all()
                found = [torch.where(empty.to(a.device), a, b) for a, b in zip(computed, found, strict=True)]
                self._gradient = torch.where(empty, lengths, self._gradient)
            self._computed = {}
        self._inside += 1
        if self._sum is None:
            self._sum = [gradient.clone() for gradient in found]
        else:
            torch._foreach_add_(self._sum, found)

    def _products(self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inner product of each layer's tensors, shape (layers,), in single precision at least: in half precision the
        products of small gradients are 0.
        """
        each = [(_single(a) * _single(b)).sum().float() for a, b in zip(ours, theirs, strict=True)]
        products = torch.stack([product.to(self._device) for product in each])
        return products.new_zeros(len(self._counts)).index_add_(0, self._owner, products)

    def _close(self, weights: list[torch.Tensor], step: int) -> None:
        """End the window, if one is open, and keep its figures: mean squared length and squared length of the mean of
        the gradients, distance covered, mean length of the updates, steps. Begin the next.
        """
        if self._anchor is not None and self._sum is not None:
            recent = torch.stack(self._figures[-WINDOW:])
            mean = self._by_layer(self._sum) / self._inside**2
            net = self._by_layer(torch._foreach_sub(weights, self._anchor)).sqrt()
            steps = torch.full_like(mean, step - self._anchored)
            self._windows.append(
                torch.stack([recent[:, 2].mean(dim=0), mean, net, recent[:, 1].sqrt().mean(dim=0), steps])
            )
        self._anchor, self._anchored = [weight.clone() for weight in weights], step
        self._sum, self._inside = None, 0

    def _by_layer(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Squared length of each layer's tensors, shape (layers,), in single precision at least."""
        dtype = reduce(torch.promote_types, {tensor.dtype for tensor in tensors}, torch.float32)
        each = torch._foreach_norm(list(tensors), 2, dtype=dtype)
        norms = torch.stack([norm.float().to(self._device) for norm in each])
        return norms.new_zeros(len(self._counts)).index_add_(0, self._owner, norms.square())

    def gradient_lengths(self, gradients: Sequence[torch.Tensor]) -> FloatArray:
        """Length of each layer's part of gradients, one a weight, over the length of its weights."""
        weights = self._by_layer([weight.detach() for weight in self._weights])
        return _ratio(self._by_layer(gradients).sqrt().double().cpu().numpy(), weights.sqrt().double().cpu().numpy())

    @property
    def weights(self) -> list[nn.Parameter]:
        """Weights that are watched, layer by layer."""
        return self._weights

    def table(self) -> dict[str, FloatArray]:
        """Figures of the layers, each of shape (layers,): `weights` (their number), `update` and `gradient_length`
        (mean lengths), `velocity` and `gradient` (over the weights' length), `snr`, `drift`, `altered`; NaN where not
        known yet.
        """
        unknown = np.full(len(self._counts), math.nan)
        names = ("update", "gradient_length", "velocity", "gradient", "snr", "drift", "altered")
        found = {"weights": self._counts, **{name: unknown.copy() for name in names}}
        if self._figures:
            found["altered"] = self._altered()
            weight, update, gradient = np.sqrt(_array(self._figures)).transpose(1, 0, 2)
            found |= {
                "update": update.mean(axis=0),
                "gradient_length": gradient.mean(axis=0),
                "velocity": _ratio(update, weight).mean(axis=0),
                "gradient": _ratio(gradient, weight).mean(axis=0),
            }
        if self._windows:
            mean_square, square_of_mean, net, update, steps = _array(self._windows).transpose(1, 0, 2)
            found |= {
                "snr": measures.gradient_snr(mean_square, square_of_mean, WINDOW),
                "drift": measures.drift(net, update, steps).mean(axis=0),
            }
        return found

    def _altered(self) -> FloatArray:
        """Mean alteration over the sampled steps, shape (layers,); NaN for a layer without gradients."""
        if not self._alterations:
            return np.full(len(self._counts), math.nan)
        found = _array(self._alterations)
        known = np.isfinite(found)
        total = np.where(known, found, 0.0).sum(axis=0)
        counts = known.sum(axis=0)
        return np.clip(total / np.where(counts == 0, math.nan, counts), 0.0, 1.0)

    def alive(self) -> dict[str, float]:
        """Number of layers that moved, that had a gradient other than 0, and that are not finite, in the last `LAST`
        sampled steps.
        """
        if not self._figures:
            return dict.fromkeys(("moving_layers", "live_layers", "nonfinite_layers"), math.nan)
        recent = _array(self._figures[-LAST:])
        moving, live = (float((recent[:, row] > 0).any(axis=0).sum()) for row in (1, 2))
        return {
            "moving_layers": moving,
            "live_layers": math.nan if moving and not live and not self._heard else live,  # moved by what nobody saw
            "nonfinite_layers": float((~np.isfinite(recent)).any(axis=(0, 1)).sum()),
        }

    def course(self) -> dict[str, float]:
        """Figures over all sampled steps: `still_layers`, which never moved, and `peak_velocity`, the largest median
        over the layers of update over weights, where both are finite. They are NaN where no step was sampled.
        """
        if not self._figures:
            return dict.fromkeys(("still_layers", "peak_velocity"), math.nan)
        weight, update, _ = _array(self._figures).transpose(1, 0, 2)
        velocities = _ratio(np.sqrt(update), np.sqrt(weight))
        known = [np.median(look) for look in velocities if np.isfinite(look).all()]
        return {
            "still_layers": float((update == 0).all(axis=0).sum()),
            "peak_velocity": float(max(known)) if known else math.nan,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far."""
        lists = {key: [tensor.clone() for tensor in getattr(self, f"_{key}")] for key in _LISTS}
        copies = {
            key: None if (kept := getattr(self, f"_{key}")) is None else [tensor.clone() for tensor in kept]
            for key in _COPIES
        }
        return {**lists, **copies, **{key: getattr(self, f"_{key}") for key in _NUMBERS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for key in (*_LISTS, *_COPIES):
            kept = state[key]
            setattr(self, f"_{key}", None if kept is None else [tensor.to(self._device).clone() for tensor in kept])
        for key in _NUMBERS:
            setattr(self, f"_{key}", state[key])
        self._gradient = None


def _dense(weight: nn.Parameter) -> torch.Tensor:
    """The gradient of the weight as a dense tensor, zeros where it has none."""
    if weight.grad is None:
        return torch.zeros_like(weight, requires_grad=False)
    return weight.grad.detach().to_dense() if weight.grad.is_sparse else weight.grad.detach()


def _single(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in single precision or better."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _array(tensors: Sequence[torch.Tensor]) -> FloatArray:
    return torch.stack(list(tensors)).double().cpu().numpy()


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):  # of weights that diverged, inf / inf
        return part / np.where(whole == 0, math.nan, whole)
