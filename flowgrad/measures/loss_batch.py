"""Reads what was given to a loss into arrays, and recomputes every loss that these allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowgrad.measures.left_out import left_out_within
from flowgrad.measures.loss_values import (
    Classes,
    Floats,
    Ids,
    Values,
    classes,
    distributions,
    elementwise,
    in_batch,
    in_unit,
    log_softmax,
    pairs,
    sigmoid,
    sums_to_one,
)

MOST = 1_000_000
"""Number of values in outputs, or in targets, of a batch that is still recomputed."""
LEAST_RUN = 2
"""Mean length of the runs at ends of rows that are taken for padding: a closing mark has 1."""
EQUAL = 0.99
"""Share of positions in which targets are the inputs themselves."""
MOST_WEIGHED = 20
"""Number of classes up to which weights of classes are looked for."""
KINDS = 2000
"""Number of different targets that are counted."""
BINARY_PARTS = ("part_of_ones", "part_of_zeros", "predicted_rate", "label_rate")
"""Names of facts on a batch with labels of 0 and 1."""
_VIEWS = (
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Select", "Slice", "ToCopy", "Alias", "Clone",
    "Transpose", "Permute", "T", "Expand", "Split", "Unbind", "CppFunction",
)  # fmt: skip
_ACTIVATIONS = ("Sigmoid", "Softmax")


class UnreadableError(ValueError):
    """Outputs, targets or loss are of no kind that can be recomputed."""


WEIGHTLESS = 25 * math.log(2)
"""Distance of a score below another from which it weighs nothing in their softmax in float32. The same item twice has
the same score, unless it was set lower on purpose.
"""


@dataclass(frozen=True)
class Batch:
    """Outputs and targets of one step."""

    x: Floats
    """Outputs, in the shape given."""
    t: Floats | Ids | None
    """Targets in the shape given; None: not given."""
    told: float
    """The reported loss."""
    inputs: Ids | None
    """Inputs, where they are integers of at most two axes."""
    items: Ids | None
    """Item of each row, shape (rows,)."""
    teacher: Floats | None
    """A teacher's outputs, in the shape of the outputs."""
    activation: float
    """1 where the outputs come from a sigmoid or a softmax, 0 where they do not, NaN where it is not known."""


@dataclass(frozen=True)
class Padding:
    """A class number that fills the ends, or the beginnings, of rows."""

    number: int
    share: float
    """Share of all positions, in [0, 1]."""
    in_inputs: float
    """Share of these positions whose input is the same number; NaN where inputs of that shape are not known."""


def read(outputs: Any, targets: Any, loss: Any, inputs: Any = None, items: Any = None, teacher: Any = None) -> Batch:
    """Tensors as arrays in double precision.

    Raises:
        UnreadableError: too large, not finite, of half precision, or no tensors.
    """
    told = number_of(loss)
    x = _array(outputs)
    t = None if targets is None else _array(targets)
    if x is None or not x.size or (t is not None and not t.size):
        raise UnreadableError("outputs or targets are empty")
    if not np.isfinite(x).all() or (t is not None and not np.isfinite(t).all()):
        raise UnreadableError("outputs or targets are not finite")
    if x.dtype.kind != "f":
        raise UnreadableError("outputs are no floating-point numbers")
    return Batch(x, t, told, ids(inputs), ids(items), _like(teacher, x), activation_of(outputs))


def number_of(loss: Any) -> float:
    """The reported loss as a number.

    Raises:
        UnreadableError: it is of half precision, or not finite.
    """
    if "float16" in str(getattr(loss, "dtype", "")):  # bfloat16 too
        raise UnreadableError("a loss of half precision is rounded too coarsely to be told from others")
    told = float(loss.detach() if hasattr(loss, "detach") else loss)
    if not math.isfinite(told):
        raise UnreadableError("the loss is not finite")
    return told


