"""Draws pictures of a network's training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from flowgrad.drawing import as_written, new_figure

_NAME_LENGTH = 32
_MOST = 60
"""Number of layers that are drawn; of deeper networks evenly spaced ones."""
_HEALTH = ("gradient_relative", "update_ratio", "snr", "dead_share", "saturation")


def velocity_figure(ratios: pd.DataFrame, title: str) -> Any:
    """Draw the update-to-weight ratio of each layer over the steps, as colours (log10).

    Args:
        ratios: a line a sampled step, whose index is its step; a column a layer, in order of depth.
        title: above the picture.
    """
    layers = _drawn(list(ratios.columns))
    values = ratios[layers].to_numpy().T
    figure = new_figure(7.5, 1.6 + 0.24 * len(layers))
    as_written(figure.suptitle(title, fontsize=10))
    axes = figure.subplots()
    with np.errstate(all="ignore"):
        shown = np.log10(values)
    shown = np.ma.masked_invalid(shown)
    steps = ratios.index.to_numpy(dtype=float)
    edges = np.concatenate([steps[:1] - 1, steps])
    drawn = axes.pcolormesh(edges, np.arange(len(layers) + 1), shown, cmap="viridis")
    axes.set_facecolor("0.85")
    _name_layers(axes, layers)
    axes.set_xlabel("step (grey: no movement, or not known)")
    figure.colorbar(drawn, ax=axes, label="log10 of update / weight", pad=0.01)
    return figure


def gradient_flow_figure(rms: pd.DataFrame, title: str) -> Any:
    """Draw the root mean square of the gradient's entries by depth, in the first, middle and last third of the sampled
    steps.

    Args:
        rms: a line a sampled step, a column a layer in order of depth.
        title: above the picture.
    """
    layers = _drawn(list(rms.columns))
    figure = new_figure(7, 4.2)
    as_written(figure.suptitle(title, fontsize=10))
    axes = figure.subplots()
    for label, part in zip(("early", "mid", "late"), np.array_split(np.arange(len(rms)), 3), strict=True):
        if len(part):
            level = rms[layers].iloc[part].median().to_numpy()
            axes.plot(np.arange(len(layers)), np.where(level > 0, level, np.nan), "o-", markersize=3, label=label)
    if any(np.nanmax(line.get_ydata(), initial=0) > 0 for line in axes.get_lines()):
        axes.set_yscale("log")
    axes.set_xticks(
        np.arange(len(layers)), labels=[_short(name) for name in layers], rotation=60, ha="right", fontsize=7
    )
    for text in axes.get_xticklabels():
        as_written(text)
    axes.set_ylabel("gradient, root mean square")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def health_figure(rows: pd.DataFrame, title: str) -> Any:
    """Draw a panel for each figure, with a bar for each layer.

    Args:
        rows: of the row table, in order of depth.
        title: above the picture.
    """
    layers = _drawn([str(name) for name in rows.index])
    known = [name for name in _HEALTH if rows[name].notna().any()]
    figure = new_figure(2 + 1.7 * max(len(known), 1), 1.4 + 0.24 * len(layers))
    as_written(figure.suptitle(title, fontsize=10))
    panels = figure.subplots(1, max(len(known), 1), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, known, strict=False):
        values = rows.loc[layers, name].to_numpy(dtype=float)
        axes.barh(np.arange(len(layers)) + 0.5, np.where(np.isfinite(values), values, 0), height=0.7, color="0.4")
        if name.endswith("share") or name == "saturation":
            axes.set_xlim(0, 1)
        elif (values > 0).any():
            # Whole decades: ticks within one would be written over each other.
            decades = np.log10(values[np.isfinite(values) & (values > 0)])
            axes.set_xscale("log")
            axes.set_xlim(10 ** np.floor(decades.min() - 0.1), 10 ** np.ceil(decades.max()))
            axes.minorticks_off()
        axes.set_title(name, fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
    _name_layers(panels[0], layers)
    return figure


def _name_layers(axes: Any, layers: list[str]) -> None:
    axes.set_ylim(len(layers), 0)
    axes.set_yticks(np.arange(len(layers)) + 0.5, labels=[_short(name) for name in layers])
    for text in axes.get_yticklabels():
        as_written(text)
    axes.tick_params(axis="y", labelsize=7, length=0)


def _drawn(layers: list[str]) -> list[str]:
    if len(layers) <= _MOST:
        return layers
    return [layers[i] for i in np.linspace(0, len(layers) - 1, _MOST).astype(int)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"
