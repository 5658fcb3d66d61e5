"""Reads the formula of a distillation loss from the gradient at the student's outputs and both models' outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TEMPERATURES = (1.0, 2.0, 4.0, 3.0, 5.0, 1.5, 2.5, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 0.5)
"""Temperatures that are tried, common ones first."""
DIVERGENCE, PROBABILITIES, LOGITS, SQUARED = "divergence", "probabilities", "logits", "squared"
OTHER_ROWS = "other rows"
EXACT = 1e-4
"""Share of the gradient that may be left unexplained; single precision leaves about 1e-6."""
_ALIKE = 0.01
"""Largest difference of a part's weight from row to row where it is one weight."""
_CERTAIN = 0.95
"""Probability above which an answer is indistinguishable from a label."""
_UNTOLD = -2
_MOST_ROWS = 24
"""Number of rows that are sought among the others."""
_FEWEST = 8
"""Number of rows below which nothing is sought."""
_ENOUGH = EXACT / 10
"""Share left unexplained below which no better formula is sought."""
_NUMBERS, _PRODUCTS = 8192, 200_000
"""Number of values that are explained, and of products that are taken to seek answers among the other rows."""


@dataclass(frozen=True)
class Formula:
    """A formula of the loss that a gradient fits, with the numbers in it."""

    kind: str = ""
    """`DIVERGENCE`: of softened distributions (cross-entropy with the teacher's has the same gradient);
    `PROBABILITIES`, `LOGITS`: `kl_div` given probabilities or logits in place of log-probabilities; `SQUARED`: of the
    logits; `OTHER_ROWS`: a divergence from the teacher's answers on other rows; empty: none of these.
    """
    temperature: float = math.nan
    soft: float = math.nan
    """Weight of the part that compares with the teacher, of the mean over rows, if it is not multiplied by the square
    of the temperature.
    """
    hard: float = 0.0
    """Weight of the cross-entropy with labels, of the mean over rows."""
    share: float = math.nan
    """Length of the gradient that the teacher accounts for, as a share of that of both parts."""
    labels: IntArray | None = None
    """Label of each row, where labels are a part of the loss; -1 where not known."""
    offsets: IntArray | None = None
    """Number of rows further down where the answer stands that each row was taught, where these are other rows."""


