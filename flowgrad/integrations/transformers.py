"""Watches what the Trainer of Hugging Face transformers trains: `Trainer(callbacks=[FlowGradCallback()])`."""

from __future__ import annotations

import atexit
import io
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import ref

from flowgrad.files import write_atomically
from flowgrad.integrations.missing import missing
from flowgrad.trackers.watching import told

try:
    import torch
    from transformers.trainer_callback import TrainerCallback

    from flowgrad.integrations import callback
    from flowgrad.integrations.model_loss import ModelLoss
    from flowgrad.watching.losses import Mean
except ModuleNotFoundError as error:
    raise missing("transformers", "transformers", "transformers", error) from error

STATE_FILE = "flowgrad.pt"
"""File in a checkpoint of Trainer that holds what was seen until then."""
_APART = 0.02
"""Share of Trainer's loss by which the model's own may differ from it, and still be the same."""
Base: Any = TrainerCallback


class FlowGradCallback(callback.Callback, Base):
    """Watches a training of transformers' `Trainer`, and prints the report at its end.

    Trainer tells no loss at each step: the model's own is taken, as far as backward reaches it, and where it does not
    (`compute_loss_func`, label smoothing, a loss of a subclass), the mean that Trainer logs every `logging_steps`. The
    validation loss is `eval_loss` (`val_loss=NAME` says another). With `on_finding="apply"` a finding that asks for it
    ends the training. What was seen is in the checkpoints as `flowgrad.pt`. Trainer calls no callback after an error:
    the report is printed when the process ends, and `callback.watch.report()` gives it at once.

    Example::

        callback = FlowGradCallback()
        Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
        callback.watch.findings()
    """

    _VAL_LOSS = ("eval_loss",)
    _UNSEEN: Mapping[str, str] = {
        "loss": "backward reached none of the model, and Trainer logged none; logging_steps=10 has it log one",
        "val_loss": "no evaluation was run; eval_strategy='epoch' has Trainer run one",
        "epochs": "no epoch ended",
        "batches": "not handed over; callback.watch.log(inputs=x, targets=y) in compute_loss has rows, ids and targets "
        "checked",
    }

    def __init__(self, **settings: Any) -> None:
        """Take the settings; they and their errors are those of `flowgrad.integrations.callback.Callback`."""
        super().__init__(**settings)
        self._model_loss = ModelLoss()
        self._recent = Mean()
        """Loss of the model since Trainer logged its own."""
        self._waits = False
        """Whether an epoch is over, and its evaluation is still to come."""
        self._farewell: Callable[[], None] = lambda: None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **others: Any
    ) -> None:
        """Begin to watch; the weights and the optimizer of a checkpoint are in place."""
        self._stop_listening()
        known, because = _resumed(args, state)
        session = self._begin(model, optimizer, known, speaks=state.is_world_process_zero)
        if because:
            session.without(because)
        self._recent, self._waits = Mean(), False
        if args.n_gpu <= 1:  # of several in one process, each has a copy of the model
            self._model_loss.attach(model)
        own = ref(self)
        self._farewell = lambda: _say_farewell(own)
        atexit.register(self._farewell)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Note the loss of the step that is about to be taken."""
        if self._session is None:
            return
        loss = self._model_loss.take(args.world_size if args.average_tokens_across_devices else 1)
        if loss is not None:
            self._session.log(loss)
            self._recent.add(loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        """Note Trainer's loss, where the model put none out; its summary comes when all steps are taken, and before the
        weights of the best checkpoint are loaded.
        """
        if self._session is None or logs is None:
            return
        if "loss" in logs:
            self._compare(args, float(logs["loss"]))
        if "train_runtime" in logs:
            self._finish()

    def _compare(self, args: Any, loss: float) -> None:
        assert self._session is not None
        recent, unseen = self._recent.take(), self._session.watch.unseen
        if recent is None:
            self._session.log(loss)
            unseen["loss"] = (
                f"Trainer told means alone, every {args.logging_steps:g} steps: backward reached no loss that the "
                "model put out; figures that set losses beside steps are rough"
            )
        elif args.world_size == 1:
            own = float(recent)
            if math.isfinite(own) and abs(own - loss) > _APART * max(abs(own), abs(loss)):
                unseen["loss_terms"] = (
                    f"the loss is the model's own: {own:.4g} where Trainer logged {loss:.4g}, which has further terms"
                )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Close the epoch before, where its evaluation told nothing."""
        self._close()
        control.should_training_stop |= self._stops

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Note that an epoch is over; Trainer evaluates after it."""
        self._waits = self._session is not None
        if not control.should_evaluate:
            self._close()
        control.should_training_stop |= self._stops

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **others: Any) -> None:
        """Note an evaluation, one of several data sets maybe."""
        if self._session is not None and metrics is not None and self._session.report is None:
            self._session.validated(metrics, self._val_loss, self._metric)
            control.should_training_stop |= self._stops

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Write what was seen into the checkpoint that Trainer has written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._session is None or not state.is_world_process_zero or args.save_only_model or not folder.is_dir():
            return
        written = io.BytesIO()
        torch.save({"global_step": state.global_step, "session": self._session.state_dict()}, written)
        write_atomically(folder / STATE_FILE, written.getvalue())

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Stop watching, and hand the report over."""
        self._finish()

    def _close(self) -> None:
        if self._waits and self._session is not None:
            self._waits = False
            self._session.end_epoch()

    def _finish(self) -> None:
        self._close()
        self._stop_listening()
        self._end()

    def _stop_listening(self) -> None:
        self._model_loss.detach()
        atexit.unregister(self._farewell)


def _resumed(args: Any, state: Any) -> tuple[Mapping[str, Any] | None, str]:
    """The state in the checkpoint that the training goes on from, or the reason why it is not known."""
    if not state.global_step:
        return None, ""
    named = args.resume_from_checkpoint
    folders = [Path(args.output_dir) / f"checkpoint-{state.global_step}"]
    folders += [Path(named)] if isinstance(named, str) else []
    for file in (folder / STATE_FILE for folder in folders):
        if file.is_file():
            try:
                found = torch.load(file, weights_only=True)
                if found["global_step"] == state.global_step:
                    return found["session"], ""
            except Exception as error:
                return None, f"{file}: {told(error)}"
    return None, f"there is no {STATE_FILE} of step {state.global_step} in {folders[-1]}"


def _say_farewell(own: ref[FlowGradCallback]) -> None:
    """Hand the report over when the process ends within a training."""
    there = own()
    if there is not None:
        there._model_loss.detach()
        error = getattr(sys, "last_value", None)
        there._end("the process ended within it" if error is None else f"{type(error).__name__}: {error}")
