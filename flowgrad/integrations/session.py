"""Watches one training within the loop of a framework: its losses, its epochs, its checkpoints and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowgrad.integrations.ranks import put_together
from flowgrad.report import Report
from flowgrad.trackers.watching import told
from flowgrad.watching import Watch

_LISTED = 6
"""Number of names of figures that are listed where the one that is looked for is not there."""
_STATE = "flowgrad_session"
_COUNTS = ("closed", "epochs", "periods")


class Session:
    """One training. An epoch ends with each validation, and with each epoch of the framework that has steps since."""

    def __init__(self, make: Callable[[], Watch], state: Mapping[str, Any] | None, unseen: Mapping[str, str]) -> None:
        """Start watching, or go on from a checkpoint; one that does not fit is told of in the report.

        Args:
            make: makes the watch.
            state: what `state_dict` of the session of an earlier run returned; None: there was none.
            unseen: reasons why things are not seen, by name, as long as they are not.
        """
        self.report: Report | None = None
        """Report of the training that is over; None before."""
        self._closed = self._epochs = self._periods = 0
        """Number of steps when the last epoch was closed, of the framework's epochs, and of those closed."""
        self._found: set[str] = set()
        """Figures of validations that were there once: `val_loss`, `metric`."""
        self.watch = make()
        refused = ""
        if state is not None:
            try:
                self._load(state)
            except Exception as error:
                refused = told(error)
                self.watch.detach()
                self.watch, self._closed, self._epochs, self._periods = make(), 0, 0, 0
        self.watch.unseen.update(unseen)
        if refused:
            self.without(refused)

    def _load(self, state: Mapping[str, Any]) -> None:
        if state.get(_STATE) != 1:
            raise ValueError("this is no state of a FlowGradCallback")
        self.watch.load_state_dict(state["watch"])
        self._closed, self._epochs, self._periods = (int(state[name]) for name in _COUNTS)

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint."""
        counts = dict(zip(_COUNTS, (self._closed, self._epochs, self._periods), strict=True))
        return {_STATE: 1, "watch": self.watch.state_dict(), **counts}

    def without(self, because: str) -> None:
        """Note that the training goes on from a checkpoint that tells nothing of the steps before."""
        self.watch.unseen["checkpoint"] = f"figures are of the steps since it was resumed: {because}"

    def log(self, loss: Any) -> None:
        """Note the training loss of a batch."""
        self.watch.unseen.pop("loss", None)
        self.watch.log(loss=loss)

    def validated(self, figures: Mapping[str, Any], val_loss: tuple[str, ...], metric: str | None) -> bool:
        """Note a validation, which ends an epoch; nothing where no step was taken since the last one.

        Args:
            figures: all figures of the validation.
            val_loss: names that the loss may have among them, the first that is there counts.
            metric: name of the figure that is better when higher; None: there is none.

        Returns:
            Whether one of the two is among the figures.
        """
        loss = next((figures[name] for name in val_loss if name in figures), None)
        self._note("val_loss", " or ".join(val_loss[:2]), loss, figures)
        better = None if metric is None else figures.get(metric)
        if metric is not None:
            self._note("metric", metric, better, figures)
        if loss is None and better is None:
            return False
        if self.watch.steps > self._closed:
            self._close(val_loss=loss, metric=better)
        return True

    def _note(self, what: str, name: str, value: Any, figures: Mapping[str, Any]) -> None:
        if value is not None:
            self._found.add(what)
            self.watch.unseen.pop(what, None)
        if what in self._found:
            return
        names = sorted(map(str, figures))
        known = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "") or "none"
        self.watch.unseen[what] = (
            f"no figure named {name} was logged; those logged are {known}; FlowGradCallback({what}=NAME) says "
            "which it is"
        )

    def end_epoch(self) -> None:
        """Note that an epoch of the framework is over."""
        self._epochs += 1
        if self.watch.steps > self._closed:
            self._close()

    def _close(self, **figures: Any) -> None:
        self._closed = self.watch.steps
        self._periods += 1
        self.watch.unseen.pop("epochs", None)
        self.watch.end_epoch(**figures)

    def end(self, because: str = "") -> Report:
        """Stop watching, put the ranks of a distributed training together, and make the report, once.

        Args:
            because: why the training did not come to its end; empty where it did.
        """
        if self.report is not None:
            return self.report
        if because:
            self.watch.unseen["end"] = f"the training was broken off: {because}"
        if self._periods > self._epochs + 1:
            self.watch.unseen["epochs"] = (
                f"{self._periods} validations in {self._epochs} epochs: each is taken for the end of an epoch"
            )
        if not because:  # where one failed, others may never get here
            put_together(self.watch)
        try:
            self.watch.detach()
        finally:
            self.report = self.watch.to_report()
        return self.report
