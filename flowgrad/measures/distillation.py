"""Compares the layers of a student with each other and with their teacher's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure

FloatArray = NDArray[np.float64]

MEASURES = (
    Measure("steps", "count", "Optimizer steps seen."),
    Measure("looks", "count", "Steps at which the student's motion was measured."),
    Measure("layers", "count", "Layers of the student: modules with weights of two or more dimensions."),
    Measure("paired_layers", "count", "Layers that have a layer of the teacher to follow."),
    Measure("loss", "loss", "Median of the training losses told at the last looks."),
    Measure("distillation_loss", "loss", "Median of the distillation losses told at the last looks."),
    Measure("least_distillation_loss", "loss", "Lowest finite distillation loss told at a look."),
    Measure("distillation_loss_most", "loss", "Largest size of a finite distillation loss told at a look."),
    Measure("distillation_loss_size", "loss", "Size of the first finite distillation loss told, its sign left out."),
    Measure("nonfinite_losses", "count", "Distillation losses told at looks that were NaN or infinite."),
    Measure(
        "loss_fall",
        "share",
        "Fall of the loss told (of the distillation loss, where no other was) from the first looks to the last, over "
        "the former; medians of 3 looks. NaN before 8 looks.",
    ),
    Measure(
        "loss_growth", "ratio", "Highest finite loss told at a look over the first one; distillation loss if none."
    ),
    Measure(
        "loss_softmax",
        "flag",
        "1 where the graph of a distillation loss that was told shows a softmax and no norm, as a divergence of "
        "distributions does; else 0, also where no graph was seen.",
    ),
    Measure("loss_similarity", "flag", "1 where that graph shows norms, as a cosine does; else 0, as before."),
    Measure("comparisons", "count", "Calls of `observe`."),
    Measure("gap", "nats", "`logit_kl` at the last comparison; 1 less `output_r2` for a single output."),
    Measure(
        "gap_rise",
        "ratio",
        "`gap` over its lowest at any comparison, less 1; 0 where the lowest was the first or is the last.",
    ),
    Measure("logit_kl", "nats", "Mean KL(teacher || student) of the outputs on the probe; NaN for a single output."),
    Measure("agreement", "share", "Probe examples with the same largest output in both; NaN for a single output."),
    Measure("output_r2", "r2", "Variance of the teacher's outputs on the probe that the student's equal; can be < 0."),
    Measure("output_spread", "ratio", "Deviation of the student's outputs on the probe over the teacher's."),
    Measure("moving_layers", "count", "Layers that an update moved at one of the last looks."),
    Measure("live_layers", "count", "Layers whose weights had a gradient other than 0 at one of the last looks."),
    Measure("nonfinite_layers", "count", "Layers with weights, gradients or activations that are not finite."),
    Measure("frozen_layers", "count", "Layers whose weights take no gradient (`requires_grad` is False)."),
    Measure(
        "left_out_layers", "count", "Layers that take gradients, that the optimizer was not given and that never moved."
    ),
    Measure(
        "elsewhere_layers", "count", "Layers that move though the optimizer was not given them: another moves them."
    ),
    Measure("still_layers", "count", "Layers whose weights never moved at a look."),
    Measure("peak_velocity", "ratio", "Largest `velocity` at any look, of the median layer, where all are finite."),
    Measure("rate_levels", "count", "Different learning rates among the layers; NaN where the optimizer is not known."),
    Measure(
        "structure",
        "ratio",
        "Largest singular value of a layer's weights as training began, over what weights drawn independently would "
        "have; of the layer that has most. Above 1 where a layer was learned, or made by a formula.",
    ),
    Measure("teacher_moved", "ratio", "Distance of the teacher's weights from their start, over their length there."),
    Measure("teacher_moving", "share", "Looks at which the teacher's weights had moved since the look before."),
    Measure("teacher_part", "share", "The teacher's weights that lie in tensors that are not what they were at first."),
    Measure(
        "teacher_toward",
        "cosine",
        "Between the way that the teacher's weights go from look to look and that to the student's, median; 0 where "
        "it does not move, or the two have no weights of one shape. Averages of the student go its way.",
    ),
    Measure("teacher_given", "flag", "1 where the optimizer given holds weights that are the teacher's alone, else 0."),
    Measure(
        "teacher_taught",
        "flag",
        "1 where the graph of a loss that was told leads to weights of the teacher through the distillation loss, and "
        "by no other way; else 0, also where no graph was seen.",
    ),
    Measure("teacher_shared", "share", "The teacher's weights that are the student's too, being the same tensors."),
    Measure("teacher_training", "share", "Calls of the teacher with dropout or running statistics in training mode."),
    Measure("teacher_statistics", "ratio", "Distance of its running statistics from their start, over their length."),
    Measure(
        "teacher_noise",
        "share",
        "Variance of the teacher's outputs on the probe that two passes do not have in common, in the mode in which it "
        "was last called.",
    ),
    Measure(
        "teacher_drawn",
        "share",
        "The teacher's weights in tensors that looked as initialisers leave them as it began to teach; without biases.",
    ),
    Measure("teacher_drawn_last", "flag", "1 where those of its last layer do, else 0."),
    Measure("teacher_structure", "ratio", "`structure` of the teacher, where `teacher_drawn` is 1."),
    Measure(
        "teacher_statistics_drawn",
        "share",
        "Its running statistics that were those of a module never trained as it began to teach; NaN without any.",
    ),
    Measure(
        "formulas",
        "count",
        "Steps of which the student's outputs, the gradient at them and the teacher's answers were seen.",
    ),
    Measure(
        "formulas_found",
        "count",
        "Those of them whose gradient is, to a ten-thousandth, that of a loss tried: divergences at usual "
        "temperatures, squared errors, and mistaken forms of them, with or without a cross-entropy with labels.",
    ),
    Measure(
        "formula_asked",
        "flag",
        "1 where the teacher was not heard, and was asked anew at `observe` for its answers; else 0.",
    ),
    Measure("formula_divergence", "share", "Of those found: divergences of softened distributions."),
    Measure(
        "formula_probabilities",
        "share",
        "Of those found: `kl_div` whose first argument is no logarithm of a probability, but a probability or a logit.",
    ),
    Measure(
        "formula_other_rows",
        "share",
        "Of those found: divergences from the teacher's answers on other rows than the student's; two halves of a "
        "batch that are swapped, as two views of the same are, left out.",
    ),
    Measure("formula_temperature", "ratio", "Temperature of those found, median."),
    Measure("formula_hard", "ratio", "Weight of the cross-entropy with labels in the loss, median of those found."),
    Measure(
        "formula_soft",
        "ratio",
        "Weight of the teacher's part, not multiplied by the square of the temperature, median.",
    ),
    Measure("formula_share", "share", "Length of the teacher's part of the gradient over that of both parts, median."),
    Measure(
        "formula_unsquared",
        "flag",
        "1 where both weights add up to 1, or are equal, only if the teacher's part lacks the square of the "
        "temperature; 0 where they do with it; NaN where that is not known.",
    ),
    Measure(
        "formula_over_classes",
        "flag",
        "1 where the weights come out only if the divergence was averaged over the classes too, else 0.",
    ),
    Measure(
        "labels_kappa",
        "kappa",
        "Agreement of the labels, as the gradient tells them, with the teacher's answers, over chance (Cohen 1960): 1 "
        "for the same, 0 for chance. NaN of fewer than 64.",
    ),
    Measure(
        "labels_mapped",
        "share",
        "Rows whose label is the most frequent one for the teacher's answer, where for most answers that is another "
        "class, and seldom the same; else 0.",
    ),
    Measure(
        "shown_same", "flag", "1 where teacher and student were given equal inputs in the steps looked at, else 0."
    ),
    Measure(
        "shown_scale",
        "ratio",
        "Deviation of the teacher's inputs over that of the student's, where each feature is the other's but for scale "
        "and shift; NaN where it is not.",
    ),
    Measure("shown_shift", "ratio", "Distance of their means over the deviation of the student's, there."),
    Measure(
        "shown_other_rows",
        "share",
        "Rows of the teacher's inputs that are another row of the student's, at most in a step.",
    ),
    Measure("shown_unrelated", "flag", "1 where its rows are no nearer to the student's same rows than to others."),
    Measure(
        "shown_unlike",
        "log ratio",
        "How far the inputs that the teacher was given are from what its first running statistics hold: the larger of "
        "the logarithm of the variance over theirs and that of 1 plus the distance of the means in deviations, medians "
        "over units. NaN without running statistics, or in training mode.",
    ),
    Measure("shown_unlike_students", "log ratio", "The same of the student's inputs."),
    Measure(
        "shown_gap", "logit", "Distance of the teacher's two highest outputs on the inputs that it was given, median."
    ),
    Measure("shown_gap_students", "logit", "The same on the student's inputs, where the teacher takes them."),
    Measure("least_speed", "ratio", "Lowest `speed_ratio` of a layer that is neither frozen nor left out."),
    Measure("most_overspeed", "ratio", "Highest `overspeed` of a layer."),
    Measure("least_velocity", "ratio", "Lowest `velocity_ratio` of such a layer."),
    Measure("least_rate", "ratio", "Lowest `rate_ratio` of a layer."),
    Measure("most_lost", "r2", "Highest `lost` of a layer."),
    Measure("median_lost", "r2", "Median of `lost`."),
    Measure("most_unexplained", "r2", "Highest `unexplained` of a layer."),
    Measure("median_unexplained", "r2", "Median of `unexplained`."),
    Measure("most_too_narrow", "share", "Highest `too_narrow` of a layer."),
    Measure("least_width", "ratio", "Lowest `width_gap` of a layer."),
    Measure("most_cka_gap", "cka", "Highest `cka_gap` of a layer."),
    Measure("least_drift", "ratio", "Lowest `drift_gap` of a layer."),
    Measure("least_snr", "ratio", "Lowest `snr_ratio` of a layer."),
    Measure("most_altered", "share", "Highest `altered` of a layer."),
    Measure("least_altered", "share", "Lowest `altered` of a layer."),
    Measure("most_noise", "share", "Highest `noise` of a layer."),
    Measure("most_kd_gradient", "log ratio", "Highest `kd_gradient` of a layer."),
    Measure("frozen", "flag", "1 where the layer's weights take no gradient, else 0.", per_row=True),
    Measure(
        "left_out",
        "flag",
        "1 where they do, the optimizer was not given them and they never moved, else 0.",
        per_row=True,
    ),
    Measure("copied", "flag", "1 where they were those of a layer of the teacher as training began.", per_row=True),
    Measure(
        "unused",
        "flag",
        "1 where the layer takes gradients, never had one, and was not called for the probe; else 0.",
        per_row=True,
    ),
    Measure("weights", "count", "Weights of the layer, biases left out.", per_row=True),
    Measure("velocity", "ratio", "Mean length of an update over the length of the weights.", per_row=True),
    Measure("velocity_ratio", "ratio", "`velocity` over the median of the other layers'.", per_row=True),
    Measure(
        "speed_ratio",
        "ratio",
        "The larger of two: update per weight, and update over gradient, each over the median of the other layers'.",
        per_row=True,
    ),
    Measure(
        "overspeed",
        "ratio",
        "The smaller of the same two: above 1 where a layer moves faster than both its gradient and its number of "
        "weights account for.",
        per_row=True,
    ),
    Measure("rate_ratio", "ratio", "Learning rate over the median of the other layers'.", per_row=True),
    Measure("gradient", "ratio", "Mean length of the gradient over the length of the weights.", per_row=True),
    Measure(
        "kd_gradient",
        "log ratio",
        "Natural logarithm of the distillation loss's gradient over the weights, in lengths; of the whole gradient, "
        "where none was told.",
        per_row=True,
    ),
    Measure("snr", "ratio", "Squared mean of the gradients of some steps in a row over their variance.", per_row=True),
    Measure(
        "snr_others", "ratio", "Median `snr` of the other layers of its kind (embeddings, or all else).", per_row=True
    ),
    Measure("snr_ratio", "ratio", "`snr` over `snr_others`.", per_row=True),
    Measure(
        "altered",
        "share",
        "Part of the gradient that the optimizer gets and the backward pass did not give: 1 less the squared cosine of "
        "the two.",
        per_row=True,
    ),
    Measure(
        "drift",
        "exponent",
        "How the way made grows with the number of updates: 1 straight on, 1/2 a random walk, 0 on the spot.",
        per_row=True,
    ),
    Measure("drift_gap", "exponent", "`drift` less the median of the other layers'.", per_row=True),
    Measure("width", "count", "Units of the layer.", per_row=True),
    Measure("width_ratio", "ratio", "`width` over that of the teacher's layer.", per_row=True),
    Measure(
        "width_gap",
        "ratio",
        "`width` over the median of the other layers of its kind (embeddings, or all else); where alone, over the "
        "geometric mean of inputs and outputs. The last layer, which gives the outputs, has none, nor have layers "
        "that are trained while most of the weights are frozen (adapters).",
        per_row=True,
    ),
    Measure(
        "too_narrow",
        "share",
        "Variance of the teacher's layer that no linear map of so few units can carry: the part outside of as many "
        "principal components.",
        per_row=True,
    ),
    Measure("rank", "count", "Effective rank of the centred activations.", per_row=True),
    Measure("rank_ratio", "ratio", "`rank` over that of the teacher's layer.", per_row=True),
    Measure("unexplained", "r2", "1 less the ridge R2 from the layer to the teacher's, left out.", per_row=True),
    Measure(
        "lost",
        "r2",
        "Ridge R2 of the teacher's layer from what goes into the student's layer, less that from what comes out; for "
        "an embedding, `unexplained`.",
        per_row=True,
    ),
    Measure("cka", "cka", "Debiased linear CKA with the teacher's layer.", per_row=True),
    Measure("cka_gap", "cka", "Median `cka` of the other layers less its own.", per_row=True),
    Measure(
        "noise",
        "share",
        "Variance of the activations that two passes over the same inputs do not have in common, less that of what "
        "goes in; in evaluation mode or in training mode, whichever is more.",
        per_row=True,
    ),
    Measure("constant_units", "share", "Units that are the same for every probe example.", per_row=True),
)

ROW_NAMES = tuple(measure.name for measure in MEASURES if measure.per_row)


def medians_of_others(values: FloatArray) -> FloatArray:
    """Median of the other layers' values for each layer, shape (layers,). NaN is left out.

    The layer itself is left out, for a student has few layers: of two, one at 0, the median of both would be half of
    the healthy one.

    >>> medians_of_others(np.array([1.0, 2.0, 3.0, np.nan]))
    array([2.5, 2. , 1.5, 2. ])
    """
    found = np.full(len(values), math.nan)
    for place in range(len(values)):
        others = np.delete(values, place)
        others = others[~np.isnan(others)]
        if len(others):
            found[place] = np.median(others)
    return found


def over_others(values: FloatArray) -> FloatArray:
    """Ratio of each layer's value to `medians_of_others`, shape (layers,); NaN where that is 0.

    >>> over_others(np.array([1.0, 2.0, 4.0]))
    array([0.33333333, 0.8       , 2.66666667])
    """
    medians = medians_of_others(values)
    return values / np.where(medians == 0, math.nan, medians)


def speed_ratios(update: FloatArray, gradient: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Speed of each layer under the optimizer relative to the others: the larger and the smaller of two ratios, shape
    (layers,).

    Ratios to the median of the other layers; two, because optimizers have two ways: Adam and its kind move every weight
    by about the learning rate, whatever the gradient, so that the root mean square of the updates is alike in all
    layers; SGD moves in proportion to the gradient, so that update over gradient is. A layer whose rate is a tenth of
    the others' has a tenth in both; an honest small gradient, or few inputs, lowers at most one. Whatever else moves
    weights raises both; an honest large gradient raises at most one.

    Args:
        update: mean length of an update, shape (layers,).
        gradient: mean length of the gradients that it answers, shape (layers,); NaN where not known.
        weights: number of weights, shape (layers,).

    >>> update, weights = np.array([0.1, 1.0, 1.0]), np.array([1.0, 1.0, 1.0])
    >>> larger, smaller = speed_ratios(update, np.array([1.0, 1.0, 10.0]), weights)
    >>> float(larger[0].round(3)), float(smaller[0].round(3))
    (0.182, 0.1)
    """
    moving = update > 0  # a frozen layer says nothing of how fast the others should be
    with np.errstate(invalid="ignore"):  # of weights that diverged, inf / inf
        per_weight, response = (
            values / medians_of_others(np.where(moving, values, math.nan))
            for values in (update / np.sqrt(weights), update / np.where(gradient == 0, math.nan, gradient))
        )
    return np.fmax(per_weight, response), np.fmin(per_weight, response)


