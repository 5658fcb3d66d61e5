"""Finds the model, the optimizers and the losses of a script through torch's global hooks, and watches them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowgrad.report import Report

if TYPE_CHECKING:
    from flowgrad.html import Figure
    from flowgrad.watching import Watch

_MOST = 16
"""Number of models called before the first step that are watched from their first pass on."""
_LATE = 16
"""Number of steps of optimizers by which a model that was called before the first is trained, or let go."""
_KEPT = 256
"""Number of losses that are kept until the next step, at most."""


class Observer:
    """Watches the models that are called before the first step, and whose parameters an optimizer holds.

    Every module that is called by the script itself with gradients is watched from then on, until optimizers step:
    those that hold none of their parameters are let go. The loss is what backward runs on, as it is before a gradient
    scaler multiplies it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.watch: Watch | None = None
        """The watch of what is trained; None before the first step."""
        self.failure = ""
        """Reason why nothing is watched, where that is a fault."""
        self.passes = self.backwards = self.steps = 0
        """Number of forward passes of models, of backward passes, and of steps of optimizers that were seen."""
        self._roots: dict[int, tuple[Any, Watch]] = {}
        self._models: list[Any] = []
        """Models that are watched."""
        self._known: set[int] = set()
        self._losses: list[Any] = []
        self._forward: Any = None
        self._undo: list[Callable[[], None]] = []
        self._others: dict[str, int] = {}

    def install(self) -> None:
        """Put the hooks in place; torch has been imported."""
        try:
            self._install()
        except Exception as error:
            self._give_up(error)

    def _install(self) -> None:
        import torch
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        # The model itself is known by then, and its wrapper is asked for what it holds.
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
        self._forward = register_module_forward_pre_hook(self._before_forward)
        self._undo = [self._forward.remove, register_optimizer_step_pre_hook(self._before_step).remove]
        self._wrap(torch.autograd, "backward", self._noting_backward)
        self._wrap(torch.amp.GradScaler, "scale", _noting_scale)

    def _wrap(self, holder: Any, name: str, wrapped: Callable[[Any], Any]) -> None:
        own = getattr(holder, name)
        setattr(holder, name, wrapped(own))
        self._undo.append(lambda: setattr(holder, name, own))

    def close(self) -> None:
        """Take everything off."""
        for undo in self._undo:
            undo()
        self._undo = []
        self._let_go()
        if self.watch is not None:
            self.watch.detach()

    def _give_up(self, error: Exception) -> None:
        from flowgrad.trackers.watching import told

        if not self.failure:
            self.failure = told(error)
            print(f"flowgrad: watching stopped: {self.failure}; the script goes on undisturbed", file=sys.stderr)

    def _before_forward(self, module: Any, args: Any) -> None:
        import torch

        if torch.compiler.is_compiling() or self.watch is not None or self.failure or id(module) in self._known:
            return
        try:
            self._meet(module)
        except Exception as error:
            self._give_up(error)

    def _meet(self, module: Any) -> None:
        """Watch a module that the script calls itself: the outermost of a pass is the first that is called."""
        import torch

        if not torch.is_grad_enabled() or torch.jit.is_tracing():
            return
        parameters = list(module.parameters())
        parts = {id(one): one for one in module.modules()}
        self._known.update(parts)
        if not any(one.requires_grad for one in parameters) or len(self._roots) >= _MOST:
            return
        self.passes += 1
        for key in [key for key in self._roots if key in parts]:
            self._roots.pop(key)[1].detach()
        self._roots[id(module)] = module, self._watching(module)

    def _watching(self, model: Any) -> Watch:
        from flowgrad.watching.attached import Settings
        from flowgrad.watching.watched_run import Watch

        return Watch(model, None, Settings(self.name), outside=True)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.steps += 1
        if self.failure:
            return
        try:
            if self._roots and (self.watch is None or not self.watch.knows(optimizer)):
                self._choose(optimizer)
            if self._roots and self.steps > _LATE and self.watch is not None:
                self._let_go()
            losses, self._losses = self._losses, []
            if self.watch is not None and self.watch.meet(optimizer):
                for loss in losses:
                    self.watch.log(loss=loss)
            else:
                self._note_other(optimizer)
        except Exception as error:
            self._give_up(error)

    def _choose(self, optimizer: Any) -> None:
        """Keep the models that hold parameters of the optimizer; of several, one watch of all is made."""
        own = {id(one) for group in optimizer.param_groups for one in group["params"]}
        held = {key: sum(id(one) in own for one in root.parameters()) for key, (root, _) in self._roots.items()}
        chosen = sorted((key for key in held if held[key]), key=lambda key: -held[key])
        if not chosen:
            return
        found = [self._roots.pop(key) for key in chosen]
        self._models += [model for model, _ in found]
        if len(self._models) == 1:
            self.watch = found[0][1]
        else:
            for watch in (self.watch, *(watch for _, watch in found)):
                if watch is not None:
                    watch.detach()
            self.watch = self._watching(_named(self._models))
        self._forward.remove()

    def _let_go(self) -> None:
        """Let go of models that were called and that nobody has trained so far."""
        for _, watch in self._roots.values():
            watch.detach()
        self._roots = {}

    def _note_other(self, optimizer: Any) -> None:
        kind = type(optimizer).__name__
        self._others[kind] = self._others.get(kind, 0) + 1

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

    def report(self, code: int = 0) -> Report:
        """Make the report of the script, which ended with the exit code `code`."""
        if self.watch is not None and not self.failure:
            if code:
                self.watch.unseen["end"] = (
                    f"the script ended with exit code {code}; what it did not get to was not seen"
                )
            if self._others:
                self.watch.unseen["other_models"] = f"{self._told_others()}; of several models the first is watched"
            return self.watch.to_report()
        return nothing_trained(self.name, self._why())

    def pictures(self) -> list[Figure]:
        """Make the pictures of a page on the script; none where nothing was watched."""
        if self.watch is None or self.failure:
            return []
        from flowgrad.watching.pages import pictures_of

        return pictures_of(self.watch)

    def _told_others(self) -> str:
        kinds = ", ".join(f"{kind} ({count} steps)" for kind, count in self._others.items())
        return f"optimizers stepped tensors that are not watched: {kinds}"

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


def _named(models: list[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for model in models:
        name, number = type(model).__name__, 2
        while name in named:
            name, number = f"{type(model).__name__}_{number}", number + 1
        named[name] = model
    return named
