"""What a job of a sweep leaves when it ends, well or not: by it the table and a later sweep know."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.files import write_atomically
from pipelines.config_text import to_yaml
from pipelines.finished import damage, hashes, read_json, seal
from pipelines.source import source_sha256

FILE = "job.json"
JOBS = "jobs.json"
"""In the sweep's folder: its jobs' folders, in their order."""
_LONGEST = 80
_NO_MATTER = ("hydra", "workers")
"""Config nodes that change no result."""


@dataclass(frozen=True)
class Mark:
    """The end of a job."""

    overrides: list[str]
    """That were swept or fixed for it."""
    config_sha256: str
    source_sha256: str
    """Of the code that ran it."""
    reason: str = ""
    """Why it failed; empty where it did not."""
    objective: float | None = None
    """What a search minimises; None for other jobs."""
    files: dict[str, str] = field(default_factory=dict)
    """What it left: path in its folder -> SHA-256."""
    sha256: str = ""
    """Of all of the above, so that a mark that was edited is told."""

    def whole(self) -> Mark:
        """The same with its own hash."""
        return replace(self, sha256=seal(asdict(self)))

    @property
    def is_whole(self) -> bool:
        """Whether it is as it was written."""
        return self.sha256 == seal(asdict(self))


def mark(folder: Path, config: DictConfig, overrides: list[str], *, reason: str = "", objective: object = None) -> None:
    """Write it; the last that a job does."""
    value = float(objective) if isinstance(objective, int | float) else None
    left = {name: sha256 for name, sha256 in hashes(folder).items() if name != FILE}
    ended = Mark(overrides, config_sha256(config), source_sha256(), reason, value, left)
    _write(folder, ended)


def refuse(folder: Path, overrides: list[str], reason: str) -> None:
    """Mark a job whose config could not even be composed."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, Mark(overrides, "", "", reason))


def _write(folder: Path, ended: Mark) -> None:
    write_atomically(folder / FILE, json.dumps(asdict(ended.whole()), indent=1).encode())


def read_mark(folder: Path) -> Mark | None:
    """The job's end; None where it has none that can be read: it was killed, or never began."""
    told = read_json(folder / FILE)
    try:
        found = Mark(**told) if isinstance(told, Mapping) else None
    except TypeError:
        return None
    return found if found is not None and _is_typed(found) else None


def _is_typed(found: Any) -> bool:
    texts = [found.config_sha256, found.source_sha256, found.reason, found.sha256]
    if not isinstance(found.overrides, list) or not isinstance(found.files, dict):
        return False
    return isinstance(found.objective, float | None) and all(
        isinstance(one, str) for one in [*texts, *found.overrides, *found.files.values()]
    )


def is_done(folder: Path, config: DictConfig) -> bool:
    """Whether this very config came to a good end there, by this very code, and all that it left, the mark among it, is
    as it was.
    """
    told = read_mark(folder)
    return (
        told is not None
        and told.is_whole
        and not told.reason
        and (told.config_sha256, told.source_sha256) == (config_sha256(config), source_sha256())
        and not damage(folder, told.files)
    )


def config_sha256(config: DictConfig) -> str:
    """Hash of everything in the config that matters to what the job does."""
    kept = [str(key) for key in config if key not in _NO_MATTER]
    return hashlib.sha256(
        to_yaml(OmegaConf.masked_copy(config, kept), resolve=False, sort_keys=True).encode()
    ).hexdigest()


def folder_name(override_dirname: str) -> str:
    """Name of a job's folder, by its overrides: the same whatever else is swept.

    >>> folder_name("experiment=movielens_mf,optimizer.lr=0.05")
    'optimizer.lr=0.05-afdef08b'
    """
    # A name that is too long for a file system loses whole parts from its front.
    parts = [part for part in override_dirname.split(",") if not part.startswith("experiment=")]
    while parts and len(",".join(parts)) > _LONGEST:
        parts.pop(0)
    readable = re.sub(r"[^\w.=,+-]+", "_", ",".join(parts)) or "job"
    return f"{readable}-{hashlib.sha256(override_dirname.encode()).hexdigest()[:8]}"
