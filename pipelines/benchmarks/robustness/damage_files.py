"""Damages files in place, or puts something else in their place; each damage follows from its seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged, value_damaged


def damage_json(path: Path, seed: int) -> None:
    """Damage one value of a JSON file."""
    value, _ = value_damaged(json.loads(path.read_text()), np.random.default_rng(seed))
    path.write_text(json.dumps(value, default=str), errors="surrogatepass")


def damage_bytes(path: Path, seed: int) -> None:
    """Damage bytes of a file."""
    path.write_bytes(bytes_damaged(path.read_bytes(), np.random.default_rng(seed))[0])


def damage_lines(path: Path, seed: int) -> None:
    """Damage lines of a text file."""
    path.write_text(lines_damaged(path.read_text(), np.random.default_rng(seed))[0])


def replace_path(path: Path, make: Callable[[Path], Any]) -> None:
    """Remove a file or folder, and make something else of that name."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)
