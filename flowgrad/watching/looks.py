"""Says which findings are told while training goes on, and when it is looked for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flowgrad.rules import Finding
from flowgrad.trackers.schedules import Schedule
from flowgrad.watching.merging import Merged

T = TypeVar("T")
_FIRST = 32
"""Step from which on it is looked for findings."""
_APART = 16
"""Number of steps between a look at the end of an epoch and the look before: two looks at one state are one."""
_COST = 0.02
"""Share of the time since the start that looks of the default schedule take at most."""
_ONLY_AT_THE_END = frozenset(
    {
        "DEAD_EMBEDDINGS",
        "EXPOSURE_CONCENTRATION",
        "FEW_ROWS_LOOKED_UP",
        "LEARNING_RATE_TOO_LOW",
        "LEARNING_RATE_VANISHED",
        "NO_LEARNING",
        "ROWS_NEAR_THEIR_START",
        "SLOW_CONVERGENCE",
        "STILL_IMPROVING",
        "TABLE_BARELY_USED",
        "TRAINING_CUT_SHORT",
    }
)
"""Findings on what a training came to: in its middle, they say no more than that it is not over."""


class Looks:
    """Tells each finding once, by its type: where two looks in a row make it, a critical one at once."""

    def __init__(
        self, tell: Callable[[Finding], Any] | None, schedule: Schedule | None, *, applied: bool = False
    ) -> None:
        """Start with nothing told.

        Args:
            tell: called with each finding; None: it is never looked for them.
            schedule: number of a step (from 1) -> whether it is looked for findings; None: twice in each doubling of
                the steps, as long as that takes no more than a fiftieth of the time.
            applied: whether findings change the training: it is looked for them whatever time that takes, for two runs
                of one seed to be the same, and two looks in a row have to make a critical one as well.

        Raises:
            TypeError: one of them cannot be called.
        """
        for name, value, other in (("on_finding", tell, ", or 'apply'"), ("looks", schedule, "")):
            if value is not None and not callable(value):
                raise TypeError(f"{name}={value!r} must be a function{other}")
        self._tell, self._schedule, self._applied = tell, schedule, applied
        self.sent = False
        """Whether they are wanted for a logger, too."""
        self.told: set[str] = set()
        """Types of the findings that were told."""
        self._last: set[str] = set()
        """Types of the findings of the last look."""
        self._began = time.monotonic()
        self._spent = 0.0
        self._looked = 0
        """Step of the last look."""

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to be told."""
        return self.sent or self._applied or self._tell is not None

    def due(self, step: int) -> bool:
        """Whether it is to be looked for findings after this step."""
        if not self.wanted:
            return False
        if self._schedule is not None:
            return bool(self._schedule(step))
        if step < _FIRST or step % (1 << (step.bit_length() - 2)):
            return False
        if self._applied:
            return step - self._looked >= _APART
        return self._spent <= _COST * (time.monotonic() - self._began)

    def due_at_epoch(self, step: int) -> bool:
        """Whether it is to be looked for findings at the end of an epoch, so many steps after the start."""
        return self._applied and step >= _FIRST and step - self._looked >= _APART

    def timed(self, step: int, look: Callable[[], T]) -> T:
        """Look after this step, and note the time that it takes."""
        self._looked = step
        began = time.monotonic()
        try:
            return look()
        finally:
            self._spent += time.monotonic() - began

    def news(self, found: Iterable[Merged], *, ended: bool) -> list[Merged]:
        """Choose the findings that are to be told now, and take them for told.

        Args:
            found: every finding as it is now, once.
            ended: whether the training is over.
        """
        found = [one for one in found if one.lead.type not in self.told and not one.lead.follows]
        before, self._last = self._last, {one.lead.type for one in found}
        if not ended:
            found = [one for one in found if one.lead.type not in _ONLY_AT_THE_END]
            at_once = () if self._applied else ("critical",)
            found = [one for one in found if one.lead.severity in at_once or one.lead.type in before]
        self.told |= {one.lead.type for one in found}
        return found

    def state_dict(self) -> dict[str, Any]:
        """State besides `told`: the step of the last look, and the types that it found."""
        return {"looked": self._looked, "last": sorted(self._last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._looked, self._last = state["looked"], set(state["last"])

    def tell(self, finding: Finding) -> None:
        """Call whom it may concern."""
        if self._tell is not None:
            self._tell(finding)
