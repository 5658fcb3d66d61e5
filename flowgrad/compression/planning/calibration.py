"""Batches that the loss can be computed on, and what compression does to it there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowgrad.compression.applying import set_values
from flowgrad.compression.planning.layer_inputs import input_moments
from flowgrad.errors import FlowGradError
from flowgrad.gate import Batch, Objection, batches_objection, refuse, targets_objection
from flowgrad.lazy import LazyModule
from flowgrad.measurements import Coverage
from flowgrad.trackers.flow.parameters import plain_name

stats = LazyModule("scipy.stats")
Outputs = Callable[[nn.Module, Any], torch.Tensor]
Criterion = Callable[[torch.Tensor, Any], torch.Tensor]
_CONFIDENCE = 0.95
_ERRORS = 2.0
"""Number of standard errors over the batches by which one loss is lower than another beyond chance."""
_TARGETS = ("target", "targets", "label", "labels", "y", "ratings", "rating")
"""Names that the target of a batch goes by."""


class Calibration:
    """Batches, and how the loss is computed of one.

    Example::

        Calibration(batches, outputs=lambda model, batch: model(batch.x), criterion=lambda out, batch: loss(out,
        batch.y)) Calibration.of_pairs([(x, y), ...], nn.CrossEntropyLoss())

    Plans are chosen by the loss on these batches: take rows that the model was not trained on and that no test is made
    on; training rows do where the model has not overfitted. A few hundred rows in four batches or more are enough: the
    batches' differences say whether one plan is better than another.

    Attributes:
        objection: what the gate has against the batches, such as copies among them, or None (`flowgrad.gate`): plans
            made on them say so, and a report gives no interval of a loss. Batches of pairs, of a dict or of a dataclass
            are checked; others are not.
    """

    def __init__(self, batches: Iterable[Any], outputs: Outputs, criterion: Criterion) -> None:
        """Nothing is computed yet.

        Args:
            batches: on the model's device; kept. Of about equal size, as their losses are averaged.
            outputs: (model, batch) -> what the loss is a function of. It must use the model that it is given, which is
                a copy in evaluation mode.
            criterion: (outputs, batch) -> mean loss, a tensor of one number.

        Raises:
            GateError: inputs that hold NaN or are alike in every row, or batches that are all the same one.
            FlowGradError: no batch.
        """
        self.batches: Sequence[Any] = list(batches)
        if not self.batches:
            raise FlowGradError("calibration: no batch; give one or more")
        self.objection = refuse(batches_objection([arrays_of(batch) for batch in self.batches]))
        self.outputs, self.criterion = outputs, criterion

    @classmethod
    def of_pairs(cls, batches: Iterable[tuple[Any, Any]], criterion: Callable[[Any, Any], torch.Tensor]) -> Calibration:
        """Make a calibration of (inputs, target) pairs: the loss is `criterion(model(inputs), target)`."""
        return cls(batches, lambda model, batch: model(batch[0]), lambda out, batch: criterion(out, batch[1]))


def arrays_of(batch: Any) -> Batch:
    """The tensors of a batch as arrays; none where it is no pair, list, dict or dataclass of tensors."""
    named: dict[str, Any] = {}
    if isinstance(batch, torch.Tensor):
        named = {"inputs": batch}
    elif isinstance(batch, Mapping):
        named = {str(name): value for name, value in batch.items()}
    elif isinstance(batch, (tuple, list)):
        names = getattr(batch, "_fields", ("inputs", "target") if len(batch) == 2 else range(len(batch)))
        named = {str(name): value for name, value in zip(names, batch, strict=True)}
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        named = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    if not all(_is_plain(value) for value in named.values()):
        return Batch(())
    arrays = {name: value.detach().cpu().numpy() for name, value in named.items()}
    target = next((name for name in _TARGETS if name in arrays), None)
    return Batch(tuple(v for name, v in arrays.items() if name != target), None if target is None else arrays[target])


def _dealt_anew(batches: Sequence[Any]) -> list[tuple[Any, Any]] | None:
    """Pairs of inputs and targets in which each row has the target of another row of all batches, drawn by one seed;
    None where batches are no pairs of tensors with a target a row.
    """
    if not all(type(batch) in (tuple, list) and len(batch) == 2 for batch in batches):
        return None
    targets = [batch[1] for batch in batches]
    if not all(isinstance(part, torch.Tensor) and part.ndim and part.layout == torch.strided for part in targets):
        return None
    if len({(part.shape[1:], part.dtype, part.device) for part in targets}) > 1:
        return None
    if not all(isinstance(one, torch.Tensor) and one.ndim and len(one) == len(part) for one, part in batches):
        return None
    whole = torch.cat(targets)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole))).to(whole.device)
    dealt = whole[order].split([len(part) for part in targets])
    return [(batch[0], target) for batch, target in zip(batches, dealt, strict=True)]


def _is_plain(value: Any) -> bool:
    """A dense tensor of a type that NumPy has."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    return value.dtype != torch.bfloat16 and not value.is_meta