def _array(value: Any) -> Any:
    """The value as an array of float64 or int64."""
    shape = getattr(value, "shape", None)
    if shape is None:
        raise UnreadableError(f"{type(value).__name__} is no tensor")
    if math.prod(shape) > MOST:
        raise UnreadableError(f"{math.prod(shape)} numbers are more than {MOST}")
    if "complex" in str(getattr(value, "dtype", "")):
        raise UnreadableError("complex numbers are not read")
    if hasattr(value, "detach"):
        value = value.detach()
        value = value.double() if value.is_floating_point() else value.long()
        value = value.cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise UnreadableError(f"numbers of type {array.dtype} are not read")
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def ids(value: Any) -> Ids | None:
    """The value as integers; None for all else, which is no reason not to read the batch."""
    try:
        array = _array(value)
    except (UnreadableError, RuntimeError, TypeError, ValueError):
        return None
    return array if array.dtype.kind == "i" and 1 <= array.ndim <= 2 else None


def _like(value: Any, x: Floats) -> Floats | None:
    """The value as floating-point numbers in the shape of the outputs, all finite; None for all else."""
    try:
        array = _array(value)
    except (UnreadableError, RuntimeError, TypeError, ValueError):
        return None
    return array if array.dtype.kind == "f" and array.shape == x.shape and np.isfinite(array).all() else None


def activation_of(outputs: Any) -> float:
    """Flag: 1 where the graph of the outputs ends in a sigmoid or a softmax, changes of shape left out, 0 where it does
    not; NaN where that is not known.
    """
    node = getattr(outputs, "grad_fn", None)
    for _ in range(8):
        if node is None:
            return math.nan
        name = type(node).__name__.split("Backward")[0]
        if name in _ACTIVATIONS:
            return 1.0
        if name.startswith("Compiled") or "Function" in name:
            return math.nan
        if name not in _VIEWS:
            return 0.0
        following = getattr(node, "next_functions", ())
        node = following[0][0] if following else None
    return math.nan


def readings(batch: Batch) -> list[tuple[Floats, Ids]]:
    """Outputs of shape (positions, classes) and class numbers, in the ways they may be meant; none where they cannot.

    Class numbers keep two axes where rows of them are known.
    """
    x, t = batch.x, batch.t
    if t is not None and t.dtype.kind == "f" and t.size != x.size and np.array_equal(t, np.rint(t)):
        t = t.astype(np.int64)  # the loss casts them
    if t is None or t.dtype.kind != "i" or x.ndim < 2:
        return []
    if t.ndim == x.ndim and t.shape[-1] == 1 and t.shape[:-1] == x.shape[:-1]:
        t = t[..., 0]
    found = []
    if x.size // x.shape[-1] == t.size and (x.shape[:-1] == t.shape or x.ndim == 2 or t.ndim == 1):
        found.append(x)
    if x.ndim > 2 and x.shape[:1] + x.shape[2:] == t.shape:
        found.append(np.moveaxis(x, 1, -1))
    if t.ndim == 1 and batch.inputs is not None and batch.inputs.ndim == 2 and batch.inputs.size == t.size:
        t = t.reshape(batch.inputs.shape)
    return [(way.reshape(-1, way.shape[-1]), t.astype(np.int64)) for way in found]


def padding(t: Ids, inputs: Ids | None) -> Padding | None:
    """The class number that stands at the ends (or beginnings) of rows and nowhere else, in runs; shape (rows, length).

    >>> padding(np.array([[3, 1, 0, 0], [2, 0, 0, 0]]), None).number
    0
    """
    if t.ndim == 1:
        folded = _folded(t)
        return None if folded is None else padding(folded, None)
    if t.ndim != 2 or min(t.shape) < 2:
        return None
    for way in (t, t[:, ::-1]):
        ends = way[:, -1]
        numbers, counts = np.unique(ends[ends >= 0], return_counts=True)
        for number in numbers[np.argsort(-counts)][:3]:
            filled = way == number
            # Once it has come, it stays to the end of the row.
            closed = (filled[:, 1:] >= filled[:, :-1]).all()
            some = filled.any(1) & ~filled.all(1)
            if closed and some.sum() >= 2 and filled[some].sum(1).mean() >= LEAST_RUN:
                at = (t == number) & (t >= 0)
                same = inputs is not None and inputs.shape == t.shape
                told = float((inputs[at] == number).mean()) if same and inputs is not None else math.nan
                return Padding(int(number), float(at.sum() / (t >= 0).sum()), told)
    return None


