"""Fingerprints the code that a result was computed by."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCES = ("flowgrad", "pipelines", "datasets", "conf")
_APART = ("claims", "reproduce.py", "reproduce.yaml", "publish.py", "readme.py", "results.yaml")
"""Files that only read results."""


@cache
def source_sha256() -> str:
    """Hash of everything that a run's outcome rests on: code, configs, rules."""
    found = hashlib.sha256()
    for top in _SOURCES:
        for path in sorted((ROOT / top).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.suffix in (".py", ".yaml", ".csv", ".xsd") and not set(parts) & set(_APART):
                found.update(f"{'/'.join(parts)}\n".encode() + path.read_bytes())
    return found.hexdigest()
