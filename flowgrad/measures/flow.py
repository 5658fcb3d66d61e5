"""Measures a network's training: weights, gradients and updates of each tensor over time, and the losses.

Every function takes figures of the sampled steps, or looks: arrays of shape (looks, tensors), NaN where a figure is not
known. "Early" and "recent" are parts of the run as `early` and `recent` choose them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure
from flowgrad.measures import flow_course, flow_passes, training

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SATURATED = 0.98
"""A bounded unit counts as saturated from this part of the way between the middle of its range and a bound on: tanh has
a slope of .04 there, sigmoid of .01."""
BINS = 20
"""Number of parts of equal length that a run's losses are averaged over."""
_EARLY, _RECENT, _FEWEST = 0.1, 0.2, 8
_FEW_ONES = 0.25
"""Share of ones below which a column of zeros and ones is one of a category."""
_END = 4
"""Number of parts of the layers: the first and the last quarter are the two ends of a network."""

_COURSE = ("epochs", "val_best", "val_last", "val_rise", "val_fall", "val_late_gain", "epochs_since_best")

MEASURES = (
    Measure("steps", "count", "Optimizer steps seen."),
    Measure(
        "looks", "count", "Steps that were looked at, as the schedule says; all other figures but losses rest on them."
    ),
    Measure(
        "skipped_steps", "count", "Calls of `step()` without an optimizer step before, as after an overflow under AMP."
    ),
    Measure("tensors", "count", "Parameter tensors, each once."),
    Measure(
        "weight_layers", "count", "Tensors with two dimensions or more that require a gradient: what depth counts."
    ),
    Measure("loss_first", "loss", "Loss of the first step, which no update had touched."),
    Measure("loss_last", "loss", "Mean loss of the last twentieth of the run."),
    Measure("loss_best", "loss", "Lowest mean loss of a twentieth of the run."),
    Measure("loss_fall", "ratio", "Fall from `loss_first` to `loss_last`, over the former's size."),
    Measure("loss_late_fall", "ratio", "Fall of the line through the last fifth of the losses, over their mean."),
    Measure(
        "loss_late_share", "ratio", "Fall of the line through the last fifth of the losses, over the whole fall so far."
    ),
    Measure("loss_rise", "ratio", "Excess of `loss_last` over `loss_best`, over the latter's size."),
    Measure("loss_peak_ratio", "ratio", "Highest mean loss of a twentieth of the run, over `loss_first`."),
    Measure("loss_ups", "share", "Share of rises from one twentieth of the run to the next."),
    Measure(
        "loss_oscillation",
        "ratio",
        "Deviation of the twentieths of the later half from the line through them, over their mean loss.",
    ),
    Measure("loss_scatter", "ratio", "Deviation of single losses within the last twentieths, over their mean loss."),
    Measure("loss_nonfinite", "flag", "1 where a loss was NaN or infinite, else 0."),
    Measure(
        "losses_differ",
        "flag",
        "1 where the batches told show that the training loss is another quantity than the validation loss; 0 where "
        "they show that it is not, or show neither.",
    ),
    Measure(
        "outputs_tell",
        "ratio",
        "Standard errors by which outputs agree with the targets of their rows beyond chance, of the batches told; 0 "
        "where outputs were not told.",
    ),
    Measure(
        "total_gradient_norm", "norm", "Norm of the whole gradient, mean of the recent looks, as the optimizer used it."
    ),
    Measure("total_gradient_norm_first", "norm", "The same of the early looks."),
    Measure(
        "total_gradient_norm_max",
        "norm",
        "Largest norm of the whole gradient at any look; infinite where it was not finite.",
    ),
    Measure("gradient_spike", "ratio", "`total_gradient_norm_max` over the median look."),
    Measure(
        "gradient_depth",
        "log10",
        "Gradient (root mean square of its entries) of the first quarter of the weight layers over that of the last, "
        "recent looks, without tables beside other layers. Below 0 it vanishes on the way back, above 0 it explodes.",
    ),
    Measure("gradient_depth_first", "log10", "The same of the early looks."),
    Measure(
        "gradient_depth_inner",
        "log10",
        "The same of the early looks, but of the weight layers behind the first, whose gradient is as small as the "
        "inputs are.",
    ),
    Measure(
        "gradient_depth_unexplained",
        "log10",
        "The same without the square of `table_size_first`: where rows of tables are multiplied with each other, as in "
        "cross layers, the gradients there are as small as that.",
    ),
    Measure(
        "gradient_excess", "log10", "Largest gradient of a weight layer (root mean square) over the median layer's."
    ),
    Measure("gradient_deficit", "log10", "Median gradient of the weight layers (root mean square) over the smallest."),
    Measure(
        "median_update_ratio",
        "ratio",
        "Length of an update over the norm of what it updates: median weight layer, recent. Where first steps are "
        "longer by a known factor (RMSprop: 1 / sqrt(1 - alpha^t) at step t), without that.",
    ),
    Measure("median_update_ratio_first", "ratio", "The same of the early looks, without tables beside other layers."),
    Measure("fastest_update_ratio_first", "ratio", "The same of the weight layer in which it is largest."),
    Measure(
        "table_update_ratio_first",
        "ratio",
        "`update_ratio` of the early looks in the table of embeddings in which it is largest; 0 where there is none.",
    ),
    Measure(
        "table_size_first",
        "norm",
        "Root mean square of the entries of the table of embeddings in which it is least, at the first look; at most "
        "1, and 1 where there is no table.",
    ),
    Measure(
        "gain_first",
        "ratio",
        "Geometric mean over the weight layers of `gain`, at the first look: near 1 signals keep their size from layer "
        "to layer, below they fade, above they grow.",
    ),
    Measure(
        "least_sensitivity",
        "log10",
        "`sensitivity` of the weight layer in which it is least, without tables beside other layers; far below 0 a "
        "layer has nothing to say in the loss.",
    ),
    Measure("median_snr", "ratio", "Signal-to-noise ratio of the gradient over time: median weight layer."),
    Measure("median_cosine", "cosine", "Of the gradients of two steps in a row: median weight layer, recent looks."),
    Measure(
        "dead_units", "share", "Dead units among all whose activation or gradient was seen, in all layers together."
    ),
    Measure("dead_units_max", "share", "Dead units of the layer that has the largest share of them."),
    Measure("dead_units_seen", "share", "The same of layers whose activations were seen, not their gradients alone."),
    Measure(
        "steady_units",
        "share",
        "Of the layer with the most dead units, those of the others that put something out for every example; not "
        "known where no output was seen. Near 1 the layer is given nearly the same for every example: its units are "
        "on for all or for none.",
    ),
    Measure("mean_saturation", "share", "Saturated outputs of tanh and sigmoid modules, mean of the layers."),
    Measure("nonfinite_tensors", "count", "Tensors that hold a NaN or an infinity now."),
    Measure("nonfinite_looks", "share", "Share of looks at which some gradient was not finite."),
    Measure(
        "dead_layers",
        "count",
        "Layers whose activations were seen, and half of whose units or more are dead; 0 if none.",
    ),
    Measure("left_out", "count", "Tensors that require a gradient and are not in the optimizer."),
    Measure("left_out_entries", "share", "The same, as a share of all entries."),
    Measure("left_unused", "count", "Of these, tensors that had a gradient at a look and that nothing moved."),
    Measure("frozen_entries", "share", "Share of all entries that require no gradient."),
    Measure(
        "frozen_judged",
        "count",
        "Weights that never asked for a gradient and of which it can be told whether they are as initialisers draw "
        "them; tables of embeddings apart.",
    ),
    Measure("frozen_drawn", "count", "Of these, weights that are, and that nothing moved."),
    Measure("frozen_last_drawn", "flag", "1 where one of those is the weight that is used last, else 0."),
    Measure(
        "gradientless",
        "count",
        "Tensors that ask for a gradient, that no optimizer given leaves out, and that took none at any look.",
    ),
    Measure(
        "gradientless_used",
        "count",
        "Of these, tensors of modules that were seen to be used, and that are not counted in `cut_off_tensors`.",
    ),
    Measure("gradientless_share", "share", "The same, as a share of the tensors that ask and are not left out."),
    Measure(
        "cut_off_tensors",
        "count",
        "Of these, tensors used before the first that a gradient reaches, where that one is given something else than "
        "they are, which asks for no gradient, and all behind it are reached.",
    ),
    Measure("cut_proven", "flag", "1 where what that one is given was seen to be put out by one of them."),
    Measure("stopped_tensors", "count", "Tensors that took gradients before the recent looks and at none of them."),
    Measure("stopped_share", "share", "The same, as a share of the tensors that ask and are not left out."),
    Measure(
        "frozen_midway",
        "count",
        "Tensors that took gradients before the recent looks, and that ask for none now.",
    ),
    Measure(
        "frozen_for", "share", "Steps since the last gradient of the median one of these, over all steps; 0 without."
    ),
    Measure(
        "trained_before",
        "share",
        "Tensors that did not look as initialisers leave them at the first look, among those of which it can be told.",
    ),
    Measure("optimizer_steps", "count", "Steps of the optimizers given, whether or not `step()` was called."),
    Measure("optimizer_adaptive", "flag", "1 where the optimizer divides each step by the size of past gradients."),
    Measure("optimizer_anneals", "flag", "1 where the optimizer's steps shrink by themselves (Adagrad), else 0."),
    Measure(
        "optimizer_starts_fast",
        "flag",
        "1 where an optimizer's first steps are several times as long as later ones for no reason but that its mean of "
        "squares begins at 0 (RMSprop), else 0.",
    ),
    Measure("quasi_newton", "count", "Optimizers given that are LBFGS, whose steps are long on purpose."),
    Measure("optimizers_apart", "count", "Optimizers known that hold tensors which no other one holds."),
    Measure("momentum", "ratio", "Momentum of the optimizer, or its first beta."),
    Measure("weight_decay", "rate", "Largest weight decay of a parameter group."),
    Measure(
        "decay_pull",
        "share",
        "Part of weight decay in what moves a weight: of a decoupled decay its share of an update, else decay times "
        "weight over that plus the gradient. Median weight layer, recent looks.",
    ),
    Measure("decay_pull_first", "share", "The same of the early looks."),
    Measure(
        "moved_unseen", "flag", "1 where weights were written to since tracking began, and no optimizer given stepped."
    ),
    Measure("gradient_looks", "count", "Looks at which some tensor had a gradient other than zero."),
    Measure(
        "gradients_arrived",
        "count",
        "Backward passes that were seen to bring a gradient other than zero, as long as no look had found one.",
    ),
    Measure("gradients_zero", "count", "Backward passes seen in that time whose gradient was zero in every entry."),
    Measure("clearing_checks", "count", "Steps of which it is known whether gradients were cleared before them."),
    Measure("uncleared_steps", "count", "Steps seen whose gradient still held the one of the step before."),
    Measure("uncleared_share", "share", "The same, as a share of `clearing_checks`."),
    *flow_passes.PASSES,
    *flow_passes.MODES,
    *flow_passes.EVALUATION,
    *flow_passes.CALLS,
    *flow_passes.PADDED,
    *flow_passes.ENDS,
    *flow_passes.SOFTMAXES,
    *flow_passes.MASKS,
    *flow_passes.POSITIONS,
    *flow_passes.BATCH_ROWS,
    *flow_passes.COLUMNS,
    *flow_passes.UNREGISTERED,
    *flow_passes.OUTSIDE,
    *flow_passes.HALVES,
    *flow_passes.ZEROS,
    Measure(
        "output_spread",
        "ratio",
        "Largest deviation of any of the model's outputs over a batch, over the root mean square of the outputs: "
        "largest of the recent looks.",
    ),
    Measure(
        "output_kept",
        "ratio",
        "That deviation over the one at the first looks, neither of them over the outputs' size.",
    ),
    Measure("input_normalised", "flag", "1 where the layer used first normalises, or is a table of embeddings."),
    *flow_course.LOSSES,
    Measure(
        "input_shift",
        "ratio",
        "Largest |mean| of an input feature, in its standard deviations; constant ones left out.",
    ),
    Measure("input_scale_ratio", "ratio", "Largest standard deviation of an input feature over the smallest not zero."),
    Measure("input_deviation", "norm", "Median standard deviation of the input features that are not constant."),
    Measure("input_constant_share", "share", "Share of input features that have a single value."),
    Measure(
        "input_size",
        "norm",
        "Root mean square of the input values; 1 of standardised ones. Columns of zeros and few ones are left out, as "
        "of a category: they are meant to be small.",
    ),
    Measure("input_size_max", "norm", "The same of the feature in which it is largest."),
    Measure("inputs_shown", "flag", "1 where inputs were given to `observe_inputs`, else 0."),
    Measure(
        "layer_input_size",
        "norm",
        "Root mean square of what the layer used first (of `torch.nn`) was given in the first pass seen.",
    ),
    Measure("layer_input_seen", "flag", "1 where that was seen, else 0."),
    Measure("input_nonfinite_share", "share", "Share of input values that are NaN or infinite."),
    Measure("lr", "rate", "Learning rate now: median of the tensors."),
    Measure("lr_first", "rate", "The same when tracking began."),
    Measure("lr_ratio", "ratio", "`lr` over the largest seen: 1 where no scheduler lowered it."),
    Measure(
        "head_to_trained_rate",
        "ratio",
        "Learning rate of the last weight layer over the median one of weights that had been trained; known where it "
        "was as initialisers draw it at the first look, and others were not.",
    ),
    Measure("lr_share_least", "ratio", "Least learning rate of a weight layer's group over that of the fastest group."),
    *flow_course.RATES,
    *flow_course.REWRITES,
    *flow_course.PLACES,
    *(measure for measure in training.MEASURES if measure.name in _COURSE),
    *flow_course.VALIDATION,
    Measure("train_last", "loss", "Mean training loss of the last epoch, as told to `end_epoch`."),
    Measure(
        "train_fall", "ratio", "Fall of the training loss from the last epoch but one to the last, over the former."
    ),
    Measure(
        "depth",
        "order",
        "Place in the network, from 0: order of first use where it was seen, else of definition.",
        True,
    ),
    Measure("entries", "count", "Numbers in the tensor.", True),
    Measure("is_weight", "flag", "1 with two dimensions or more, else 0 (biases, scales of normalisation).", True),
    Measure("weight_norm", "norm", "Euclidean norm of the tensor now.", True),
    Measure("weight_mean", "weight", "Mean of its entries now.", True),
    Measure("weight_deviation", "weight", "Standard deviation of its entries now, 0 for a single one.", True),
    Measure("weight_range", "weight", "Largest entry less the smallest, now.", True),
    Measure("gradient_norm", "norm", "Norm of the gradient as the optimizer used it, mean of the recent looks.", True),
    Measure("gradient_norm_first", "norm", "The same of the early looks.", True),
    Measure(
        "gradient_relative",
        "ratio",
        "Root mean square of the gradient's entries over that of the median weight layer, recent looks; of tables "
        "beside other layers it is not known, as a batch reaches few of their rows.",
        True,
    ),
    Measure("velocity", "norm", "Length of the update of one step, mean of the recent looks.", True),
    Measure(
        "acceleration", "ratio", "Growth of the velocity in a step, over its mean: slope over the recent looks.", True
    ),
    Measure("update_ratio", "ratio", "Velocity over the norm of the tensor, mean of the recent looks.", True),
    Measure("update_relative", "ratio", "`update_ratio` over that of the median weight layer.", True),
    Measure("update_ratio_first", "ratio", "`update_ratio` of the early looks.", True),
    Measure("update_lag", "ratio", "`update_ratio_first` over that of the fastest weight layer.", True),
    Measure(
        "gain", "ratio", "Root mean square of a weight's entries times the root of its fan-in, at the first look.", True
    ),
    Measure(
        "sensitivity",
        "ratio",
        "Norm of the gradient times norm of the weight over the loss, at the first look: the share by which the loss "
        "changes, at most, for a small share of the weight.",
        True,
    ),
    Measure(
        "snr",
        "ratio",
        "Squared mean of the gradient over its variance, across recent steps (not across entries), bias corrected.",
        True,
    ),
    Measure("gradient_cosine", "cosine", "Of the gradients of two steps in a row, mean of the recent looks.", True),
    Measure(
        "dead_share",
        "share",
        "Units whose activation was zero for every example of the recent looks (ReLU modules), or whose gradient was.",
        True,
    ),
    Measure("saturation", "share", "Outputs of the tanh or sigmoid module behind it that are near their bounds.", True),
    Measure("nonfinite_weights", "count", "Entries that are NaN or infinite now.", True),
    Measure("nonfinite_gradients", "share", "Looks at which its gradient was not finite.", True),
    Measure("requires_grad", "flag", "1 where it asks for a gradient.", True),
    Measure("in_optimizer", "flag", "1 where the optimizer holds it; NaN without an optimizer.", True),
    Measure("had_gradient", "flag", "1 where its gradient was ever other than zero at a look.", True),
    Measure("gradient_tensor", "flag", "1 where it had a gradient at a look, be it zero.", True),
    Measure("last_gradient", "count", "Step of the last look at which its gradient was other than zero.", True),
    Measure("stopped", "flag", "1 where that was before the recent looks, of which there are enough.", True),
    Measure("cut_off", "flag", "1 where it comes before a place where the gradient seems to be stopped.", True),
    Measure(
        "used",
        "flag",
        "1 where its module was used in a pass with gradients, .5 where without them within one, 0 where neither.",
        True,
    ),
    Measure(
        "fresh",
        "flag",
        "1 where it looked as initialisers leave it at the first look, 0 where it did not; NaN of biases.",
        True,
    ),
    Measure("dead_seen", "flag", "1 where `dead_share` rests on activations, 0 where on gradients.", True),
    Measure("nonfinite_first", "flag", "1 where its gradient was among the first that were not finite.", True),
    Measure("moved", "flag", "1 where it changed in a step that was looked at, or between two looks.", True),
    Measure("lr_multiplier", "ratio", "Learning rate of its parameter group over `lr`.", True),
    Measure("lr_share", "ratio", "Learning rate of its parameter group over that of the fastest group.", True),
)