def _folded(t: Ids) -> Ids | None:
    """Targets that were flattened, by rows again, where one number ends every row; None where that is not certain."""
    numbers, counts = np.unique(t[t >= 0], return_counts=True)
    for number in numbers[np.argsort(-counts)][:3]:
        filled = t == number
        begins = np.flatnonzero(filled[:-1] & ~filled[1:]) + 1
        length = int(np.gcd.reduce(begins)) if len(begins) else 0
        # Eight rows that begin at multiples of one length do not do so by chance.
        if len(begins) >= 8 and length >= 3 and len(t) % length == 0:
            return t.reshape(-1, length)
    return None


def given(t: Ids, inputs: Ids | None, number: int | None) -> float:
    """Flag: 1 where targets of shape (rows, length) are the inputs themselves, 0 where not; NaN where that is not
    certain.
    """
    if inputs is None or inputs.shape != t.shape or t.ndim != 2 or t.shape[1] < 2:
        return math.nan
    kept = t >= 0 if number is None else (t >= 0) & (t != number)
    changing = kept[:, 1:] & (inputs[:, 1:] != inputs[:, :-1])
    # Rows that repeat one number have it as the next as well.
    if kept.sum() < 16 or changing.sum() < 0.2 * kept.sum():
        return math.nan
    return float((t == inputs)[kept].mean() >= EQUAL)


