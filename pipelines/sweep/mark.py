"""Writes the mark that a job of a sweep leaves when it ends, well or not; the table and a later sweep read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from flowgrad.files import write_atomically
from pipelines.config_text import to_yaml
from pipelines.finished import damage, hashes
from pipelines.source import source_sha256

FILE = "job.json"
JOBS = "jobs.json"
"""Name of the file in the sweep's folder that lists its jobs' folders, in their order."""
_NO_MATTER = ("hydra", "workers")
"""Config nodes that change no result."""


@dataclass(frozen=True)
class Mark:
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


def mark(folder: Path, config: DictConfig, overrides: list[str], *, reason: str = "", objective: object = None) -> None:
    """Write the mark; a job does this last."""
    value = float(objective) if isinstance(objective, int | float) else None
    left = {name: sha256 for name, sha256 in hashes(folder).items() if name != FILE}
    ended = Mark(overrides, config_sha256(config), source_sha256(), reason, value, left)
    write_atomically(folder / FILE, json.dumps(asdict(ended), indent=1).encode())


def refuse(folder: Path, overrides: list[str], reason: str) -> None:
    """Mark a job whose config could not even be composed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(asdict(Mark(overrides, "", "", reason)), indent=1).encode())


def read_mark(folder: Path) -> Mark | None:
    """Read the job's end; None where it has none: it was killed, or never began."""
    try:
        return Mark(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_done(folder: Path, config: DictConfig) -> bool:
    """Whether this very config came to a good end there, by this very code, and all its files are unchanged."""
    told = read_mark(folder)
    return (
        told is not None
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
