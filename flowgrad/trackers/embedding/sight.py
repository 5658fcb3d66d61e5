"""Says whether a tracker could see what happened to its table: why not, and how it could."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

RECENT = 2
"""Number of times that a table has to have moved outside of all that the tracker sees before `step` is called
misplaced.
"""

UNTOLD = {
    "in_batch_negatives": "not told; call observe(in_batch_negatives=1) where the loss takes its negatives from the "
    "batch, else 0",
    "sampling_correction": "not told; call observe(sampling_correction=...), 0 for none and 1 for full log-Q",
    "row_effect_f": "not told; call observe_residuals(rows, residuals, biases=...) for models of ratings",
}
"""Reason why each of these scalars is not known, and how it would be."""
LABELS = "not told; call observe_labels(rows, others, labels) where examples have labels"
OPTIMIZER = (
    "not told; make the tracker with optimizer=... and causes that rest on its rate, decay or momentum can be claimed"
)
FROZEN = "the table takes no gradient (requires_grad is False): its rows stand still on purpose and are not judged"
MOVED_FROZEN = (
    "the table takes no gradient (requires_grad is False), and its rows moved all the same: something else than "
    "training by gradients moves them, such as moving averages or the loop, and they are not judged"
)


class SeenLookups(NamedTuple):
    """Events that the tracker knows of."""

    steps: int
    """Number of calls of `step`."""
    lookups: int
    """Number of lookups that were counted."""
    uncounted: Mapping[str, int]
    """Number of forward passes that were not counted, by reason: `eval`, `no_grad`, `copies`, `transforms`."""
    eval_steps: int
    """Number of steps at which the layer was called in eval mode with gradients enabled."""
    training: bool
    """Whether the layer is in training mode now."""
    trainable: bool
    """Whether the table asked for a gradient at any time."""
    moved: bool | None
    """Whether rows stand elsewhere than they began; None where none are followed yet."""
    moved_within: bool
    """Whether rows ever moved between a lookup and `step`."""
    moved_outside: int
    """Number of times that rows moved between `step` and the next lookup, as long as they never did so within."""


def blindness(seen: SeenLookups) -> str:
    """The reason why no verdict can rest on what was seen, and the way out; empty where one can."""
    if not seen.steps:
        found = f"{seen.lookups} lookups were seen and no step" if seen.lookups else "no step was seen"
        return f"{found}; call step() of the tracker after every optimizer.step()"
    if not seen.lookups:
        return f"no lookup was seen in {seen.steps} steps{_and_yet(seen)}: {_why_no_lookup(seen)}"
    if is_misplaced(seen):
        return (
            "step() is called at the wrong place: rows never moved between a lookup and step(), but they did between "
            "step() and the next lookup; call it right after optimizer.step()"
        )
    if seen.eval_steps > seen.steps / 2:
        return (
            f"at {seen.eval_steps} of {seen.steps} steps the layer was called in eval mode with gradients enabled, and "
            "such lookups are not counted; call model.train() after each evaluation"
        )
    return ""


def is_misplaced(seen: SeenLookups) -> bool:
    """Whether `step` is called where the optimizer has not stepped yet: its moves seem somebody else's."""
    return seen.moved_outside >= RECENT and not seen.moved_within


def _and_yet(seen: SeenLookups) -> str:
    return "" if seen.moved is None else " although the table moved" if seen.moved else " and the table did not move"


def _why_no_lookup(seen: SeenLookups) -> str:
    passes = {name: f"{count} forward pass{'es' if count != 1 else ''}" for name, count in seen.uncounted.items()}
    if "copies" in passes:
        return (
            f"{passes['copies']} were those of copies of the layer (nn.DataParallel); train with "
            "DistributedDataParallel, or on one device"
        )
    if "transforms" in passes:
        return f"{passes['transforms']} were within torch.func transforms, where nobody can count"
    if "eval" in passes:
        times = f"at {passes['eval']} with gradients enabled"
        return f"the layer is in eval mode ({times}); call model.train() before training"
    if "no_grad" in passes:
        if not seen.trainable:
            return "the table is frozen (requires_grad is False) and looked up without gradients; nothing to judge"
        return f"{passes['no_grad']} ran with gradients disabled (torch.no_grad); look the rows up with them enabled"
    if seen.moved or seen.moved is None:
        return (
            "it is looked up past this layer (F.embedding or indexing with its weight, another layer that shares the "
            "parameter), or in a model that was compiled, or shares its class with one that was, before the tracker "
            "was attached; call the layer itself, and attach the tracker before the first forward pass of what "
            "torch.compile gave (torch._dynamo.reset() drops what was compiled)"
            + ("" if seen.training else "; it is in eval mode now: was model.train() called before training?")
        )
    return (
        "the layer is not called, or its calls cannot be seen. Was it replaced by another one? Attach to the layer "
        "that the model calls now, before the first forward pass of what torch.compile gave"
    )


def partly_unseen(seen: SeenLookups, unseen_moved: int, elsewhere: bool, decay: float, ranks: int) -> dict[str, str]:
    """Find figures that are incomplete although the tracker is not blind, by name, with the reason.

    Args:
        seen: what happened.
        unseen_moved: rows never looked up that stand elsewhere than they began.
        elsewhere: whether such rows were seen to have a gradient.
        decay: weight decay of the optimizer; NaN where it is not known.
        ranks: of a distributed run whose counts were not put together; 1 where there is none.
    """
    found = {}
    if seen.eval_steps:
        found["lookups_in_eval"] = (
            f"at {seen.eval_steps} steps the layer was called in eval mode with gradients enabled; such lookups are "
            "not counted. Call model.train() before training, and evaluate under torch.no_grad()"
        )
    if ranks > 1:
        found["lookups"] = f"those of the other {ranks - 1} ranks; call all_reduce() on every rank before reading"
    elif unseen_moved:
        found["lookups"] = (
            f"{unseen_moved} rows moved though none of their lookups was seen: {_moved_by(elsewhere, decay)}"
        )
    return found


def _moved_by(elsewhere: bool, decay: float) -> str:
    if elsewhere:
        return (
            "they have a gradient through another use of the parameter (a tied output layer, F.embedding, another "
            "layer that shares it) or through a penalty on the whole table; exposures are those of this layer alone"
        )
    if decay > 0:
        return f"the optimizer's weight decay ({decay:.3g}) moves them"
    return (
        "by weight decay, or through another use of the parameter (a tied output layer, F.embedding, another layer "
        "that shares it), whose lookups this layer does not see"
    )
