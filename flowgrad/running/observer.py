"""Finds the models, the optimizers and the losses of a script through torch's global hooks, and watches them."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from flowgrad.report import Report, RunReport
from flowgrad.running.models import count_of, whole_of
from flowgrad.running.trainings import MOST, Candidate, Trainings

if TYPE_CHECKING:
    from flowgrad.html import Figure
    from flowgrad.watching import Watch

_MOST = 16
"""Number of models that are watched from their first pass on, without being trained yet."""
_KEPT = 256
"""Number of losses that are kept until the next step, at most."""


class Observer:
    """Watches the models of a script that optimizers train.

    Every module that is called by the script itself with gradients is watched from then on (or the one that it is a
    part of, see `whole_of`), until optimizers step: those that hold none of their parameters are let go. Once a
    training runs, models are looked for again where an optimizer is made that holds others. The loss is what backward
    runs on, as it is before a gradient scaler multiplies it.
    """

    def __init__(self, name: str, *, drawn: bool = False) -> None:
        self.name = name
        self.failure = ""
        """Reason why nothing is watched, where that is a fault."""
        self.backwards = self.steps = 0
        """Number of backward passes, and of steps of optimizers, that were seen."""
        self._trainings = Trainings(self._watching, drawn=drawn)
        self._known: Any = WeakSet()
        """Modules that were met, and all their parts."""
        self._others: dict[str, int] = {}
        """Number of steps of optimizers whose tensors are not watched, by their class."""
        self._missed: Any = WeakSet()
        """Optimizers among them whose model is looked for, or was, from their first step on."""
        self._losses: list[Any] = []
        self._within: tuple[Any, ...] | None = None
        """Arguments of the hook of a step that is under way, of an optimizer whose model its closure may call."""
        self._seeking: Any = None
        """Handle of the hook on all modules, as long as models are looked for."""
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Put the hooks in place; torch has been imported."""
        try:
            self._install()
        except Exception as error:
            self._give_up(error)

    def _install(self) -> None:
        import torch
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        # The model itself is known by then, and its wrapper is asked for what it holds.
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
        self._undo = [
            register_optimizer_step_pre_hook(self._before_step).remove,
            register_optimizer_step_post_hook(self._after_step).remove,
        ]
        self._wrap(torch.autograd, "backward", self._noting_backward)
        self._wrap(torch.amp.GradScaler, "scale", _noting_scale)
        self._wrap(torch.amp.GradScaler, "step", self._noting_scaled_step)
        self._wrap(torch.optim.Optimizer, "__init__", self._noting_optimizer)
        self._seek()

    def _seek(self) -> None:
        """Call for all modules as long as models are looked for, and no longer: it takes time at every call of one."""
        from torch.nn.modules.module import register_module_forward_pre_hook

        seeks = self._trainings.seeks() and not self.failure
        if seeks and self._seeking is None:
            self._seeking = register_module_forward_pre_hook(self._before_forward)
        elif not seeks and self._seeking is not None:
            self._seeking.remove()
            self._seeking = None

    def _wrap(self, holder: Any, name: str, wrapped: Callable[[Any], Any]) -> None:
        own = getattr(holder, name)
        setattr(holder, name, wrapped(own))
        self._undo.append(lambda: setattr(holder, name, own))

    def close(self, code: int = 0) -> None:
        """Take everything off, and end what is watched; `code` is the exit code that the script ended with."""
        for undo in self._undo:
            undo()
        self._undo = []
        if self._seeking is not None:
            self._seeking.remove()
        if (current := self._trainings.current) is not None:
            if self._others:
                current.watch.unseen["other_models"] = self._told_others()
            if code:
                current.watch.unseen["end"] = (
                    f"the script ended with exit code {code}; what it did not get to was not seen"
                )
        self._trainings.close()

    def _give_up(self, error: Exception) -> None:
        from flowgrad.trackers.watching import told

        if not self.failure:
            self.failure = told(error)
            print(f"flowgrad: watching stopped: {self.failure}; the script goes on undisturbed", file=sys.stderr)

    def _noting_optimizer(self, own: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(own)
        def noted(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            own(optimizer, *args, **kwargs)
            self._guarded(lambda: self._await(optimizer))

        return noted

    def _await(self, optimizer: Any) -> None:
        """Look for the model of an optimizer that has not stepped."""
        self._trainings.waiting.add(optimizer)
        self._seek()

    def _guarded(self, call: Callable[[], Any]) -> None:
        if self.failure:
            return
        try:
            call()
        except Exception as error:
            self._give_up(error)

    def _before_forward(self, module: Any, args: Any) -> None:
        import torch

        if not torch.compiler.is_compiling():
            self._guarded(lambda: self._meet(module))

    def _meet(self, module: Any) -> None:
        """Watch a module that the script calls itself: the outermost of a pass is the first that is called."""
        import torch

        if module in self._known or not torch.is_grad_enabled() or torch.jit.is_tracing():
            return
        candidates, wanted = self._trainings.candidates, self._trainings.wanted()
        if self._trainings.current is not None and not count_of(module, wanted):
            return
        whole = whole_of(module, wanted) if wanted else module
        self._known.update(whole.modules())
        if not any(one.requires_grad for one in whole.parameters()) or len(candidates) >= _MOST:
            return
        parts = {id(one) for one in whole.modules()}
        for key in [key for key in candidates if key in parts]:
            candidates.pop(key).watch.detach()
        candidates[id(whole)] = Candidate(whole, self._watching(whole), self._trainings.begun)
        self._seek()
        if self._within is not None:
            self._join_within(*self._within)

    def _join_within(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Watch an optimizer within its first step, whose closure has just called the model: weights are still as they
        were. The hooks that are put on it now have missed the beginning.
        """
        known = set(optimizer._optimizer_step_pre_hooks)
        if self._trainings.of(optimizer) is not None:
            self._within = None
            self._seek()
            for key, hook in list(optimizer._optimizer_step_pre_hooks.items()):
                if key not in known:
                    hook(optimizer, args, kwargs)

    def _watching(self, model: Any) -> Watch:
        from flowgrad.watching.attached import Settings
        from flowgrad.watching.watched_run import Watch

        return Watch(model, None, Settings(self.name), outside=True)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.steps += 1
        self._guarded(lambda: self._begin_step(optimizer, args, kwargs))

    def _begin_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._hand_over(optimizer) is not None:
            return
        if kwargs.get("closure") is not None or any(map(callable, args[1:])):
            self._within = optimizer, args, kwargs
            self._await(optimizer)
        else:
            self._note_other(optimizer)

    def _hand_over(self, optimizer: Any) -> Watch | None:
        """Hand the losses since the last step to the training that an optimizer steps in, and return its watch."""
        current, losses, self._losses = self._trainings.current, self._losses, []
        training = self._trainings.of(optimizer)
        if self._seeking is not None or current is not training:
            self._seek()
        if training is None:
            return None
        if current is not training:
            training.loss.separate = training.joined and bool(losses)
        training.log(optimizer, losses)
        return training.watch

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._losses or self._within is not None:
            self._guarded(lambda: self._end_closure(optimizer))

    def _end_closure(self, optimizer: Any) -> None:
        """Note the loss of a closure, as it was when the step began."""
        if self._within is not None and self._within[0] is optimizer:
            self._within = None
            self._note_other(optimizer)
        if self._losses and (current := self._trainings.current) is not None and current.watch.knows(optimizer):
            current.log(optimizer, self._losses[:1])
            self._losses = []

    def _noting_scaled_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def noted(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = self.steps
            result = step(scaler, optimizer, *args, **kwargs)
            if self.steps == before and getattr(getattr(type(optimizer), "step", None), "hooked", False):
                self._guarded(lambda: self._leave_out(optimizer))
            return result

        return noted

    def _leave_out(self, optimizer: Any) -> None:
        """Note that a gradient scaler did not call an optimizer at all, for gradients were not finite."""
        watch = self._hand_over(optimizer)
        if watch is not None:
            watch.skip(optimizer)
        else:
            self._note_other(optimizer)

    def _note_other(self, optimizer: Any) -> None:
        kind = type(optimizer).__name__
        self._others[kind] = self._others.get(kind, 0) + 1
        if optimizer not in self._missed:  # it was copied or unpickled, so that nobody saw it being made
            self._missed.add(optimizer)
            self._await(optimizer)

    def _noting_backward(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def noted(tensors: Any = (), *args: Any, **kwargs: Any) -> Any:
            self._note_loss(tensors)
            return backward(tensors, *args, **kwargs)

        return noted

    def _note_loss(self, tensors: Any) -> None:
        self.backwards += 1
        if self.failure:
            return
        try:
            loss = tensors[0] if isinstance(tensors, tuple | list) and len(tensors) == 1 else tensors
            loss = getattr(loss, "_flowgrad_loss", loss)
            if loss is None or getattr(loss, "numel", lambda: 0)() != 1:
                return
            if len(self._losses) < _KEPT:
                self._losses.append(loss.detach().clone())
        except Exception as error:
            self._give_up(error)

    def report(self) -> Report | RunReport:
        """Make the report of the script: of all trainings, where it ran several."""
        reports = () if self.failure else self._trainings.reports()
        if not reports:
            return nothing_trained(self.name, self._why())
        return reports[0] if len(reports) == 1 else RunReport(reports)

    def pictures(self) -> list[Figure]:
        """Make the pictures of a page on the script; none where nothing was watched."""
        return [] if self.failure else self._trainings.figures()

    def _told_others(self) -> str:
        kinds = ", ".join(f"{kind} ({count} steps)" for kind, count in self._others.items())
        more = f"; {MOST} trainings are watched at most" if self._trainings.begun >= MOST else ""
        return f"optimizers stepped tensors that are not watched: {kinds}{more}"

    def _why(self) -> str:
        if self.failure:
            return f"watching stopped: {self.failure}"
        if self._others:
            return f"{self._told_others()}, and of no module that was called; they cannot be watched"
        if self.backwards:
            return (
                f"{self.backwards} backward passes were seen and no step of an optimizer of torch.optim; a step that "
                "was compiled, or written by hand, calls no hooks"
            )
        return "the script trained nothing with torch: no backward pass and no step of an optimizer was seen"


def nothing_trained(name: str, reason: str) -> Report:
    """Make the report of a script that trained nothing that could be seen."""
    from flowgrad.report import CoverageReport, RateVerdict

    return Report(
        "watch",
        name,
        coverage=CoverageReport(blind=reason),
        learning_rate=RateVerdict("not_judged", "no step was seen"),
    )


def _noting_scale(scale: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: Any, outputs: Any) -> Any:
        scaled = scale(self, outputs)
        if scaled is not outputs and hasattr(scaled, "numel"):
            scaled._flowgrad_loss = outputs.detach()
        return scaled

    return noted
