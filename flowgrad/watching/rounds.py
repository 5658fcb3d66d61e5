"""Says when a step of the training is over, where one optimizer takes it and where several do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

Mark = tuple[Any, int]


class Round:
    """The optimizers that have stepped in the present step of the training.

    A step is over once all have stepped that stepped in the one before (at first: all that are known), or when one of
    them is about to step again: of a generator and a discriminator that steps five times as often, the discriminator
    counts. One that steps behind them with the gradients that were there then takes part in the step that is over, and
    so does one that turns up behind the very first step.
    """

    def __init__(self) -> None:
        self._stepped: dict[int, None] = {}
        self._usual: set[int] = set()
        self._last: set[int] = set()
        """Optimizers of the step that is over."""
        self._marks: dict[int, Mark | None] = {}
        """Gradient of each of the others at its end."""
        self.loose: list[Any] = []
        """Tensors that no optimizer holds which is known: one that turns up may hold them."""
        self._loose_marks: dict[int, Mark | None] = {}
        self._ended = 0
        """Number of steps that are over."""

    def expect(self, optimizers: Sequence[Any]) -> None:
        """Note which optimizers are known, as long as no step was taken."""
        self._usual = {id(one) for one in optimizers}

    def begins_anew(self, optimizer: Any) -> bool:
        """Whether an optimizer that is about to step has stepped already, so that the step before is over."""
        return id(optimizer) in self._stepped

    def belongs_to_last(self, optimizer: Any) -> bool:
        """Whether an optimizer that is about to step takes part in the step that is over."""
        own = id(optimizer)
        if self._stepped or not self._last or own in self._last:
            return False
        if own in self._marks:
            return _alike(self._marks[own], _mark(optimizer))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                mark = self._loose_marks.get(id(parameter))
                if mark is not None and _alike(mark, _mark_of(parameter)):
                    return True
        return self._ended == 1

    def join_last(self, optimizer: Any) -> None:
        """Note that an optimizer took part in the step that is over."""
        self._last.add(id(optimizer))
        self._usual = set(self._last)

    def note(self, optimizer: Any) -> bool:
        """Note that an optimizer has stepped; whether the step is over with it."""
        self._stepped[id(optimizer)] = None
        return self._usual <= self._stepped.keys()

    @property
    def open(self) -> bool:
        """Whether some optimizer has stepped in a step that is not over."""
        return bool(self._stepped)

    def end(self, optimizers: Sequence[Any]) -> None:
        """Close the step; `optimizers` are all that are known."""
        self._usual = set(self._stepped)
        self._last = set(self._stepped)
        self._stepped = {}
        self._ended += 1
        self._marks = {id(one): _mark(one) for one in optimizers if id(one) not in self._last}
        self._loose_marks = {id(one): _mark_of(one) for one in self.loose}


def _mark(optimizer: Any) -> Mark | None:
    """Mark of the first gradient that an optimizer has; None where it has none."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return next((mark for mark in map(_mark_of, parameters) if mark is not None), None)


def _mark_of(parameter: Any) -> Mark | None:
    """The gradient, which is not kept alive, and its number of writes."""
    gradient = parameter.grad
    return None if gradient is None else (ref(gradient), gradient._version)


def _alike(one: Mark | None, other: Mark | None) -> bool:
    """Whether both are of one gradient, and nothing was written to it in between."""
    if one is None or other is None:
        return False
    there = one[0]()
    return there is not None and there is other[0]() and one[1] == other[1]
