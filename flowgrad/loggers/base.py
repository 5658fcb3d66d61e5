"""The interface of a place for figures, findings and reports, and a guard around one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError

_logger = logging.getLogger(__name__)

Setting = str | int | float | bool


class Logger(ABC):
    """A place that a run's figures, findings and report are sent to. Everything may wait until `flush` or `close`."""

    @abstractmethod
    def settings(self, values: Mapping[str, Setting]) -> None:
        """Note what the run is done with, by name."""

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one value to each series, at a step of any unit."""

    @abstractmethod
    def alert(self, title: str, text: str, severity: str) -> None:
        """Send a finding, whose severity is one of `flowgrad.rules.SEVERITIES`."""

    @abstractmethod
    def artifact(self, path: Path) -> None:
        """Keep a file, under its name."""

    def flush(self) -> None:  # noqa: B027  # most keep nothing back
        """Send what waits; more may follow."""

    @abstractmethod
    def close(self) -> None:
        """Send what waits. A run that was begun here is ended."""


class LoggerMissingError(FlowGradError, ImportError):
    """A logger whose package is not installed; the message names the extra."""


def missing(extra: str) -> LoggerMissingError:
    """Make the error for a package that is not installed."""
    return LoggerMissingError(f"this logger needs a package that is not installed: pip install 'flowgrad[{extra}]'")


class Guarded(Logger):
    """Another logger, whose errors end nothing: the first is written to `logging` as a warning, and the logger is not
    called again.
    """

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        """Make a logger, guarded too, and wrap it under the name that the warning calls it by."""
        self._name, self._failed = name, False
        self._logger: Logger | None = None
        self._try(lambda _: setattr(self, "_logger", make()))

    @property
    def failed(self) -> bool:
        """Whether the logger raised an error, and has not been called since."""
        return self._failed

    def settings(self, values: Mapping[str, Setting]) -> None:
        """Note settings; see `Logger`."""
        self._try(lambda logger: logger.settings(values))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values; see `Logger`."""
        self._try(lambda logger: logger.scalars(values, step))

    def alert(self, title: str, text: str, severity: str) -> None:
        """Send a finding; see `Logger`."""
        self._try(lambda logger: logger.alert(title, text, severity))

    def artifact(self, path: Path) -> None:
        """Keep a file; see `Logger`."""
        self._try(lambda logger: logger.artifact(path))

    def flush(self) -> None:
        """Send what waits; see `Logger`."""
        self._try(lambda logger: logger.flush())

    def close(self) -> None:
        """Send what waits, of a logger that failed too: what it took before may still arrive."""
        if self._logger is None:
            return
        failed, self._failed = self._failed, False
        self._try(lambda logger: logger.close())
        self._failed = self._failed or failed

    def _try(self, call: Callable[[Any], None]) -> None:
        if self._failed:
            return
        try:
            call(self._logger)
        except Exception as error:
            self._failed = True
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            _logger.warning("logger %s failed and gets nothing more of this run: %s", self._name, reason)
