"""Recomputes losses in double precision from what was given to a loss: the usual ones, and what they become by mistake.

A recomputed loss has a key `kind/family/reduction`. Of the kinds, `sound` is what the family is for, `counted` the same
with a mean that runs over padding too. The others are mistakes: `pairs` compares every output with every target,
`twice` takes probabilities for logits, `logs` takes probabilities for log-probabilities, `raw` takes logits for them,
`axis` has its softmax over the rows, `one` has it over a single column, and `outside` is a binary cross-entropy of
targets that are no probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

RELATIVE = 3e-6
"""Relative rounding of a mean in single precision, over the mean size of its terms."""
PER_LOGIT = 2.5e-7
"""Rounding of a log-sum-exp in single precision, over the largest logit: two units in the last place."""
MOST_PAIRS = 300_000
"""Number of pairs of outputs and targets that are compared at most; beyond, only losses whose mean needs no pairs are
known.
"""
MOST_RARE = 50_000
"""Number of output values from which the less usual losses of classes are recomputed."""
MOST_TEMPERED = 100_000
"""Number of output values that are compared with a teacher's at every temperature."""
PROBABLE = 0.005
"""Largest distance of a row of probabilities' sum from 1: rounding in half precision."""
SOFTMAXED = ("cross_entropy", "smoothed", "focal")
"""Families that begin with a softmax."""
DELTAS = (0.1, 0.5, 1.0)
"""Thresholds at which Huber's loss turns from squares to sizes."""
SMOOTHINGS = (0.05, 0.1, 0.2)
"""Shares of a label that are spread over all classes."""
TEMPERATURES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0)
"""Temperatures of distillation that are tried."""


@dataclass
class Values:
    """Recomputed losses of one batch by key, each with its rounding."""

    found: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, key: str, value: float, size: float, noise: float = 0.0) -> None:
        """Add a loss; `size` is the mean size of its terms times what they are multiplied by, `noise` their
        rounding.
        """
        if math.isfinite(value) and math.isfinite(size):
            self.found[key] = (float(value), RELATIVE * max(size, 1e-12) + noise)

    def reduce(self, key: str, terms: Floats, rows: int, noise: float = 0.0) -> None:
        """Add the mean, sum, sum over rows and mean times rows of `terms`, as far as they differ."""
        count = terms.size
        if not count:
            return
        mean, size = float(terms.mean()), float(np.abs(terms).mean())
        factors = {"mean": 1, "sum": count, "rows": rows, "batchmean": count / max(rows, 1)}
        taken: set[float] = set()
        for name, factor in factors.items():
            if factor not in taken:
                taken.add(factor)
                self.add(f"{key}/{name}", mean * factor, size * factor, noise * factor)


