"""Records by hashes the files that a run left when it ended, and checks whether they are all still there, and
unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowgrad.files import read_bounded

_MOST_BYTES = 16 << 20
"""Number of bytes that a record of a run may have."""
_LOGS = (".log",)
"""Endings of files that hold no result, and that may grow."""


def hashes(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file below a folder but logs, by its path there.

    Raises:
        OSError: one cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _LOGS and not path.name.startswith("."):
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def damage(folder: Path, told: Any) -> str:
    """Find the first file that is missing or changed; empty where none is. Files that came later do not matter.

    Args:
        folder: of the run.
        told: result of `hashes` when it ended, as it was read from a file.
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


def seal(told: Mapping[str, Any]) -> str:
    """SHA-256 of what is told of a run, but for its entry `sha256`, where this stands: of one that was edited it is
    another.
    """
    kept = {name: value for name, value in told.items() if name != "sha256"}
    try:
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    except RecursionError:  # it was edited: what is told is shallow
        return "none"


def read_json(path: Path) -> Any:
    """Read a JSON file; None where it is none, or cannot be read."""
    try:
        return json.loads(read_bounded(path, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
