"""Measures what a ranking model recommends and how its vectors lie: NumPy arrays in, NumPy arrays or floats out.

A score of `-inf` marks an item that is not recommended to a query, because its user has met it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure
from flowgrad.measures.embedding import effective_rank_of_gram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEASURES = (
    Measure("queries", "count", "Queries that were asked: a user and what came before."),
    Measure("items", "count", "Items of the catalogue."),
    Measure("dim", "count", "Columns of the vectors of queries and items."),
    Measure("cutoff", "count", "Items of a list of recommendations, k."),
    Measure("ndcg", "share", "NDCG@k of the targets among all items that may be recommended.", on_evaluation=True),
    Measure("recall", "share", "Share of the targets among the first k.", on_evaluation=True),
    Measure(
        "popularity_ndcg",
        "share",
        "NDCG@k of the same targets where items are ranked by their number of training events.",
        on_evaluation=True,
    ),
    Measure("ndcg_head", "share", "`ndcg` of the targets in the head, `popularity_thirds`.", on_evaluation=True),
    Measure("ndcg_middle", "share", "`ndcg` of the targets in the middle third.", on_evaluation=True),
    Measure("ndcg_tail", "share", "`ndcg` of the targets in the tail.", on_evaluation=True),
    Measure("coverage", "share", "Share of the catalogue that stands in any of the lists."),
    Measure("recommended_gini", "share", "Gini coefficient of how often each item is recommended."),
    Measure("list_overlap", "share", "Mean share of two queries' lists in common, items met before left in."),
    Measure(
        "personal_share",
        "share",
        "Of the variance of scores between items: part that differs from query to query. 0 where all have one list.",
    ),
    Measure(
        "popularity_lift",
        "nats",
        "Mean log training events of what is recommended less that of the targets; above 0 the lists are more popular.",
    ),
    Measure(
        "query_spread", "share", "Mean squared distance of queries' vectors to their mean, over mean squared length."
    ),
    Measure("item_spread", "share", "The same of the items that were trained on."),
    Measure("query_rank_share", "share", "Effective rank of the queries around their mean, over the most it can be."),
    Measure("item_rank_share", "share", "The same of the items that were trained on."),
    Measure(
        "fitted_scale",
        "ratio",
        "Factor on the scores, as the loss takes them, that makes the targets likeliest: above 1 scores are too much "
        "alike, below 1 too sure.",
        on_evaluation=True,
    ),
    Measure("fitted_scale_se", "ratio", "Standard error of `fitted_scale`.", on_evaluation=True),
    Measure(
        "popularity_offset",
        "ratio",
        "Factor of the log training events which, added to the scaled scores, makes the targets likeliest: near 1 "
        "where a correction for the negatives' popularity is missing, below 0 where popularity counts twice.",
        on_evaluation=True,
    ),
    Measure("popularity_offset_se", "ratio", "Standard error of `popularity_offset`.", on_evaluation=True),
    Measure(
        "duplicate_share",
        "share",
        "Share of the items trained on whose vector is that of another: cosine above .999, lengths within 5 %.",
    ),
    Measure("cold_share", "share", "Share of the catalogue without any training event."),
    Measure("cold_recommended_share", "share", "Share of the places in the lists that such items take."),
    Measure("temperature", "ratio", "What the loss divides scores by."),
    Measure("normalised", "flag", "1 where vectors have length 1, so that scores lie between -1 and 1; else 0."),
    Measure("in_batch_negatives", "flag", "1 where the loss takes its negatives from the batch, else 0."),
    Measure("sampling_correction", "share", "Strength of the log-Q correction: 0 none, 1 full."),
    Measure(
        "false_negative_share",
        "share",
        "Share of the negatives that the loss compares with which are positives of the same user in training.",
    ),
    Measure("false_negatives_masked", "flag", "1 where the loss leaves such negatives out, else 0."),
    Measure("hard_negatives", "count", "Hardest negatives that the loss keeps of each example; 0: all."),
    Measure(
        "padding_shift",
        "ratio",
        "Mean change of a query's vector, over its length, where its history is not filled up.",
    ),
    Measure("padded_share", "share", "Share of the queries whose history is filled up."),
    Measure("padding_norm", "ratio", "Length of the padding's row over the median item's."),
)

TWIN_COSINE, TWIN_LENGTH = 0.999, 0.05
"""Cosine from which, and relative difference of lengths up to which, two items count as one."""
_AT_ONCE = 1024
_NEWTON_STEPS, _HALVINGS, _NEWTON_ENOUGH = 50, 30, 1e-8


def ranks(scores: ArrayLike, targets: ArrayLike) -> Floats:
    """Rank of each query's target among all items, from 0, shape (queries,). Ties count half, so that constant scores
    give the middle rank and not the first.

    Args:
        scores: shape (queries, items).
        targets: item of each query, shape (queries,).

    >>> ranks([[3, 1, 2], [1, 1, 1]], [2, 0]).tolist()
    [1.0, 1.0]
    """
    scores, targets = np.asarray(scores, dtype=float), np.asarray(targets)
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    return (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2


def gains(rank: ArrayLike, cutoff: int) -> Floats:
    """NDCG@k of queries with one target each: 1 / log2(rank + 2) within the cutoff, else 0 (Järvelin & Kekäläinen
    2002).

    >>> gains([0, 2, 10], 10).tolist()
    [1.0, 0.5, 0.0]
    """
    rank = np.asarray(rank, dtype=float)
    return np.where(rank < cutoff, 1 / np.log2(rank + 2), 0.0)


def top_lists(scores: ArrayLike, cutoff: int) -> Ints:
    """The best `cutoff` items of each query, best first, equal scores by their number; -1 where fewer may be
    recommended. Shape (queries, min(cutoff, items)).

    >>> top_lists([[3, 1, 2], [-np.inf, 0, -np.inf]], 2).tolist()
    [[0, 2], [1, -1]]
    """
    scores = np.asarray(scores, dtype=float)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :cutoff]
    return np.where(np.isneginf(np.take_along_axis(scores, best, axis=1)), -1, best)


def recommended(lists: ArrayLike, items: int) -> Ints:
    """Number of lists that each item stands in, shape (items,).

    >>> recommended([[0, 2], [2, -1]], 3).tolist()
    [1, 0, 2]
    """
    places = np.asarray(lists).ravel()
    return np.bincount(places[places >= 0], minlength=items)


def list_overlap(counts: ArrayLike, queries: int, cutoff: int) -> float:
    """Mean share of the items that two different queries' lists of `cutoff` have in common, from the number of lists
    that each item stands in; NaN for fewer than two queries.

    >>> list_overlap([2, 2, 0], queries=2, cutoff=2)
    1.0
    """
    counts = np.asarray(counts, dtype=float)
    pairs = queries * (queries - 1)
    return float((counts * (counts - 1)).sum() / (pairs * cutoff)) if pairs and cutoff else math.nan


def popularity_thirds(exposures: ArrayLike) -> Ints:
    """Third that each item belongs to, shape (items,): 2 head, 1 middle, 0 tail. Each third has about a third of all
    training events; items of equal counts are in one order, by their number.

    >>> popularity_thirds([1, 1, 1, 3, 3]).tolist()
    [0, 0, 0, 2, 1]
    """
    exposures = np.asarray(exposures, dtype=float)
    order = np.argsort(-exposures, kind="stable")
    before = np.cumsum(exposures[order]) - exposures[order]
    total = max(exposures.sum(), 1.0)
    thirds = np.empty(len(exposures), dtype=np.int64)
    thirds[order] = 2 - np.minimum((3 * before / total).astype(np.int64), 2)
    return thirds


def personal_share(scores: ArrayLike) -> float:
    """Part of the variance of scores between items that is not the same for all queries, in [0, 1]: two-way analysis of
    variance of items and queries. NaN where scores of no query differ.

    Args:
        scores: shape (queries, items), finite.

    >>> personal_share([[1, 2, 3], [1, 2, 3]])
    0.0
    """
    scores = np.asarray(scores, dtype=float)
    within = scores - scores.mean(axis=1, keepdims=True)
    total = float(np.square(within).mean())
    shared = float(np.square(within.mean(axis=0)).mean())
    if not np.isfinite(total) or total <= 1e-24 * max(float(np.square(scores).mean()), 1e-300):
        return math.nan
    return float(min(max((total - shared) / total, 0.0), 1.0))


def spread(vectors: ArrayLike) -> float:
    """Mean squared distance of rows to their mean over their mean squared length, in [0, 1]: 0 where all are one, 1
    where they have no direction in common. NaN where all are 0 or one is not finite.

    >>> spread([[1, 0], [-1, 0]]), spread([[2, 1], [2, 1]])
    (1.0, 0.0)
    """
    vectors = np.asarray(vectors, dtype=float)
    total = float(np.square(vectors).sum(axis=1).mean()) if vectors.size else 0.0
    if not np.isfinite(total) or total == 0:
        return math.nan
    return float(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean() / total)


def rank_share(vectors: ArrayLike) -> float:
    """Effective rank of rows around their mean (Roy & Vetterli 2007) over the most it can be, in [0, 1]; NaN for fewer
    than three rows, or rows that are all one.
    """
    vectors = np.asarray(vectors, dtype=float)
    most = min(len(vectors) - 1, vectors.shape[1])
    if most < 2 or not spread(vectors) > 1e-12:
        return math.nan
    centred = vectors - vectors.mean(axis=0)
    return effective_rank_of_gram(centred.T @ centred) / most


def duplicate_share(vectors: ArrayLike) -> float:
    """Share of rows that another row equals in direction (`TWIN_COSINE`) and length (`TWIN_LENGTH`); rows of 0 are
    nobody's. NaN without rows.

    >>> duplicate_share([[1, 0], [1, 0], [0, 1]])
    0.6666666666666666
    """
    vectors = np.asarray(vectors, dtype=float)
    if not len(vectors):
        return math.nan
    lengths = np.linalg.norm(vectors, axis=1)
    known = np.flatnonzero(np.isfinite(lengths) & (lengths > 0))
    unit, own = vectors[known] / lengths[known][:, None], lengths[known]
    found = 0
    for start in range(0, len(known), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        alike = unit[block] @ unit.T > TWIN_COSINE
        alike &= np.abs(own[block][:, None] - own) <= TWIN_LENGTH * np.maximum(own[block][:, None], own)
        alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = False
        found += int(alike.any(axis=1).sum())
    return found / len(vectors)


def fit_scale_and_popularity(
    scores: ArrayLike, log_exposures: ArrayLike, targets: ArrayLike
) -> tuple[Floats, Floats] | None:
    """Find a and b that make the targets likeliest under softmax(a * scores + b * log exposures), by Newton's method.

    The likelihood is concave, so that there is one answer. Scores that served as logits of a softmax over all items
    want a = 1 and b = 0; those of a softmax over a batch, without its log-Q correction, want b = 1, for its best score
    is log p(item | user) - log q(item) (Yi et al. 2019, Sampling-Bias-Corrected Neural Modeling, RecSys).

    Args:
        scores: shape (queries, items); `-inf` where an item is no candidate.
        log_exposures: shape (items,), finite.
        targets: item of each query, shape (queries,), each a candidate.

    Returns:
        Both factors and their standard errors, or None where they have no finite answer: targets that the scores put
        first everywhere, or scores that do not differ.
    """
    scores, targets = np.asarray(scores, dtype=float), np.asarray(targets)
    there = np.isfinite(scores)
    size = float(scores[there].std()) if there.any() else 0.0
    if size == 0 or not len(scores):
        return None
    level = np.asarray(log_exposures, dtype=float)
    wide = float(level.std())
    if wide == 0:
        return None
    features = np.stack([np.where(there, scores, 0.0) / size, np.broadcast_to(level / wide, scores.shape)])
    own = np.take_along_axis(features, targets[None, :, None], axis=2)[:, :, 0]
    at, unit = np.array([size, 0.0]), np.array([size, wide])
    likely, slope, curve = _likelihood(at, features, there, own)
    for _ in range(_NEWTON_STEPS):
        if not np.isfinite(curve).all() or np.linalg.cond(curve) > 1e12:
            return None
        move = np.linalg.solve(curve, slope)
        if np.abs(move).max() < _NEWTON_ENOUGH * (1 + np.abs(at).max()):
            return at / unit, np.sqrt(np.diag(np.linalg.inv(curve)) / len(scores)) / unit
        before = likely
        for _ in range(_HALVINGS):
            likely, slope, curve = _likelihood(at + move, features, there, own)
            if likely >= before:
                break
            move = move / 2
        at = at + move
    return None


def _likelihood(at: Floats, features: Floats, there: NDArray[np.bool_], own: Floats) -> tuple[float, Floats, Floats]:
    """Mean log-likelihood of the targets, its slope, and its negative curvature."""
    logits = np.where(there, np.tensordot(at, features, 1), -np.inf)
    highest = logits.max(axis=1, keepdims=True)
    chances = np.exp(logits - highest)
    total = chances.sum(axis=1, keepdims=True)
    chances /= total
    mean = (chances * features).sum(axis=2)
    centred = features - mean[:, :, None]
    curve = np.einsum("qi,aqi,bqi->ab", chances, centred, centred) / len(chances)
    likely = float((at @ own - np.log(total[:, 0]) - highest[:, 0]).mean())
    return likely, (own - mean).mean(axis=1), curve
