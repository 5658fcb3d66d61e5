"""Reads a metric from what a script printed or wrote."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded

HIGHER, LOWER = "higher", "lower"
OUTPUT = "output.txt"
"""File of a run that holds all that was printed."""
MLFLOW = "mlflow.db"
"""Store that MLflow of a run is sent to."""
_MOST_BYTES = 64 << 20
_PLACES = ("pattern", "file", "mlflow")


class NoMetricError(FlowGradError):
    """A run has no value of a metric."""


@dataclass(frozen=True)
class MetricPlace:
    """A metric, and the place where a script leaves it."""

    name: str
    higher_is_better: bool
    kind: str
    """Kind of the place: `pattern`, `file` or `mlflow`."""
    where: str
    """Regular expression, or path in the run's folder."""
    key: str
    """Name there; dots lead into mappings of JSON."""

    @classmethod
    def of(cls, name: str, told: Any) -> MetricPlace:
        """Read an entry of `training.metrics`.

        Raises:
            FlowGradError: it says no direction, or no single place.
        """
        where = f"training.metrics.{name}"
        if not isinstance(told, Mapping):
            raise FlowGradError(f"{where}: give better and a place, as in {{better: lower, file: metrics.json}}")
        if told.get("better") not in (HIGHER, LOWER):
            raise FlowGradError(f"{where}.better={told.get('better')}: say which is better, higher or lower")
        kinds = [kind for kind in _PLACES if told.get(kind)]
        if len(kinds) != 1 or (unknown := set(told) - {"better", "key", *_PLACES}):
            wrong = f"; {sorted(unknown)[0]} is unknown" if len(kinds) == 1 else ""
            raise FlowGradError(f"{where}: name one place, pattern, file or mlflow{wrong}")
        found = cls(name, told["better"] == HIGHER, kinds[0], str(told[kinds[0]]), str(told.get("key") or name))
        if found.kind == "pattern":
            found._groups()
        return found

    def _groups(self) -> re.Pattern[str]:
        try:
            pattern = re.compile(self.where, re.MULTILINE)
        except re.error as error:
            raise FlowGradError(f"training.metrics.{self.name}.pattern: {error}; give a regular expression") from error
        if pattern.groups < 1:
            raise FlowGradError(
                f"training.metrics.{self.name}.pattern={self.where!r}: put brackets around the number, as in "
                r"'rmse (\S+)'"
            )
        return pattern

    def read(self, folder: Path) -> float:
        """The value that a run left; NaN and infinities as they stand there.

        Raises:
            NoMetricError: there is none, in one line that says where it was looked for.
        """
        if self.kind == "pattern":
            return self._printed(folder)
        found = self._logged(folder) if self.kind == "mlflow" else self._written(folder / self.where)
        return self._number(found)

    def _printed(self, folder: Path) -> float:
        output = _text(folder / OUTPUT)
        matches = [*self._groups().finditer(output)]
        if not matches:
            raise NoMetricError(f"it printed nothing that {self.where!r} matches, so there is no {self.name}")
        return self._number(matches[-1][1])

    def _written(self, path: Path) -> Any:
        if path.is_dir():
            return self._scalar(path)
        if not path.is_file():
            raise NoMetricError(f"it wrote no {self.where} into {{folder}}, so there is no {self.name}")
        if path.suffix == ".csv":
            return self._last(path)
        try:
            held: Any = json.loads(_text(path))
        except ValueError as error:
            raise NoMetricError(f"{self.where} is no JSON: {error}") from error
        for key in (self.key,) if isinstance(held, dict) and self.key in held else self.key.split("."):
            if not isinstance(held, dict) or key not in held:
                raise NoMetricError(f"{self.where} holds no {self.key}")
            held = held[key]
        return held

    def _last(self, path: Path) -> Any:
        lines = [line for line in csv.DictReader(_text(path).splitlines()) if line.get(self.key) not in (None, "")]
        if not lines:
            raise NoMetricError(f"{self.where} has no value in a column {self.key}")
        return lines[-1][self.key]

    def _scalar(self, path: Path) -> Any:
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError as error:
            raise FlowGradError("reading TensorBoard's files needs it: pip install 'flowgrad[tensorboard]'") from error
        folders = sorted({file.parent for file in path.rglob("events.out.tfevents*")})
        found: list[tuple[int, float]] = []
        for folder in folders:
            events = EventAccumulator(str(folder))
            events.Reload()
            if self.key in events.Tags()["scalars"]:
                found += [(one.step, one.value) for one in events.Scalars(self.key)]
        if not found:
            raise NoMetricError(f"{self.where} holds no scalar {self.key}")
        return max(found, key=lambda one: one[0])[1]

    def _logged(self, folder: Path) -> Any:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise FlowGradError("reading MLflow's runs needs it: pip install 'flowgrad[mlflow]'") from error
        if not (folder / MLFLOW).is_file():
            raise NoMetricError(f"it logged nothing to MLflow, so there is no {self.name}; does it set another store?")
        client = MlflowClient(f"sqlite:///{folder / MLFLOW}")
        runs = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
        values = [run.data.metrics[self.key] for run in runs if self.key in run.data.metrics]
        if len(values) != 1:
            raise NoMetricError(f"{len(values)} runs of MLflow hold {self.key}; log it in one")
        return values[0]

    def _number(self, told: Any) -> float:
        try:
            if isinstance(told, bool):
                raise ValueError
            return float(told)
        except (TypeError, ValueError):
            if told is None or str(told).lower() in ("null", "none"):
                return math.nan
            raise NoMetricError(f"{self.name} is {str(told)[:40]!r}, which is no number") from None


def _text(path: Path) -> str:
    try:
        return read_bounded(path, _MOST_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise NoMetricError(f"{path.name} cannot be read: {error.strerror or error}") from error