INPUTS = tuple(
    measure.name for measure in MEASURES if measure.name.startswith("input_") and measure.name != "input_normalised"
)
TOLD = (
    *("steps", "looks", "skipped_steps", "tensors", "weight_layers", "optimizer_steps"),
    *("epochs", "losses", "moved_unseen"),
    *(m.name for m in MEASURES if m.name.startswith(("loss_", "losses_", "val_", "train_", "input_"))),
)
"""Names of measures that do not rest on sampled steps."""
SEEN = tuple(measure.name for measure in MEASURES if not measure.per_row and measure.name not in TOLD)
"""Names of measures that rest on sampled steps: not known where the tracker saw none."""
ROW_MEASURES = [measure.name for measure in MEASURES if measure.per_row]


def early(steps: ArrayLike) -> BoolArray:
    """Flags of the sampled steps in the first tenth of the run; at least the first 8.

    >>> early([1, 2, 50, 100]).tolist()
    [True, True, True, True]
    """
    seen = np.asarray(steps)
    if not len(seen):
        return np.zeros(0, dtype=bool)
    chosen: BoolArray = seen <= seen[-1] * _EARLY
    chosen[:_FEWEST] = True
    return chosen


def recent(steps: ArrayLike) -> BoolArray:
    """Flags of the sampled steps in the last fifth of the run; at least the last 8."""
    seen = np.asarray(steps)
    if not len(seen):
        return np.zeros(0, dtype=bool)
    chosen: BoolArray = seen > seen[-1] * (1 - _RECENT)
    chosen[-_FEWEST:] = True
    return chosen


