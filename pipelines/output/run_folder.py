"""Locks a run's folder, which belongs to one run at a time."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import hydra.core.utils
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.given_paths import given_path
from flowgrad.errors import FlowGradError
from flowgrad.files import locked, write_atomically
from pipelines.config.text import to_yaml

_HELD = ExitStack()
"""Lock of this process; not the callback's own, which is sent to the workers of a sweep."""


class FolderLock(Callback):
    """Locks the folder of a run, or of a sweep, until it ends, before Hydra writes anything into it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder when a single run begins."""
        _hold(config, "hydra.run.dir")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Let go of the folder when it has ended; another run of this process may follow."""
        _HELD.close()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder when a sweep begins."""
        _hold(config, "hydra.sweep.dir")
        file = Path(str(config.hydra.sweep.dir), "multirun.yaml")
        if file.exists() and not file.is_file():  # Hydra would wait for somebody who reads a pipe
            _refuse(f"{file} is no plain file; move it away, or name another folder with hydra.sweep.dir=FOLDER")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Let go of the folder when the sweep has ended."""
        _HELD.close()


def _save_whole(cfg: Any, filename: str, output_dir: Path) -> None:
    """What Hydra says of a run, in `.hydra`: each file whole or not at all."""
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / filename, to_yaml(cfg, resolve=False).encode())


hydra.core.utils._save_config = _save_whole  # here, for this module is imported in the workers of a sweep too


def _hold(config: DictConfig, key: str) -> None:
    _HELD.close()  # of a run of this process that failed
    try:
        folder = str(OmegaConf.select(config, key, default=""))
    except OmegaConfBaseException:
        return  # Hydra says what is wrong with it
    if not folder.strip():
        _refuse(f"{key} is empty; name a folder, or leave it out for one under outputs/")
    try:
        given_path(key, folder)
    except FlowGradError as error:
        _refuse(str(error))
    with suppress(OSError):  # Hydra meets the same and says it
        Path(folder).mkdir(parents=True, exist_ok=True)
        if _HELD.enter_context(locked(folder)) is None:
            _refuse(in_use(folder))


def in_use(folder: str | Path) -> str:
    """Message about a folder that another process has locked."""
    return f"another run writes into {folder}, or one that was just killed; wait for it, or name another folder"


def _refuse(reason: str) -> None:
    """End the process; Hydra would turn an exception of a callback into a warning."""
    print(f"error: {reason}", file=sys.stderr)
    raise SystemExit(2)
