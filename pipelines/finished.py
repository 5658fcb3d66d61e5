"""What a run left when it ended, by hashes: whether it is all still there, and as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOGS = (".log",)
"""Endings of files that hold no result, and that may grow."""


def hashes(folder: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256, of every file below it but logs.

    Raises:
        OSError: one cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _LOGS and not path.name.startswith("."):
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def damage(folder: Path, told: Any) -> str:
    """The first thing that is no longer as it was; empty where all of it is. Files that came later do not matter.

    Args:
        folder: of the run.
        told: what `hashes` gave when it ended, as it was read from a file.
    """
    if not isinstance(told, Mapping) or not told:
        return f"nothing says what {folder.name} held when it ended"
    for name, sha256 in told.items():
        path = folder / str(name)
        try:
            if not path.is_file():  # a pipe would be waited for
                return f"{path} is missing"
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):
            return f"{path} is missing"
        if found != sha256:
            return f"{path} was changed"
    return ""
