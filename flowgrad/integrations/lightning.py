"""Watches what PyTorch Lightning trains: `Trainer(callbacks=[FlowGradCallback()])`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flowgrad.integrations.missing import missing

try:
    from flowgrad.integrations import callback
except ModuleNotFoundError as error:
    raise missing("lightning", "pytorch-lightning", "lightning", error) from error

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""The two names that Lightning is installed under, each with classes of its own."""


def _base() -> Any:
    """Lightning's callback, under the name that the training has imported; under both where both were."""
    imported = [sys.modules[name].Callback for name in _PACKAGES if name in sys.modules]
    if len(imported) > 1:
        return type("Callback", tuple(imported), {})
    if imported:
        return imported[0]
    try:
        return import_module(_PACKAGES[0]).Callback
    except ModuleNotFoundError:
        pass
    try:
        return import_module(_PACKAGES[1]).Callback
    except ModuleNotFoundError as error:
        raise missing("lightning", "pytorch-lightning", "lightning", error) from error


Base: Any = _base()


class FlowGradCallback(callback.Callback, Base):
    """Watches a training of Lightning's `Trainer`, and prints the report at its end.

    The loss is what backward runs on, as `training_step` returned it. The validation loss is what was logged as
    `val_loss` (or `val/loss` and the like; `val_loss=NAME` says another). What was seen goes into Lightning's
    checkpoints and comes back from them. With `on_finding="apply"` a finding that asks for it ends the training. Where
    `training_step` optimizes by hand with several optimizers, each has a loss of its own:
    `callback.watch.log(loss=...)` tells the one that is meant.

    Example::

        callback = FlowGradCallback()
        Trainer(callbacks=[callback]).fit(model, loader, validation_loader)
        callback.watch.findings()
    """

    _VAL_LOSS = ("val_loss", "val/loss", "valid_loss", "valid/loss", "validation_loss", "validation/loss", "eval_loss")
    _UNSEEN: Mapping[str, str] = {
        "loss": "Lightning ran backward on no single one; callback.watch.log(loss=...) in training_step tells it",
        "val_loss": "no validation was run",
        "epochs": "no epoch ended",
        "batches": "not handed over; callback.watch.log(inputs=x, targets=y) in training_step has rows, ids and "
        "targets checked",
    }

    def __init__(self, **settings: Any) -> None:
        """Take the settings; they and their errors are those of `flowgrad.integrations.callback.Callback`."""
        super().__init__(**settings)
        self._state: dict[str, Any] | None = None
        """State of a checkpoint, which is loaded before there is a training to watch."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch: here Lightning has its optimizers, and the weights of a checkpoint are in place."""
        state, self._state = self._state, None
        session = self._begin(pl_module, trainer.optimizers, state, speaks=trainer.is_global_zero)
        if state is None and trainer.global_step:
            session.without(f"the checkpoint of step {trainer.global_step} was written without this callback")

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Note the loss, before the step that it belongs to; where it is scaled, it is noted after the batch."""
        if self._session is None or _scales(trainer):
            return
        if pl_module.automatic_optimization:
            self._session.log(loss.detach() * trainer.accumulate_grad_batches)
        elif len(trainer.optimizers) == 1:
            self._session.log(loss.detach())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the loss where a gradient scaler multiplied that of backward."""
        if self._session is None or not _scales(trainer):
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            times = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self._session.log(loss.detach() * times)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Note the validation, unless it is the check before the training."""
        if self._session is not None and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._session.validated(trainer.callback_metrics, self._val_loss, self._metric)
            trainer.should_stop |= self._stops

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Note the end of an epoch; Lightning has validated before."""
        if self._session is not None:
            self._session.end_epoch()
            trainer.should_stop |= self._stops

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching, and hand the report over."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching, and hand the report over."""
        self._end(f"{type(exception).__name__}: {exception}")

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for Lightning's checkpoint."""
        return {} if self._session is None else self._session.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the training starts."""
        self._state = state_dict


def _scales(trainer: Any) -> bool:
    return getattr(trainer.precision_plugin, "scaler", None) is not None
