"""Holds what the callbacks of all frameworks have in common: their settings, and what they do with the report."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from flowgrad.html import ENDINGS, report_bytes
from flowgrad.integrations.session import Session
from flowgrad.loggers import logger_of
from flowgrad.report import Report, to_short_text
from flowgrad.trackers.watching import TrackingStopped, told
from flowgrad.watching import Watch, watch
from flowgrad.watching.pages import pictures_of

_OWN = ("model", "optimizer", "name", "scheduler")
"""Arguments of `watch` that a callback knows by itself."""


class Callback:
    """A callback of some framework that watches the training."""

    _VAL_LOSS: tuple[str, ...] = ()
    """Names that a validation loss is looked for under."""
    _UNSEEN: Mapping[str, str] = {}
    """Reasons why things are not seen, by name, as long as they are not."""

    def __init__(
        self,
        *,
        name: str | None = None,
        val_loss: str | None = None,
        metric: str | None = None,
        show: bool = True,
        path: str | Path | None = None,
        log_to: Any = None,
        **settings: Any,
    ) -> None:
        """Take the settings; watching begins when the training does.

        Args:
            name: what is trained, for the report; None: the class of the model.
            val_loss: name that the framework logs the validation loss under; None: the usual ones.
            metric: name that it logs a figure under which is better when higher; None: there is none.
            show: whether the report is printed at the end, also after an error.
            path: file that the report is written to at the end: .xml, .json, .html or .txt.
            log_to: experiment tracker that figures, findings and the report are sent to, as `Watch.log_to` takes it.
            settings: further arguments of `flowgrad.watch`, such as `on_finding`, `rules` and `loss_at_least`.

        Raises:
            TypeError: a setting is not one of `flowgrad.watch`.
            FlowGradError: the ending of `path` is none of these, its folder does not exist, or `log_to` is no logger.
        """
        super().__init__()
        known = [one for one in inspect.signature(watch).parameters if one not in _OWN]
        if odd := sorted(set(settings) - set(known)):
            raise TypeError(f"FlowGradCallback takes no {odd[0]!r}; further settings are {', '.join(known)}")
        self._path = None if path is None else Path(path)
        if self._path is not None and self._path.suffix not in ENDINGS:
            raise FlowGradError(f"path={str(path)!r}: give a file that ends in {', '.join(ENDINGS)}")
        if self._path is not None and not self._path.absolute().parent.is_dir():
            raise FlowGradError(f"path={str(path)!r}: there is no folder {self._path.absolute().parent}; make it first")
        self._name, self._show, self._settings = name, show, settings
        self._logger = None if log_to is None else logger_of(log_to)
        self._val_loss = self._VAL_LOSS if val_loss is None else (val_loss,)
        self._metric = metric
        self._session: Session | None = None
        self._speaks = True
        """Whether this process is the one of a distributed run that speaks for all."""

    @property
    def watch(self) -> Watch | None:
        """The watch of the training, of the last one where there were several; None before the first."""
        return None if self._session is None else self._session.watch

    @property
    def report(self) -> Report | None:
        """The report as objects: of the end, once there was one; None before the training."""
        session = self._session
        return None if session is None else session.report or session.watch.to_report()

    def _begin(self, model: Any, optimizers: Any, state: Mapping[str, Any] | None, *, speaks: bool) -> Session:
        if self._session is not None:
            self._session.watch.detach()
        self._speaks = speaks
        name = self._name or type(model).__name__
        make: Callable[[], Watch] = lambda: watch(model, optimizers or None, name=name, **self._settings)  # noqa: E731
        self._session = Session(make, state, self._UNSEEN)
        if self._logger is not None and speaks:
            self._session.watch.log_to(self._logger)
        return self._session

    @property
    def _stops(self) -> bool:
        """Whether the training is to end now, as a finding asks for that was to be applied."""
        return self._session is not None and self._session.watch.should_stop

    def _end(self, because: str = "") -> None:
        """Stop watching, and hand the report over; what goes wrong then is no reason to end a training."""
        session = self._session
        if session is None or session.report is not None:
            return
        report = session.end(because)
        try:
            if self._speaks:
                self._hand_over(report, session.watch)
        except Exception as error:
            warnings.warn(f"{session.watch.name}: the report could not be told: {told(error)}", TrackingStopped, 2)

    def _hand_over(self, report: Report, watched: Watch) -> None:
        if self._show:
            print(to_short_text(report), flush=True)
        if self._path is not None:
            write_atomically(self._path, report_bytes(report, self._path.suffix, lambda: pictures_of(watched)))
