"""Pictures of a booster's training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flowgrad.drawing import as_written, new_figure

_NAME_LENGTH = 32
"""Longest name of a column, in letters, that is written out."""


class Best(NamedTuple):
    """The round that a booster is judged to be best in."""

    metric: str
    held: str
    """Evaluation set."""
    round: int
    value: float


def evaluation_figure(curves: Mapping[str, Mapping[str, Sequence[float]]], best: Best | None, title: str) -> Any:
    """Draw every metric by round, one panel each, a line for each evaluation set; the best round is marked.

    Args:
        curves: metric -> evaluation set -> one value a round.
        best: of the metric that is judged by; None: nothing is marked.
        title: above the picture.
    """
    figure = new_figure(7, 1 + 2.8 * len(curves))
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(len(curves), squeeze=False)[:, 0]
    for axes, (metric, by_set) in zip(panels, curves.items(), strict=True):
        lines = [axes.plot(np.arange(1, len(values) + 1), values)[0] for values in by_set.values()]
        names = list(by_set)
        if best is not None and best.metric == metric:
            axes.axvline(best.round, color="0.4", linewidth=0.8, linestyle=":")
            lines += axes.plot([best.round], [best.value], "o", color="0.2", markersize=5)
            names.append(f"best of {best.held}: {best.value:.5g} in round {best.round}")
        # Behind a thin space: a label that begins with `_` would be left out.
        for text in axes.legend(lines, [f"\u2009{name}" for name in names], frameon=False, fontsize=8).get_texts():
            as_written(text)
        as_written(axes.set_ylabel(metric))
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("round")
    return figure


def gain_figure(gain: pd.DataFrame, top: int, title: str) -> Any:
    """Draw which columns bring the gain, and when: the share of each window's gain by column as colours, the most gain
    first; above it, the gain of a round.

    Args:
        gain: a line a window, whose index is its last round; a column each. See `BoostingTracker.gain_by_window`.
        top: columns that have a line of their own; the rest stand together as the last.
        title: above the picture.
    """
    shares, totals, edges = gain_shares(gain, top)
    figure = new_figure(7.5, 2.6 + 0.24 * len(shares))
    figure.suptitle(title, fontsize=10)
    above, below = figure.subplots(2, sharex=True, height_ratios=[1.1, 0.4 + 0.24 * len(shares)])
    above.stairs(totals, edges, baseline=None)
    if (totals > 0).all():
        above.set_yscale("log")
    above.set_ylabel("gain a round", fontsize=8)
    above.grid(alpha=0.3)
    drawn = below.pcolormesh(edges, np.arange(len(shares) + 1), shares.to_numpy(), cmap="Blues", vmin=0)
    below.invert_yaxis()
    below.set_yticks(np.arange(len(shares)) + 0.5, labels=[_short(str(name)) for name in shares.index])
    for text in below.get_yticklabels():
        as_written(text)
    below.tick_params(axis="y", labelsize=7, length=0)
    below.set_xlabel("round")
    figure.colorbar(drawn, ax=below, label="share of the window's gain", pad=0.01)
    return figure


def gain_shares(gain: pd.DataFrame, top: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Compute the shares that `gain_figure` shows.

    Returns:
        A line a column (the `top` with most gain, then the others together, where there are any), a column a window:
        shares of the window's gain, 0 where it has none. Gain of a round in each window. Where each window begins, and
        the last ends; shape (windows + 1,).
    """
    ordered = gain.iloc[:, np.argsort(-gain.sum().to_numpy(), kind="stable")]
    rows = ordered.iloc[:, :top].T
    if ordered.shape[1] > top:
        others = ordered.iloc[:, top:].sum(axis=1).to_frame(f"{ordered.shape[1] - top} others").T
        rows = pd.concat([rows, others])
    edges = np.concatenate([[0], gain.index.to_numpy()]).astype(float)
    totals = gain.sum(axis=1).to_numpy()
    shares = rows.div(pd.Series(np.where(totals > 0, totals, 1), index=gain.index), axis="columns")
    return shares, totals / np.diff(edges), edges


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
