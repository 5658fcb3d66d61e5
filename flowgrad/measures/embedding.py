"""Measures an embedding table while it trains: NumPy arrays in, NumPy arrays or floats out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure
from flowgrad.measures.exposure_strata import against_alike

Floats = NDArray[np.float64]

__all__ = ["MEASURES", "against_alike"]

MEASURES = (
    Measure("rows", "count", "Rows of the table."),
    Measure("followed_rows", "count", "Rows whose weights are followed; all of them but in large tables."),
    Measure("dim", "count", "Columns of the table."),
    Measure("steps", "count", "Optimizer steps seen."),
    Measure("windows", "count", "Windows (epochs, where the loop announces them) closed so far."),
    Measure("total_exposures", "count", "Lookups of any row while training, repeats within a batch counted."),
    Measure("epochs", "count", "Epochs told or recognised that have ended; 0 where none are known."),
    Measure("seen_rows", "count", "Rows ever looked up."),
    Measure("seen_share", "share", "Share of the rows ever looked up."),
    Measure("bound_share", "share", "The highest id looked up, counted from 1, over all rows."),
    Measure(
        "fields_share",
        "share",
        "Rows that columns of ids would take side by side, each counted from 0 to its highest id, over the rows of the "
        "table. By the batches looked at; not known unless all lookups are of 2 to 64 columns.",
    ),
    Measure("filled_share", "share", "Share of the rows up to the highest id looked up that were looked up."),
    Measure(
        "edge_exposures",
        "ratio",
        "Mean exposures of the tenth of the rows seen with the highest ids, over the mean of all rows seen.",
    ),
    Measure(
        "least_exposures",
        "count",
        "Lookups in an epoch of the row at the lowest twentieth of those seen; NaN where epochs are not known.",
    ),
    Measure("by_place", "flag", "1 where exposures do not rise with the id, as of places in a sequence, else 0."),
    Measure(
        "spread_over_batches",
        "ratio",
        "Distinct rows of a batch in the first steps, over what batches have that are shuffled: 1 where they are.",
    ),
    Measure(
        "lost_gradient_share",
        "share",
        "Of steps with four forward passes or more: share of the lookups with a gradient whose gradient was cleared "
        "before the step. NaN where there was no such step.",
    ),
    Measure(
        "lookups_apart",
        "share",
        "Of two lookups that each step makes in this table, of as many ids: share of the ids of one that the other "
        "never took in all steps looked at, where nearly all that the other takes have come. Not known elsewhere.",
    ),
    Measure("lookups_among", "share", "Of the rows of either lookup: share that stand among those of the other."),
    Measure("lookups_rows", "count", "Rows of the lookup that nearly all have come of."),
    Measure(
        "lookups_evenness",
        "ratio",
        "Variance over mean of the other's lookups by row, over all rows between its lowest and highest: 1 where ids "
        "are drawn evenly, far more of ids that stand for things.",
    ),
    Measure(
        "padded_sequences", "count", "Sequences looked up in the steps looked at, where the table has a padding id."
    ),
    Measure(
        "lookups_of_several", "flag", "1 where an example was seen to look up several ids, as of a sequence, else 0."
    ),
    Measure("padded_share", "share", "Of these, sequences that begin (or, if more do, end) with a run of padding."),
    Measure("padded_other_side", "share", "Of these, sequences with such a run at the other end."),
    Measure("padded_within", "share", "Of these, sequences with the padding id between other ids."),
    Measure("compared_starts", "count", "Epochs whose first lookup was compared with the end of the epoch before."),
    Measure("rewritten_starts", "count", "Of these, those that began with other weights."),
    Measure("repeated_starts", "count", "Of those, epochs that began with the weights that one before had begun with."),
    Measure("rewrite_cosine", "cosine", "Mean cosine of rows written to between epochs with what they were."),
    Measure("steps_since_lookup", "count", "Steps at the end of the run without a lookup."),
    Measure("exposure_gini", "share", "Gini coefficient of exposures over all rows; 0 is equal exposure."),
    Measure("head_share", "share", "Share of all exposures that went to the most exposed tenth of the rows."),
    Measure("mean_exposures", "count", "Mean of `exposures` over all rows."),
    Measure("median_exposures", "count", "Median of `exposures` over the exposed rows."),
    Measure("gradient_share", "share", "Share of the exposed rows, where that is known, that had a gradient."),
    Measure("move_share", "share", "Share of the exposed rows, where that is known, that moved."),
    Measure(
        "unseen_moved_share",
        "share",
        "Share of the rows never looked up here that moved all the same: by decay, or another use of the parameter.",
    ),
    Measure("median_velocity", "norm", "Median over exposed rows of the mean length of an optimizer step."),
    Measure("median_coherence", "cosine", "Median over exposed rows of `coherence`."),
    Measure("median_jitter", "ratio", "Median over exposed rows of `jitter`."),
    Measure("median_norm", "norm", "Median Euclidean norm of the exposed rows now."),
    Measure("norm_to_cap", "ratio", "`median_norm` over the layer's `max_norm`; 0 where it has none."),
    Measure("initial_scale", "norm", "Root mean square of the entries when tracking began: 1 for N(0, 1)."),
    Measure(
        "initial_structure",
        "ratio",
        "Largest second moment of the rows at the start along one direction, over the largest that independent entries "
        "give (Marchenko & Pastur 1967): near 1 for a table that was drawn, more for one that was trained before.",
    ),
    Measure(
        "initial_drawn",
        "flag",
        "1 where the rows at the start could be independent entries of one distribution around 0, by their lengths and "
        "directions (`measures.table_starts.looks_drawn`); 0 where they could not, or are fewer than 30.",
    ),
    Measure(
        "initial_column_spread",
        "ratio",
        "How far the entries of a row differed at the start, over the root mean square entry: 0 where each row held "
        "one value.",
    ),
    Measure(
        "initial_row_spread",
        "ratio",
        "How far rows differed at the start, over the root mean square entry: 0 where all were one.",
    ),
    Measure("column_spread", "ratio", "As `initial_column_spread`, of the rows that moved, now."),
    Measure("norm_ratio", "ratio", "Median over exposed rows of the norm now over the norm at the start."),
    Measure("init_alignment", "cosine", "Median over exposed rows of `init_cosine`."),
    Measure("initial_rank_share", "share", "`effective_rank_share` of the rows when tracking began."),
    Measure(
        "effective_rank_share",
        "share",
        "Effective rank of the exposed rows (Roy & Vetterli 2007) over the most it can be.",
    ),
    Measure("nonfinite_rows", "count", "Rows that hold a NaN or an infinity now."),
    Measure("first_nonfinite", "count", "Probed step after which a row was first seen not to be finite."),
    Measure(
        "longest_step_ratio",
        "ratio",
        "Longest move of a row at any probed step, over the root mean square norm at the start; moves that are not "
        "finite do not count.",
    ),
    Measure(
        "step_growth",
        "ratio",
        "Of the last 16 probed steps, up to the first after which a row was not finite: the longest move of a row over "
        "the median step's, per unit of learning rate where that is known; 0 where no finite move was seen.",
    ),
    Measure("trainable", "flag", "1 where the table asked for a gradient at any time, 0 where it is frozen."),
    Measure("optimizer_known", "flag", "1 where the tracker was given the optimizer, else 0."),
    Measure("in_optimizer", "flag", "1 where that optimizer holds the table, 0 where it does not."),
    Measure("lr", "rate", "Learning rate of the table's parameter group now."),
    Measure("lr_peak", "rate", "Highest learning rate that the table had."),
    Measure("lr_over_others", "ratio", "The table's rate over the highest of all parameter groups told."),
    Measure("lr_default", "rate", "Learning rate that the optimizer's class has where none is given."),
    Measure("lr_rising", "flag", "1 where the rate is at its highest and was lower for most of the run: a warm-up."),
    Measure("weight_decay", "rate", "Weight decay of the table's parameter group."),
    Measure(
        "decay_share",
        "share",
        "Part of the rows' shrinking that weight decay accounts for: the rates times the decay over the steps, over "
        "the logarithm of `norm_ratio`; where decay goes into an adaptive optimizer's gradient, its part of the pull "
        "on some rows, beside the loss's. NaN where that is not known, or the rows did not shrink.",
    ),
    Measure("decay_known", "flag", "1 where `decay_share` is known, else 0."),
    Measure("momentum", "share", "Momentum of the table's parameter group, or the first beta; 0 without."),
    Measure("adaptive", "flag", "1 where the optimizer divides by past gradients (Adam, Adagrad, ...), 0 for SGD."),
    Measure(
        "optimizer_unused",
        "flag",
        "1 where the optimizer told keeps something of each tensor that it steps, and nothing of this table: it never "
        "stepped it. Else 0.",
    ),
    Measure(
        "idle_path_share",
        "share",
        "Share of the rows' path that they travel at steps that neither look them up nor give them a gradient.",
    ),
    Measure("row_effect_f", "ratio", "F of between-row over within-row variance of the training residuals."),
    Measure("row_biases", "flag", "1 where the model has a bias for each row, else 0."),
    Measure("in_batch_negatives", "flag", "1 where the loss takes its negatives from the batch, else 0."),
    Measure("multiplied", "flag", "1 where the model multiplies the rows by those of other tables, else 0."),
    Measure("sampling_correction", "share", "Strength of the log-Q correction: 0 none, 1 full."),
    Measure("exposures", "count", "Lookups of this row while training.", per_row=True),
    Measure(
        "untouched", "flag", "1 where this row was never looked up and stands where it began, else 0.", per_row=True
    ),
    Measure("gradient_steps", "count", "Probed lookups at whose step the row's gradient was not zero.", per_row=True),
    Measure(
        "move_steps", "count", "Probed lookups at whose step the row moved; 1 at least if it ever did.", per_row=True
    ),
    Measure("velocity", "norm", "Mean length of the row's move over the probed lookups.", per_row=True),
    Measure("coherence", "cosine", "Mean cosine of the row's displacements over consecutive windows.", per_row=True),
    Measure("jitter", "ratio", "Variance of the row within a window over its squared norm.", per_row=True),
    Measure(
        "score_noise",
        "variance",
        "Variance that the row's tremble gives to its product with a row as long as itself: jitter norm^4 / dim.",
        per_row=True,
    ),
    Measure("norm", "norm", "Euclidean norm of the row now.", per_row=True),
    Measure("init_cosine", "cosine", "Cosine of the row now with the row when tracking began.", per_row=True),
    Measure("row_loss", "loss", "Mean squared training residual of the row's examples.", per_row=True),
    Measure(
        "label_conflict",
        "nats",
        "Log Bayes factor of labels that are random or flipped against labels that agree with the rest.",
        per_row=True,
    ),
    Measure("coherence_z", "score", "Robust z of `coherence` among rows alike in exposures.", per_row=True),
    Measure(
        "velocity_z",
        "score",
        "Robust z of log `velocity` among rows alike in exposures; known after a few probed lookups.",
        per_row=True,
    ),
    Measure("velocity_ratio", "ratio", "`velocity` over its median among rows alike in exposures.", per_row=True),
    Measure("jitter_z", "score", "Robust z of log `jitter` among rows alike in exposures.", per_row=True),
    Measure("loss_z", "score", "Robust z of log `row_loss` among rows alike in exposures.", per_row=True),
)


def exposure_gini(exposures: ArrayLike) -> float:
    """Gini coefficient of exposures, in [0, 1], over all rows including those never exposed.

    The convention is the population one, G = sum_i (2i - n - 1) x_(i) / (n sum x): equal exposure gives 0, all
    exposure on one of n rows gives 1 - 1/n. It is not divided by its maximum.

    Args:
        exposures: shape (rows,), counts >= 0.

    Returns:
        Gini coefficient, NaN where nothing was exposed.

    >>> exposure_gini([1, 1, 1, 1])
    0.0
    >>> exposure_gini([0, 0, 0, 8])
    0.75
    """
    counts = np.sort(np.asarray(exposures, dtype=float))
    total = counts.sum()
    if total == 0:
        return float("nan")
    n = len(counts)
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * total))


def head_share(exposures: ArrayLike, head: float = 0.1) -> float:
    """Share of all exposures, in [0, 1], that went to the most exposed `head` of the rows (at least one row).

    >>> head_share([1, 1, 1, 1, 1, 1, 1, 1, 1, 11])
    0.55
    """
    counts = np.sort(np.asarray(exposures, dtype=float))[::-1]
    total = counts.sum()
    return float(counts[: max(1, round(head * len(counts)))].sum() / total) if total else float("nan")


def row_norms(matrix: ArrayLike) -> Floats:
    """Euclidean norm of each row, shape (rows,)."""
    return np.linalg.norm(np.asarray(matrix, dtype=float), axis=1)


def row_cosines(a: ArrayLike, b: ArrayLike) -> Floats:
    """Cosine of each row of `a` with the same row of `b`, shape (rows,); NaN where either row is zero.

    >>> row_cosines([[1, 0], [0, 2], [0, 0]], [[2, 0], [0, -1], [1, 1]]).tolist()
    [1.0, -1.0, nan]
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Dividing row by row first keeps tiny and huge rows from under- or overflowing in the product.
        return np.sum((a / row_norms(a)[:, None]) * (b / row_norms(b)[:, None]), axis=1)