def formula(
    student: FloatArray,
    teacher: FloatArray,
    gradient: FloatArray,
    rows: int,
    temperatures: Sequence[float] = (),
    *,
    elsewhere: bool = True,
) -> Formula:
    """Find the formula of a distillation loss from its gradient at the student's outputs.

    A divergence, with or without a further cross-entropy with labels (smoothed or not), is found exactly or not at all:
    of ten numbers a row, two or three weights that are the same in all rows have to explain all.

    Args:
        student: logits, shape (n, classes).
        teacher: logits of the same rows, same shape.
        gradient: of the whole loss by the student's logits, same shape.
        rows: of the batch, of which these may be a part.
        temperatures: tried before all others.
        elsewhere: whether answers on other rows are sought too, which takes longest.

    >>> rng = np.random.default_rng(0)
    >>> s, t = rng.normal(size=(16, 5)), rng.normal(size=(16, 5))
    >>> found = formula(s, t, (softmax(s / 4) - softmax(t / 4)) / 4 / 16, 16)
    >>> found.kind, found.temperature, round(found.soft, 6)
    ('divergence', 4.0, 1.0)
    """
    asked = (np.abs(gradient) > 0).any(axis=1)
    known = np.asarray(asked & np.isfinite(student).all(axis=1) & np.isfinite(teacher).all(axis=1))
    if known.sum() < _FEWEST or student.shape[1] < 3 or not np.isfinite(gradient[known]).all():
        return Formula()
    s, t, g = student[known], teacher[known], gradient[known]
    few = max(_FEWEST, _NUMBERS // s.shape[1])
    tried = tuple(dict.fromkeys((*temperatures, *TEMPERATURES)))
    for search in (_alone, _beside_labels):
        found = search(s[:few], t[:few], g[:few], tried, rows)
        if found.kind:
            return _spread_out(found, known)
    return _spread_out(_elsewhere(s, t, g, tried, rows), known) if elsewhere else Formula()


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax along the last axis.

    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _direction(kind: str, s: FloatArray, t: FloatArray, temperature: float) -> FloatArray:
    """Gradient by the student's logits, over the temperature, of a row's loss."""
    if kind == SQUARED:
        return s - t
    p, q = softmax(s / temperature), softmax(t / temperature)
    if kind == PROBABILITIES:
        return -p * (q - (p * q).sum(axis=1, keepdims=True))
    return -q if kind == LOGITS else p - q


def _kinds(temperatures: Sequence[float]) -> list[tuple[str, float]]:
    return [
        *((DIVERGENCE, one) for one in temperatures),
        *((PROBABILITIES, one) for one in temperatures),
        *((LOGITS, one) for one in temperatures),
        (SQUARED, 1.0),
    ]


def _alone(s: FloatArray, t: FloatArray, g: FloatArray, temperatures: Sequence[float], rows: int) -> Formula:
    """Formula of the teacher's part alone."""
    length = float(np.linalg.norm(g))
    best, left = Formula(), EXACT
    for kind, temperature in _kinds(temperatures):
        way = _direction(kind, s, t, temperature)
        square = float((way * way).sum())
        weight = float((way * g).sum()) / square if square > 0 else 0.0
        residual = float(np.linalg.norm(g - weight * way)) / length
        if weight > 0 and residual < left:
            left, best = residual, Formula(kind, temperature, weight * temperature * rows, 0.0, 1.0)
        if left < _ENOUGH:
            break
    return best


def _beside_labels(s: FloatArray, t: FloatArray, g: FloatArray, temperatures: Sequence[float], rows: int) -> Formula:
    """Formula of the teacher's part and a cross-entropy with unknown labels."""
    if s.shape[1] < 4:
        return Formula()
    length, p = float(np.linalg.norm(g)), softmax(s)
    best, left = Formula(), EXACT
    for kind, temperature in _kinds(temperatures)[:-1]:
        way = _direction(kind, s, t, temperature)
        weights, labels, residual = _parts(way, p, g)
        soft, hard = weights[0], weights[1]
        part = soft * float(np.linalg.norm(way))
        if not (residual / length < left and soft > 0 and hard > 0):
            continue
        if part / length < 100 * max(residual / length, 1e-6):
            continue  # too small to be distinguished from the residual
        left = residual / length
        share = part / (part + hard * float(np.linalg.norm(p - np.eye(p.shape[1])[labels])))
        best = Formula(kind, temperature, float(soft * temperature * rows), float(hard * rows), float(share), labels)
        if left < _ENOUGH:
            break
    return best


def _parts(way: FloatArray, p: FloatArray, g: FloatArray) -> tuple[FloatArray, IntArray, float]:
    """Weights of `way`, of `p` and of a constant in all entries of `g` but one a row, the label's; those labels; and
    the length of what is left.
    """
    columns = np.stack([way, p, np.full_like(p, 1 / p.shape[1])], axis=-1)
    flat, wanted = columns.reshape(-1, 3), g.reshape(-1)
    size, sizes = float(np.abs(g).mean()), np.sqrt((flat * flat).sum(axis=0))
    sizes[sizes == 0] = 1.0
    scaled = flat / sizes
    counts = np.ones(len(wanted))
    for _ in range(12):  # least absolute deviations: the labels' entries are few and far out
        off = wanted - flat @ (_solved(scaled, wanted, counts) / sizes)
        counts = 1 / np.maximum(np.abs(off), 1e-5 * size)
    labels = np.full(len(g), -1)
    for _ in range(8):
        chosen = off.reshape(g.shape).argmin(axis=1)
        if (chosen == labels).all():
            break
        labels = chosen
        counts = np.ones(g.shape)
        counts[np.arange(len(g)), labels] = 0
        weights = _solved(scaled, wanted, counts.reshape(-1)) / sizes
        off = wanted - flat @ weights
    table = off.reshape(g.shape)
    out = table[np.arange(len(g)), labels]
    expected = weights[1] + weights[2]  # so that each row's gradient adds up to 0
    rest = table.copy()
    rest[np.arange(len(g)), labels] = out + expected
    return np.array([weights[0], expected, weights[2]]), labels, float(np.linalg.norm(rest))


def _solved(scaled: FloatArray, wanted: FloatArray, counts: FloatArray) -> FloatArray:
    """Weights of columns of one size whose sum is nearest to what is wanted, each row counted so often."""
    weighted = scaled * counts[:, None]
    return np.asarray(np.linalg.lstsq(weighted.T @ scaled, weighted.T @ wanted, rcond=1e-14)[0])


def _elsewhere(s: FloatArray, t: FloatArray, g: FloatArray, temperatures: Sequence[float], rows: int) -> Formula:
    """Formula of a divergence from the teacher's answers on other rows of the batch."""
    few = min(_MOST_ROWS, max(_FEWEST, _PRODUCTS // t.size))
    s, g = s[:few], g[:few]
    best, most = Formula(), 0.8
    for labelled in (False, True):
        if labelled and s.shape[1] < 6:
            continue
        for temperature in temperatures:
            soft, hard, places, labels = _matched(s, t, g, temperature, labelled)
            told = places != _UNTOLD
            share = float((places >= 0).sum() / max(told.sum(), 1))
            if share <= most or (places >= 0).sum() < _FEWEST:
                continue
            own = (t[np.maximum(places, 0)] == t[: len(places)]).all(axis=1)
            if (~own & (places >= 0)).sum() <= 0.5 * told.sum():
                continue
            most = share
            offsets = np.where(own | (places < 0), 0, places - np.arange(len(places)))
            best = Formula(
                OTHER_ROWS, temperature, soft * temperature * rows, hard * rows, math.nan, None, offsets[offsets != 0]
            )
            if labelled:
                best = Formula(**{**vars(best), "labels": labels})
        if best.kind:
            break
    return best


def _matched(
    s: FloatArray, t: FloatArray, g: FloatArray, temperature: float, labelled: bool
) -> tuple[float, float, IntArray, IntArray]:
    """Weights of both parts, the place of the answer that each row was taught (-1: none, `_UNTOLD`: one that is
    indistinguishable from a label), and the labels.
    """
    p, q, y = softmax(s / temperature), softmax(t / temperature), softmax(s)
    way = p[:, None] - q[None]
    gg, gd, dd = (g * g).sum(axis=1), np.einsum("ic,ijc->ij", g, way), (way * way).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        if labelled:
            gh = (g * y).sum(axis=1, keepdims=True) - g
            hh = (y * y).sum(axis=1, keepdims=True) - 2 * y + 1
            dh = np.einsum("ijc,ic->ij", way, y)[:, :, None] - way
            det = dd[:, :, None] * hh[:, None] - dh**2
            a = (gd[:, :, None] * hh[:, None] - gh[:, None] * dh) / det
            b = (gh[:, None] * dd[:, :, None] - gd[:, :, None] * dh) / det
            left = gg[:, None, None] - a * gd[:, :, None] - b * gh[:, None]
        else:
            a = (gd / dd)[:, :, None]
            b = np.zeros_like(a)
            left = gg[:, None, None] - a * gd[:, :, None]
    left = np.where(np.isfinite(left) & (a > 0) & (b >= 0), left / gg[:, None, None], np.inf).reshape(len(s), -1)
    chosen = left.argmin(axis=1)
    places, labels = np.unravel_index(chosen, a.shape[1:])
    at = np.arange(len(s))
    own_a, own_b = a[at, places, labels], b[at, places, labels]
    exact = left[at, chosen] < EXACT**2
    certain = exact & (q.max(axis=1)[places] >= _CERTAIN)
    fits = exact & ~certain
    if fits.sum() < _FEWEST:
        return 0.0, 0.0, np.full(len(s), -1), labels
    soft, hard = float(np.median(own_a[fits])), float(np.median(own_b[fits]))
    fits &= (np.abs(own_a - soft) <= _ALIKE * soft) & (np.abs(own_b - hard) <= _ALIKE * max(hard, soft))
    return soft, hard, np.where(certain, _UNTOLD, np.where(fits, places, -1)), labels


def _spread_out(found: Formula, known: NDArray[np.bool_]) -> Formula:
    """The formula with labels for all rows, -1 for those left out."""
    if found.labels is None:
        return found
    labels = np.full(len(known), -1)
    labels[np.flatnonzero(known)[: len(found.labels)]] = found.labels
    return Formula(**{**vars(found), "labels": labels})


def unsquared(found: Formula) -> float:
    """Flag: 1 where the weights of both parts add up to 1, or are equal, only if the teacher's part lacks the square of
    the temperature; 0 where they do with it; NaN where neither is so, or there is but one part.

    >>> unsquared(Formula(DIVERGENCE, 4.0, 0.3, 0.7)), unsquared(Formula(DIVERGENCE, 4.0, 0.9 * 16, 0.1))
    (1.0, 0.0)
    """
    if found.kind != DIVERGENCE or found.hard <= 0 or found.temperature <= 1:
        return math.nan
    plain, squared = (_natural(found.soft / factor, found.hard) for factor in (1.0, found.temperature**2))
    return math.nan if plain == squared else float(plain)


def over_classes(found: Formula, classes: int) -> float:
    """Flag: 1 where the weight of the teacher's part is as after a mean over the classes too, as `kl_div` takes it by
    default, else 0; NaN of another formula.

    >>> over_classes(Formula(DIVERGENCE, 4.0, 1.6, 0.0), 10)
    1.0
    """
    if found.kind != DIVERGENCE:
        return math.nan
    weights = [found.soft * factor / by for by in (1.0, found.temperature**2) for factor in (1.0, float(classes))]
    if found.hard > 0:
        fits = [_natural(weight, found.hard) for weight in weights]
    else:
        fits = [abs(weight - 1) < 1e-3 for weight in weights]
    return float((fits[1] or fits[3]) and not (fits[0] or fits[2]))


def _natural(soft: float, hard: float) -> bool:
    """Whether a person would write these weights: they add up to 1, or are equal."""
    return abs(soft + hard - 1) < 2e-3 or abs(soft - hard) < 2e-3 * hard


def class_agreement(labels: IntArray, answers: IntArray) -> tuple[float, float]:
    """Cohen's kappa of labels and the teacher's classes, and the share of rows whose label is the most frequent one of
    rows with the same answer, where for most answers that is another class; NaN of fewer than 64 rows.

    >>> answers = np.arange(100) % 5
    >>> class_agreement(answers, answers), class_agreement((answers + 1) % 5, answers)[1]
    ((1.0, 0.0), 1.0)
    """
    if len(labels) < 64:
        return math.nan, math.nan
    count = int(max(labels.max(), answers.max())) + 1
    table = np.zeros((count, count))
    np.add.at(table, (answers, labels), 1)
    table /= len(labels)
    agreed, chance = float(np.trace(table)), float(table.sum(axis=0) @ table.sum(axis=1))
    kappa = (agreed - chance) / (1 - chance) if chance < 1 else math.nan
    given = table.sum(axis=1) > 0
    mapped = table.argmax(axis=1)
    elsewhere = (mapped != np.arange(count)) & given
    most_elsewhere = elsewhere.sum() > 0.5 * given.sum() and len(set(mapped[given])) > 0.5 * given.sum()
    return kappa, float(table.max(axis=1).sum()) if most_elsewhere else 0.0
