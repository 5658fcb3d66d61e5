"""Says when a step of the training is over, where one optimizer takes it and where several do."""

from __future__ import annotations

from typing import Any


class Round:
    """The optimizers that have stepped in the present step of the training.

    A step is over once all have stepped that stepped in the one before (at first: all that are known), or when one of
    them is about to step again: of a generator and a discriminator that steps five times as often, the discriminator
    counts.
    """

    def __init__(self) -> None:
        self._stepped: dict[int, None] = {}
        self._usual: set[int] = set()

    def expect(self, optimizers: tuple[Any, ...]) -> None:
        """Note which optimizers are known, as long as no step was taken."""
        self._usual = {id(one) for one in optimizers}

    def begins_anew(self, optimizer: Any) -> bool:
        """Whether an optimizer that is about to step has stepped already, so that the step before is over."""
        return id(optimizer) in self._stepped

    def note(self, optimizer: Any) -> bool:
        """Note that an optimizer has stepped; whether the step is over with it."""
        self._stepped[id(optimizer)] = None
        return self._usual <= self._stepped.keys()

    @property
    def open(self) -> bool:
        """Whether some optimizer has stepped in a step that is not over."""
        return bool(self._stepped)

    def end(self) -> None:
        """Close the step."""
        if self._stepped:
            self._usual = set(self._stepped)
        self._stepped = {}
