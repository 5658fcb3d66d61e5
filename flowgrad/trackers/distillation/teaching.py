"""Measures the teacher while it teaches: whether its weights move, which way, and in which mode it is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from flowgrad.trackers.flow.samples import sampled
from flowgrad.trackers.watching import Failed, raising

_RUNNING = ("running_mean", "running_var")
_LISTS = ("moves",)
_TENSORS = ("start", "last", "statistics")


class Teaching:
    """Samples the teacher's weights and running statistics at the sampled steps; keeps lengths on their device."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        own = {id(weight) for weight in student.parameters()}
        named = [(name, weight) for name, weight in teacher.named_parameters() if _is_sampled(weight)]
        self._weights = [weight for _, weight in named]
        self._counts = [len(sampled(weight.detach())) for weight in self._weights]
        self._sizes = [weight.numel() for weight in self._weights]
        self.shared = [id(weight) in own for weight in self._weights]
        """Flags of the weights that are the student's too, one a weight."""
        self._partners = [
            None if shared else partner for shared, partner in zip(self.shared, _partners(named, student), strict=True)
        ]
        self._buffers = [
            buffer for name, buffer in teacher.named_buffers()
            if name.rpartition(".")[2] in _RUNNING and _is_sampled(buffer)
        ]  # fmt: skip
        self._pairs = [(partner, place) for place, partner in enumerate(self._partners) if partner is not None]
        self._entries, self._running = _Sample(self._weights), _Sample(self._buffers)
        self._followed = _Sample([partner for partner, _ in self._pairs])
        self._start: torch.Tensor | None = None
        self._last: torch.Tensor | None = None
        self._statistics: torch.Tensor | None = None
        self._moves: list[torch.Tensor] = []
        """Figures of each sampled step, shape (5,): squared lengths of the way since the start, of the way since the
        last sample, of that of weights that the student has too and of the student's distance from there, and the
        product of these two.
        """
        self.begin()

    @property
    def weights(self) -> Sequence[nn.Parameter]:
        """Weights of the teacher that are sampled."""
        return self._weights

    @torch.no_grad()
    def begin(self) -> None:
        """Start from the weights as they are: whatever happened before is not training."""
        self._start = self._last = self._entries.read()
        self._statistics = self._running.read()

    @torch.no_grad()
    def look(self) -> None:
        """Note how far the teacher's weights have moved."""
        now, last, start = self._entries.read(), self._last, self._start
        if now is None or last is None or start is None:
            return
        moved = now - last
        zero = moved.new_zeros(())
        along = lengths = distance = zero
        student = self._followed.read()
        if student is not None:
            parts, lasts = moved.split(self._counts), last.split(self._counts)
            way = torch.cat([parts[place] for _, place in self._pairs])
            towards = student.to(way.device) - torch.cat([lasts[place] for _, place in self._pairs])
            along, lengths, distance = (way * towards).sum(), way.square().sum(), towards.square().sum()
        self._moves.append(torch.stack([(now - start).square().sum(), moved.square().sum(), lengths, distance, along]))
        self._last = now

    def figures(self) -> dict[str, float]:
        """Figures `teacher_moved`, `teacher_moving`, `teacher_part`, `teacher_toward` and `teacher_statistics`, by
        name; NaN where no step was sampled.
        """
        names = ("teacher_moved", "teacher_moving", "teacher_part", "teacher_toward", "teacher_statistics")
        if not self._moves or self._start is None:
            return dict.fromkeys(names, math.nan)
        moves = torch.stack(self._moves).double().cpu()
        length = float(self._start.double().norm())
        moving = moves[:, 1] > 0
        along = moves[moving & (moves[:, 2] > 0) & (moves[:, 3] > 0)]
        cosines = along[:, 4] / (along[:, 2] * along[:, 3]).sqrt()
        return {
            "teacher_moved": float(moves[-1, 0].sqrt()) / length if length else math.nan,
            "teacher_moving": float(moving.double().mean()),
            "teacher_part": self._part(),
            "teacher_toward": float(cosines.median()) if len(cosines) else 0.0,
            "teacher_statistics": self._drifted(),
        }

    @torch.no_grad()
    def _drifted(self) -> float:
        now = self._running.read()
        if now is None or self._statistics is None:
            return 0.0
        length = float(self._statistics.double().norm())
        return float((now - self._statistics).double().norm()) / length if length else math.nan

    def _part(self) -> float:
        """Share of the teacher's weights, in [0, 1], in tensors that are not where they were."""
        assert self._start is not None
        assert self._last is not None
        counts = self._counts
        moved = [
            size for size, a, b in zip(self._sizes, self._start.split(counts), self._last.split(counts), strict=True)
            if not torch.equal(a, b)
        ]  # fmt: skip
        return sum(moved) / sum(self._sizes)

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far."""
        tensors = {
            key: None if (kept := getattr(self, f"_{key}")) is None else kept.clone() for key in _TENSORS
        }  # fmt: skip
        return {**tensors, "moves": [move.clone() for move in self._moves]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave; of a teacher of another size only the moves count."""
        for key in _TENSORS:
            own, kept = getattr(self, f"_{key}"), state[key]
            if own is not None and kept is not None and own.shape == kept.shape:
                setattr(self, f"_{key}", kept.to(own.device).clone())
        device = None if self._start is None else self._start.device
        self._moves = [move.to(device).clone() for move in state["moves"]]