def width_gaps(width: FloatArray, weights: FloatArray, embeds: NDArray[np.bool_]) -> FloatArray:
    """Each layer's width over the median of the other layers of its kind, shape (layers,); of all other layers, where
    there is none; and where it is the only one, over the geometric mean of what goes into it and of the outputs.

    Embeddings are a kind of their own. The last layer is NaN, and no layer is compared with it: its width is that of
    the outputs. The teacher's widths are no measure: it may taper, and its student not.

    Args:
        width: units, shape (layers,), in the model's order.
        weights: number of weights, shape (layers,).
        embeds: whether each looks up rows.

    >>> width = np.array([8.0, 8.0, 64.0, 2.0, 10.0])
    >>> width_gaps(width, 16 * width, np.array([True, True, False, False, False])).tolist()
    [1.0, 1.0, 32.0, 0.03125, nan]
    >>> width_gaps(np.array([5.0, 10.0]), np.array([200.0, 50.0]), np.array([False, False])).tolist()
    [0.25, nan]
    """
    inner = np.append(width[:-1], math.nan)
    medians = medians_of_kind(inner, embeds)
    alone = np.sqrt(weights / width * width[-1])
    return inner / np.where(np.isnan(medians), alone, medians)


def medians_of_kind(values: FloatArray, embeds: NDArray[np.bool_]) -> FloatArray:
    """Median of the other layers' values among embeddings, and among all else; of all layers where there is no other of
    the kind; shape (layers,).

    >>> medians_of_kind(np.array([1.0, 2.0, 8.0]), np.array([True, True, False]))
    array([2. , 1. , 1.5])
    """
    found = medians_of_others(values)
    for kind in (embeds, ~embeds):
        own = medians_of_others(np.where(kind, values, math.nan))
        found = np.where(kind & ~np.isnan(own), own, found)
    return found


