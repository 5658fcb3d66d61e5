"""Says which arms are compared, by which tests, and what each arm measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from flowgrad.gate import Objection
from flowgrad.statistics import EQUIVALENT, Comparison, margin_table, significance
from flowgrad.statistics.design import HARMLESS as FAMILY
from pipelines.jobs.compression.arms import CALIBRATED, DENSE, PLAIN, PRESCRIBED, SALIENCY, CompressionArm
from pipelines.jobs.compression.measuring import BYTES, LOSS, RATIO
from pipelines.jobs.compression.trial import PLANNING

PRUNING, CONTROLS, BITS, ROWS, PRESCRIPTION = "pruning", "pruning at random", "bits", "rows", "prescription"
FITTED = "bits, scales fitted"
"""Names of families: p values of one are adjusted together."""
_SIZES = (BYTES, RATIO, "latency_ms", "torchao_loss", "torchao_latency_ms")
HARMLESS = "prescribed_vs_dense"
"""Name of the comparison that validates the findings: the whole prescription is to cost no loss that matters."""
WHOLE = "prescribed_vs_plain"
"""Name of the comparison of the whole prescription with as much compression without the scores."""


def planned(arms: Sequence[CompressionArm]) -> list[Comparison]:
    """Plan the pairs of arms that are tested for a lower held-out loss of the second."""
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


def _against(arm: CompressionArm, other: str, family: str) -> Comparison:
    baseline = CompressionArm(arm.kind, other, arm.level, fine_tune=arm.fine_tune).name
    level = baseline.removeprefix(f"{arm.kind}_{other}_")
    return Comparison(f"{arm.kind}_{arm.by}_vs_{other}_{level}", baseline, arm.name, family)


def proof_table(
    observations: pd.DataFrame,
    arms: Sequence[CompressionArm],
    metrics: Sequence[str],
    margin: float,
    alpha: float,
    objection: Objection | None = None,
) -> pd.DataFrame:
    """Make paired tests of the held-out loss, and then tests that nothing got worse by the margin.

    The second are the prescription against the dense model, by loss and first metric; and each mixed plan against
    uniform bits, for where uniform bits do no harm there is nothing to gain.

    Args:
        observations: one line an arm, seed and figure.
        arms: that were observed.
        metrics: the trainer's own, the first is tested.
        margin: over the dense model's mean.
        alpha: level.
        objection: to the data, from the gate.
    """
    paired = planned(arms)
    tables = [significance(observations, paired, [LOSS], alpha, objection=objection)] if paired else []
    if PRESCRIBED in {arm.name for arm in arms}:
        whole = Comparison(HARMLESS, DENSE, PRESCRIBED, FAMILY)
        tables.append(margin_table(observations, [whole], [LOSS, metrics[0]], margin, alpha=alpha, objection=objection))
    mixed = [replace(one, family="bits, within margin") for one in paired if one.family == BITS]
    if mixed:
        tables.append(
            margin_table(
                observations, mixed, [LOSS], margin, test=EQUIVALENT, reference=DENSE, alpha=alpha, objection=objection
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def arm_table(observations: pd.DataFrame, arms: Sequence[CompressionArm], metrics: Sequence[str]) -> pd.DataFrame:
    """Make a line an arm: means over the seeds, the standard deviation of the loss, and the longest planning."""
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
