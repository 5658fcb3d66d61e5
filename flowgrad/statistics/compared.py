"""Compares the arms of anybody's results: `flowgrad.compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.gate import arms_objections, refuse
from flowgrad.gate.objection import REFUSED, Objection
from flowgrad.gate.runs import COPIED_RUNS
from flowgrad.statistics.comparisons import PRIMARY, Comparison, pairs_of, significance
from flowgrad.statistics.equivalence import tost
from flowgrad.statistics.frames import SPLIT, Frame, read_frame
from flowgrad.statistics.multiplicity import holm
from flowgrad.statistics.users import user_significance

CONFIRMED, REFUTED, INCONCLUSIVE = "confirmed", "refuted", "inconclusive"
FAMILY = "arms of this table"


@dataclass(frozen=True)
class Compared:
    """Outcome of `compare`."""

    verdict: str
    """Verdict of the whole: `confirmed` where every arm is better in the first metric and none is worse in any,
    `refuted` where an arm is worse in one, else `inconclusive`.
    """
    table: pd.DataFrame
    """One line an arm and metric: `comparison`, `metric`, `test`, `n`, `baseline`, `treated`, `difference` with
    `ci_low` and `ci_high`, `effect_size` (d_z), `p`, `p_adjusted` (Holm over all lines), `wins`, `detectable` (the
    difference that would have been found with probability `power`), `verdict` and `reason`; with margins `margin` and
    `p_equivalent` (TOST, Holm over all lines), with users in seeds `v_ratio`, `p_new_users` and `verdict_new_users`.
    """
    cautions: tuple[str, ...]
    """Things that the verdicts do not speak of."""

    @property
    def exit_code(self) -> int:
        """Exit code of a process: 0 where the verdict is `confirmed`, else 1."""
        return 0 if self.verdict == CONFIRMED else 1

    def __str__(self) -> str:
        lines = [_told(line) for _, line in self.table.iterrows()]
        return "\n".join([f"{self.verdict}", *lines, *(f"note: {one}" for one in self.cautions)])


def compare(
    frame: pd.DataFrame,
    *,
    baseline: str | None = None,
    better: Mapping[str, str] | None = None,
    arm: str | None = None,
    unit: str | None = None,
    margin: Mapping[str, float] | None = None,
    overlap: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Compared:
    """Compare the arms of a table of results with its baseline, paired by seed, split, fold or user.

    The test is the paired t-test, over splits and folds, repeated or not, the corrected one (Nadeau and Bengio 2003;
    Bouckaert and Frank 2004), where values are not finite the sign test;
    p-values are adjusted after Holm over all arms and metrics.

    Example::

        result = flowgrad.compare(frame, baseline="mf", better={"rmse": "lower", "ndcg": "higher"})

    Args:
        frame: one line a run, or one a run and metric; see `flowgrad.statistics.frames.read_frame`.
        baseline: arm that the others are compared with.
        better: `higher` or `lower`, by metric.
        arm: column of the arms.
        unit: column of what pairs the runs.
        margin: largest difference that does not matter, by metric, in its unit: equivalence is tested too.
        overlap: share of the rows that is tested on in a split; None: one in as many as there are folds, in the unit
            or in a column `fold` beside it, and none of seeds.
        alpha: level.
        power: of the smallest difference that could have been found.

    Raises:
        StatisticsError: runs without a pair, copied, missing or malformed ones, in one line.
    """
    if not 0 < alpha < power < 1:
        raise StatisticsError(f"alpha={alpha}, power={power}: both must lie between 0 and 1, and alpha below power")
    found = read_frame(frame, baseline=baseline, better=better, arm=arm, unit=unit)
    if unknown := sorted(set(margin or ()) - set(found.metrics)):
        raise StatisticsError(f"margin: there is no metric {unknown[0]!r}; there are {', '.join(found.metrics)}")
    if overlap is None and found.folds:
        overlap = 1 / found.folds
    elif overlap is None and found.unit == SPLIT:
        raise StatisticsError("splits share training rows; say as overlap which share of the rows each is tested on")
    if overlap is not None:
        _check_splits(found, overlap)
    planned = [Comparison(f"{name}_vs_{found.arms[0]}", found.arms[0], name, FAMILY) for name in found.arms[1:]]
    _refuse_copies(found, planned, overlap is not None)
    lines = significance(found.observations, planned, found.metrics, alpha, power=power, overlap=overlap)
    table = lines[lines["test"].isin(PRIMARY)].reset_index(drop=True)
    cautions = list(_cautions(found, overlap))
    if margin:
        table = _with_margins(table, found, planned, margin, alpha)
        if overlap is not None:
            cautions.append("equivalence is not tested: splits share training rows")
    if found.by_user:
        table = _with_users(table, found, planned, alpha)
    kept = [name for name in table if name not in ("experiment", "gap_closed", "family", "alpha", "power")]
    return Compared(_whole(table, found.metrics[0]), table[kept], tuple(cautions))


def _check_splits(found: Frame, overlap: float) -> None:
    """Refuse what the corrected test cannot be made of: the sign test, which would stand in, takes splits for
    independent.
    """
    if not 0 < overlap < 1:
        raise StatisticsError(f"overlap={overlap}: must lie between 0 and 1")
    odd = found.observations[~np.isfinite(found.observations["value"])]
    if len(odd):
        one = odd.iloc[0]
        raise StatisticsError(
            f"{one['metric']} is {one['value']} in {one['arm']} at {found.unit} {one['seed']}; over splits that share "
            "rows there is no test of values that are not finite; leave that split out of every arm"
        )


def _refuse_copies(found: Frame, planned: list[Comparison], splits: bool) -> None:
    for comparison in planned:
        pairs = {metric: pairs_of(found.observations, comparison, metric) for metric in found.metrics}
        both = {metric: (own.baseline, own.treated) for metric, own in pairs.items()}
        for objection in arms_objections(both, splits=splits).values():
            if objection is not None and objection.check == COPIED_RUNS:
                refuse(Objection(COPIED_RUNS, REFUSED, f"{comparison.name}: {objection.reason}", objection.way_out,
                                 objection.count, objection.of, objection.effective, objection.examples))  # fmt: skip


def _with_margins(
    table: pd.DataFrame, found: Frame, planned: list[Comparison], margins: Mapping[str, float], alpha: float
) -> pd.DataFrame:
    """The table with the margin, and the p of "they differ by the margin or more" where it can be tested."""
    named = {comparison.name: comparison for comparison in planned}
    told = []
    for _, line in table.iterrows():
        margin, p = margins.get(line["metric"], math.nan), math.nan
        better = bool(
            found.observations.loc[found.observations["metric"] == line["metric"], "higher_is_better"].iloc[0]
        )
        if line["metric"] in margins and line["test"] == "paired_t" and not line["reason"]:
            pairs = pairs_of(found.observations, named[line["comparison"]], line["metric"])
            p = tost(
                pairs.baseline.tolist(), pairs.treated.tolist(), metric=line["metric"], higher_is_better=better,
                margin=margin, alpha=alpha,
            ).p  # fmt: skip
        told.append((margin, p))
    adjusted = holm([p for _, p in told])
    return table.assign(margin=[margin for margin, _ in told], p_equivalent=adjusted)


def _with_users(table: pd.DataFrame, found: Frame, planned: list[Comparison], alpha: float) -> pd.DataFrame:
    """The table with the V ratio and the test for new users, where every user has a value in every seed."""
    own = []
    for metric, arms in found.by_user.items():
        if not arms:
            continue
        better = bool(found.observations.loc[found.observations["metric"] == metric, "higher_is_better"].iloc[0])
        lines = user_significance(
            arms, planned, experiment="compare", metric=metric, higher_is_better=better, alpha=alpha
        )
        own.append(lines[lines["test"] == "crossed_t"] if len(lines) else lines)
    users = pd.concat(own, ignore_index=True) if own else pd.DataFrame()
    if users.empty:
        return table
    adjusted = holm(users["p"].tolist())
    sign = [line["verdict"] if p < alpha or line["verdict"] == INCONCLUSIVE else INCONCLUSIVE
            for (_, line), p in zip(users.iterrows(), adjusted, strict=True)]  # fmt: skip
    users = users.assign(p_new_users=adjusted, verdict_new_users=sign)
    kept = ["comparison", "metric", "v_ratio", "p_new_users", "verdict_new_users"]
    return table.merge(users[kept], on=["comparison", "metric"], how="left", validate="one_to_one")


def _whole(table: pd.DataFrame, first: str) -> str:
    if (table["verdict"] == REFUTED).any():
        return REFUTED
    return CONFIRMED if (table.loc[table["metric"] == first, "verdict"] == CONFIRMED).all() else INCONCLUSIVE


def _cautions(found: Frame, overlap: float | None) -> list[str]:
    told = []
    if found.unit == "user":
        told.append("each arm is one run: the verdicts are about these runs, and training again may give others")
    if overlap is not None:
        told.append(f"{found.unit}s share training rows: the variance is corrected for a tested share of {overlap:.3g}")
    return told


def _told(line: pd.Series) -> str:
    text = (
        f"{line['comparison']}: {line['metric']} {line['baseline']:.4g} -> {line['treated']:.4g} "
        f"({line['difference']:+.4g} [{line['ci_low']:.4g}, {line['ci_high']:.4g}]), n {line['n']}, d_z "
        f"{line['effect_size']:.3g}, p {line['p_adjusted']:.2g}, wins {line['wins']}: {line['verdict']}"
    )
    if line["verdict"] == INCONCLUSIVE and math.isfinite(line["detectable"]):
        text += f"; a difference of {line['detectable']:.4g} could have been found"
    if "p_equivalent" in line and line["p_equivalent"] == line["p_equivalent"]:
        text += f"; equivalent within {line['margin']:g}: p {line['p_equivalent']:.2g}"
    if "v_ratio" in line and line["v_ratio"] == line["v_ratio"]:
        text += f"; V {line['v_ratio']:.3g}, new users p {line['p_new_users']:.2g}: {line['verdict_new_users']}"
    return text + (f" ({line['reason']})" if line["reason"] else "")
