"""Evaluations of a booster by round, and the columns that bring the gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flowgrad.html.figures import Heat, Lines, Mark, Series, thinned

if TYPE_CHECKING:
    import pandas as pd

CURVES, GAIN = ("set", "metric"), ("column",)
_MOST_ROUNDS = 200
_MOST_COLUMNS = 15


def evaluation_picture(table: pd.DataFrame, kept: int | None, title: str, files: tuple[str, ...]) -> Lines | None:
    """Draw the evaluation of each set by round, with the round that is kept.

    Args:
        table: `set`, `metric`, `round`, `value`; its first metric is drawn.
        kept: round that the model is kept up to; None where it is not known.
        title: what the booster is called.
        files: that the figures are in.
    """
    if not len(table):
        return None
    metric = str(table["metric"].iloc[0])
    held = table[table["metric"] == metric]
    series, marks = [], []
    for name, lines in held.groupby("set", sort=False):
        values = lines.set_index("round")["value"]
        shown = sorted({*thinned(list(values.index), _MOST_ROUNDS), *(one for one in values.index if one == kept)})
        series.append(Series(str(name), tuple(map(float, shown)), tuple(float(values[at]) for at in shown)))
        if kept is not None and kept in values.index and name != held["set"].iloc[0]:
            marks.append(Mark(float(kept), float(values[kept]), f"round {kept} is kept"))
    ends = "; ".join(f"{one.name} ends at {one.y[-1]:.4g}" for one in series)
    text = f"{metric} by round: {ends}. {f'Round {kept} is kept.' if kept else 'Which round is kept is not known.'}"
    return Lines(f"{title}: {metric} by round", text, files, "round", metric, tuple(series), tuple(marks))


def gain_picture(table: pd.DataFrame, title: str, files: tuple[str, ...]) -> Heat | None:
    """Draw which columns bring the gain, and when: the share of each window's gain.

    Args:
        table: `column`, `round` (last of a window), `gain`.
        title: what the booster is called.
        files: that the figures are in.
    """
    if not len(table):
        return None
    wide = table.pivot_table(index="column", columns="round", values="gain", sort=False, dropna=False)
    wide.index = wide.index.astype(str)
    ordered = wide.iloc[np.argsort(-wide.sum(axis=1).to_numpy(), kind="stable")].sort_index(axis=1)
    totals = ordered.sum()
    shares = ordered.div(totals.where(totals > 0), axis="columns").iloc[:_MOST_COLUMNS]
    most = ordered.index[0]
    share = float(ordered.loc[most].sum() / totals.sum()) if totals.sum() > 0 else float("nan")
    left = f"; {len(ordered) - len(shares)} further columns are left out" if len(shares) < len(ordered) else ""
    return Heat(
        f"{title}: which columns bring the gain, and when",
        f"Share of the gain of each window of rounds by column, the most gain first: {most} brings {share:.0%} of "
        f"all{left}.",
        files,
        "last round of the window",
        "column",
        "share of gain",
        tuple(map(str, shares.index)),
        tuple(f"{at:g}" for at in shares.columns),
        tuple(tuple(map(float, line)) for line in shares.to_numpy(dtype=float)),
    )
