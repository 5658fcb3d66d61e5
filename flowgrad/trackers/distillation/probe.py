"""Records the inputs and outputs of a model's layers for a probe batch, without a trace left in the model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.watching import ArgumentTypeError

FloatArray = NDArray[np.float64]
Forward = Callable[[nn.Module, Any], Any]

EXAMPLES = 256
"""Number of examples of a probe that are compared, evenly spread over it. The cost grows with their square."""
FEATURES = 4096
"""Number of values of one example that are compared; of larger maps every so many-th position."""


@dataclass
class ProbeSnapshot:
    """Activations of one layer."""

    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    """Outputs, examples first, one entry for every time that the layer was called."""


@dataclass(frozen=True)
class Response:
    """Response of a model to a probe."""

    output: FloatArray
    """Outputs of the model, shape (examples, outputs)."""
    layers: Mapping[str, ProbeSnapshot]
    """Activations by layer, without the layers that were not called."""


class NothingShownError(FlowGradError):
    """A probe holds no example."""


def respond(
    model: nn.Module,
    layers: Sequence[Layer],
    inputs: Any,
    forward: Forward | None,
    whose: str,
    passes: int = 1,
    *,
    training: bool = False,
) -> list[Response]:
    """Run the model on the inputs and record its layers.

    Args:
        model: not trained, not changed: see `undisturbed`.
        layers: whose activations are wanted.
        inputs: arguments of the call: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        forward: called as `forward(model, inputs)` instead.
        whose: `student` or `teacher`, for messages.
        passes: how often it is run.
        training: in training mode instead of evaluation mode.

    Raises:
        ArgumentTypeError: the model does not take these inputs, or gives no tensor.
    """
    found = []
    with undisturbed(model, training):
        for _ in range(passes):
            seen: dict[str, ProbeSnapshot] = {layer.name: ProbeSnapshot() for layer in layers}
            with _captured(layers, seen):
                output = _output(model, inputs, forward, whose)
            found.append(Response(output, {name: calls for name, calls in seen.items() if calls.outputs}))
    return found


def _output(model: nn.Module, inputs: Any, forward: Forward | None, whose: str) -> FloatArray:
    kind = type(model).__name__
    if forward is not None:
        output = forward(model, inputs)
    else:
        try:
            output = called(model, inputs)
        except TypeError as error:
            raise ArgumentTypeError(
                f"the {whose} ({kind}) cannot be called with the probe: {error}. Give a tensor, a tuple of arguments "
                "or a mapping of keyword arguments; where teacher and student take different ones, "
                "forward=lambda model, inputs: ..."
            ) from error
    logits = first_tensor(getattr(output, "logits", output))
    if logits is None:
        raise ArgumentTypeError(f"the {whose} ({kind}) gives {type(output).__name__}; a tensor is needed")
    if not logits.numel():
        raise NothingShownError(f"the {whose} ({kind}) was shown no example")
    return as_array(logits.reshape(len(logits) if logits.dim() else 1, -1))


def called(model: nn.Module, inputs: Any) -> Any:
    """The model's output for inputs that may be several."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def first_tensor(value: Any) -> torch.Tensor | None:
    """Find the first tensor among the arguments or outputs of a layer; None where there is none."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := first_tensor(part)) is not None), None)
    return None


@contextmanager
def _captured(layers: Sequence[Layer], seen: Mapping[str, ProbeSnapshot]) -> Iterator[None]:
    handles = [layer.module.register_forward_hook(_Catch(seen[layer.name]), with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Catch:
    def __init__(self, seen: ProbeSnapshot) -> None:
        self._seen = seen

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        coming, going = first_tensor((args, kwargs)), first_tensor(output)
        if coming is None or going is None or coming.dim() == 0 or going.dim() == 0:
            return
        # Copies: what follows may work in place. `contiguous` would not copy.
        self._seen.inputs.append(coming.detach().clone())
        self._seen.outputs.append(going.detach().clone())


@contextmanager
def undisturbed(model: nn.Module, training: bool = False) -> Iterator[None]:
    """Put the model into evaluation mode without gradients, or into training mode of all but modules with buffers;
    afterwards, training flags, buffers and global random numbers are as they were, also after an error.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer._version, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"}
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng([index for index in devices if index is not None]), torch.no_grad():
            for module, _ in flags:
                # Batch normalisation and its like would move their buffers, and without a trace in their version.
                module.training = training and not module._buffers
            yield
    finally:
        for module, training in flags:
            module.training = training
        with torch.no_grad():
            for buffer, version, content in buffers:
                if buffer._version != version:
                    buffer.copy_(content)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def examples(calls: Sequence[torch.Tensor]) -> FloatArray:
    """Activations by example, shape (examples, features): all calls below each other, the rest of the axes in a row.

    Of more examples than `EXAMPLES`, and of more positions than `FEATURES` allow, every so many-th.
    """
    joined = [thinned(call.reshape(len(call), -1), 1, FEATURES) for call in calls]
    if len({part.shape[1] for part in joined}) > 1:
        joined = joined[:1]
    return as_array(thinned(torch.cat(joined), 0, EXAMPLES))


def units(calls: Sequence[torch.Tensor], channels_first: bool) -> FloatArray:
    """Activations by unit, shape (observations, units): every position of every example is an observation."""
    call = calls[0]
    if channels_first:
        call = call.movedim(1, -1)
    return as_array(thinned(call.reshape(-1, call.shape[-1]), 0, 4 * EXAMPLES))


def has_channels_first(layer: Layer) -> bool:
    """Whether the second axis of its output holds its units."""
    return isinstance(layer.module, nn.modules.conv._ConvNd)


def thinned(tensor: torch.Tensor, axis: int, most: int) -> torch.Tensor:
    """Evenly spread entries along an axis, at most so many."""
    size = tensor.shape[axis]
    if size <= most:
        return tensor
    return tensor.index_select(axis, torch.linspace(0, size - 1, most, device=tensor.device).long())


def as_array(tensor: torch.Tensor) -> FloatArray:
    """Copy to double precision, on the CPU."""
    return tensor.detach().to("cpu", torch.float64, copy=True).numpy()
