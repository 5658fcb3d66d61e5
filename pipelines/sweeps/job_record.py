"""Writes the mark that a job of a sweep leaves when it ends, well or not; the table and a later sweep read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from flowgrad.files import write_atomically
from pipelines.config.code_fingerprint import code_sha256
from pipelines.config.plain import plain_of
from pipelines.config.text import to_yaml
from pipelines.sweeps.finished import damage, hashes, read_json, seal

FILE = "job.json"
JOBS = "jobs.json"
"""Name of the file in the sweep's folder that lists its jobs' folders, in their order."""
_NO_MATTER = ("hydra", "workers")
"""Config nodes that change no result."""


@dataclass(frozen=True)
class JobRecord:
    """The end of a job."""

    overrides: list[str]
    """Overrides that were swept or fixed for the job."""
    config_sha256: str
    source_sha256: str
    """SHA-256 of the code that ran it."""
    reason: str = ""
    """The reason why it failed; empty where it did not."""
    objective: float | None = None
    """Value that a search minimises; None for other jobs."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that the job left, by its path in the folder."""
    sha256: str = ""
    """SHA-256 of all of the above, which tells a mark that was edited."""

    def whole(self) -> JobRecord:
        """The same with its own hash."""
        return replace(self, sha256=seal(asdict(self)))

    @property
    def is_whole(self) -> bool:
        """Whether it is as it was written."""
        return self.sha256 == seal(asdict(self))


def write_record(
    folder: Path, config: DictConfig, overrides: list[str], *, reason: str = "", objective: object = None
) -> None:
    """Write the mark; a job does this last."""
    value = float(objective) if isinstance(objective, int | float) else None
    left = {name: sha256 for name, sha256 in hashes(folder).items() if name != FILE}
    ended = JobRecord(overrides, config_sha256(config), code_sha256(config), reason, value, left)
    _write(folder, ended)


def refuse(folder: Path, overrides: list[str], reason: str) -> None:
    """Mark a job whose config could not even be composed."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, JobRecord(overrides, "", "", reason))


def _write(folder: Path, ended: JobRecord) -> None:
    write_atomically(folder / FILE, json.dumps(asdict(ended.whole()), indent=1).encode())


def read_record(folder: Path) -> JobRecord | None:
    """Read the job's end; None where it has none that can be read: it was killed, or never began."""
    told = read_json(folder / FILE)
    try:
        found = JobRecord(**told) if isinstance(told, Mapping) else None
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
    unchanged.
    """
    told = read_record(folder)
    return (
        told is not None
        and told.is_whole
        and not told.reason
        and (told.config_sha256, told.source_sha256) == (config_sha256(config), code_sha256(config))
        and not damage(folder, told.files)
    )


def config_sha256(config: DictConfig) -> str:
    """Hash of everything in the config that matters to what the job does."""
    kept = {key: value for key, value in plain_of(config, resolve=False).items() if key not in _NO_MATTER}
    return hashlib.sha256(to_yaml(kept, sort_keys=True).encode()).hexdigest()
