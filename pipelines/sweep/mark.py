"""What a job of a sweep leaves when it ends, well or not: by it the table and a later sweep know."""

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
"""In the sweep's folder: its jobs' folders, in their order."""
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


def mark(folder: Path, config: DictConfig, overrides: list[str], *, reason: str = "", objective: object = None) -> None:
    """Write it; the last that a job does."""
    value = float(objective) if isinstance(objective, int | float) else None
    left = {name: sha256 for name, sha256 in hashes(folder).items() if name != FILE}
    ended = Mark(overrides, config_sha256(config), source_sha256(), reason, value, left)
    write_atomically(folder / FILE, json.dumps(asdict(ended), indent=1).encode())


def refuse(folder: Path, overrides: list[str], reason: str) -> None:
    """Mark a job whose config could not even be composed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(asdict(Mark(overrides, "", "", reason)), indent=1).encode())


def read_mark(folder: Path) -> Mark | None:
    """The job's end; None where it has none: it was killed, or never began."""
    try:
        return Mark(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_done(folder: Path, config: DictConfig) -> bool:
    """Whether this very config came to a good end there, by this very code, and all that it left is as it was."""
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
