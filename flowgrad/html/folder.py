"""Reads the files of a run's folder for its page. One that cannot be read is named on the page; none is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from flowgrad.bounded_yaml import load_yaml
from flowgrad.csv_tables import read_table
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded
from flowgrad.html.figures import Figure
from flowgrad.report import ClaimsReport, Report, RunReport, from_xml
from flowgrad.report.schema import MOST_BYTES

if TYPE_CHECKING:
    import pandas as pd

_MOST_YAML = 4 << 20
_T = TypeVar("_T")


def _mapping(path: Path) -> dict[str, Any]:
    found = load_yaml(read_bounded(path, _MOST_YAML), _MOST_YAML)
    if not isinstance(found, dict):
        raise ValueError(f"it holds no mapping, but a {type(found).__name__}")
    return found


class Folder:
    """A folder of a run, and what could not be read in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing: list[str] = []
        """A line for each file that is there and cannot be read."""
        self.reasons: dict[str, str] = {}
        """Why each file that is there and cannot be read is not, by its name."""
        self.read: list[str] = []
        """Names of the files that were read, in their order."""

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return (self.path / name).is_file()

    def names(self, pattern: str) -> list[str]:
        """Names of the files that fit a pattern, in their order."""
        return sorted(path.name for path in self.path.glob(pattern) if path.is_file())

    def table(self, name: str, columns: Sequence[str] = (), numbers: Sequence[str] = ()) -> pd.DataFrame | None:
        """A CSV file as a table; None where it is not there, or holds no such table."""
        return self._try(name, lambda path: read_table(path, columns, numbers))

    def report(self, name: str) -> Report | RunReport | ClaimsReport | None:
        """A report; None where it is not there, or is none."""
        return self._try(name, lambda path: from_xml(read_bounded(path, MOST_BYTES)))

    def mapping(self, name: str) -> dict[str, Any]:
        """A YAML file as a mapping; an empty one where it is not there, or is none."""
        found = self._try(name, _mapping)
        return {} if found is None else found

    def drawn(self, name: str, make: Callable[[], Iterable[Figure | None]]) -> list[Figure]:
        """The pictures that `make` draws of a table; where it holds no figures that can be drawn, that is noted."""
        try:
            with np.errstate(all="ignore"):  # losses that diverged have no mean
                return [one for one in make() if one is not None]
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, ArithmeticError) as error:
            said = " ".join(str(error).split())[:200]
            self.missing.append(f"{name} holds figures that cannot be drawn: {said or type(error).__name__}")
            return []

    def _try(self, name: str, read: Callable[[Path], _T]) -> _T | None:
        if not self.has(name):
            return None
        try:
            found = read(self.path / name)
        except (FlowGradError, OSError, ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())[:300].replace(f"{self.path}/", "")
            self.reasons[name] = said
            self.missing.append(f"{name} could not be read, and what it holds is not on this page: {said}")
            return None
        self.read.append(name)
        return found