class Bench:
    """A copy of the model that weights are changed in, so that the one in training stays as it is, to the bit."""

    def __init__(self, model: nn.Module, calibration: Calibration) -> None:
        """Copy the model.

        Raises:
            FlowGradError: it cannot be copied.
        """
        try:
            self.model = copy.deepcopy(model).eval()
        except (RuntimeError, TypeError) as error:
            raise FlowGradError(
                f"{type(model).__name__} cannot be copied ({' '.join(str(error).split())}), and calibration changes a "
                "copy; give a model whose attributes are parameters, buffers and plain values"
            ) from error
        self._calibration = calibration
        self._dealt = _dealt_anew(calibration.batches)
        self._parameters: dict[str, nn.Parameter] = {}
        self._paths: dict[str, str] = {}
        for path, parameter in self.model.named_parameters(remove_duplicate=False):
            self._parameters[plain_name(path)], self._paths[plain_name(path)] = parameter, path
        self._biases = [
            f"model.{path}.bias".replace("..", ".")
            for path, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and "bias" in module._parameters and module.bias is not None
        ]

    def losses(self, changed: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Loss of each batch, shape (batches,), with some tensors replaced by other values.

        Raises:
            FlowGradError: the loss is no single number.
        """
        with torch.no_grad(), self._swapped(changed or {}):
            return np.array([float(self._loss(batch)) for batch in self._calibration.batches])

    @cached_property
    def objection(self) -> Objection | None:
        """The gate's objection to the batches, or to what the model, as it is, says of them; None where there is none.

        Where it can be tried, the targets are dealt to the rows anew, and every row is given the mean output of its
        batch: a model that does not do better than with the targets of other rows, and does worse than its own mean
        output, knows nothing of these batches, and what changes their loss says nothing of it.
        """
        given = self._calibration.objection
        if given is not None or self._dealt is None:
            return given
        own: list[float] = []
        dealt: list[float] = []
        mean: list[float] = []
        with torch.no_grad():
            for batch, other in zip(self._calibration.batches, self._dealt, strict=True):
                out = self._calibration.outputs(self.model, batch)
                if not isinstance(out, torch.Tensor) or not out.ndim or not out.is_floating_point():
                    return None
                flat = out.mean(0, keepdim=True).expand_as(out).clone()
                for losses, given_out, given_batch in ((own, out, batch), (dealt, out, other), (mean, flat, batch)):
                    losses.append(float(self._calibration.criterion(given_out, given_batch).mean()))
        told = clearly_lower(np.array(own), np.array(dealt), _ERRORS)
        worse = clearly_lower(np.array(mean), np.array(own), _ERRORS)
        if told or not worse:
            return None
        return targets_objection(float(np.mean(own)), float(np.mean(dealt)), float(np.mean(mean)), len(own))

    def rise(self, changed: Mapping[str, np.ndarray], before: np.ndarray) -> float:
        """Rise of the mean loss, as a share of the loss before; 0 is no change."""
        return relative_rise(self.losses(changed), before)

    def squared_gradients(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Mean over the batches of the squared gradient of a batch's loss, by name, each of its tensor's shape.

        The diagonal of the empirical Fisher but for a factor, as v is: see `measures.saliency.expected_rise`.
        """
        parameters = [self._parameters[name] for name in names]
        for parameter in parameters:
            parameter.requires_grad_(True)
        sums = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in parameters]
        with torch.enable_grad(), _plain_kernels():
            for batch in self._calibration.batches:
                gradients = torch.autograd.grad(self._loss(batch), parameters, allow_unused=True)
                for total, gradient in zip(sums, gradients, strict=True):
                    if gradient is not None:
                        plain = (gradient.to_dense() if gradient.layout != torch.strided else gradient).float()
                        total.addcmul_(plain, plain)
        count = len(self._calibration.batches)
        return {name: (total / count).cpu().numpy() for name, total in zip(names, sums, strict=True)}

    def input_moments(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Second moments of the inputs of the layers that hold these weights, by name; as of `layer_inputs`."""
        # Fused kernels do not call the layers within, and what was compiled takes no notice of hooks.
        with _plain_kernels(), torch.compiler.set_stance("force_eager"):
            return input_moments(self.model, {name: self._parameters[name] for name in names}, self.losses)

    def gauss_newton(self, name: str, change: np.ndarray) -> float:
        """Half the change's quadratic form in the Gauss-Newton matrix, mean over the batches: the rise of the loss, in
        units of the loss, if the outputs were linear in the weights (Schraudolph 2002). By one forward-mode product a
        batch.

        Raises:
            FlowGradError: some operation of the model has no forward-mode derivative.
        """
        parameter = self._parameters[name]
        tangent = torch.from_numpy(change).to(parameter.device, parameter.dtype)
        total = 0.0
        try:
            for batch in self._calibration.batches:
                total += self._quadratic(name, parameter.detach(), tangent, batch)
        except (NotImplementedError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise FlowGradError(f"no Gauss-Newton product of {type(self.model).__name__}: {reason}") from error
        return total / len(self._calibration.batches)

    def _quadratic(self, name: str, values: torch.Tensor, tangent: torch.Tensor, batch: Any) -> float:
        asked = _Asked(self.model, self._calibration.outputs)
        with torch.no_grad(), forward_ad.dual_level(), _plain_kernels():
            # A bias that stays as it is has a tangent of zeros: without one, PyTorch adds it in Python, twice as slow.
            duals = {path: _still(asked.get_parameter(path)) for path in self._biases}
            duals[f"model.{self._paths[name]}"] = forward_ad.make_dual(values, tangent)
            out = torch.func.functional_call(asked, duals, (batch,))
            primal, moved = forward_ad.unpack_dual(out)
        if moved is None:
            return 0.0
        moved = moved.detach()
        with torch.enable_grad():
            point = primal.detach().requires_grad_(True)
            loss = self._calibration.criterion(point, batch)
            (slope,) = torch.autograd.grad(loss, point, create_graph=True)
            if not slope.requires_grad:  # a loss linear in the outputs has no curvature there
                return 0.0
            (curved,) = torch.autograd.grad(slope, point, moved, allow_unused=True)
        return 0.0 if curved is None else float(0.5 * (curved * moved).sum())

    def _loss(self, batch: Any) -> torch.Tensor:
        loss = self._calibration.criterion(self._calibration.outputs(self.model, batch), batch)
        if loss.numel() != 1:
            raise FlowGradError(f"calibration: the loss has shape {list(loss.shape)}; criterion must give one number")
        return loss

    @contextmanager
    def _swapped(self, changed: Mapping[str, np.ndarray]) -> Iterator[None]:
        kept = {name: self._parameters[name].detach().clone() for name in changed}
        try:
            for name, values in changed.items():
                set_values(self._parameters[name], values)
            yield
        finally:
            with torch.no_grad():
                for name, before in kept.items():
                    self._parameters[name].copy_(before)


class _Asked(nn.Module):
    """The model with `outputs` as its forward pass, so that parameters can be replaced within it."""

    def __init__(self, model: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.model = model
        self._outputs = outputs

    def forward(self, batch: Any) -> torch.Tensor:
        """Outputs of the batch, which the loss is a function of."""
        return self._outputs(self.model, batch)


def _still(parameter: torch.Tensor) -> torch.Tensor:
    return forward_ad.make_dual(parameter.detach(), torch.zeros_like(parameter))


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Run without the kernels of cuDNN, whose RNNs have no backward pass in evaluation mode, and without those of
    oneDNN and of fused attention, which have no forward-mode derivative.
    """
    onednn, fused = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    # `mkldnn.flags` sets its TF32 too, and warns where there is none.
    torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=onednn, _fp32_precision=None)
        torch.backends.mha.set_fastpath_enabled(fused)


