"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowgrad.loggers.base import Logger, Setting, missing

_LEVELS = {"critical": "ERROR", "high": "ERROR", "medium": "WARN", "low": "INFO", "info": "INFO"}
"""W&B's level of each severity."""


class WandbLogger(Logger):
    """Writes to a W&B run. Findings are alerts. A series has steps of its own, and in a run of the user's a point waits
    for the user's next `run.log`: one that was logged at once would raise W&B's counter of steps, and W&B drops what
    the user then logs with `step=` below it. Of several points in between, the last is kept.
    """

    def __init__(self, *, run: Any = None, **init: Any) -> None:
        """Write to a run of the user's own, which stays open, or begin one.

        Args:
            run: what `wandb.init` gave.
            **init: arguments of `wandb.init` for a new run, such as `project` and `mode="offline"`.

        Raises:
            LoggerMissingError: wandb is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb") from error
        self._wandb: Any = wandb
        self._own = run is None
        self._run: Any = wandb.init(**init) if run is None else run
        self._series: set[str] = set()

    def settings(self, values: Mapping[str, Setting]) -> None:
        """Add the settings to the run's config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each series."""
        for name in values.keys() - self._series:
            self._run.define_metric(name, step_metric="flowgrad_step")
            self._series.add(name)
        self._run.log({**values, "flowgrad_step": step}, commit=self._own)

    def alert(self, title: str, text: str, severity: str) -> None:
        """Send the finding as an alert."""
        self._run.alert(title=title, text=text, level=getattr(self._wandb.AlertLevel, _LEVELS.get(severity, "WARN")))

    def artifact(self, path: Path) -> None:
        """Keep a file as an artifact of type `flowgrad`."""
        held = self._wandb.Artifact(f"{path.name}-{self._run.id}", type="flowgrad")
        held.add_file(str(path))
        self._run.log_artifact(held)

    def close(self) -> None:
        """End a run that was begun here; W&B sends what waits."""
        if self._own:
            self._run.finish()