def log_softmax(x: Floats, axis: int = -1) -> Floats:
    """Logarithm of the softmax.

    >>> bool(np.allclose(log_softmax(np.zeros((1, 2))), np.log(0.5)))
    True
    """
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def sigmoid(x: Floats) -> Floats:
    """Logistic function, without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))


def in_unit(values: Floats) -> bool:
    """Whether all lie in [0, 1]."""
    return bool(values.size) and bool(values.min() >= 0) and bool(values.max() <= 1)


def sums_to_one(x: Floats, rounding: float = PROBABLE, axis: int = -1) -> bool:
    """Whether all are non-negative and sum to 1 along an axis of two or more, up to rounding."""
    if x.ndim < 1 or x.shape[axis] < 2 or not x.size or x.min() < 0:
        return False
    return bool(np.abs(x.sum(axis) - 1).max() <= rounding)


def _xlogx(t: Floats) -> Floats:
    return np.where(t > 0, t * np.log(np.where(t > 0, t, 1.0)), 0.0)


def _huber(error: Floats, delta: float) -> Floats:
    size = np.abs(error)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def _signs(t: Floats) -> Floats | None:
    """Labels as -1 and 1; None where they are not of two kinds."""
    if np.isin(t, (-1.0, 1.0)).all():
        return t
    return 2 * t - 1 if np.isin(t, (0.0, 1.0)).all() else None


def _terms(x: Floats, t: Floats) -> Iterator[tuple[str, Floats, float]]:
    """(family, terms, noise) of losses that compare an output with a target; shapes broadcast."""
    noise = PER_LOGIT * float(np.abs(x).max(initial=0.0))
    error = x - t
    yield "squared", error**2, 0.0
    yield "absolute", np.abs(error), 0.0
    for delta in DELTAS:
        yield f"huber_{delta:g}", _huber(error, delta), 0.0
    yield "log_cosh", np.logaddexp(error, -error) - math.log(2), PER_LOGIT * float(np.abs(error).max(initial=0.0))
    if in_unit(t):
        probability = sigmoid(x)
        yield "sigmoid_squared", (probability - t) ** 2, 0.0
        yield "sigmoid_absolute", np.abs(probability - t), 0.0
        yield "binary", np.logaddexp(0.0, x) - x * t, noise
        if in_unit(x):
            with np.errstate(divide="ignore"):
                yes, no = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
            # Outputs near 1 leave single precision little of what is missing to 1.
            yield "binary_of_probabilities", -(t * yes + (1 - t) * no), PER_LOGIT
    signs = _signs(t)
    if signs is not None:
        margin = np.maximum(0.0, 1 - signs * x)
        yield "hinge", margin, 0.0
        yield "squared_hinge", margin**2, 0.0
        if not in_unit(t):
            yield "soft_margin", np.logaddexp(0.0, -signs * x), noise
    if t.min() >= 0 and x.max() < 50:
        yield "poisson", np.exp(x) - t * x, noise


def elementwise(values: Values, x: Floats, t: Floats, rows: int) -> None:
    """Add losses of outputs and targets of one shape, and the mistaken ones where targets or outputs are of another
    kind.
    """
    if x.size < 1:
        return
    noise = PER_LOGIT * float(np.abs(x).max())
    for family, terms, rounding in _terms(x, t):
        # One step does not decide whether outputs within [0, 1] are probabilities or logits.
        values.reduce(f"sound/{family}", terms, rows, rounding)
        if family == "squared":
            values.add("sound/root/mean", math.sqrt(terms.mean()), math.sqrt(terms.mean()))
    if in_unit(t):
        probability = sigmoid(x)
        values.reduce("twice/binary", np.logaddexp(0.0, probability) - probability * t, rows, PER_LOGIT)
    else:
        values.reduce("outside/binary", np.logaddexp(0.0, x) - x * t, rows, noise)


def pairs(values: Values, x: Floats, t: Floats, shape: tuple[int, ...]) -> None:
    """Add losses of outputs against targets of another shape, of as many numbers, that broadcast to a larger
    `shape`.
    """
    if math.prod(shape) > MOST_PAIRS:
        if math.prod(shape) == x.size**2:
            _all_pairs(values, x.reshape(-1), t.reshape(-1))
        return
    for family, terms, noise in _terms(x, t):
        values.reduce(f"pairs/{family}", terms.reshape(-1), x.size, noise)
        if family == "squared":
            values.add("pairs/root/mean", math.sqrt(terms.mean()), math.sqrt(terms.mean()))


def _all_pairs(values: Values, x: Floats, t: Floats) -> None:
    """Add means over all pairs that need no table of them; shape (n,) each."""
    found = {"squared": _squared_pairs(x, t), "absolute": _absolute_pairs(x, t)}
    if in_unit(t):
        found["sigmoid_squared"] = _squared_pairs(sigmoid(x), t)
        found["binary"] = float(np.logaddexp(0.0, x).mean() - x.mean() * t.mean())
    # Moments lose digits where outputs are far from 0.
    lost = 1e-13 * float((x**2).mean() + (t**2).mean())
    for family, mean in found.items():
        noise = PER_LOGIT * float(np.abs(x).max()) if family == "binary" else lost
        for name, factor in (("mean", 1), ("sum", x.size**2), ("rows", x.size)):
            values.add(f"pairs/{family}/{name}", mean * factor, mean * factor, noise * factor)
    values.add("pairs/root/mean", math.sqrt(found["squared"]), math.sqrt(found["squared"]))


def _squared_pairs(x: Floats, t: Floats) -> float:
    return float(x.var() + t.var() + (x.mean() - t.mean()) ** 2)


def _absolute_pairs(x: Floats, t: Floats) -> float:
    """Mean of |x_i - t_j|, by how many targets lie below each output and what they sum to."""
    t = np.sort(t)
    sums = np.concatenate([[0.0], np.cumsum(t)])
    below = np.searchsorted(t, x)
    return float((x * below - sums[below] + (sums[-1] - sums[below]) - x * (t.size - below)).mean() / t.size)


@dataclass(frozen=True)
class Classes:
    """Outputs over classes with the class numbers that they are compared with."""

    x: Floats
    """Outputs, shape (positions, classes)."""
    t: Ids
    """Class numbers, shape (positions,)."""
    rows: int
    """Number of examples that the positions belong to."""
    ignored: tuple[int, ...]
    """Classes that may be left out of the mean."""
    padding: bool
    """Whether one of them fills the ends of rows: means that count it are `counted`, not `sound`."""
    length: int
    """Number of positions of a row, 1 where it is not known."""


def classes(values: Values, given: Classes) -> None:
    """Add losses of outputs and class numbers. Negative class numbers are left out, as `ignore_index` does."""
    if given.x.shape[1] < 2:
        values.add("one/cross_entropy/mean", 0.0, 1e-6)
        return
    kept = (given.t >= 0) & (given.t < given.x.shape[1])
    if not kept.any() or (given.t >= given.x.shape[1]).any():
        return
    logs = log_softmax(given.x)
    if given.length > 2:
        _shifted(values, given, logs)
    x, t, logs = (given.x, given.t, logs) if kept.all() else (given.x[kept], given.t[kept], logs[kept])
    probable = sums_to_one(x)
    for family, terms, noise in _class_families(x, t, logs):
        # Rows that are probabilities already get a second softmax.
        twice = probable and family.startswith(SOFTMAXED)
        kinds = ("twice", "twice") if twice else ("counted" if given.padding else "sound", "sound")
        reduced(values, kinds, family, terms, t, given, noise)
    for kind, family, terms, noise in _mistaken(x, t, logs, probable):
        reduced(values, (kind, kind), family, terms, t, given, noise)


def reduced(
    values: Values, kinds: tuple[str, str], family: str, terms: Floats, t: Ids, given: Classes, noise: float
) -> None:
    """Add losses over all positions as the first kind, and without each class that may be left out as the second."""
    values.reduce(f"{kinds[0]}/{family}", terms, given.rows, noise)
    for number in given.ignored:
        mask = t != number
        if 0 < mask.sum() < len(t):
            values.reduce(f"{kinds[1]}/{family}_without_{number}", terms[mask], given.rows, noise)
            masked = float(terms[mask].sum()) / len(t)
            values.add(f"{kinds[1]}/{family}_masked_{number}/mean", masked, abs(masked), noise)


def softmaxed(own: Floats, spread: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield (family, terms) of losses that begin with a softmax, of `SOFTMAXED`.

    Args:
        own: minus the log-probability of each position's class, shape (positions,).
        spread: mean of that over all classes, shape (positions,).
    """
    yield "cross_entropy", own
    for share in SMOOTHINGS:
        yield f"smoothed_{share:g}", (1 - share) * own + share * spread
    for gamma in (1, 2):
        yield f"focal_{gamma}", (1 - np.exp(-own)) ** gamma * own


