"""Holds the base class of trackers: each has a name and findings, watches a training, and lets go of it."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measurements
from flowgrad.subject import Subject
from flowgrad.trackers import states
from flowgrad.trackers.watching import Halt, TrackingStopped, Watching, told

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made


class Tracker(Watching, Subject):
    """Observes a training run and never disturbs it: no random numbers, no writes, no wrapping.

    What goes wrong within the loop (in a hook, `step`, `end_epoch` and the like) never ends the training: a tracker
    that cannot go on warns once (`TrackingStopped`), takes its hooks off, and its report is `NOT_OBSERVED`, with the
    figures of the steps before. Wrong arguments of the first call are an error, as is any failure where a tracker is
    made or read.
    """

    _last: Measurements | None = None
    """Measurements as they were when the tracker stopped."""

    def measurements(self) -> Measurements:
        """Everything measured so far. Reading it changes nothing; it may be read as often as wanted."""
        if self._halt is None:
            return self._measure()
        known = self._nothing() if self._last is None else self._last
        return replace(known, coverage=replace(known.coverage, blind=self.stopped, stopped=True))

    @abstractmethod
    def _measure(self) -> Measurements:
        """Compute everything measured so far."""

    def _keep(self) -> None:
        self._last = self._measure()

    def _nothing(self) -> Measurements:
        """Empty measurements."""
        steps = 0 if self._halt is None else self._halt.steps
        scalars = {measure.name: math.nan for measure in self.MEASURES if not measure.per_row}
        rows = pd.DataFrame(columns=[measure.name for measure in self.MEASURES if measure.per_row], dtype=float)
        known = {self.UNIT: float(steps)}
        return Measurements(
            self.KIND, self.name, scalars | (known if self.UNIT in scalars else {}), {"rows": rows}, steps
        )

    def _state_of_halt(self, halt: Halt) -> dict[str, Any]:
        """State of a tracker that has stopped."""
        return states.headed(self.KIND, {states.STOPPED: halt._asdict()})

    def _takes(self, state: Any) -> bool:
        """Whether a state is to be loaded. The state of a tracker that had stopped is taken here: this one stops too.

        Raises:
            ValueError: this tracker has stopped, or the state of one that had is none.
        """
        if self._halt is not None:
            raise ValueError(f"{self.name}: {self.stopped}; load the state into a new tracker")
        if not states.is_stopped(state, self.name, self.KIND):
            return True
        found: Mapping[str, Any] = state[states.STOPPED]
        self._halt = Halt(found["steps"], found["place"], found["reason"])
        self.detach()
        self._last = None
        warnings.warn(f"{self.name}: before the checkpoint, {self.stopped}", TrackingStopped, stacklevel=3)
        return False

    def _load_whole(self, state: dict[str, Any], load: Callable[[dict[str, Any]], None]) -> None:
        """Load a state whose parts are right; restore the old state where they do not fit together.

        Raises:
            ValueError: they do not fit together. Nothing has changed.
        """
        before = self.state_dict()
        try:
            load(state)
        except Exception as error:
            load(before)
            raise ValueError(
                f"{self.name}: the parts of the state do not fit together ({told(error)}); load another checkpoint, or "
                "go on with a new tracker"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint. Trackers of boosters have none."""
        raise NotImplementedError(f"{type(self).__name__} has no state")
