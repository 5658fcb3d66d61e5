"""Says what the tracker of a student saw, what it could not see, and whether any verdict can rest on it."""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.measurements import Coverage


@dataclass(frozen=True)
class Sight:
    """Counts and facts of one tracker."""

    steps: int
    looks: int
    comparisons: int
    losses: int
    """Number of losses given at sampled steps."""
    distillation_losses: int
    """Number of distillation losses given at sampled steps."""
    teacher_calls: int
    has_optimizer: bool
    optimizer_steps: int
    """Number of steps of the optimizer given that were seen."""
    held: int
    """Number of layers that the optimizer given holds."""
    holds: bool
    """Whether it holds any weight, scale or bias of the student."""
    moved: bool
    """Whether any layer moved at a sampled step."""
    heard: bool
    """Whether any layer had a gradient at a sampled step, be it 0."""
    formulas: int
    """Number of steps of which both models' outputs and the gradient at the student's were seen."""
    passed_over: int
    """Number of calls of `step()` without a step of the optimizer."""

    @property
    def stands(self) -> bool:
        """Whether steps were sampled, and no weight moved at any of them."""
        return self.looks > 0 and not self.moved


def coverage(sight: Sight) -> Coverage:
    """The coverage of a report: counts of what was seen, what was not with the way to see it, and why the whole says
    nothing, where it does.
    """
    seen = {
        "steps": float(sight.steps),
        "looks": float(sight.looks),
        "comparisons": float(sight.comparisons),
        "losses": float(sight.losses),
        "distillation_losses": float(sight.distillation_losses),
        "teacher_calls": float(sight.teacher_calls),
    }
    if sight.has_optimizer:
        seen["optimizer_steps"] = float(sight.optimizer_steps)
    return Coverage(seen, _unseen(sight), blindness(sight))


def _unseen(sight: Sight) -> dict[str, str]:
    unseen = {}
    if not sight.comparisons:
        unseen["comparison"] = "student and teacher were never compared; call observe(inputs)"
    if not sight.has_optimizer:
        unseen["optimizer"] = (
            "not given, so that rates, layers left out and a teacher in it stay unknown; give optimizer="
        )
    elif sight.steps and not sight.optimizer_steps:
        unseen["optimizer_steps"] = (
            "the optimizer given was not seen to step: gradients are read at step(); give the one that trains"
        )
    if sight.looks and not sight.distillation_losses:
        unseen["distillation_loss"] = "never told; call step(loss, distillation_loss=...)"
    if sight.steps and not sight.teacher_calls:
        unseen["teacher_mode"] = (
            "the teacher was not seen to be called (outputs kept, parts of it called, or compiled): in which mode it "
            "teaches is not known; print(teacher.training) where it is called"
        )
    if sight.looks and sight.distillation_losses and not sight.formulas:
        unseen["formula"] = (
            "the student's outputs, the gradient at them and the teacher's answers were not seen together (outputs of "
            "other shapes, half precision, models called by their parts, or compiled): by which loss it is taught is "
            "not known"
        )
    if sight.passed_over:
        unseen["batches"] = (
            f"{sight.passed_over} calls of step() came without a step of the optimizer and were passed over, as where "
            "gradients are accumulated"
        )
    return unseen


def blindness(sight: Sight) -> str:
    """The reason why no verdict can rest on what was seen; empty where one can. Weights that stand still are seen as
    such only where the optimizer that holds them was seen to step.

    Weights that stand still are seen as such only where the optimizer that holds them was seen to step.
    """
    if not sight.steps:
        return "no step was seen; call step() after every optimizer.step()"
    if not sight.looks:
        return "no step was looked at yet; train on"
    if not sight.stands:
        return ""
    if sight.has_optimizer and not sight.held:
        if sight.holds:
            return "the optimizer given holds biases and scales of this student alone, which are not looked at"
        return (
            "the optimizer given holds no layer of this student, and none moved: another module is trained; give the "
            "student that the optimizer was made for"
        )
    if sight.has_optimizer and sight.optimizer_steps:
        return ""
    if not sight.heard:
        return (
            f"in {sight.steps} steps no layer had a gradient or moved: another module is trained (a copy, or one put "
            "in its place); give the module whose weights the optimizer holds"
        )
    return (
        f"in {sight.steps} steps no weight moved between one look and the next: give optimizer=, and call step() "
        "right after optimizer.step()"
    )
