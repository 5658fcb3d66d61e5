"""Attaches trackers of the user's own, which the node `own_trackers` names, to a watched run."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Coverage, Measurements
from flowgrad.rules.kinds import is_own
from flowgrad.trackers import Tracker
from pipelines.config.own_code import told_error
from pipelines.config.targets import check_call, imported
from pipelines.trainers.trainer import trainer_of

_logger = logging.getLogger(__name__)
_CALLS = ("step", "end_epoch", "detach", "measurements")


@dataclass(frozen=True)
class OwnTracker:
    """One entry of `own_trackers`."""

    name: str
    cls: type[Tracker]
    settings: Mapping[str, Any]


def own_trackers(config: DictConfig) -> tuple[OwnTracker, ...]:
    """The trackers that the config names, imported and checked, so that rules may be about what they measure.

    Raises:
        FlowGradError: a name, class or setting that cannot be, or training that attaches no such trackers.
    """
    found = tuple(_entry(str(name), entry) for name, entry in config.own_trackers.items())
    trainer = trainer_of(config)
    if found and trainer.STEP != "epoch":
        raise FlowGradError(
            f"own_trackers: training by {type(trainer).__name__} attaches none; attach {found[0].name!r} in a loop of "
            "your own"
        )
    return found


def subjects_of(config: DictConfig) -> tuple[str, ...]:
    """Subjects of the rules that the trackers of a run feed.

    Raises:
        FlowGradError: as `own_trackers`.
    """
    return (*trainer_of(config).SUBJECTS, *(tracker.cls.KIND for tracker in own_trackers(config)))


class OwnWatch:
    """Makes the trackers of one watched run when there is a model, and reads them when training is over."""

    def __init__(self, config: DictConfig, others: Any = None) -> None:
        """Read the entries.

        Args:
            config: the composed config.
            others: makes further observers; see `Trainer.train`.

        Raises:
            FlowGradError: as `own_trackers`.
        """
        self._entries, self._others = own_trackers(config), others
        self._watching: list[_Guarded] = []

    @property
    def observers(self) -> Any:
        """The observers for `Trainer.train`; the others alone, where the config names no tracker."""
        return self._made if self._entries else self._others

    def _made(self, *given: Any) -> Sequence[Any]:
        *_, model, optimizer = given
        self._watching = [_Guarded(entry, model, optimizer) for entry in self._entries]
        return [*self._watching, *(self._others(*given) if self._others else ())]

    def measurements(self, known: Sequence[Measurements]) -> tuple[Measurements, ...]:
        """Everything that they measured.

        Args:
            known: measurements of the other trackers of the run.

        Raises:
            FlowGradError: one has the name of another tracker, or gives other figures than its class declares.
        """
        taken = {seen.subject for seen in known}
        for entry in self._entries:
            if entry.name in taken:
                raise FlowGradError(f"own_trackers.{entry.name}: a tracker of this run has that name; give another")
        return tuple(watching.measurements() for watching in self._watching)


class _Guarded:
    """Tells one tracker of the steps; where its code raises, watching stops and training goes on."""

    def __init__(self, entry: OwnTracker, model: Any, optimizer: Any) -> None:
        self._entry, self._steps, self._stopped = entry, 0, ""
        make: Callable[..., Any] = entry.cls
        self._tracker = make(model, optimizer, name=entry.name, **entry.settings)

    def step(self, loss: Any) -> None:
        """Note that the optimizer has stepped on a batch of this loss."""
        self._call(lambda: self._tracker.step(loss))
        self._steps += not self._stopped

    def end_epoch(self, *_: float) -> None:
        """Note that an epoch has ended."""
        self._call(self._tracker.end_epoch)

    def detach(self) -> None:
        """Take the tracker off: training is over."""
        self._call(self._tracker.detach)

    def measurements(self) -> Measurements:
        """The measurements; nothing, and why, where watching stopped.

        Raises:
            FlowGradError: it gives other figures than its class declares.
        """
        seen = self._call(self._tracker.measurements)
        names = {measure.name for measure in self._entry.cls.MEASURES if not measure.per_row}
        if self._stopped or seen is None:
            return Measurements(
                self._entry.cls.KIND,
                self._entry.name,
                dict.fromkeys(names, math.nan),
                step=self._steps,
                coverage=Coverage(blind=self._stopped, stopped=True),
                framework="torch",
            )
        if differing := sorted(set(seen.scalars) ^ names):
            raise FlowGradError(
                f"own_trackers.{self._entry.name}: measurements() and MEASURES of {self._entry.cls.__name__} differ in "
                f"{', '.join(differing)}; each figure stands in both"
            )
        return seen

    def _call(self, told: Callable[[], Any]) -> Any:
        if self._stopped:
            return None
        try:
            return told()
        except Exception as error:  # code of the user's own may raise anything
            self._stopped = f"the tracker stopped watching after {self._steps} steps: {told_error(error)}"
            _logger.warning("own_trackers.%s: %s", self._entry.name, self._stopped)
            return None


def _entry(name: str, entry: Any) -> OwnTracker:
    key = f"own_trackers.{name}"
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise FlowGradError(f"own_trackers: {name!r} is no name such as layer_norms; findings and files go by it")
    if not isinstance(entry, DictConfig) or not isinstance(entry.get("_target_"), str):
        raise FlowGradError(f"{key} must name a class: {key}._target_=MODULE.CLASS")
    path, given = entry["_target_"], OmegaConf.to_container(entry, resolve=True)
    assert isinstance(given, dict)
    settings: dict[str, Any] = {str(key): value for key, value in given.items() if key != "_target_"}
    found = imported(f"{key}._target_", path)
    if not (isinstance(found, type) and issubclass(found, Tracker)) or not is_own(getattr(found, "KIND", "")):
        raise FlowGradError(
            f"{key}._target_={path} is no tracker of your own, which is a subclass of flowgrad.trackers.Tracker with a "
            "KIND and MEASURES"
        )
    if missing := [call for call in _CALLS if not callable(getattr(found, call, None))]:
        raise FlowGradError(f"{key}._target_={path} has no method {missing[0]}(); the loop calls it")
    check_call(f"{key}._target_={path}", found, None, None, name=name, **settings)
    return OwnTracker(name, found, settings)
