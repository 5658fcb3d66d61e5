"""Sends what a watch sees to an experiment tracker: few series, each finding once, and the report at the end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from flowgrad.errors import FlowGradError
from flowgrad.html import report_bytes
from flowgrad.loggers import Guarded, logger_of
from flowgrad.trackers.watching import TrackingStopped, told
from flowgrad.watching.losses import Mean
from flowgrad.watching.merging import Merged
from flowgrad.watching.reading import Reading

if TYPE_CHECKING:
    from flowgrad.watching.watched_run import Watch

_APART, _SHARE = 10, 50
"""Number of steps between two points of a curve, at least; later on a fiftieth of the steps so far."""
_PLACES = 3
"""Number of places of a finding that its title names."""
_FIGURES = {
    "gradient_norm": "total_gradient_norm",
    "update_ratio": "median_update_ratio",
    "dead_units": "dead_units_max",
}
"""Figures of the network that are sent, with their names among its measures."""
_SEVERE = ("high", "critical")
_FORMS = (".xml", ".txt", ".html")


class Sending:
    """A logger of a watch, which ends no training: an error of it is a warning, and it gets nothing more."""

    def __init__(self, writer: Any, prefix: str) -> None:
        """Take what the user writes to.

        Raises:
            FlowGradError: `writer` is none that `flowgrad.loggers.logger_of` takes, or `prefix` is empty.
        """
        if not isinstance(prefix, str) or not prefix.strip("/ "):
            raise FlowGradError(f"prefix={prefix!r}: give the name that the series begin with, such as 'flowgrad'")
        logger = logger_of(writer)
        self._logger = Guarded(type(logger).__name__, lambda: logger)
        self._prefix = prefix.strip("/ ")
        self.losses = Mean()
        """Training losses since the last point."""
        self._next = _APART

    def due(self, step: int) -> bool:
        """Whether a point of the curves is to be sent after this step."""
        return step >= self._next

    def point(self, step: int, lr: float) -> None:
        """Send a point of the curves: mean loss since the last one, and the highest learning rate of a group."""
        self._next = step + max(_APART, step // _SHARE)
        self._scalars(step, {"loss": self.losses.take(), "lr": _known(lr)})

    def epoch(self, step: int, figures: Mapping[str, Any]) -> None:
        """Send the means of an epoch: `val_loss` and `metric`, as far as they were logged."""
        self._scalars(step, figures)

    def look(self, step: int, readings: Sequence[Reading], found: Sequence[Merged], skipped: int) -> None:
        """Send figures of a look, and all that waits."""
        severe = sum(one.lead.severity in _SEVERE for one in found)
        counts = {"findings": len(found), "findings_severe": severe, "skipped_steps": skipped or None}
        self._scalars(step, {**counts, **_of_network(readings), **_of_tables(readings)})
        self._logger.flush()

    def alert(self, found: Iterable[Merged]) -> None:
        """Send findings."""
        for lead, places, _ in found:
            names = [place.layer for place in places.shown[:_PLACES]]
            more = f" and {places.count - len(names)} more" if places.count > len(names) else ""
            title = f"{lead.type} on {', '.join(names) or lead.subject}{more}"
            self._logger.alert(title, f"{lead.premise} {lead.implies}", lead.severity)

    def report(self, watch: Watch) -> None:
        """Send the report as files, with pictures in the one that people open, and all that waits."""
        from flowgrad.watching.pages import pictures_of

        try:
            made = watch.to_report()
            with TemporaryDirectory(prefix="flowgrad-") as folder:
                for ending in _FORMS:
                    path = Path(folder) / f"{self._prefix.replace('/', '_')}_report{ending}"
                    path.write_bytes(report_bytes(made, ending, lambda: pictures_of(watch)))
                    self._logger.artifact(path)
        except Exception as error:
            warnings.warn(f"the report could not be sent: {told(error)}", TrackingStopped, stacklevel=2)
        self._logger.flush()

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the figures that are known; a loss that is no number is sent as that."""
        known = {f"{self._prefix}/{name}": float(value) for name, value in values.items() if value is not None}
        if known:
            self._logger.scalars(known, step)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _of_network(readings: Iterable[Reading]) -> dict[str, float | None]:
    scalars = next((one.measured.scalars for one in readings if one.kind == "flow" and not one.blind), {})
    return {name: _known(scalars.get(measure, math.nan)) for name, measure in _FIGURES.items()}


def _of_tables(readings: Iterable[Reading]) -> dict[str, float | None]:
    """Share of the rows of all tables that were never looked up, and the least effective rank of a table."""
    tables = [one.measured.scalars for one in readings if one.kind == "embedding" and not one.blind]
    if not tables:
        return {}
    rows = np.array([one["rows"] for one in tables])
    seen = np.array([one["seen_share"] for one in tables])
    ranks = np.array([one["effective_rank_share"] for one in tables])
    known = np.isfinite(seen)
    share = float((rows * (1 - seen))[known].sum() / rows[known].sum()) if known.any() else math.nan
    return {"rows_never_looked_up": _known(share), "least_rank_share": _known(float(np.fmin.reduce(ranks)))}
