"""What is compared with what, by which tests, and what each arm comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.statistics import Comparison, EquivalenceResult, holm, pairs_of, significance, tost
from pipelines.compression.arms import CALIBRATED, DENSE, PLAIN, PRESCRIBED, SALIENCY, Arm
from pipelines.compression.measuring import BYTES, LOSS, RATIO
from pipelines.compression.trial import PLANNING

PRUNING, CONTROLS, BITS, ROWS, PRESCRIPTION = "pruning", "pruning at random", "bits", "rows", "prescription"
FITTED = "bits, scales fitted"
"""Families: p values of one are adjusted together."""
NO_WORSE, EQUIVALENT = "no_worse", "tost"
"""Tests against the margin: one-sided, and both sides."""
_SIZES = (BYTES, RATIO, "latency_ms", "torchao_loss", "torchao_latency_ms")
WHOLE = "prescribed_vs_plain"
"""What validates the findings: all that is prescribed, against as much compression without the scores."""


def planned(arms: Sequence[Arm]) -> list[Comparison]:
    """Pairs of arms that are tested for a lower held-out loss of the second."""
    names = {arm.name for arm in arms}
    found = []
    for arm in arms:
        if arm.kind == "prune" and arm.by in (SALIENCY, CALIBRATED):
            found.append(_against(arm, "magnitude", PRUNING))
            if arm.by == SALIENCY and not arm.fine_tune:
                found.append(_against(arm, "random", CONTROLS))
        if arm.kind == "rows" and arm.by in (SALIENCY, CALIBRATED):
            found += [_against(arm, other, ROWS) for other in ("norm", "frequency", "random")]
        if arm.kind == "mixed":
            found.append(Comparison(f"mixed_vs_uniform_{arm.level:g}", f"uniform_{arm.level:g}", arm.name, BITS))
            found.append(Comparison(f"mixed_vs_fitted_{arm.level:g}", f"fitted_{arm.level:g}", arm.name, FITTED))
    if {PRESCRIBED, PLAIN} <= names:
        found.append(Comparison(WHOLE, PLAIN, PRESCRIBED, PRESCRIPTION))
    return [one for one in found if {one.baseline, one.treated} <= names]


def _against(arm: Arm, other: str, family: str) -> Comparison:
    baseline = Arm(arm.kind, other, arm.level, fine_tune=arm.fine_tune).name
    level = baseline.removeprefix(f"{arm.kind}_{other}_")
    return Comparison(f"{arm.kind}_{arm.by}_vs_{other}_{level}", baseline, arm.name, family)


def proof_table(
    observations: pd.DataFrame, arms: Sequence[Arm], metrics: Sequence[str], margin: float, alpha: float
) -> pd.DataFrame:
    """Paired tests of the held-out loss, and then tests that nothing got worse by the margin.

    The second: what is prescribed against the dense model, by loss and first metric; and each mixed plan against
    uniform bits, for where uniform bits do no harm there is nothing to gain.

    Args:
        observations: one line an arm, seed and figure.
        arms: that were observed.
        metrics: the program's own, the first is tested.
        margin: over the dense model's mean.
        alpha: level.
    """
    paired = planned(arms)
    tables = [significance(observations, paired, [LOSS], alpha)] if paired else []
    names = {arm.name for arm in arms}
    if PRESCRIBED in names:
        whole = Comparison("prescribed_vs_dense", DENSE, PRESCRIBED, "no worse than dense")
        asked = [(whole, LOSS, True), (whole, metrics[0], True)]
        tables.append(_margins(observations, asked, margin, alpha))
    mixed = [replace(one, family="bits, within margin") for one in paired if one.family == BITS]
    if mixed:
        tables.append(_margins(observations, [(one, LOSS, False) for one in mixed], margin, alpha))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@dataclass(frozen=True)
class _Margin:
    """One test against the margin."""

    comparison: Comparison
    one_sided: bool
    baseline: float
    treated: float
    result: EquivalenceResult
    wins: int

    @property
    def p(self) -> float:
        return self.result.p_worse if self.one_sided else self.result.p


def _margins(
    observations: pd.DataFrame, asked: Sequence[tuple[Comparison, str, bool]], margin: float, alpha: float
) -> pd.DataFrame:
    found = [_margin(observations, *one, margin, alpha) for one in asked]
    adjusted = holm([one.p for one in found])
    lines = []
    for one, p in zip(found, adjusted, strict=True):
        won = "no worse" if one.one_sided else "equivalent"
        lines.append(
            {
                "experiment": observations["experiment"].iloc[0],
                "comparison": one.comparison.name,
                "metric": one.result.metric,
                "test": NO_WORSE if one.one_sided else EQUIVALENT,
                "n": one.result.n,
                "baseline": one.baseline,
                "treated": one.treated,
                "difference": one.result.difference,
                "ci_low": one.result.ci_low,
                "ci_high": one.result.ci_high,
                "p": one.p,
                "p_adjusted": float(p),
                "wins": one.wins,
                "verdict": won if p < alpha else "inconclusive",
                "margin": one.result.margin,
                "family": one.comparison.family,
                "baseline_arm": one.comparison.baseline,
                "treated_arm": one.comparison.treated,
                "unit": "seed",
                "alpha": alpha,
            }
        )
    return pd.DataFrame(lines)


def _margin(
    observations: pd.DataFrame, comparison: Comparison, metric: str, one_sided: bool, margin: float, alpha: float
) -> _Margin:
    of_metric = observations[observations["metric"] == metric]
    dense = of_metric.loc[of_metric["arm"] == DENSE, "value"].mean()
    better = bool(of_metric["higher_is_better"].iloc[0])
    pairs = pairs_of(observations, comparison, metric)
    before, after = pairs.baseline, pairs.treated
    told = before.tolist(), after.tolist()
    size = margin * abs(float(dense))
    try:
        found = tost(*told, metric=metric, higher_is_better=better, margin=size, alpha=alpha)
    except StatisticsError:  # a loss that is not finite, or differences without variance: nothing is shown
        difference = float(np.mean(after - before))
        nan = float("nan")
        found = EquivalenceResult(metric, len(before), size, difference, nan, nan, 1.0, 1.0, 1.0, "inconclusive")
    wins = int(((after > before) if better else (after < before)).sum())
    return _Margin(comparison, one_sided, float(before.mean()), float(after.mean()), found, wins)


def arm_table(observations: pd.DataFrame, arms: Sequence[Arm], metrics: Sequence[str]) -> pd.DataFrame:
    """A line an arm: means over the seeds, the standard deviation of the loss, and the longest planning."""
    means = observations.groupby(["arm", "metric"])["value"].mean()
    lines = []
    for arm in arms:
        own = {str(metric): float(value) for metric, value in means[arm.name].items()}
        of_arm = observations[observations["arm"] == arm.name]
        losses = of_arm.loc[of_arm["metric"] == LOSS, "value"].to_numpy()
        seconds = of_arm.loc[of_arm["metric"] == PLANNING, "value"].to_numpy()
        lines.append(
            {
                "arm": arm.name,
                "seeds": len(losses),
                LOSS: own[LOSS],
                "loss_sd": float(losses.std(ddof=1)),
                **{name: own.get(name, math.nan) for name in (*metrics, *_SIZES)},
                "plan_seconds_max": float(seconds.max()),
            }
        )
    return pd.DataFrame(lines)