class Calls:
    """Counts calls of the teacher, and notes the mode of its modules that draw random numbers or move buffers. Its
    forward hook returns nothing. Copies of the teacher carry an inert one.

    A forward hook that returns nothing. Copies of the teacher carry a deaf one.
    """

    COUNTS = ("calls", "training", "in_training")

    def __init__(self, teacher: nn.Module, failed: Failed = raising) -> None:
        self._failed = failed
        """Function that is called with errors of a forward pass."""
        self.calls = self.training = 0
        """Number of calls, and of those with such a module in training mode."""
        self.in_training = False
        """Whether the last call was in training mode."""
        self.deaf = False
        self._moody = [module for module in teacher.modules() if _is_moody(module)]

    def listen(self, teacher: nn.Module) -> RemovableHandle:
        """Attach the hook; the result takes it off."""
        return teacher.register_forward_pre_hook(self)

    def __call__(self, *_: Any) -> None:
        """Count a call; not while a graph is compiled or exported, into which it must not go."""
        if self.deaf or torch.compiler.is_compiling():
            return
        try:
            self.calls += 1
            self.in_training = any(module.training for module in self._moody)
            self.training += self.in_training
        except Exception as error:
            self._failed("a forward pass", error)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _deaf, ()


def _deaf() -> Calls:
    calls = Calls(nn.Module())
    calls.deaf = True
    return calls


def _is_moody(module: nn.Module) -> bool:
    """Whether the module gives another result in training mode: it keeps running statistics, or has a rate of
    dropout.
    """
    if any(module._buffers.get(name) is not None for name in _RUNNING):
        return True
    rates = (getattr(module, name, 0.0) for name in ("p", "dropout", "drop_prob"))
    return any(isinstance(rate, float) and 0 < rate <= 1 for rate in rates)


def _is_sampled(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and tensor.device.type != "meta"


class _Sample:
    """Evenly spread entries of tensors, concatenated."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tensors

    def read(self) -> torch.Tensor | None:
        """A copy in single precision, on the first one's device; None of no tensors."""
        if not self._tensors:
            return None
        device = self._tensors[0].device
        # Taken anew each time: of a tensor that is not contiguous, the entries are a copy.
        return torch.cat([sampled(tensor.detach()).to(device, torch.float32) for tensor in self._tensors])


def _partners(named: Sequence[tuple[str, nn.Parameter]], student: nn.Module) -> list[nn.Parameter | None]:
    """Find for each weight of the teacher the student's of its name and shape; where not all have one, the student's
    next one of its shape, so that a student with a part before or after pairs too.
    """
    own = dict(student.named_parameters())
    found: list[nn.Parameter | None] = [
        own[name] if name in own and own[name].shape == weight.shape else None for name, weight in named
    ]
    if all(partner is not None for partner in found):
        return found
    left = [weight for weight in own.values() if _is_sampled(weight)]
    by_order: list[nn.Parameter | None] = []
    at = 0
    for _, weight in named:
        place = next((place for place in range(at, len(left)) if left[place].shape == weight.shape), None)
        by_order.append(None if place is None else left[place])
        at = at if place is None else place + 1
    return max(found, by_order, key=lambda partners: sum(partner is not None for partner in partners))