def _class_families(x: Floats, t: Ids, logs: Floats) -> Iterator[tuple[str, Floats, float]]:
    """(family, terms, noise) of losses of logits; `logs` are their log-probabilities."""
    at, noise = np.arange(len(t)), PER_LOGIT * float(np.abs(x).max())
    own, spread = -logs[at, t], -logs.mean(1)
    for family, terms in softmaxed(own, spread):
        yield family, terms, noise
    if x.size > MOST_RARE:
        return
    margin = np.maximum(0.0, 1 - x[at, t][:, None] + x)
    yield "hinge", (margin.sum(1) - 1) / x.shape[1], noise
    probability = np.exp(logs)
    brier = (probability**2).sum(1) - 2 * probability[at, t] + 1
    yield "brier", brier, PER_LOGIT
    yield "brier_each", brier / x.shape[1], PER_LOGIT
    yield "squared", ((x**2).sum(1) - 2 * x[at, t] + 1) / x.shape[1], noise**2
    yield "binary", (np.logaddexp(0.0, x).sum(1) - x[at, t]) / x.shape[1], noise


def _mistaken(x: Floats, t: Ids, logs: Floats, probable: bool) -> Iterator[tuple[str, str, Floats, float]]:
    """Yield (kind, family, terms, noise) of what cross-entropy and likelihood become where outputs are of another
    kind.
    """
    at, noise = np.arange(len(t)), PER_LOGIT * float(np.abs(x).max())
    own = x[at, t]
    if probable:
        yield "logs", "likelihood", -own, PER_LOGIT
        yield "sound", "likelihood_of_logarithms", -np.log(np.maximum(own, 1e-45)), PER_LOGIT
        return
    probability = np.exp(logs)
    yield "twice", "cross_entropy", -log_softmax(probability)[at, t], PER_LOGIT
    yield "logs", "likelihood", -probability[at, t], PER_LOGIT
    # Logits less their log-probabilities are the logarithm of the sum: 0 where they are log-probabilities.
    if np.abs(x[:, 0] - logs[:, 0]).max() > PROBABLE:
        yield "raw", "likelihood", -own, noise
    if len(t) > 2 and x.size <= MOST_RARE and not np.array_equal(t, at):
        yield "axis", "cross_entropy", -log_softmax(x, 0)[at, t], noise


