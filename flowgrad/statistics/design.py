"""Says which comparisons are adjusted together, as it was decided before anything was observed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.statistics.comparisons import CONTROL, Comparison

ROUNDS = "rounds of this run"
"""Family of the comparisons of a run that diagnoses, treats and proves."""
HARMLESS = "no worse than dense"
"""Family of comparisons of a prescription to a model that is to become smaller."""
BASELINE, TREATED, CONTROLLED, TUNED = "baseline", "treated", "aa", "tuned"
"""Arms of such a run: without and with everything prescribed, the first one again, and one that needs no fix."""
STACKED = "stacked"
"""Arm of everything that was prescribed, where some of it was left out of the treated arm."""
PRUNED = "treated_vs_stacked"
"""Comparison that shows what leaving overrides out did."""
DENSE, PRESCRIBED, LOSS = "dense", "prescribed", "loss"
"""Arms of a compression, and the metric of its proof."""
_ROUND = re.compile(r"round[1-9][0-9]*")


def rounds_of_a_run(rounds: int, aa_offset: int, *, pruned: bool = False) -> list[Comparison]:
    """Comparisons of a run of so many rounds of treatment: the whole, each round's own share, and A/A.

    Args:
        rounds: number of rounds.
        aa_offset: of the control's seeds.
        pruned: whether some of what was prescribed was left out of the treated arm, which is then compared with all of
            it too.
    """
    control = Comparison(CONTROLLED, BASELINE, CONTROLLED, CONTROL, aa_offset)
    if not rounds:
        return [control]
    whole = Comparison("treated_vs_baseline", BASELINE, TREATED, ROUNDS)
    if rounds == 1 and not pruned:
        return [whole, control]
    arms = [BASELINE, *(f"round{n}" for n in range(1, rounds)), STACKED if pruned else TREATED]
    steps = [
        Comparison(round_comparison(number, rounds, pruned=pruned), before, after, ROUNDS)
        for number, (before, after) in enumerate(pairwise(arms), start=1)
    ]
    left_out = [Comparison(PRUNED, STACKED, TREATED, ROUNDS)] if pruned else []
    return [whole, *steps, *left_out, control]


def round_comparison(number: int, rounds: int, *, pruned: bool = False) -> str:
    """Name of the comparison that shows what round `number` of `rounds` added; `pruned` as of `rounds_of_a_run`."""
    if rounds == 1 and not pruned:
        return "treated_vs_baseline"
    return f"round{number}_vs_{'baseline' if number == 1 else f'round{number - 1}'}"


def rounds_from(arms: Iterable[str]) -> list[Comparison]:
    """Find the comparisons of the family `ROUNDS` that the observed arms call for.

    Raises:
        StatisticsError: an arm is missing, or one is there that no such run has.
    """
    own = {str(arm) for arm in arms} - {CONTROLLED, TUNED}
    pruned = STACKED in own
    own.discard(STACKED)
    rounds = sum(bool(_ROUND.fullmatch(arm)) for arm in own) + 1
    wanted = {BASELINE, TREATED, *(f"round{n}" for n in range(1, rounds))}
    if odd := sorted(own ^ wanted):
        where = "missing among the arms" if odd[0] in wanted else "no arm"
        raise StatisticsError(f"{odd[0]!r} is {where} of a run of {rounds} round(s)")
    planned = rounds_of_a_run(rounds, 0, pruned=pruned)
    return [comparison for comparison in planned if comparison.family == ROUNDS]


def harmless_from(observations: pd.DataFrame) -> tuple[list[Comparison], list[str]]:
    """Find the comparison of the family `HARMLESS`, and its metrics: the loss, and the program's first.

    Raises:
        StatisticsError: neither is among the observations.
    """
    metrics = [str(metric) for metric in observations["metric"].unique()]
    if LOSS not in metrics[:-1]:
        raise StatisticsError(f"{LOSS!r} and a metric after it are not among the metrics {', '.join(metrics)[:200]}")
    return [Comparison("prescribed_vs_dense", DENSE, PRESCRIBED, HARMLESS)], [LOSS, metrics[metrics.index(LOSS) + 1]]
