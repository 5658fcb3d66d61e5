"""Says what a tracker of a network saw, what it could not see, and when no verdict can rest on it."""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.measurements import Coverage

HALTED = 8
"""Number of sampled steps without any gradient from which on an optimizer that holds watched tensors is known to step
with none.
"""


@dataclass(frozen=True)
class Sight:
    """Counts that say how much was seen."""

    steps: int
    """Number of calls of `step()` with a step of the optimizer before them."""
    skipped: int
    """Number of calls without one."""
    early: bool
    """Whether a call came before any step."""
    optimizer_steps: int
    """Number of steps of the optimizers given, counted by their hooks."""
    looks: int
    gradients: int
    """Number of sampled steps at which some tensor had a gradient other than zero."""
    moved: bool
    """Whether a tensor was seen to move at a sampled step."""
    asked: bool
    """Whether some tensor asks for a gradient."""
    losses: int
    epochs: int
    validations: int
    inputs: float
    """Number of rows of inputs shown; 0 for none."""
    optimizer: bool
    """Whether an optimizer was given."""
    held: bool
    """Whether the optimizers hold some watched tensor; True where none was given."""
    activations: bool
    """Whether a forward pass was seen."""
    compiled: bool
    checks: int
    """Number of steps of which it is known whether gradients were cleared before."""
    elsewhere: int
    """Number of tensors that no optimizer given holds, and that move."""
    hidden: tuple[str, ...] = ()
    """Names of tensors that took a gradient and that the model does not register."""
    outside: float = 0.0
    """Number of tensors that the loss leads to and that are neither the model's nor an optimizer's; NaN: not known."""
    losses_differ: bool = False
    """Whether training and validation loss were seen to be two quantities."""


def coverage_of(sight: Sight) -> Coverage:
    """Make the coverage of these counts."""
    seen = {
        "steps": sight.steps,
        "looks": sight.looks,
        "losses": sight.losses,
        "gradients": sight.gradients,
        "epochs": sight.epochs,
        "validations": sight.validations,
        "inputs": sight.inputs,
    }
    return Coverage({name: float(count) for name, count in seen.items()}, _unseen(sight), _blind(sight))


def _blind(sight: Sight) -> str:
    calls = sight.steps + sight.skipped
    if not calls and not sight.optimizer_steps:
        return "no step was seen; call step(loss) after every optimizer.step()"
    if not calls:
        return (
            f"the optimizer stepped {sight.optimizer_steps} times and step() was never called; "
            "call step(loss) after every optimizer.step()"
        )
    if not sight.held and not sight.gradients:
        return (
            "the optimizer given holds none of the tensors watched; watch the very model whose parameters it was "
            "given, and make the optimizer after the model is moved, converted or copied"
        )
    if not sight.steps:
        return (
            f"step() was called {sight.skipped} times and the optimizer given stepped at none of them; give the one "
            "that really steps, call step() after it; a compiled step calls no hooks: then give no optimizer"
        )
    if not sight.looks:
        return f"none of {sight.steps} steps was looked at; give a schedule that names some"
    if not sight.asked and not sight.moved:
        return "no tensor watched asks for a gradient or moves"
    halted = sight.optimizer and sight.held and sight.looks >= HALTED
    if not sight.gradients and not sight.moved and not halted:
        return (
            f"at none of {sight.looks} looks a tensor watched had a gradient or moved; watch the very model that is "
            "trained, and call step() after optimizer.step() and before gradients are cleared"
        )
    if not sight.gradients and not sight.optimizer:
        return "gradients were cleared before step(); call it before zero_grad(), or give the optimizer"
    return ""


def _unseen(sight: Sight) -> dict[str, str]:
    found = {}
    if not sight.optimizer:
        found["optimizer"] = "not given; FlowTracker(model, optimizer) tells learning rates and what is left out"
    if not sight.losses:
        found["losses"] = "never told; call step(loss)"
    if not sight.validations:
        found["validation_loss"] = "never told; call end_epoch(train_loss, validation_loss)"
    if not sight.inputs:
        found["inputs"] = "never shown; call observe_inputs(x_train)"
    if sight.looks and not sight.activations:
        found["activations"] = (
            "the model is compiled, and hooks do not see into it; a short run that is not compiled shows them"
            if sight.compiled
            else "no forward pass of its modules with gradients was seen; call the modules, not their functions"
        )
    if sight.steps > 1 and not sight.checks:
        found["clearing"] = (
            "no two steps in a row were seen; a schedule with in_a_row=2 tells whether gradients are cleared"
        )
    if sight.skipped > max(sight.steps, 1):
        found["skipped_steps"] = (
            f"{sight.skipped} calls of step() came without a step of the optimizer; call it after each"
        )
    if sight.optimizer_steps > 2 * (sight.steps + sight.skipped) > 0:
        found["steps"] = (
            f"the optimizer stepped {sight.optimizer_steps} times and step() was called "
            f"{sight.steps + sight.skipped} times; call it after every optimizer.step()"
        )
    if sight.early and sight.skipped == 1:
        found["order"] = (
            "the first call of step() came before any step of the optimizer; call it after optimizer.step(), else "
            "losses are told a step late and the last step is not seen"
        )
    if sight.elsewhere:
        found["other_optimizers"] = (
            f"{sight.elsewhere} tensors move that no optimizer given holds; give all: FlowTracker(model, [one, other])"
        )
    if sight.hidden:
        more = f" and {len(sight.hidden) - 3} more" if len(sight.hidden) > 3 else ""
        found["unregistered"] = (
            f"{', '.join(sight.hidden[:3])}{more} are no parameters of the model and not watched; hold their modules "
            "in an nn.ModuleList or nn.ModuleDict"
        )
    if sight.outside > 0:
        found["outside"] = (
            f"the loss leads to {sight.outside:.0f} tensors that are neither the model's nor held by an optimizer "
            "given; to have them watched, give their module, and its optimizer, too"
        )
    if sight.losses_differ:
        found["loss_gap"] = (
            "training and validation loss are two quantities, by the batches told: they are not compared"
        )
    return found
