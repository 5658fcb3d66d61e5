"""Draws size against held-out loss, all arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from flowgrad.drawing import new_figure, picture
from pipelines.jobs.compression.arms import DENSE, PLAIN, PRESCRIBED, CompressionArm
from pipelines.jobs.compression.measuring import BYTES, LOSS


def pareto(observations: pd.DataFrame, arms: Sequence[CompressionArm]) -> bytes:
    """Draw bytes of the packed file against held-out loss: a line a way of choosing, mean and 95 % interval over
    seeds.
    """
    figure = new_figure(9, 5)
    axes = figure.subplots()
    lines: dict[str, list[CompressionArm]] = {}
    for arm in arms:
        lines.setdefault(_label(arm), []).append(arm)
    for place, (label, members) in enumerate(lines.items()):
        points = np.array(sorted(_point(observations, arm) for arm in members))
        alone = label in (DENSE, PRESCRIBED, PLAIN)
        axes.errorbar(
            points[:, 0] / 1024,
            points[:, 1],
            yerr=points[:, 2],
            label=label,
            marker="*" if alone else "os^vDPX"[place % 7],
            markersize=11 if alone else 5,
            linestyle="none" if alone else "-",
            linewidth=1,
            capsize=2,
            color=f"C{place % 10}",
        )
    losses = observations.loc[observations["metric"] == LOSS, "value"]
    axes.set(xlabel="packed file (KiB)", ylabel="held-out loss")
    axes.set_xscale("log")
    if losses.max() > 5 * losses.min() > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return picture(figure)


def _label(arm: CompressionArm) -> str:
    return " ".join(filter(None, (arm.kind, arm.by, "tuned" if arm.fine_tune and not arm.settings else "")))


def _point(observations: pd.DataFrame, arm: CompressionArm) -> tuple[float, float, float]:
    """Bytes, mean loss and half its interval."""
    own = observations[observations["arm"] == arm.name]
    losses = own.loc[own["metric"] == LOSS, "value"]
    half = float(stats.t.ppf(0.975, len(losses) - 1) * losses.std(ddof=1) / np.sqrt(len(losses)))
    return float(own.loc[own["metric"] == BYTES, "value"].mean()), float(losses.mean()), half