def recompute(batch: Batch) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Recompute losses by key, each with its rounding, and further facts on outputs and targets."""
    values = Values()
    x, t = batch.x, batch.t
    facts: dict[str, float] = {
        "rows": float(x.shape[0]) if x.ndim else 1.0,
        "activation": batch.activation,
        "least": float(x.min()),
        "most": float(x.max()),
        "probable": float(sums_to_one(x) or (x.ndim > 2 and sums_to_one(x, axis=1))),
        "constant": _constant(x),
        "floor_share": _floor_share(x),
    }
    with np.errstate(all="ignore"):
        _in_batch(values, facts, batch)
        if t is not None:
            facts |= of_targets(t)
            _by_element(values, facts, x, t)
            _by_class(values, facts, batch)
            if t.shape == x.shape and x.ndim >= 2:
                distributions(values, x.reshape(-1, x.shape[-1]), t.reshape(-1, x.shape[-1]).astype(np.float64))
        if batch.teacher is not None and x.ndim >= 2 and x.shape[-1] > 1:
            columns = x.shape[-1]
            distributions(values, x.reshape(-1, columns), batch.teacher.reshape(-1, columns), "teachers_")
    return values.found, facts


def _constant(x: Floats) -> float:
    """1 where two rows or more are all the same, up to rounding."""
    if not x.ndim or len(x) < 2:
        return math.nan
    return float(np.ptp(x, axis=0).max() <= 1e-6 * max(float(np.abs(x).max()), 1e-12))


def _by_label(x: Floats, t: Ids) -> dict[str, float]:
    """Rows and summed cross-entropy of each class that came; empty where there are too many classes, or others."""
    if x.shape[1] > MOST_WEIGHED or t.min() < 0 or t.max() >= x.shape[1]:
        return {}
    terms = -np.take_along_axis(log_softmax(x), t[:, None], 1)[:, 0]
    counts, sums = np.bincount(t), np.bincount(t, terms)
    return {
        f"{name}/{k}": float(of[k]) for k in np.flatnonzero(counts) for name, of in (("count", counts), ("sum", sums))
    }


def _floor_share(x: Floats) -> float:
    """Share of the outputs that are the smallest one, to the last bit; 0 where that one stands alone."""
    count = int((x == x.min()).sum())
    return count / x.size if count > 1 else 0.0


def of_targets(t: Floats | Ids) -> Mapping[str, float]:
    """Facts on the targets by name: their bounds, how many they are, and whether they are all one."""
    spread = np.ptp(t)
    return {
        "target_least": float(t.min()), "target_most": float(t.max()), "targets": float(t.size),
        "target_constant": float(spread == 0),
    }  # fmt: skip


def _in_batch(values: Values, facts: dict[str, float], batch: Batch) -> None:
    x, t, items = batch.x, batch.t, batch.items
    if x.ndim != 2 or x.shape[0] != x.shape[1] or len(x) < 2:
        return
    if t is not None and not (t.dtype.kind == "i" and np.array_equal(t.reshape(-1), np.arange(len(x)))):
        return
    in_batch(values, x)
    facts["choices"] = float(len(x))
    if items is not None and items.shape == (len(x),):
        again = items[:, None] == items[None, :]
        np.fill_diagonal(again, False)
        weighed = x > np.diagonal(x)[:, None] - WEIGHTLESS
        facts["repeated"] = float((again & weighed).any(1).mean())
        facts["same_item_left_out"] = float(again.any() and not (again & weighed).any())


def _by_element(values: Values, facts: dict[str, float], x: Floats, t: Floats | Ids) -> None:
    if t.size != x.size:
        return
    target = t.astype(np.float64)
    rows = len(x) if x.ndim else 1
    elementwise(values, x.reshape(-1), target.reshape(-1), rows)
    facts["target_in_unit"] = float(in_unit(target))
    facts["below"] = float((target < x.min()).mean())
    facts["outside_unit"] = float(((target < 0) | (target > 1)).mean())
    facts |= _binary_parts(x.reshape(-1), target.reshape(-1))
    try:
        shape = np.broadcast_shapes(x.shape, target.shape)
    except ValueError:
        return
    # Axes that were added to both are there to compare all with all.
    if math.prod(shape) > x.size and x.ndim != t.ndim:
        facts["column"] = float(x.ndim > t.ndim)
        pairs(values, x, target, shape)


def _binary_parts(x: Floats, target: Floats) -> dict[str, float]:
    """Parts of the mean binary cross-entropy of logits that rows of either label have, the mean probability and the
    mean label; empty where targets are others than 0 and 1.
    """
    if not np.isin(target, (0.0, 1.0)).all():
        return {}
    parts = (target * np.logaddexp(0.0, -x)).mean(), ((1 - target) * np.logaddexp(0.0, x)).mean()
    rates = sigmoid(x).mean(), target.mean()
    return {name: float(part) for name, part in zip(BINARY_PARTS, (*parts, *rates), strict=True)}


def _by_class(values: Values, facts: dict[str, float], batch: Batch) -> None:
    for x, t in readings(batch):
        inputs = batch.inputs
        if inputs is not None and inputs.size == t.size:
            inputs = inputs.reshape(t.shape)
        pad = padding(t, inputs)
        if t.ndim == 1 and batch.x.ndim == 2:
            facts["classes"] = facts["choices"] = float(x.shape[1])
            facts |= _by_label(x, t)
        if pad is not None:
            facts |= {"pad": float(pad.number), "pad_share": pad.share, "pad_inputs": pad.in_inputs}
        facts["given"] = given(t, inputs, None if pad is None else pad.number)
        ignored = (0,) if pad is None or pad.number == 0 else (pad.number, 0)
        facts |= {f"left_out/{number}": left_out_within(t, inputs, number) for number in ignored}
        length = t.shape[1] if t.ndim == 2 else 1
        classes(values, Classes(x, t.reshape(-1), t.shape[0], ignored, pad is not None, length))
