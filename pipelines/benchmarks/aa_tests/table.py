"""Makes the table from rejections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
import pandas as pd

from pipelines.benchmarks.aa_tests.pool import Arms, Pool
from pipelines.benchmarks.aa_tests.rates import rejection_rate
from pipelines.benchmarks.aa_tests.tests import ROW_T, TESTS, Calibrated

SHOWN = ["setting", "metric", "test", "evidence", "pairs", "tests", "rejections", "rate", "level", "low", "high",
         "confidence", "within", "judged", "resampled_rate", "v_ratio", "foretold"]  # fmt: skip
POOLED = "all"
CONFIDENCE = 0.95


def calibration_table(pools: Mapping[str, Pool], pairs: int, resamples: int, alpha: float) -> pd.DataFrame:
    """Make one line a test for all settings together, and one for each; columns `SHOWN`.

    `low` and `high` are the Clopper-Pearson interval of the rate. `within` says that it holds the `level` that the test
    attains (where that is only an upper bound, that it is not wholly above it). The pooled lines of tests that are
    evidence or offered are `judged`, each at 95 %. The lines of single settings are there to show where a fault lies:
    their intervals hold together with that confidence (Bonferroni). Tests of one line share no run, which is what a
    binomial interval asks for; `resampled_rate` is over the same runs divided anew, and has no interval.

    `v_ratio` and `foretold`, of the test over rows only: the V ratio over all runs, and the rejection rate that it
    predicts (`flowgrad.statistics.variance_ratio`).

    Args:
        pools: setting -> its runs, of seeds that no other setting has.
        pairs: of a test.
        resamples: how often runs are divided anew.
        alpha: nominal level.
    """
    kinds = sorted({test.arms for test in TESTS.values()})
    dealt = {(name, arms): pool.dealt(pairs, arms) for name, pool in pools.items() for arms in kinds}
    rejected = {
        (name, setting): [test.rejects(one, alpha) for one in dealt[setting, test.arms]]
        for name, test in TESTS.items()
        for setting in pools
    }
    again = {setting: _again(pool, pairs, resamples, alpha) for setting, pool in pools.items()}
    lines = []
    for setting in (POOLED, *pools):
        members = list(pools) if setting == POOLED else [setting]
        for name, test in TESTS.items():
            lines.append(
                {"setting": setting, "metric": "" if setting == POOLED else pools[setting].primary, "test": name}
                | _counted(test, list(chain(*(rejected[name, one] for one in members))), pairs, alpha, setting, pools)
                | {"resampled_rate": _mean([rate for one in members for rate in again[one].get(name, [])])}
                | _foretold(name, [pools[one] for one in members], alpha)
            )
    return pd.DataFrame(lines, columns=SHOWN)


def _counted(
    test: Calibrated, rejected: list[bool], pairs: int, alpha: float, setting: str, pools: Mapping[str, Pool]
) -> dict:
    several = 1 if setting == POOLED else len(pools) * sum(one.judged for one in TESTS.values())
    found = rejection_rate(
        sum(rejected),
        len(rejected),
        test.level(pairs, alpha),
        at_most=test.at_most,
        confidence=1 - (1 - CONFIDENCE) / max(several, 1),
    )
    return {
        "evidence": test.evidence,
        "pairs": pairs,
        "tests": found.tests,
        "rejections": found.rejections,
        "rate": found.rate,
        "level": found.level,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "within": found.within,
        "judged": setting == POOLED and test.judged,
    }


def _again(pool: Pool, pairs: int, resamples: int, alpha: float) -> dict[str, list[float]]:
    """Rates of rejections of each test, by name, one for each time that the runs are divided anew."""
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {}
    for order in (rng.permutation(len(pool.users)) for _ in range(resamples)):
        dealt: dict[int, list[Arms]] = {}
        for name, test in _quick():
            arms = dealt.setdefault(test.arms, pool.dealt(pairs, test.arms, order))
            rates.setdefault(name, []).append(_mean([test.rejects(one, alpha) for one in arms]))
    return rates


def _quick() -> Iterator[tuple[str, Calibrated]]:
    yield from ((name, test) for name, test in TESTS.items() if not test.slow)


def _foretold(name: str, pools: list[Pool], alpha: float) -> dict:
    known = [found for pool in pools if (found := pool.row_validity(alpha)) is not None] if name == ROW_T else []
    return {"v_ratio": _mean([one.v for one in known]), "foretold": _mean([one.false_alarm_rate for one in known])}


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else float("nan")
