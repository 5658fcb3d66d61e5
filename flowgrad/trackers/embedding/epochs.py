"""Recognises the end of an epoch by the batch sizes."""

from __future__ import annotations

import math
from typing import Any


class EpochSense:
    """Recognises epochs in loops that do not announce them.

    A loader that goes through the data in batches of one size ends each epoch with a smaller batch, after the same
    number of steps each time. Whatever does not fit that picture (sizes that vary, a last batch dropped, sampling
    with replacement) is no epoch, and once it was seen nothing is recognised any more.
    """

    def __init__(self) -> None:
        self._size: int | None = None
        self._length: int | None = None
        self._steps = 0
        self.fits = True
        """False once the batches contradicted the picture."""

    def steps_left(self, lookups: int) -> float:
        """Number of steps to the next one that `ends` must be asked of, if all have so many lookups: the epoch's last,
        or the next one where that is out of the ordinary. It is infinite where neither is to come.
        """
        if lookups != self._size:
            return 1
        return math.inf if self._length is None else self._length - self._steps

    def pass_over(self, steps: int) -> None:
        """Count steps that had as many lookups as those before, and did not end the epoch."""
        self._steps += steps

    def ends(self, lookups: int) -> bool:
        """True where the step with so many lookups was the last one of an epoch."""
        if not self.fits:
            return False
        self._steps += 1
        if self._size is None:
            self._size = lookups
        if lookups == self._size and (self._length is None or self._steps < self._length):
            return False
        regular = lookups < self._size and self._steps > 1 and self._length in (None, self._steps)
        if not regular:
            self.fits = False
            return False
        self._length, self._steps = self._steps, 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """State of everything, as numbers."""
        return {"size": self._size, "length": self._length, "steps": self._steps, "fits": self.fits}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._size, self._length, self._steps = state["size"], state["length"], state["steps"]
        self.fits = state["fits"]
