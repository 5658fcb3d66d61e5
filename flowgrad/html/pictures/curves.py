"""Learning curves by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgrad.html.figures import WIDE, Lines, Series, finite, thinned

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("arm", "seed", "validation_loss")
"""Columns of the table, beside the last but one, which is named by its unit: `epoch` or `round`."""
NUMBERS = ("validation_loss",)
CONTROL_ARM = "aa"
_MOST_STEPS = 200


def loss_curve(table: pd.DataFrame, title: str, files: tuple[str, ...]) -> Lines | None:
    """Draw the training loss of one run.

    Args:
        table: `step`, `loss`: means of windows of equal length; `attrs["not_finite"]`: number of losses left out.
        title: what is trained.
        files: that the figures are in.
    """
    kept = thinned(range(len(table)), _MOST_STEPS)
    steps, losses = (tuple(map(float, table[name].iloc[kept])) for name in ("step", "loss"))
    known = finite(losses)
    if len(known) < 2:
        return None
    left = table.attrs.get("not_finite", 0)
    left_out = f" Of all losses, {left:,} were NaN or infinite, and are not drawn." if left else ""
    return Lines(
        f"{title}: training loss",
        f"Means of windows of the losses that were told, from {known[0]:.4g} to {known[-1]:.4g}; the lowest is "
        f"{min(known):.4g}.{left_out}",
        files,
        "finite losses, in order" if left else "loss, in order",
        "loss",
        (Series("training loss", steps, losses),),
        log_y=min(known) > 0 and max(known) > WIDE * min(known),
    )


def learning_curves(table: pd.DataFrame, file: str) -> Lines | None:
    """Draw validation loss by epoch or round, a line an arm: the mean over seeds, and a band from lowest to highest.
    The control is the baseline again, and is left out.
    """
    unit = next((str(name) for name in table.columns if name not in COLUMNS), "")
    if not unit:
        return None
    series, told = [], []
    for arm, lines in table[table["arm"] != CONTROL_ARM].groupby("arm", sort=False):
        by_step = lines.groupby(unit)["validation_loss"]
        means = by_step.agg(["mean", "min", "max"])
        means = means.iloc[:: -(-len(means) // _MOST_STEPS)]
        seeds = lines["seed"].nunique()
        series.append(
            Series(
                f"{arm} ({seeds} seed{'s' if seeds != 1 else ''})",
                tuple(map(float, means.index)),
                tuple(map(float, means["mean"])),
                tuple(map(float, means["min"])) if seeds > 1 else (),
                tuple(map(float, means["max"])) if seeds > 1 else (),
            )
        )
        known = finite(series[-1].y)
        told.append(f"{arm} ends at {known[-1]:.4g}, its lowest mean is {min(known):.4g}" if known else f"{arm}: none")
    if not series:
        return None
    known = [v for one in series for v in finite(one.y) if v > 0]
    return Lines(
        f"Learning curves by {unit}",
        f"Mean validation loss over seeds, with a band from the lowest to the highest: {'; '.join(told)}. A run that "
        "stopped early counts as long as it lasted.",
        (file,),
        unit,
        "validation loss",
        tuple(series),
        log_y=bool(known) and max(known) / min(known) > WIDE,
    )