def doubt_of(objection: Objection | None) -> str:
    """The warning that a plan made on batches adds to its reason; empty where nothing is wrong with them."""
    return "" if objection is None else f"; not to be relied on: {objection}"


def unsound(judged: Calibration | Bench | None) -> float:
    """Flag: 1 where the gate objects to the batches, or to what the model says of them; else 0."""
    objection = None if judged is None else judged.objection
    return float(objection is not None and objection.blocks)


def coverage_of(calibration: Calibration | None, steps: int) -> Coverage:
    """The coverage of a report on compression.

    Args:
        calibration: batches that the loss is computed on, if any were given.
        steps: optimizer steps that the tracker saw; 0 without one.
    """
    seen = {"steps": float(steps)}
    if calibration is None:
        return Coverage(seen, {"calibration": "never given; without it no loss is measured: give calibration="})
    return Coverage(seen | {"calibration_batches": float(len(calibration.batches))})


def relative_rise(after: np.ndarray, before: np.ndarray) -> float:
    """Rise of the mean loss as a share of the size of the mean before; NaN where that is 0, infinite for a loss not
    finite.

    >>> round(relative_rise(np.array([1.1, 1.3]), np.array([1.0, 1.0])), 3)
    0.2
    """
    base = float(np.mean(before))
    if not np.isfinite(after).all():
        return float("inf")
    return (float(np.mean(after)) - base) / abs(base) if base else float("nan")


def highest_rise(after: np.ndarray, before: np.ndarray) -> float:
    """Upper end of the one-sided 95 % interval of `relative_rise`, a share (t over the batches); of one batch, the rise
    itself.

    >>> round(highest_rise(np.array([1.1, 1.3]), np.array([1.0, 1.0])), 3)
    0.831
    """
    rise = relative_rise(after, before)
    if len(after) < 2 or not np.isfinite(rise):
        return rise
    error = (after - before).std(ddof=1) / np.sqrt(len(after)) / abs(float(np.mean(before)))
    return rise + float(stats.t.ppf(_CONFIDENCE, len(after) - 1) * error)


def clearly_lower(one: np.ndarray, other: np.ndarray, errors: float = 1.0) -> bool:
    """Whether losses of the same batches are lower by more than so many standard errors of their differences (one: the
    rule of Breiman et al. 1984); of a single batch, whether they are lower.
    """
    difference = np.asarray(other) - np.asarray(one)
    if not np.isfinite(one).all():
        return False
    if not np.isfinite(other).all():
        return True
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
    return bool(difference.mean() > errors * error)