def _shifted(values: Values, given: Classes, logs: Floats) -> None:
    """Add the cross-entropy that shifts the targets itself: the output of each position against the target of the
    next.
    """
    last = np.arange(len(given.t)) % given.length == given.length - 1
    at = np.flatnonzero(~last)
    at = at[given.t[at + 1] >= 0]
    t = given.t[at + 1]
    if len(t):
        noise = PER_LOGIT * float(np.abs(given.x).max())
        kind = "twice" if sums_to_one(given.x) else "sound"
        reduced(values, (kind, kind), "shifted", -logs[at, t], t, given, noise)


def distributions(values: Values, x: Floats, t: Floats, name: str = "") -> None:
    """Add losses between outputs and targets over classes, both of shape (rows, classes): soft labels, or a teacher's.
    `name` is put before the families.

    `name` is put before the families.
    """
    if x.shape[1] < 2:
        values.add("one/cross_entropy/mean", 0.0, 1e-6)
        return
    noise = PER_LOGIT * float(np.abs(x).max())
    if t.min() >= 0:
        _soft_labels(values, x, t, noise, name)
        return
    if x.size > MOST_TEMPERED:
        return
    for heat in TEMPERATURES:
        target = np.exp(log_softmax(t / heat))
        entropy, logs = _xlogx(target).sum(1), log_softmax(x / heat)
        compared: dict[str, tuple[Floats, Floats]] = {
            "sound": (logs, target),
            "logs": (np.exp(logs), target),
            "raw": (x / heat, target),
        }
        for kind, (log_p, q) in compared.items():
            _divergence(
                values, f"{kind}/{name}divergence_{heat:g}", entropy - (q * log_p).sum(1), x.shape[1], noise, heat
            )
        _divergence(values, f"sound/{name}soft_{heat:g}", -(target * logs).sum(1), x.shape[1], noise, heat)


def _divergence(values: Values, key: str, terms: Floats, columns: int, noise: float, heat: float) -> None:
    # A divergence is the difference of an entropy and a cross-entropy: both are rounded.
    noise += 4 * PER_LOGIT
    for name, factor in (("", 1.0), ("_squared", heat**2)):
        if name and heat == 1:
            continue
        values.reduce(key + name, terms * factor, len(terms), noise * factor)
        values.add(f"{key}{name}/each", terms.mean() * factor / columns, np.abs(terms).mean() * factor / columns,
                   noise * factor / columns)  # fmt: skip


def _soft_labels(values: Values, x: Floats, t: Floats, noise: float, before: str) -> None:
    logs, entropy, columns = log_softmax(x), _xlogx(t).sum(1), x.shape[1]
    probable = sums_to_one(x)
    once = "twice" if probable else "sound"
    compared = [(once, "", logs)]
    if probable:
        compared += [("logs", "_of_outputs", x), ("sound", "_of_logarithms", np.log(np.maximum(x, 1e-45)))]
    else:
        probability = np.exp(logs)
        compared += [("twice", "", log_softmax(probability)), ("logs", "", probability)]
        if np.abs(x[:, 0] - logs[:, 0]).max() > PROBABLE:
            compared += [("raw", "_of_outputs", x)]
    # Several classes at once make no distribution, which what follows is about.
    distribution = sums_to_one(t)
    for kind, name, log_p in compared[: None if distribution else 1]:
        own = -(t * log_p).sum(1)
        _divergence(values, f"{kind}/{before}cross_entropy{name}", own, columns, noise, 1.0)
        if distribution:
            _divergence(values, f"{kind}/{before}divergence{name}", entropy + own, columns, noise, 1.0)


def in_batch(values: Values, x: Floats) -> None:
    """Add losses of each row against the others of the batch, shape (n, n), the own one on the diagonal."""
    noise, count = PER_LOGIT * float(np.abs(x).max()), len(x)
    ways: dict[str, Callable[[Floats], Floats]] = {"rows": lambda x: x, "columns": lambda x: x.T}
    found = {name: -np.diagonal(log_softmax(way(x))) for name, way in ways.items()}
    found["both"] = (found["rows"] + found["columns"]) / 2
    for name, terms in found.items():
        values.reduce(f"sound/in_batch_{name}", terms, count, noise)
