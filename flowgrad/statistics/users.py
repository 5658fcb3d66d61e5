"""Makes lines of the significance table about users: for new users, and over the rows of one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection, arms_objection
from flowgrad.statistics.comparisons import CONTROL, Comparison
from flowgrad.statistics.multiplicity import holm
from flowgrad.statistics.paired import paired_t
from flowgrad.statistics.pairs import too_few
from flowgrad.statistics.rows import crossed_t, variance_ratio

NOT_EVIDENCE = "not evidence"
"""Verdict of a test over rows that would reject a true null too often; its p is not shown."""
LEAST_SEEDS = 5
"""Number of seeds, at least, from which V is estimated: of fewer it lets so many invalid tests through that the two
together pass the level.
"""


def user_significance(
    by_user: Mapping[str, np.ndarray],
    planned: Sequence[Comparison],
    *,
    experiment: str,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
    objection: Objection | None = None,
) -> pd.DataFrame:
    """Make two lines a comparison, A/A left out: `crossed_t`, seeds x users, for a claim about new users, with Holm's
    adjustment over the family; and `row_t`, a paired t-test over the users of the first seed.

    The second is printed as evidence only where it is one: where the V ratio (`variance_ratio`), of `LEAST_SEEDS` or
    more, is at most 1. Otherwise its p is left out and its verdict is `not evidence`. A comparison in which a value is
    not finite, or in which nothing varies, has no lines.

    Args:
        by_user: arm -> the metric, shape (seeds, users), in the same order of seeds and users in every arm.
        planned: what is compared.
        experiment: name for the table.
        metric: name of the metric.
        higher_is_better: its direction.
        alpha: level.
        objection: to the data; where it blocks, or where seeds of an arm are one run or too few, lines have no p, the
            verdict `inconclusive` and a `reason`.
    """
    lines = []
    for comparison in planned:
        if comparison.family == CONTROL:
            continue
        before, after = by_user[comparison.baseline], by_user[comparison.treated]
        try:
            against = objection if objection is not None and objection.blocks else _fewer(before, after, metric)
            lines += [
                _objected(line, against) for line in _lines(comparison, before, after, metric, higher_is_better, alpha)
            ]
        except StatisticsError:
            continue
    table = pd.DataFrame([line | {"experiment": experiment, "metric": metric, "alpha": alpha} for line in lines])
    if table.empty:
        return table
    crossed = table["test"] == "crossed_t"
    for _, group in table[crossed].groupby("family"):
        table.loc[group.index, "p_adjusted"] = holm(group["p"].tolist())
    decided = (crossed | (table["verdict"] != NOT_EVIDENCE)) & (table["reason"] == "")
    better = (table["difference"] > 0) == higher_is_better
    table.loc[decided, "verdict"] = np.where(
        ~(table["p_adjusted"] < alpha), "inconclusive", np.where(better, "confirmed", "refuted")
    )[decided]
    return table


def _fewer(before: np.ndarray, after: np.ndarray, metric: str) -> Objection | None:
    if not before.size or before.shape != after.shape:
        return None
    objection = arms_objection(before.mean(axis=1).tolist(), after.mean(axis=1).tolist(), metric)
    return objection or too_few(len(before))


def _objected(line: dict, objection: Objection | None) -> dict:
    if objection is None:
        return line | {"reason": ""}
    nothing = dict.fromkeys(("ci_low", "ci_high", "p", "p_adjusted"), math.nan)
    return line | nothing | {"verdict": "inconclusive", "reason": str(objection)}


def _lines(
    comparison: Comparison, before: np.ndarray, after: np.ndarray, metric: str, higher_is_better: bool, alpha: float
) -> list[dict]:
    difference = after - before
    crossed = crossed_t(difference, alpha)
    validity = variance_ratio(difference, alpha)
    first = (before[0].tolist(), after[0].tolist())
    rows = paired_t(*first, metric=metric, higher_is_better=higher_is_better, alpha=alpha)
    shared = {
        "comparison": comparison.name,
        "family": f"{comparison.family}, new users",
        "baseline_arm": comparison.baseline,
        "treated_arm": comparison.treated,
        "gap_closed": math.nan,
        "v_ratio": validity.v,
    }
    over_users = {
        "test": "crossed_t",
        "unit": "seed x user",
        "n": crossed.seeds * crossed.users,
        "baseline": before.mean(),
        "treated": after.mean(),
        "difference": crossed.difference,
        "ci_low": crossed.ci_low,
        "ci_high": crossed.ci_high,
        "effect_size": crossed.difference / math.sqrt(difference.var(ddof=1)),
        "p": crossed.p,
        "p_adjusted": crossed.p,
        "wins": _wins(difference.mean(axis=0), higher_is_better),
        "verdict": "",
    }
    over_rows = {
        "test": "row_t",
        "unit": "user",
        "n": rows.n,
        "baseline": rows.baseline,
        "treated": rows.treated,
        "difference": rows.difference,
        "ci_low": rows.ci_low,
        "ci_high": rows.ci_high,
        "effect_size": rows.effect_size,
        "p": rows.p,
        "p_adjusted": rows.p,
        "wins": rows.wins,
        "verdict": "",
    }
    if not validity.valid or crossed.seeds < LEAST_SEEDS:
        over_rows |= dict.fromkeys(("ci_low", "ci_high", "effect_size", "p", "p_adjusted"), math.nan)
        over_rows["verdict"] = NOT_EVIDENCE
    return [shared | over_users, shared | over_rows]


def _wins(difference: np.ndarray, higher_is_better: bool) -> int:
    return int((difference > 0).sum() if higher_is_better else (difference < 0).sum())
