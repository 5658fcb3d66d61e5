"""TensorBoard, by torch's `SummaryWriter` or tensorboardX's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowgrad.loggers.base import Logger, Setting, missing

_TEXTS = (".xml", ".csv", ".md", ".txt", ".yaml", ".json")
"""Endings of files that are shown as text; TensorBoard keeps no other."""


class TensorBoardLogger(Logger):
    """Writes event files. Series are scalars; findings, settings and the report are texts."""

    def __init__(self, folder: str | Path | None = None, *, writer: Any = None) -> None:
        """Write to a writer of the user's own, which stays open, or to a new one in `folder`.

        Raises:
            LoggerMissingError: tensorboard is not installed (only without `writer`).
        """
        self._own = writer is None
        if writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise missing("tensorboard") from error
            writer = SummaryWriter(None if folder is None else str(folder))
        self._writer = writer

    def settings(self, values: Mapping[str, Setting]) -> None:
        """Write the settings as a table."""
        lines = ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items())]
        self._writer.add_text("settings", "\n".join(lines))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each series."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def alert(self, title: str, text: str, severity: str) -> None:
        """Write the finding as a text of its own."""
        self._writer.add_text(f"findings/{title}", f"**{severity}**: {text}")

    def artifact(self, path: Path) -> None:
        """Write a text file as a text; other files stay where they are."""
        if path.suffix in _TEXTS:
            self._writer.add_text(path.name, f"```\n{path.read_text('utf-8')}\n```")

    def flush(self) -> None:
        """Write what waits."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits; close a writer that was made here."""
        self._writer.flush()
        if self._own:
            self._writer.close()