def mean_of(values: FloatArray) -> FloatArray:
    """Mean of the finite values over the sampled steps (first axis); NaN where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    return np.where(count > 0, np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def median_of(values: ArrayLike) -> float:
    """Median of the finite values, in their unit; NaN where there are none."""
    seen = np.asarray(values, dtype=float)
    seen = seen[np.isfinite(seen)]
    return float(np.median(seen)) if len(seen) else float("nan")


def whole_norm(norms: FloatArray) -> FloatArray:
    """Norm of all tensors together at each sampled step, shape (looks,); unknown (NaN) tensors are left out, infinite
    ones count.

    >>> whole_norm(np.array([[3.0, 4.0], [np.nan, 1.0]])).tolist()
    [5.0, 1.0]
    """
    known = ~np.isnan(norms)
    total = np.sqrt(np.where(known, norms, 0.0).astype(float) ** 2 @ np.ones(norms.shape[1]))
    return np.where(known.any(axis=1), total, np.nan)


def spike(norms: FloatArray) -> tuple[float, float]:
    """Largest norm of any sampled step, and its ratio to the median; `norms` has shape (looks,)."""
    seen = norms[~np.isnan(norms)]
    if not len(seen):
        return float("nan"), float("nan")
    peak = float(seen.max())
    return peak, ratio(peak, median_of(seen))


def depth_profile(rms: FloatArray) -> tuple[float, float, float]:
    """Change of the gradient's size along the layers, in powers of ten.

    Args:
        rms: root mean square of the gradient's entries, one a weight layer in order of depth, shape (layers,).

    Returns:
        log10 of the first quarter's median (of at least one layer) over the last quarter's; of the largest over the
        median; of the median over the smallest. Infinite where a layer's gradient is zero; NaN for
        less than two layers.
    """
    known = rms[~np.isnan(rms)]
    if len(known) < 2:
        return (float("nan"),) * 3
    ends = max(1, len(known) // _END)
    middle = float(np.median(known))
    return (
        log_ratio(float(np.median(known[:ends])), float(np.median(known[-ends:]))),
        log_ratio(float(known.max()), middle),
        log_ratio(middle, float(known.min())),
    )


def signal_to_noise(mean_square: ArrayLike, square_of_mean: ArrayLike, looks: ArrayLike) -> FloatArray:
    """Signal to noise, ||E g||^2 over the variance E||g - E g||^2, of gradients at several steps, without the bias of
    few steps.

    The mean of n gradients has a squared norm that exceeds ||E g||^2 by a 1/n of the variance; that is taken off
    (McCandlish et al. 2018, An Empirical Model of Large-Batch Training, eq. 2.8 and appendix A.1: the inverse is the
    simple noise scale in batches). A ratio over the entries of one gradient, as some tools take it, is refused: it says
    how unequal the entries are, not how sure the direction is.

    Args:
        mean_square: mean of ||g||^2 over the sampled steps, shape (tensors,).
        square_of_mean: ||mean of g||^2.
        looks: gradients seen.

    Returns:
        Shape (tensors,), 0 or more; NaN with less than two gradients, or where all gradients were zero.

    >>> signal_to_noise([5.0], [4.0], [2]).tolist()
    [1.5]
    """
    square, mean, n = (np.asarray(values, dtype=float) for values in (mean_square, square_of_mean, looks))
    with np.errstate(all="ignore"):
        variance = (square - mean) * n / (n - 1)
        signal = np.maximum(mean - variance / n, 0.0)
        # A variance of 0 that rounding has lifted is no noise.
        found = signal / np.maximum(variance, 1e-12 * square)
    return np.where(n >= 2, found, np.nan)


def acceleration(steps: ArrayLike, velocity: FloatArray) -> FloatArray:
    """Slope of the velocity over the steps (least squares), over its mean: its relative growth in one step.

    Args:
        steps: numbers of the sampled steps, shape (looks,).
        velocity: shape (looks, tensors).

    Returns:
        Shape (tensors,); NaN with less than three steps, or for a tensor that never moved.
    """
    count, times = velocity.shape[1], np.asarray(steps, dtype=float)
    found = np.full(count, np.nan)
    for i in range(count):
        known = np.isfinite(velocity[:, i])
        speed, at = velocity[known, i].astype(float), times[known]
        if len(speed) >= 3 and speed.mean() > 0:
            found[i] = np.polyfit(at - at.mean(), speed, 1)[0] / speed.mean()
    return found


def ratio(part: float, whole: float) -> float:
    """Ratio of `part` to `whole`; NaN where the whole is zero or not known."""
    return part / whole if whole > 0 else float("nan")


def ratios(parts: ArrayLike, wholes: ArrayLike) -> FloatArray:
    """`ratio` of each pair of entries."""
    above, below = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    with np.errstate(all="ignore"):
        return np.where(below > 0, above / below, np.nan)


def log_ratio(above: float, below: float) -> float:
    """Logarithm to base 10 of the ratio; infinite where one of them is zero, NaN where both are."""
    with np.errstate(all="ignore"):
        return float(np.log10(np.float64(above)) - np.log10(np.float64(below)))


def loss_trend(count: ArrayLike, mean: ArrayLike, square: ArrayLike, first: float) -> dict[str, float]:
    """The course of the losses of a run.

    Args:
        count: losses in each window, in order, shape (windows,).
        mean: their mean.
        square: sum of their squared distances from it.
        first: the very first loss.

    Returns:
        The `loss_` measures but `loss_nonfinite`, NaN where there are too few losses for one.
    """
    n, level, scatter = rebin(count, mean, square, BINS)
    unknown = float("nan")
    names = ("last", "best", "fall", "late_fall", "late_share", "rise", "peak_ratio", "ups", "oscillation", "scatter")
    trend = {"loss_first": first, **{f"loss_{name}": unknown for name in names}}
    if not len(level):
        return trend
    last, best = float(level[-1]), float(level.min())
    trend |= {
        "loss_last": last,
        "loss_best": best,
        "loss_fall": ratio(first - last, abs(first)),
        "loss_rise": ratio(last - best, abs(best)),
        "loss_peak_ratio": ratio(float(level.max()), first),
        "loss_scatter": _late_scatter(n, level, scatter),
    }
    if len(level) > 1:
        trend["loss_ups"] = float((np.diff(level) > 0).mean())
    if len(level) >= BINS:
        late, half = level[-BINS // 5 :], level[BINS // 2 :]
        # The line's fall from the middle of the first of these twentieths to that of the last.
        late_fall = -_line(late)[0] * (len(late) - 1)
        trend["loss_late_fall"] = ratio(late_fall, abs(float(late.mean())))
        share = ratio(late_fall, first - last)
        trend["loss_late_share"] = share if share <= 1 else unknown
        trend["loss_oscillation"] = ratio(_line(half)[1], abs(float(half.mean())))
    return trend


def rebin(count: ArrayLike, mean: ArrayLike, square: ArrayLike, bins: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Merge windows into at most `bins` of nearly equal numbers of windows; returns counts, means and squared
    distances.

    >>> [part.tolist() for part in rebin([1, 1, 2], [1.0, 3.0, 5.0], [0.0, 0.0, 2.0], 2)]
    [[1.0, 3.0], [1.0, 4.333333333333333], [0.0, 4.666666666666667]]
    """
    n, m, s = (np.asarray(values, dtype=float) for values in (count, mean, square))
    if not len(n):
        return n, m, s
    edges = np.unique(np.linspace(0, len(n), min(bins, len(n)) + 1).astype(int))
    total = np.add.reduceat(n, edges[:-1])
    level = np.add.reduceat(n * m, edges[:-1]) / total
    offset = m - np.repeat(level, np.diff(edges))
    return total, level, np.add.reduceat(s + n * offset**2, edges[:-1])