def drift(net: FloatArray, update: FloatArray, steps: FloatArray) -> FloatArray:
    """Exponent of the distance covered over the steps: log(net / update) / log(steps). NaN where nothing moved.

    An update of constant length makes a way of steps^1 if always the same way and of steps^(1/2) in directions drawn
    anew. Momentum lifts it in all layers alike.

    Args:
        net: distance between the weights at both ends of a window.
        update: mean length of its updates.
        steps: number of updates in it, at least 2.

    >>> drift(np.array([4.0]), np.array([1.0]), np.array([16.0]))
    array([0.5])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(net / update) / np.log(steps)
    return np.where(np.isfinite(found), found, math.nan)


def gradient_snr(mean_square: FloatArray, square_of_mean: FloatArray, count: int) -> FloatArray:
    """Signal over noise of gradients: squared length of their expectation over the trace of their covariance, both
    unbiased in every window and added up over the windows; at least 0, which is pure noise. NaN without noise.

    Args:
        mean_square: mean of the squared lengths of the gradients in each window, shape (windows, layers).
        square_of_mean: squared length of each window's mean gradient, same shape.
        count: gradients in a window, at least 2.

    >>> gradient_snr(np.array([[2.0]]), np.array([[1.5]]), 4).round(3)
    array([2.])
    """
    noise = np.maximum(mean_square - square_of_mean, 0) * count / (count - 1)
    signal = (square_of_mean - noise / count).sum(axis=0)
    total = noise.sum(axis=0)
    return np.maximum(signal, 0) / np.where(total == 0, math.nan, total)


def structure(weights: FloatArray) -> float:
    """Ratio of the weights' largest singular value to that of as many independent draws of their variance: the edge of
    Marchenko & Pastur 1967, Distribution of eigenvalues for some sets of random matrices, sigma (sqrt(n) + sqrt(m)).

    Near 1 or below for weights that were drawn, by whatever distribution, and for orthogonal ones; above for learned
    ones, whose largest singular values leave the bulk (Martin & Mahoney 2021, Implicit self-regularization in deep
    neural networks, par. 3). NaN for constant weights.

    Args:
        weights: shape (n, m).

    >>> drawn = np.random.default_rng(0).normal(size=(40, 60))
    >>> structure(drawn) < 1.1 < structure(drawn + np.outer(drawn[:, 0], drawn[0]))
    True
    """
    centred = weights - weights.mean()
    deviation = float(centred.std())
    if not 0 < deviation < math.inf:
        return math.nan
    rows, columns = weights.shape
    return float(np.linalg.norm(centred, 2)) / (deviation * (math.sqrt(rows) + math.sqrt(columns)))


def loss_course(losses: FloatArray, ends: int = 3, least: int = 8) -> dict[str, float]:
    """Compute `loss_fall` and `loss_growth` of losses at sampled steps, in their order.

    Args:
        losses: shape (steps,).
        ends: number of steps at either end whose median counts.
        least: number of steps below which the fall is NaN.

    >>> loss_course(np.array([2.0, 2.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0]))
    {'loss_fall': 0.5, 'loss_growth': 2.0}
    """
    fall = growth = math.nan
    finite = losses[np.isfinite(losses)]
    if len(losses) >= least:
        first, last = (float(np.median(part)) for part in (losses[:ends], losses[-ends:]))
        fall = (first - last) / first if first > 0 else math.nan
    if len(finite) and finite[0] > 0:
        growth = float(finite.max() / finite[0])
    return {"loss_fall": fall, "loss_growth": growth}


def gap_rise(gaps: FloatArray) -> float:
    """Rise of the last gap over the lowest, as a share of the lowest; 0 where the lowest is the first or the last, NaN
    without a finite gap.

    >>> gap_rise(np.array([2.0, 1.0, 1.5]))
    0.5
    >>> gap_rise(np.array([1.0, 2.0]))
    0.0
    """
    known = gaps[np.isfinite(gaps)]
    if not len(known):
        return math.nan
    lowest = int(known.argmin())
    return float(known[-1] / known[lowest]) - 1 if lowest and known[lowest] > 0 else 0.0


def compared(columns: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Compute the per-row measures that compare a layer with the others, from those of a layer alone.

    Args:
        columns: `frozen`, `velocity`, `rate`, `snr`, `drift`, `width`, `width_ratio`, `embeds`, `cka`, `update`,
            `gradient_length` and `weights`, each of shape (layers,).
    """
    speed, overspeed = speed_ratios(columns["update"], columns["gradient_length"], columns["weights"])
    snr_others = medians_of_kind(columns["snr"], columns["embeds"] > 0)
    return {
        "velocity_ratio": over_others(columns["velocity"]),
        "speed_ratio": speed,
        "overspeed": overspeed,
        "rate_ratio": over_others(columns["rate"]),
        "snr_others": snr_others,
        "snr_ratio": columns["snr"] / np.where(snr_others == 0, math.nan, snr_others),
        "drift_gap": columns["drift"] - medians_of_others(columns["drift"]),
        "width_gap": np.where(
            _adapts(columns["frozen"] > 0, columns["weights"]),
            math.nan,
            width_gaps(columns["width"], columns["weights"], columns["embeds"] > 0),
        ),
        "cka_gap": medians_of_others(columns["cka"]) - columns["cka"],
    }