def effective_rank(matrix: ArrayLike) -> float:
    """Effective rank, exp of the Shannon entropy of the normalised singular values (Roy & Vetterli 2007, eq. 4).

    The matrix is not centred. The rank is in [1, min(shape)]; NaN for an empty, zero or non-finite matrix.

    >>> round(effective_rank(np.eye(3)), 6)
    3.0
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.size == 0 or not np.isfinite(matrix).all():
        return float("nan")
    return _rank_of_spectrum(np.linalg.svd(matrix, compute_uv=False))


def effective_rank_of_gram(gram: ArrayLike) -> float:
    """Effective rank, in [1, dim], of a matrix of which only `matrix.T @ matrix` is at hand, shape (dim, dim): cheap
    for many rows.

    Singular values below about 1e-8 of the largest are lost in rounding; their share of the entropy is nil.

    >>> round(effective_rank_of_gram(np.eye(3)), 6)
    3.0
    """
    gram = np.asarray(gram, dtype=float)
    if gram.size == 0 or not np.isfinite(gram).all():
        return float("nan")
    return _rank_of_spectrum(np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)))


def _rank_of_spectrum(singular: Floats) -> float:
    total = singular.sum()
    if total == 0:
        return float("nan")
    p = singular / total
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def structure_of_gram(gram: ArrayLike, count: int) -> float:
    """Ratio by which the strongest direction of so many rows stands out, from `rows.T @ rows`, shape (dim, dim).

    The largest eigenvalue of the second moments over the largest that independent entries of zero mean and the same
    variance have, sigma^2 (1 + sqrt(dim / count))^2 (Marchenko & Pastur 1967, Distribution of eigenvalues for some sets
    of random matrices). NaN for one column, zeros, or entries that are not finite.

    >>> round(structure_of_gram(np.eye(4) * 100, 100), 2)
    0.69
    """
    gram = np.asarray(gram, dtype=float)
    dim = len(gram)
    variance = float(np.trace(gram)) / (count * dim) if count and dim else 0.0
    if dim < 2 or not np.isfinite(gram).all() or variance <= 0:
        return float("nan")
    edge = variance * (1 + np.sqrt(dim / count)) ** 2
    return float(np.linalg.eigvalsh(gram)[-1] / count / edge)


def row_effect_f(residuals: ArrayLike, rows: ArrayLike) -> float:
    """F statistic of a one-way ANOVA of the residuals over the rows: between-row over within-row variance.

    A model that represents row effects (biases) leaves residuals whose mean hardly differs between rows: F falls well
    below 1, because fitting removed the between-row part. F near or above 1 says that row effects are not modelled.

    Args:
        residuals: shape (n,), target minus prediction on training data.
        rows: shape (n,), the row of each residual.

    Returns:
        F statistic; NaN where fewer than two rows or no residual degrees of freedom are left.
    """
    residuals = np.asarray(residuals, dtype=float)
    _, group, counts = np.unique(np.asarray(rows), return_inverse=True, return_counts=True)
    between_df, within_df = len(counts) - 1, len(residuals) - len(counts)
    if between_df < 1 or within_df < 1 or not np.isfinite(residuals).all():
        return float("nan")
    means = np.bincount(group, weights=residuals) / counts
    between = (counts * (means - residuals.mean()) ** 2).sum() / between_df
    within = ((residuals - means[group]) ** 2).sum() / within_df
    return float(between / within) if within > 0 else float("nan")


def score_noise(jitter: ArrayLike, norms: ArrayLike, dim: int) -> Floats:
    """Variance that a row's jitter gives to its dot product with a row as long as itself, in a random direction.

    A row of norm n and jitter j has a variance of j n^2, of which 1 / dim lies along any one direction; the product
    with a row of norm n scales it by n^2. Shape (rows,), in squared units of the score.
    """
    return np.asarray(jitter, dtype=float) * np.asarray(norms, dtype=float) ** 4 / dim


def step_growth(longest: ArrayLike) -> float:
    """Ratio of the longest of some moves to their median; moves that are 0 or not finite do not count, and 0 stands for
    none.

    Args:
        longest: longest move of a row at each of some steps, shape (steps,).

    >>> step_growth([0.0, 1.0, 1.0, 8.0])
    8.0
    """
    moves = np.asarray(longest, dtype=float)
    moves = moves[np.isfinite(moves) & (moves > 0)]
    return float(moves.max() / np.median(moves)) if len(moves) else 0.0


def decay_share(decayed: float, norm_ratio: float) -> float:
    """Share of the shrinking of rows that decay accounts for, 1 at most; NaN where they did not shrink.

    Args:
        decayed: sum over the steps of learning rate times weight decay, by which the logarithm of a row's norm falls.
        norm_ratio: norm of the rows now over the norm at the start.

    >>> decay_share(1.0, np.exp(-2.0))
    0.5
    """
    if not 0 <= norm_ratio < 1:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(min(1.0, decayed / -np.log(norm_ratio)))


def decay_pull(decay: float, square: float, pull: float) -> float:
    """Share of the pull on rows towards zero that is decay's and not the loss's, in [0, 1]; NaN where no gradient was
    seen.

    Args:
        decay: weight decay.
        square: squared lengths of rows, summed up over steps.
        pull: inner products of the rows with their gradients, over the same steps; below 0 the loss lets them grow.

    >>> decay_pull(0.5, 2.0, 1.0)
    0.5
    """
    by_decay = decay * square
    return by_decay / (by_decay + max(pull, 0.0)) if square > 0 and by_decay > 0 and np.isfinite(pull) else float("nan")


def row_loss(residuals: ArrayLike, rows: ArrayLike, count: int) -> Floats:
    """Mean squared residual of each row's examples, shape (count,); NaN for rows without any.

    >>> row_loss([1.0, 3.0], [0, 0], 2).tolist()
    [5.0, nan]
    """
    rows = np.asarray(rows)
    squares = np.bincount(rows, weights=np.asarray(residuals, dtype=float) ** 2, minlength=count)
    with np.errstate(invalid="ignore"):
        return squares / np.bincount(rows, minlength=count)


def median(values: Floats) -> float:
    """Median of the finite values, in their unit; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
