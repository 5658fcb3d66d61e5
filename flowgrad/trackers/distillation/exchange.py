"""Records what passes between teacher and student in some steps: inputs, outputs, and the gradient at the student's
outputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from flowgrad.trackers.distillation.probe import first_tensor
from flowgrad.trackers.hooks import TAKEN_OFF
from flowgrad.trackers.watching import Failed, raising

ROWS = 256
"""Number of rows of a call that are kept, evenly spread over it."""
NUMBERS = 2**17
"""Number of values of an output that are kept."""
INPUTS = 2**21
"""Number of values of inputs that are kept; larger inputs are not."""
MOST = 20
"""Number of exchanges that are kept."""
_CALLS = 4
"""Number of calls of each model in a step that are kept: the last ones."""


@dataclass
class Call:
    """One call of a model."""

    rows: int
    """Number of rows of its output, of which `logits` may be a part."""
    logits: torch.Tensor
    """Outputs, shape (rows kept, classes)."""
    inputs: torch.Tensor | None
    """First tensor among its arguments, examples first; None where it is too large."""
    examples: int
    """Number of examples of the inputs, of which `inputs` may be a part."""
    single: bool
    """Whether that tensor was its only argument."""
    training: bool
    gradient: torch.Tensor | None = field(default=None)
    """Gradient of the loss by `logits`."""


@dataclass(frozen=True)
class Exchange:
    """A call of the student with the gradient at its outputs, and the teacher's call that it was taught by."""

    student: Call
    teacher: Call | None


class Exchanges:
    """Records the calls of both models in the steps for which it is armed. Its hooks return nothing."""

    def __init__(self, failed: Failed = raising) -> None:
        self.failed = failed
        """Function that is called with errors of a pass."""
        self.found: list[Exchange] = []
        """Last exchanges of each step, in their order; inputs of all but the last are kept for 32 rows."""
        self.earlier = 0
        """Number of exchanges before those, of a run that was taken up again."""
        self._armed = False
        self._ours: deque[Call] = deque(maxlen=_CALLS)
        self._theirs: deque[Call] = deque(maxlen=_CALLS)
        self.deaf = False
        """Whether the calls are the tracker's own, and are not recorded."""

    def listen(self, teacher: nn.Module, student: nn.Module) -> list[RemovableHandle]:
        """Attach to both models; the result takes the hooks off."""
        return [
            teacher.register_forward_hook(_Hook(self, student=False), with_kwargs=True),
            student.register_forward_hook(_Hook(self, student=True), with_kwargs=True),
        ]

    def arm(self, wanted: bool = True) -> None:
        """Record the calls from here on, if `wanted`."""
        self._armed = wanted and self.earlier + len(self.found) < MOST
        self._clear()

    def close(self) -> None:
        """Note that the step for which it was armed is taken: keep the exchange, if one was recorded."""
        if not self._armed:
            return
        self._armed = False
        ours = next((call for call in reversed(self._ours) if call.gradient is not None), None)
        if ours is not None:
            if self.found:
                self.found[-1] = _smaller(self.found[-1])
            self.found.append(Exchange(ours, _partner(ours, self._theirs)))
        self._clear()

    def take_up(self, earlier: int) -> None:
        """Go on after so many exchanges."""
        self.found, self.earlier = [], earlier

    def _clear(self) -> None:
        self._ours.clear()
        self._theirs.clear()

    def hear(self, student: bool, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        """Note a call."""
        if not self._armed or self.deaf or not _looking():
            return
        logits = first_tensor(getattr(output, "logits", output))
        if logits is None or not logits.is_floating_point() or logits.dim() < 2 or not logits.numel():
            return
        if student and not (torch.is_grad_enabled() and logits.requires_grad):
            return
        tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
        inputs = first_tensor((args, dict(kwargs)))
        kept = None if inputs is None or inputs.numel() > INPUTS or not inputs.dim() else _kept(inputs)
        table = as_rows(logits.detach())
        call = Call(
            len(table), table[_places(table)].clone(), kept, 0 if kept is None or inputs is None else len(inputs),
            len(tensors) == len(args) + len(kwargs) == 1, module.training,
        )  # fmt: skip
        (self._ours if student else self._theirs).append(call)
        if student:
            logits.register_hook(_Gradient(self, call))


class _Gradient:
    """Keeps the gradient of a call's outputs; its hook on the tensor returns nothing."""

    def __init__(self, exchanges: Exchanges, call: Call) -> None:
        self._exchanges, self._call = exchanges, call

    def __call__(self, gradient: torch.Tensor) -> None:
        try:
            if _looking() and not self._exchanges.deaf:
                table = as_rows(gradient.detach())
                part = table[_places(table)].clone()
                known = self._call.gradient
                self._call.gradient = part if known is None else known + part
        except Exception as error:
            self._exchanges.failed("a backward pass", error)


class _Hook:
    """Forward hook of a module. Copies of the module carry one that does nothing."""

    def __init__(self, exchanges: Exchanges | None, *, student: bool) -> None:
        self._exchanges, self._student = exchanges, student

    def __call__(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any = TAKEN_OFF) -> None:
        if torch.compiler.is_compiling() or self._exchanges is None or output is TAKEN_OFF:
            return
        try:
            self._exchanges.hear(self._student, module, args, kwargs, output)
        except Exception as error:
            self._exchanges.failed("a forward pass", error)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _nothing, ()


def _nothing() -> _Hook:
    return _Hook(None, student=False)


def as_rows(logits: torch.Tensor) -> torch.Tensor:
    """Reshape to one line a distribution: classes are along the second axis of maps, and along the last one of all
    else.
    """
    if logits.dim() >= 4:
        logits = logits.movedim(1, -1)
    return logits.reshape(-1, logits.shape[-1])


def _places(table: torch.Tensor) -> torch.Tensor:
    most = max(min(ROWS, NUMBERS // table.shape[1]), 1)
    size = min(len(table), most)
    return torch.linspace(0, len(table) - 1, size, device=table.device).round().long()


def _kept(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.detach()[_spread(len(inputs), ROWS, inputs.device)].clone()


def _spread(size: int, most: int, device: torch.device) -> torch.Tensor:
    return torch.linspace(0, size - 1, min(size, most), device=device).round().long()


def _smaller(exchange: Exchange) -> Exchange:
    for call in (exchange.student, exchange.teacher):
        if call is not None and call.inputs is not None:
            call.inputs = call.inputs[_spread(len(call.inputs), 32, call.inputs.device)].clone()
    return exchange


def _partner(ours: Call, theirs: deque[Call]) -> Call | None:
    """The teacher's last call with outputs of the same shape; of several, that with the same inputs."""
    fitting = [call for call in theirs if call.rows == ours.rows and call.logits.shape == ours.logits.shape]
    if not fitting:
        return theirs[-1] if theirs else None
    return next((call for call in reversed(fitting) if _same(ours.inputs, call.inputs)), fitting[-1])


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(a, b)


def _looking() -> bool:
    """Whether a pass is one that trains: not traced, compiled or exported, nor within `torch.func`."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return torch._C._functorch.peek_interpreter_stack() is None
