"""Names the folder of a job of a sweep."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 80
"""Number of characters of the part that a person reads."""


def folder_name(override_dirname: str) -> str:
    """Name of a job's folder, by its overrides: the same whatever else is swept.

    >>> folder_name("experiment=movielens_mf,optimizer.lr=0.05")
    'optimizer.lr=0.05-b9d025f2'
    """
    # A name that is too long for a file system loses whole parts from its front.
    parts = [part for part in override_dirname.split(",") if not part.startswith("experiment=")]
    while parts and len(",".join(parts)) > _LONGEST:
        parts.pop(0)
    readable = re.sub(r"[^\w.=,+-]+", "_", ",".join(parts)) or "job"
    return f"{readable}-{hashlib.sha256(override_dirname.encode()).hexdigest()[:8]}"
