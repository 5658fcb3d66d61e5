"""Recomputes the losses of class numbers for outputs too large to be copied: each position is reduced where it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flowgrad.lazy import LazyModule
from flowgrad.measures.loss_batch import (
    MOST,
    Batch,
    UnreadableError,
    activation_of,
    given,
    ids,
    number_of,
    of_targets,
    padding,
)
from flowgrad.measures.loss_values import PER_LOGIT, PROBABLE, Classes, Floats, Ids, Values, reduced, softmaxed

torch = LazyModule("torch")

LARGEST = 2**28
"""Number of values in outputs that are still recomputed."""
_AT_ONCE = 2**22
"""Number of values that are read at once."""

Recomputed = dict[str, tuple[float, float]]


class Positions(NamedTuple):
    """Figures of each position's outputs, where they are arrays of shape (positions,)."""

    own: Floats
    """Output of the position's class."""
    following: Floats
    """Output of the class of the next position."""
    logsumexp: Floats
    mean: Floats
    least: float
    most: float
    probable: bool
    """Whether the outputs of each position are non-negative and sum to 1."""


def is_large(outputs: Any) -> bool:
    """Whether outputs are a tensor of more values than are copied, and of no more than are read."""
    return hasattr(outputs, "logsumexp") and MOST < math.prod(outputs.shape) <= LARGEST


def read_large(outputs: Any, targets: Any, loss: Any, inputs: Any = None) -> tuple[Batch, Recomputed, dict[str, float]]:
    """Read a batch with large outputs, and recompute the losses of class numbers.

    Args:
        outputs: tensor of two axes or more, classes last, or second, as `torch.nn.functional.cross_entropy` has them.
        targets: class numbers; negative ones are left out, as `ignore_index` does.
        loss: the reported loss.
        inputs: of the model; used where they are integers, as many as the targets.

    Returns:
        The batch, whose outputs are left out; the losses by key, each with its rounding; facts on outputs and targets.

    Raises:
        UnreadableError: outputs are not finite, targets are no class numbers of theirs, or the loss cannot be read.
    """
    whole, targets = _flat(outputs.detach(), targets)
    t = ids(targets)
    ways = [] if t is None or not whole.is_floating_point() else list(_ways(whole, t))
    if t is None or not ways:
        raise UnreadableError("large outputs are read where targets are class numbers")
    batch = Batch(np.empty(0), t, number_of(loss), ids(inputs), None, None, activation_of(outputs))
    values = Values()
    facts: dict[str, float] = {"rows": float(len(whole)), "activation": batch.activation, **of_targets(t)}
    for way, numbers in ways:
        given_in = batch.inputs
        if given_in is not None and given_in.size == numbers.size:
            if numbers.ndim == 1 and given_in.ndim == 2:
                numbers = numbers.reshape(given_in.shape)
            given_in = given_in.reshape(numbers.shape)
        pad = padding(numbers, given_in)
        if pad is not None:
            facts |= {"pad": float(pad.number), "pad_share": pad.share, "pad_inputs": pad.in_inputs}
        facts["given"] = given(numbers, given_in, None if pad is None else pad.number)
        read = _positions(way, numbers)
        facts |= {"least": read.least, "most": read.most, "probable": float(read.probable)}
        ignored = (0,) if pad is None or pad.number == 0 else (pad.number, 0)
        length = numbers.shape[1] if numbers.ndim == 2 else 1
        _add(values, Classes(np.empty(0), numbers.reshape(-1), len(numbers), ignored, pad is not None, length), read)
    return batch, values.found, facts


def _flat(outputs: Any, targets: Any) -> tuple[Any, Any]:
    """Outputs and targets with the places of an image, or of more axes, in one."""
    if getattr(targets, "ndim", 0) <= 2 or not hasattr(targets, "flatten"):
        return outputs, targets
    if outputs.shape[:-1] == targets.shape:
        return outputs.flatten(1, -2), targets.flatten(1)
    return (outputs.flatten(2), targets.flatten(1)) if outputs.dim() > 2 else (outputs, targets)


def _ways(outputs: Any, t: Ids) -> Iterator[tuple[Any, Ids]]:
    """Yield outputs with classes last and class numbers, in the ways they may be meant."""
    shape = tuple(outputs.shape)
    if len(shape) < 2 or not t.size:
        return
    if t.shape == (*shape[:-1], 1):
        t = t[..., 0]
    as_many = math.prod(shape[:-1]) == t.size and (shape[:-1] == t.shape or len(shape) == 2 or t.ndim == 1)
    if as_many and (t < shape[-1]).all():
        yield outputs, t
    if len(shape) > 2 and shape[:1] + shape[2:] == t.shape and (t < shape[1]).all():
        yield outputs.movedim(1, -1), t


def _positions(whole: Any, numbers: Ids) -> Positions:
    """Reduce outputs, classes last, part by part, where they lie and in single precision."""
    flat = np.maximum(numbers.reshape(-1), 0)
    places = torch.from_numpy(np.stack([flat, np.roll(flat, -1)], 1)).to(whole.device)
    rows = max(1, _AT_ONCE // max(math.prod(whole.shape[1:]), 1))
    parts, bounds, done = [], [], 0
    for first in range(0, len(whole), rows):
        part = whole[first : first + rows]
        x = part.reshape(-1, part.shape[-1]).float()
        picked = x.gather(1, places[done : done + len(x)])
        done += len(x)
        parts.append(torch.cat([picked, x.logsumexp(1, keepdim=True), x.mean(1, keepdim=True)], 1).double().cpu())
        bounds.append(torch.stack([x.min(), x.max(), (x.sum(1) - 1).abs().max()]).cpu())
    own, following, logs, mean = torch.cat(parts).numpy().T
    low, high, off = torch.stack(bounds).double().numpy().T
    if not np.isfinite([low, high]).all():
        raise UnreadableError("outputs are not finite")
    probable = bool(low.min() >= 0 and off.max() <= PROBABLE)
    return Positions(own, following, logs, mean, float(low.min()), float(high.max()), probable)


def _add(values: Values, about: Classes, read: Positions) -> None:
    """Add the losses of these positions, and what they become by mistake."""
    noise = 2 * PER_LOGIT * max(abs(read.least), abs(read.most))
    kept = about.t >= 0
    if not kept.any():
        return
    t, own = about.t[kept], read.own[kept]
    logs, spread = own - read.logsumexp[kept], (read.mean - read.logsumexp)[kept]
    kinds = ("twice", "twice") if read.probable else ("counted" if about.padding else "sound", "sound")
    for family, terms in softmaxed(-logs, -spread):
        reduced(values, kinds, family, terms, t, about, noise)
    if read.probable:
        reduced(values, ("logs", "logs"), "likelihood", -own, t, about, PER_LOGIT)
        reduced(values, ("sound", "sound"), "likelihood_of_logarithms", -np.log(np.maximum(own, 1e-45)), t, about,
                PER_LOGIT)  # fmt: skip
    else:
        reduced(values, ("logs", "logs"), "likelihood", -np.exp(logs), t, about, PER_LOGIT)
        if np.abs(read.logsumexp).max() > PROBABLE:
            reduced(values, ("raw", "raw"), "likelihood", -own, t, about, noise)
    if about.length > 2:
        at = np.flatnonzero(np.arange(len(about.t)) % about.length < about.length - 1)
        at = at[about.t[at + 1] >= 0]
        if len(at):
            terms = read.logsumexp[at] - read.following[at]
            reduced(values, (kinds[1], kinds[1]), "shifted", terms, about.t[at + 1], about, noise)