def _adapts(frozen: NDArray[np.bool_], weights: FloatArray) -> NDArray[np.bool_]:
    """Flags of layers trained among frozen ones that hold most of the weights: adapters, which are narrow on
    purpose.
    """
    return ~frozen & bool(weights[frozen].sum() > 0.5 * weights.sum())


def extremes(rows: Mapping[str, FloatArray]) -> dict[str, float]:
    """Scalars over the layers: counts of flags, and the layer that stands out most by each measure.

    Args:
        rows: the per-row measures, each of shape (layers,).
    """
    trained = (rows["frozen"] == 0) & (rows["left_out"] == 0)
    return {
        "frozen_layers": float(rows["frozen"].sum()),
        "left_out_layers": float(rows["left_out"].sum()),
        "least_speed": _least(rows["speed_ratio"][trained]),
        "most_overspeed": _most(rows["overspeed"]),
        "least_velocity": _least(rows["velocity_ratio"][trained]),
        "least_rate": _least(rows["rate_ratio"]),
        "most_lost": _most(rows["lost"]),
        "median_lost": _median(rows["lost"]),
        "most_unexplained": _most(rows["unexplained"]),
        "median_unexplained": _median(rows["unexplained"]),
        "most_too_narrow": _most(rows["too_narrow"]),
        "least_width": _least(rows["width_gap"]),
        "most_cka_gap": _most(rows["cka_gap"]),
        "least_drift": _least(rows["drift_gap"]),
        "least_snr": _least(rows["snr_ratio"]),
        "most_altered": _most(rows["altered"]),
        "least_altered": _least(rows["altered"]),
        "most_noise": _most(rows["noise"]),
        "most_kd_gradient": _most(rows["kd_gradient"]),
    }


def _known(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


def _least(values: FloatArray) -> float:
    return float(_known(values).min(initial=math.inf)) if len(_known(values)) else math.nan


def _most(values: FloatArray) -> float:
    return -_least(-values)


def _median(values: FloatArray) -> float:
    return float(np.median(_known(values))) if len(_known(values)) else math.nan
