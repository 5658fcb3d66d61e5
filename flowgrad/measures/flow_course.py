"""Measures the course of a network's run over windows: the learning rate, the losses, the validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure

FloatArray = NDArray[np.float64]

DEAD, STRONG = 1e-3, 0.5
"""A rate is as good as none from this share of its peak down, and at work from that share up."""
_BINS = 20
_LEAST_WINDOWS = 8
_SIDE = (8, 4)
"""Number of windows of losses before and behind a place."""
_BEFORE = 8
"""Number of sampled steps before the first number that was not finite."""
_FEWEST_TURNS = 5
"""Number of validation losses from which it is said whether they swing."""
_LAST, _LEVEL, _OF_FIRST = 4, 5, 0.1
"""Losses that say how high the loss stood last, losses in a row whose median is a level, and the share of the first
loss below which no level counts: what trembles near zero has not grown."""

RATES = (
    Measure("lr_peak", "rate", "Largest learning rate of any parameter group at any look."),
    Measure("lr_rise", "ratio", "`lr_peak` over the largest rate at the first look; above 1 in a warm-up."),
    Measure(
        "lr_to_base",
        "ratio",
        "`lr_peak` over the rate that the scheduler works towards (`initial_lr` or `max_lr` of the groups); 1 without.",
    ),
    Measure("lr_changes", "share", "Share of looks at which the largest rate differed from the look before."),
    Measure(
        "lr_falls_within",
        "share",
        "Falls of the largest rate, from one sampled step to the next, that are seen to lie within an epoch, of all; "
        "not known without falls, or where epochs were not told or differ in length.",
    ),
    Measure(
        "lr_late_fall",
        "ratio",
        "Deepest fall of the largest rate within the last fifth of the steps, over the rate that it fell from: 1 where "
        "a schedule takes it to 0.",
    ),
    Measure(
        "lr_dead_share",
        "share",
        "Steps since the largest rate was last above a thousandth of its peak, over all steps.",
    ),
    Measure(
        "lr_strong_share", "share", "Steps until the largest rate was last above half of its peak, over all steps."
    ),
    Measure(
        "lr_strong_fall",
        "ratio",
        "Fall of the line through the later half of the losses until then, over their mean, less two of its standard "
        "errors; 0 where that is below 0.",
    ),
)
LOSSES = (
    Measure("losses", "count", "Losses told to `step()`."),
    Measure("loss_lowest", "loss", "Lowest finite loss of any step."),
    Measure("loss_floor", "loss", "What the loss cannot fall below, as told (`loss_at_least`)."),
    Measure("loss_floor_told", "flag", "1 where that was told."),
    Measure(
        "loss_flatness",
        "ratio",
        "Variance of the means of the twentieths of the run, but the first, over what single losses' scatter within "
        "them makes of it: near 1 where the loss is noise around one level.",
    ),
    Measure(
        "loss_even_fall",
        "ratio",
        "Fall from the mean of the first quarter of the run to that of the last, over the former's size.",
    ),
    Measure("nonfinite_step", "count", "Step of the first loss or looked-at gradient that was not finite."),
    Measure(
        "loss_growth_before",
        "ratio",
        "Mean of the last 4 losses before the first number that was not finite, over the lowest level of the losses "
        "before these (medians of 5 in a row), or over a tenth of the first loss where that is more.",
    ),
    Measure(
        "gradient_growth_before",
        "ratio",
        "Largest norm of the whole gradient at the 8 looks before that (the later half of them where there are less "
        "than 16), over the median of the looks before these.",
    ),
    Measure(
        "update_before",
        "ratio",
        "Largest update of a weight at the 8 looks before that, over its size or that of entries of one over the root "
        "of its fan-in, whichever is larger; infinite on overflow.",
    ),
)
REWRITES = (
    Measure(
        "rewrites",
        "count",
        "Steps seen of the optimizers given before which something else wrote to the weights, by PyTorch's count.",
    ),
    Measure("rewrite_share", "share", "The same, as a share of the steps of which it is known."),
    Measure(
        "rewrites_alike",
        "count",
        "Of these, those that put the very values there that the one before had, among the first 64 and where they are "
        "seldom.",
    ),
    Measure(
        "rewrite_rise",
        "ratio",
        "Mean rise of the loss over these places, from the 8 windows before to the 4 behind, over the level before.",
    ),
    Measure("rewrite_sure_rise", "ratio", "The same, less three of its standard errors."),
    Measure("between_checks", "count", "Pairs of steps in a row between which entries of the weights were compared."),
    Measure(
        "moved_between_share",
        "share",
        "Of these, those between which they moved by more than a twentieth of the step that followed.",
    ),
)
PLACES = (
    Measure("place_epochs", "epochs", "Epochs of one length whose losses were put side by side, in ten parts each."),
    Measure(
        "place_share",
        "share",
        "Share of the losses' variation within these epochs, less the line through each, that is alike in all of them: "
        "near 0 where every epoch has an order of its own. Corrected for what chance gives.",
    ),
    Measure(
        "place_size", "ratio", "Standard deviation of what is alike in them over the ten parts, over the loss's level."
    ),
)
VALIDATION = (
    Measure(
        "val_climb",
        "ratio",
        "Median validation loss of the last 3 epochs over the lowest median of 3 epochs in a row, less 1.",
        on_evaluation=True,
    ),
    Measure(
        "train_fall_since_best",
        "ratio",
        "Fall of the training loss since the epoch of the best validation loss, over its size then.",
        on_evaluation=True,
    ),
    Measure(
        "val_gain",
        "ratio",
        "Fall of the validation loss from the first epoch to the best one, over its size in the first.",
        on_evaluation=True,
    ),
    Measure(
        "val_lost",
        "ratio",
        "Rise behind `val_climb` over what the validation loss had fallen from the first epoch to that lowest median; "
        "infinite where it had not fallen.",
        on_evaluation=True,
    ),
    Measure(
        "val_gap_first",
        "ratio",
        "Validation loss of the first epoch over the training loss of it: below 1 where the two are alike, as training "
        "losses are taken before the epoch is learned.",
        on_evaluation=True,
    ),
    Measure(
        "val_gap_tail",
        "ratio",
        "Validation loss of the first epoch over the mean of the last 16 losses of its steps.",
        on_evaluation=True,
    ),
    Measure("val_gap_last", "ratio", "Validation loss of the last epoch over its training loss.", on_evaluation=True),
    Measure(
        "val_unsteadiness",
        "ratio",
        "Distance of the validation loss of an epoch from the middle between its neighbours': median over the epochs, "
        "over the median size of the loss. 0 before the fifth validation.",
        on_evaluation=True,
    ),
    Measure("train_whole_fall", "ratio", "Fall of the training loss from the first epoch to the last, over its size."),
    Measure("train_ups", "share", "Share of epochs whose training loss is above that of the one before."),
    Measure(
        "weights_rewritten",
        "flag",
        "1 where other weights stand there than after the last step, as when the best ones are restored, else 0.",
    ),
    Measure(
        "rewritten_alike",
        "flag",
        "1 where the weights of a run that nothing but its optimizer had written to were written to since the last "
        "step, with the very values that they had, else 0.",
    ),
)


def rate_course(
    steps: ArrayLike, rates: ArrayLike, count: ArrayLike, mean: ArrayLike, base: float, epoch: int = 0
) -> dict[str, float]:
    """Measure the course of the largest learning rate.

    Args:
        steps: numbers of the sampled steps, shape (looks,).
        rates: largest rate of any group at each, shape (looks,).
        count: losses in each window, in order, shape (windows,).
        mean: their mean.
        base: largest share that a rate reached of what its scheduler works towards.
        epoch: number of steps of each epoch; 0 where it is not known, or they differ.

    Returns:
        The measures in `RATES`.
    """
    found = dict.fromkeys((measure.name for measure in RATES), float("nan"))
    at, rate = np.asarray(steps, dtype=float), np.asarray(rates, dtype=float)
    at, rate = at[np.isfinite(rate)], rate[np.isfinite(rate)]
    if not len(rate) or not rate.max() > 0:
        return found
    peak, first = float(rate.max()), float(rate[0])
    whole = float(at[-1])
    strong = _last(at, rate >= STRONG * peak * (1 - 1e-9))
    return found | {
        "lr_peak": peak,
        "lr_rise": peak / first if first > 0 else float("inf"),
        "lr_to_base": base,
        "lr_changes": float((np.diff(rate) != 0).mean()) if len(rate) > 1 else 0.0,
        "lr_falls_within": falls_within(at, rate, epoch),
        "lr_dead_share": 1 - _last(at, rate > DEAD * peak) / whole,
        "lr_strong_share": strong / whole,
        "lr_strong_fall": _sure_fall(np.asarray(count, float), np.asarray(mean, float), strong),
    }


def late_rate_fall(steps: ArrayLike, rates: ArrayLike) -> float:
    """Deepest fall of a learning rate within the last fifth of the steps, over the rate that it fell from.

    Args:
        steps: numbers of the sampled steps, shape (looks,).
        rates: rate at each, shape (looks,).

    Returns:
        A share; NaN of less than two looks.

    >>> late_rate_fall([10, 20, 90, 100], [0.1, 0.1, 0.1, 0.05])
    0.5
    """
    at, rate = np.asarray(steps, float), np.asarray(rates, float)
    late = rate[min(int(np.searchsorted(at, 0.8 * at[-1])), len(at) - 2) :] if len(at) > 1 else rate[:0]
    late = late[np.isfinite(late)]
    highest = np.maximum.accumulate(late)
    return float(((highest - late) / highest).max()) if len(late) and highest[0] > 0 else float("nan")


def falls_within(steps: ArrayLike, rates: ArrayLike, length: int) -> float:
    """Share of the falls of a learning rate that are seen to lie within an epoch; 0 where it is lowered once an epoch.

    Args:
        steps: numbers of the sampled steps, from 1, shape (looks,).
        rates: rate at each, shape (looks,).
        length: number of steps of an epoch; 0 where it is not known.

    Returns:
        A share; NaN without falls, or where the length is not known. A fall between sampled steps of two epochs may lie
        within one of them all the same.

    >>> falls_within([1, 4, 7, 10, 11, 14], [1, 1, 1, 1, 0.1, 0.1], 10)
    0.0
    >>> falls_within([1, 4, 7, 10, 11, 14], [1, 1, 0.5, 0.5, 0.3, 0.3], 10)
    0.5
    """
    at, rate = np.asarray(steps, dtype=float), np.asarray(rates, dtype=float)
    falls = np.diff(rate) < 0
    if length < 1 or not falls.any():
        return float("nan")
    return float((np.diff((at - 1) // length) == 0)[falls].mean())


def _last(at: FloatArray, chosen: NDArray[np.bool_]) -> float:
    return float(at[chosen][-1]) if chosen.any() else 0.0


def _sure_fall(count: FloatArray, mean: FloatArray, until: float) -> float:
    """Fall of the line through the later half of the windows up to this loss, less two standard errors, as a share of
    the mean; NaN of too few windows.
    """
    ends = np.cumsum(count)
    level = mean[(ends <= until) & (ends > until / 2)]
    if len(level) < _LEAST_WINDOWS:
        return float("nan")
    at = np.arange(len(level)) - (len(level) - 1) / 2
    spread = float(at @ at)
    slope = float(at @ level) / spread
    left = level - level.mean() - slope * at
    error = float(np.sqrt(left @ left / (len(level) - 2) / spread))
    size = abs(float(level.mean()))
    return max(-slope - 2 * error, 0.0) * (len(level) - 1) / size if size > 0 else float("nan")


def loss_course(count: ArrayLike, mean: ArrayLike, square: ArrayLike) -> dict[str, float]:
    """Say whether the losses are noise around one level.

    Args:
        count: losses in each window, in order, shape (windows,).
        mean: their mean.
        square: sum of their squared distances from it.

    Returns:
        `loss_flatness` and `loss_even_fall`; NaN with less than 5 losses a twentieth.
    """
    from flowgrad.measures.flow import rebin

    n, level, scatter = rebin(count, mean, square, _BINS)
    unknown = {"loss_flatness": float("nan"), "loss_even_fall": float("nan")}
    if len(n) < _BINS or n.min() < 5:
        return unknown
    n, level, scatter = n[1:], level[1:], scatter[1:]
    within = float(scatter.sum() / (n - 1).sum())
    middle = float((n @ level) / n.sum())
    between = float((n * (level - middle) ** 2).sum() / (len(n) - 1))
    quarter = _BINS // 4
    start, end = float(level[:quarter].mean()), float(level[-quarter:].mean())
    return {
        "loss_flatness": between / within if within > 0 else (float("inf") if between > 0 else 1.0),
        "loss_even_fall": (start - end) / abs(start) if start else float("nan"),
    }


def rise_at(count: ArrayLike, mean: ArrayLike, places: Sequence[int]) -> dict[str, float]:
    """Measure how the loss rises at some places, on the average of them.

    Args:
        count: losses in each window, in order, shape (windows,).
        mean: their mean.
        places: numbers of losses, from 1, with which something new begins.

    Returns:
        `rewrite_rise` and `rewrite_sure_rise`; NaN where less than 2 places have windows on both sides.

    >>> found = rise_at([1] * 40, [2.0, 1.9, 2.1, 2.0, 1.9] * 2 + [4.0, 3.9, 4.1, 4.0, 3.9] * 6, [11, 200])
    >>> found["rewrite_rise"]
    nan
    """
    n, level = np.asarray(count, float), np.asarray(mean, float)
    ends = np.cumsum(n)
    rises, levels, errors = [], [], []
    for place in places:
        start = int(np.searchsorted(ends, place))
        before = level[max(start - _SIDE[0], 0) : start]
        # A window that holds losses of both sides says little of either.
        start += start < len(ends) and ends[start] - n[start] + 1 < place
        after = level[start : start + _SIDE[1]]
        if len(before) < _SIDE[0] or len(after) < _SIDE[1]:
            continue
        rises.append(float(after.mean() - before.mean()))
        levels.append(float(before.mean()))
        # Differences of neighbours leave out what the loss falls by on its way.
        noise = float(np.square(np.diff(before)).mean()) / 2
        errors.append(noise * (1 / len(before) + 1 / len(after)))
    size = abs(float(np.mean(levels))) if levels else 0.0
    if len(rises) < 2 or not size > 0:
        return {"rewrite_rise": float("nan"), "rewrite_sure_rise": float("nan")}
    rise, error = float(np.mean(rises)), float(np.sqrt(np.sum(errors)) / len(rises))
    return {"rewrite_rise": rise / size, "rewrite_sure_rise": (rise - 3 * error) / size}


def before_nonfinite(
    losses: Sequence[float], first: float, norms: ArrayLike, updates: ArrayLike, broken: int
) -> dict[str, float]:
    """Measure how far numbers had grown before the first that was not finite.

    A healthy loss that falls fast is far above its median at first, and so are its gradients: only the last values,
    over those before them, show growth.

    Args:
        losses: finite ones before it in order, or means of stretches of them.
        first: the first loss of the run.
        norms: of the whole gradient at each sampled step, shape (looks,).
        updates: largest update of a weight over its size at each sampled step, shape (looks,).
        broken: index of the first sampled step with a number that is not finite; the number of steps if there is none.

    Returns:
        `loss_growth_before`, `gradient_growth_before` and `update_before`; NaN where too little was seen before.

    >>> found = before_nonfinite([9.0, 4.0, 2.0, 1.0, 1.0, 1.0], 9.0, [5.0, 3.0, 1.0, 1.0], [0.1, 0.2], 4)
    >>> found["loss_growth_before"] < 1, found["gradient_growth_before"], found["update_before"]
    (True, 0.25, 0.2)
    """
    norm, update = np.asarray(norms, float)[:broken], np.asarray(updates, float)[:broken]
    known = norm[np.isfinite(norm)]
    update = update[~np.isnan(update)][-_BEFORE:]
    late = min(_BEFORE, len(known) // 2)
    growth = float("nan")
    if late and (middle := float(np.median(known[:-late]))) > 0:
        growth = float(known[-late:].max()) / middle
    return {
        "loss_growth_before": _loss_growth(np.asarray(losses, float), first),
        "gradient_growth_before": growth,
        "update_before": float(update.max()) if len(update) else float("nan"),
    }


def _loss_growth(losses: FloatArray, first: float) -> float:
    """Ratio of the last losses' mean to the lowest level before; NaN with less than two."""
    late = min(_LAST, len(losses) // 2)
    if not late:
        return float("nan")
    before, wide = losses[:-late], min(_LEVEL, len(losses) - late)
    levels = np.median(np.lib.stride_tricks.sliding_window_view(before, wide), axis=1)
    lowest = max(abs(float(levels.min())), _OF_FIRST * abs(first))
    with np.errstate(over="ignore"):
        return float(losses[-late:].mean()) / lowest if lowest > 0 else float("nan")


def places_of(epochs: int, total: ArrayLike, square: ArrayLike) -> dict[str, float]:
    """Say whether epochs have one course.

    Args:
        epochs: how many there are.
        total: sums over them of the loss of each part of an epoch, less the line through its parts, over its level,
            shape (parts,).
        square: sums of the squares of the same.

    Returns:
        `PLACES`; NaN with less than 4 epochs.

    >>> alike = places_of(5, [5.0, -5.0] * 5, [5.0] * 10)
    >>> alike["place_share"], alike["place_size"]
    (1.0, 1.0)
    >>> places_of(5, [0.0] * 10, [5.0] * 10)["place_share"]
    0.0
    """
    found = {"place_epochs": float(epochs), "place_share": float("nan"), "place_size": float("nan")}
    if epochs < 4:
        return found
    mean, whole = np.asarray(total, float) / epochs, np.asarray(square, float)
    alike, everything = float(mean @ mean) * epochs, float(whole.sum())
    if not everything > 0:
        return found | {"place_share": 0.0, "place_size": 0.0}
    # Unrelated profiles share one in `epochs` parts of the variation by chance.
    share = (alike / everything - 1 / epochs) / (1 - 1 / epochs)
    return found | {"place_share": max(share, 0.0), "place_size": float(np.sqrt((mean**2).mean()))}


def overfitting(
    validation: Sequence[float], train: Sequence[float], first_tail: float = float("nan")
) -> dict[str, float]:
    """Say whether the validation loss climbs while the training loss falls; NaN with less than 6 epochs of both.

    Args:
        validation: loss after each epoch.
        train: mean loss of each epoch.
        first_tail: mean of the last losses of the first epoch's steps; NaN where it is not known.

    >>> found = overfitting([3, 2, 2, 2, 3, 4, 4], [3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    >>> found["val_climb"], found["train_fall_since_best"]
    (1.0, 0.5)
    """
    found = dict.fromkeys((measure.name for measure in VALIDATION if measure.unit != "flag"), float("nan"))
    val, own = np.asarray(validation, float), np.asarray(train, float)
    found["val_unsteadiness"] = unsteadiness(validation)
    if len(val) < 6 or len(own) != len(val) or not np.isfinite(val).all():
        return found
    middles = np.median(np.lib.stride_tricks.sliding_window_view(val, 3), axis=1)
    best = float(middles.min())
    found["val_climb"] = (float(middles[-1]) - best) / abs(best) if best else float("nan")
    then = float(own[int(val.argmin())])
    if np.isfinite(own[-1]) and then:
        found["train_fall_since_best"] = float((then - own[-1]) / abs(then))
    known = own[np.isfinite(own)]
    if len(known) > 1 and known[0]:
        found["train_whole_fall"] = float((known[0] - known[-1]) / abs(known[0]))
        found["train_ups"] = float((np.diff(known) > 0).mean())
    gained = float(val[0]) - best
    found["val_gain"] = max(float(val[0] - val.min()), 0.0) / abs(float(val[0])) if val[0] else float("nan")
    found["val_lost"] = (float(middles[-1]) - best) / gained if gained > 0 else float("inf")
    found["val_gap_first"] = float(val[0] / own[0]) if own[0] > 0 else float("nan")
    found["val_gap_tail"] = float(val[0] / first_tail) if first_tail > 0 else float("nan")
    found["val_gap_last"] = float(val[-1] / own[-1]) if own[-1] > 0 else float("nan")
    return found


def unsteadiness(losses: Sequence[float]) -> float:
    """Ratio of the median distance of a loss from the middle between its neighbours to the median size of the losses.
    A loss that falls or climbs evenly has none. It is 0 of less than five losses, and of those not finite or 0.

    >>> unsteadiness([5.0, 4.0, 3.0, 2.0, 1.0]), unsteadiness([1.0, 2.0, 1.0, 2.0, 1.0])
    (0.0, 1.0)
    """
    values = np.asarray(losses, float)
    size = float(np.median(np.abs(values))) if len(values) >= _FEWEST_TURNS else 0.0
    if not 0 < size < np.inf or not np.isfinite(values).all():
        return 0.0
    return float(np.median(np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2)) / size)
