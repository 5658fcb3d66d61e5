"""One attack, and what an attack may find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REFUSED, RAN = "refused", "ran"
FAULTS = ("traceback", "hang", "memory", "loss", "accepted", "stray_file")
"""What goes wrong: an error of more than one line; no end; memory without bound; something lost or half-written; damage
that must be noticed and was not; a file outside the folders that were named."""


class Refused(Exception):  # noqa: N818
    """A command line refused what it was given, as it should."""


class Fault(Exception):  # noqa: N818
    """Something went wrong.

    Attributes:
        kind: one of `FAULTS`.
    """

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        assert kind in FAULTS
        self.kind = kind


@dataclass(frozen=True)
class Place:
    """The folders of one attack; all are empty when it begins."""

    folder: Path

    @property
    def work(self) -> Path:
        """Working directory, and home: nothing may be written there."""
        return self.folder / "work"

    @property
    def given(self) -> Path:
        """Folder for the files of the attack."""
        return self.folder / "given"

    @property
    def run(self) -> Path:
        """Folder for the files that the attack asks to be written; it is not there yet."""
        return self.folder / "run"

    @property
    def training(self) -> Path:
        """A file that is there once something is trained."""
        return self.folder / "training"

    @property
    def out(self) -> Path:
        """File of the printed text."""
        return self.folder / "out"

    @property
    def err(self) -> Path:
        """File of the text printed on standard error."""
        return self.folder / "err"


@dataclass(frozen=True)
class Attack:
    """Something that is tried."""

    tried: str
    """Description in words short enough for a table."""
    perform: Callable[[Place], None]
    """Returns where what was given is good; raises FlowGradError or `Refused` where it is refused, `Fault` where
    something went wrong."""


@dataclass(frozen=True)
class Kind:
    """A kind of attack."""

    draw: Callable[[np.random.Generator, Path], Attack]
    """Function that draws an attack, given a generator and the folder of the run that attacks start from
    (`pipelines.benchmarks.robustness.base`).
    """
    seconds: float = 10.0
    """The longest that an attack may take; what then still trains is no hang."""
    training: float = 1.5
    """Seconds after which a training is ended: it is accepted input."""
    mebibytes: float = 512.0
    """The most memory that it may take, beyond what its process has at the start."""
