"""From rejections to the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy import stats

from pipelines.calibration.tests import TESTS, Arms, v_ratio

SHOWN = ["setting", "test", "evidence", "pairs", "tests", "rejections", "rate", "level", "low", "high", "within",
         "resampled_rate", "v_ratio"]  # fmt: skip
POOLED = "all"


@dataclass(frozen=True)
class Pool:
    """Runs of one configuration."""

    metrics: Mapping[str, np.ndarray]
    """Tested metrics, the primary one first, shape (runs,)."""
    users: np.ndarray
    """Shape (runs, users)."""

    def dealt(self, pairs: int, order: Iterable[int]) -> list[Arms]:
        """The runs in this order, dealt into as many A/A comparisons as they suffice for; no two share a run."""
        primary = next(iter(self.metrics.values()))
        spread = float(primary.std(ddof=1))
        runs = np.fromiter(order, dtype=int)
        blocks = runs[: len(runs) // (2 * pairs) * 2 * pairs].reshape(-1, 2, pairs)
        return [
            Arms(
                {name: (values[a], values[b]) for name, values in self.metrics.items()},
                (self.users[a], self.users[b]),
                spread,
            )
            for a, b in blocks
        ]


def calibration_table(pools: Mapping[str, Pool], pairs: int, resamples: int, alpha: float) -> pd.DataFrame:
    """One line a test for all settings together, and one for each; columns `SHOWN`.

    `low` and `high` hold the share of rejections of a test that keeps its `level` in all but 5 % of experiments, over
    all tests that are evidence or offered (Bonferroni); `within` says whether it did. Tests of one line share no run,
    which is what a binomial interval asks for. `resampled_rate` is over the same runs dealt anew, and has no interval.

    Args:
        pools: setting -> its runs.
        pairs: of a test.
        resamples: how often runs are dealt anew.
        alpha: nominal level.
    """
    dealt = {name: pool.dealt(pairs, range(len(pool.users))) for name, pool in pools.items()}
    again = {name: _again(pool, pairs, resamples) for name, pool in pools.items()}
    v = {name: [v_ratio(arms) for arms in blocks] for name, blocks in dealt.items()}
    v = {POOLED: list(chain(*v.values()))} | v
    coverage = 1 - 0.05 / sum(test.evidence != "no" for test in TESTS.values())
    lines = []
    for name, test in TESTS.items():
        level = test.level(pairs, alpha)
        counts = {setting: [test.rejects(arms, alpha) for arms in blocks] for setting, blocks in dealt.items()}
        finer = {
            setting: [test.rejects(arms, alpha) for arms in blocks] if not test.slow else []
            for setting, blocks in again.items()
        }
        counts = {POOLED: list(chain(*counts.values()))} | counts
        finer = {POOLED: list(chain(*finer.values()))} | finer
        for setting, rejected in counts.items():
            low, high = stats.binom.interval(coverage, len(rejected), level)
            within = sum(rejected) <= high and (test.at_most or sum(rejected) >= low)
            lines.append(
                {
                    "setting": setting,
                    "test": name,
                    "evidence": test.evidence,
                    "pairs": pairs,
                    "tests": len(rejected),
                    "rejections": sum(rejected),
                    "rate": sum(rejected) / len(rejected),
                    "level": level,
                    "low": 0.0 if test.at_most else low / len(rejected),
                    "high": high / len(rejected),
                    "within": bool(within),
                    "resampled_rate": float(np.mean(finer[setting])) if finer[setting] else float("nan"),
                    "v_ratio": float(np.nanmedian(v[setting])) if "row_t" in name else float("nan"),
                }
            )
    table = pd.DataFrame(lines, columns=SHOWN)
    order = {setting: place for place, setting in enumerate([POOLED, *pools])}
    return table.sort_values("setting", key=lambda s: s.map(order), kind="stable").reset_index(drop=True)


def _again(pool: Pool, pairs: int, resamples: int) -> list[Arms]:
    rng = np.random.default_rng(0)
    orders = (rng.permutation(len(pool.users)) for _ in range(resamples))
    return [arms for order in orders for arms in pool.dealt(pairs, order)]
