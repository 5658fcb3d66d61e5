"""Says whether the files that a script rests on are the same as before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowgrad.errors import FlowGradError

_LEFT_OUT = ("__pycache__", "node_modules", "site-packages", "outputs")
_MOST_FILES = 5_000


def fingerprint(scripts: Iterable[Path], files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of scripts, of all Python files beside and below them, and of further files.

    Raises:
        FlowGradError: one is not there or cannot be read, or they are more than 5,000.
    """
    found = {path.resolve() for path in scripts}
    found |= {file for path in list(found) for file in _below(path.parent, ".py")}
    for path in files:
        if not path.exists():
            raise FlowGradError(f"training.files: there is no {path}")
        found |= {*_below(path.resolve(), "")} if path.is_dir() else {path.resolve()}
    if len(found) > _MOST_FILES:
        raise FlowGradError(f"{len(found)} files are to be told apart; move the script to a folder of its own")
    said = hashlib.sha256()
    for path in sorted(found):
        try:
            with path.open("rb") as stream:
                inner = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise FlowGradError(f"{path}: cannot be read: {error.strerror or error}") from error
        said.update(f"{path}\0{inner}\n".encode())
    return said.hexdigest()


def _below(folder: Path, ending: str) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            one
            for one in folders
            if not one.startswith(".") and one not in _LEFT_OUT and not (Path(place, one, "pyvenv.cfg")).exists()
        )
        for name in names:
            if name.endswith(ending) and not name.startswith("."):
                count += 1
                yield Path(place, name)
        if count > _MOST_FILES:
            return
