"""Says how alike the activations of two layers are, and how much of one can be read from the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule

linalg = LazyModule("scipy.linalg")
special = LazyModule("scipy.special")

FloatArray = NDArray[np.float64]

PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties tried, in units of the mean squared singular value of the predictors."""


def gram(activations: FloatArray) -> FloatArray:
    """Products of all pairs of centred rows, shape (n, n), of activations, shape (n, units).

    >>> gram(np.array([[0.0], [2.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    centred = activations - activations.mean(axis=0)
    return centred @ centred.T


def linear_cka(a: FloatArray, b: FloatArray) -> float:
    """Linear centred kernel alignment of two layers' activations on the same n examples, in [0, 1]; NaN where one of
    them is constant.

    Invariant to orthogonal maps and to scale, not to linear maps in general. It is biased upwards unless the units are
    few compared with the examples: see `debiased_cka`.

    Args:
        a: shape (n, units of a).
        b: shape (n, units of b).

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, eq. 3 with linear kernels.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    >>> round(linear_cka(x, 3 * x @ [[0.0, -1.0], [1.0, 0.0]]), 12)
    1.0
    """
    return _alignment(gram(a), gram(b))


def debiased_cka(a: FloatArray, b: FloatArray) -> float:
    """`linear_cka` by unbiased estimates of its three HSIC terms, each of expectation 0 for independent activations.

    It is near 0 for unrelated layers however wide they are, and may lie a little below 0; 1 at most, in units of a
    correlation. NaN below 4 examples and where a layer is constant.

    Source: Nguyen, Raghu & Kornblith 2021, Do Wide and Deep Networks Learn the Same Things?, eq. 3; the estimate is
    that of Song et al. 2012, Feature Selection via Dependence Maximization, eq. 5.

    >>> x = np.array([[1.0], [2.0], [4.0], [8.0], [9.0]])
    >>> round(debiased_cka(x, 1 - x), 12)
    1.0
    """
    return debiased_alignment(debiased_gram(a), debiased_gram(b))


def debiased_gram(activations: FloatArray) -> FloatArray:
    """`gram` so centred, with a diagonal of 0, that the mean product of two of them is an unbiased HSIC.

    The U-centring of Szekely & Rizzo 2014, Partial Distance Correlation, eq. 2.3, which rearranges the estimate of
    Song et al. NaN below 4 examples.
    """
    products = gram(activations)
    n = len(products)
    if n < 4:
        return np.full_like(products, math.nan)
    np.fill_diagonal(products, 0.0)
    means = products.sum(axis=0) / (n - 2)
    centred = products - means[:, None] - means + means.sum() / (n - 1)
    np.fill_diagonal(centred, 0.0)
    return centred


def debiased_alignment(a: FloatArray, b: FloatArray) -> float:
    """`debiased_cka` of two layers from their `debiased_gram`, in units of a correlation, 1 at most."""
    return _alignment(a, b)


def _alignment(a: FloatArray, b: FloatArray) -> float:
    size = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else math.nan


def ridge_r2(predictors: FloatArray, targets: FloatArray, penalties: Sequence[float] = PENALTIES) -> float:
    """Share of the targets' variance that a ridge regression predicts for examples left out one by one, in [0, 1].

    Every example is predicted from all others (in closed form, by its leverage), so that more units than examples do
    not explain everything. The penalty that predicts best is taken; 0 where none is better than the mean. NaN below
    3 examples and where the targets are constant.

    Args:
        predictors: shape (n, units).
        targets: shape (n, other units); their variances are added up.
        penalties: in units of the mean squared singular value of the centred predictors.

    Source: Allen 1974, The Relationship between Variable Selection and Data Augmentation (PRESS).

    >>> x = np.arange(12.0).reshape(6, 2) ** 2
    >>> ridge_r2(x, x @ [[1.0], [2.0]]) > 0.999
    True
    >>> ridge_r2(np.ones((6, 2)), x)
    0.0
    """
    n = len(targets)
    centred = targets - targets.mean(axis=0)
    if n < 3 or not (scale := float(np.abs(centred).max(initial=0.0))) > _rounding(targets):
        return math.nan
    centred = centred / scale
    total = float((centred * centred).sum()) * (n / (n - 1)) ** 2
    left, singular = _basis(predictors)
    if not len(singular):
        return 0.0
    inside, leverage = left.T @ centred, left * left
    best = total
    for penalty in np.multiply(penalties, float((singular**2).mean())):
        shrunk = singular**2 / (singular**2 + penalty)
        own = 1 - 1 / n - leverage @ shrunk
        known = own > 1e-9
        if known.all():
            best = min(best, float((((centred - left @ (shrunk[:, None] * inside)) / own[:, None]) ** 2).sum()))
    return 1 - best / total


def _basis(predictors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Left singular vectors of the centred predictors, shape (n, rank), and their singular values."""
    left, singular, _ = linalg.svd(predictors - predictors.mean(axis=0), full_matrices=False)
    kept = singular > max(singular.max(initial=0.0) * 1e-10, _rounding(predictors))
    return left[:, kept], singular[kept]


def _rounding(values: FloatArray) -> float:
    """Size up to which differences count as none: float32 has seven digits."""
    return float(np.abs(values).max(initial=0.0)) * 1e-6


def variance_share(activations: FloatArray, width: int) -> float:
    """Share, in [0, 1], of the activations' variance, shape (n, units), in their first `width` principal components:
    the most that a layer of so many units could carry of it by a linear map. NaN where they are constant.

    >>> variance_share(np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1)
    0.8
    """
    variances = np.sort(_variances(activations))[::-1]
    total = float(variances.sum())
    return min(float(variances[:width].sum()) / total, 1.0) if total > 0 else math.nan


def _variances(activations: FloatArray) -> FloatArray:
    """Variances of the principal components times the number of examples; 0 where only rounding moves them."""
    centred = activations - activations.mean(axis=0)
    n, units = centred.shape
    products = centred @ centred.T if n < units else centred.T @ centred
    found = np.clip(linalg.eigvalsh(products), 0.0, None)
    return found if n and np.abs(centred).max(initial=0.0) > _rounding(activations) else np.zeros_like(found)


def noise_share(a: FloatArray, b: FloatArray) -> float:
    """Share of the activations' variance that two passes over the same examples do not have in common: half of their
    mean squared difference over the variance. 0 where the passes agree or are constant, NaN where their shapes differ.

    Args:
        a: shape (n, units).
        b: shape (n, units).

    >>> noise_share(np.array([[1.0], [-1.0]]), np.array([[1.0], [-1.0]]))
    0.0
    >>> noise_share(np.array([[1.0], [-1.0]]), np.array([[-1.0], [1.0]]))
    2.0
    """
    if a.shape != b.shape:
        return math.nan
    both = np.concatenate([a, b])
    variance = float(np.square(both - both.mean(axis=0)).mean())
    return float(np.square(a - b).mean()) / 2 / variance if variance > 0 else 0.0


def logit_kl(teacher: FloatArray, student: FloatArray, temperature: float = 1.0) -> float:
    """Mean over the examples of KL(teacher || student) of their softmax at a temperature, in nats, not times its
    square.

    Args:
        teacher: logits, shape (n, classes).
        student: logits, shape (n, classes).
        temperature: divides both.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.

    Source: Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network, eq. 1.

    >>> logit_kl(np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]]))
    0.0
    """
    if teacher.shape != student.shape:
        raise ValueError(f"logits of shape {teacher.shape} and {student.shape} have no divergence; give equal shapes")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0")
    ours, theirs = (special.log_softmax(logits / temperature, axis=1) for logits in (student, teacher))
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())