def _late_scatter(n: FloatArray, level: FloatArray, square: FloatArray) -> float:
    n, level, square = n[-BINS // 5 :], level[-BINS // 5 :], square[-BINS // 5 :]
    free = float((n - 1).sum())
    return ratio(float(np.sqrt(square.sum() / free)), abs(float(level.mean()))) if free > 0 else float("nan")


def _line(values: FloatArray) -> tuple[float, float]:
    """Slope of the least-squares line, and the deviation of the values from it (with two degrees of freedom taken
    off).
    """
    at = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(at @ values / (at @ at))
    left = values - values.mean() - slope * at
    return slope, float(np.sqrt(left @ left / max(len(values) - 2, 1)))


def input_figures(
    count: int, mean: ArrayLike, deviation: ArrayLike, nonfinite: int = 0, binary: ArrayLike | None = None
) -> dict[str, float]:
    """Measure how far the inputs are from zero mean and unit deviation.

    Args:
        count: rows seen.
        mean: of each feature, shape (features,).
        deviation: of each feature.
        nonfinite: values that are NaN or infinite, which `mean` and `deviation` leave out.
        binary: which features are 0 or 1 in every row; none if None.
    """
    middle, spread = np.asarray(mean, dtype=float), np.asarray(deviation, dtype=float)
    # A column of equal numbers has a deviation of what rounding leaves.
    moves = spread > 1e-6 * np.abs(middle)
    known = bool(moves.any())
    square = middle**2 + spread**2
    if binary is not None:
        few = np.asarray(binary, dtype=bool) & (middle < _FEW_ONES)
        square = square[~few] if (few & (middle > 0)).any() else square
    return {
        "input_shift": float((np.abs(middle[moves]) / spread[moves]).max()) if known else float("nan"),
        "input_scale_ratio": float(spread[moves].max() / spread[moves].min()) if known else float("nan"),
        "input_deviation": median_of(spread[moves]),
        "input_constant_share": float(1 - moves.mean()) if count > 1 else float("nan"),
        "input_size": float(np.sqrt(square.mean())) if len(square) else float("nan"),
        "input_size_max": float(np.sqrt(square.max())) if len(square) else float("nan"),
        "input_nonfinite_share": nonfinite / (count * len(middle)),
    }
