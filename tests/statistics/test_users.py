"""Lines about users: for new ones, and over the rows of one seed, which are evidence only where the seeds allow it."""

import numpy as np
import pytest
from scipy import stats

from flowgrad.statistics import NOT_EVIDENCE, Comparison, crossed_t, holm, user_significance

FAMILY = [
    Comparison("treated_vs_baseline", "baseline", "treated", "rounds"),
    Comparison("round1_vs_baseline", "baseline", "round1", "rounds"),
    Comparison("aa", "baseline", "aa", "control"),
]


def arms(seed_noise, seeds=10, users=60, effect=0.0, rng=None):
    rng = rng or np.random.default_rng(0)
    base = rng.normal(size=(seeds, users))

    def other(shift):
        return base + shift + seed_noise * rng.normal(size=(seeds, 1)) + 0.5 * rng.normal(size=(seeds, users))

    return {"baseline": base, "treated": other(effect), "round1": other(0.0), "aa": other(0.0)}


def lines(given, planned=FAMILY, **changes):
    settings = {"experiment": "e", "metric": "mse", "higher_is_better": False} | changes
    return user_significance(given, planned, **settings)


def test_crossed_lines_are_the_crossed_test():
    given = arms(0.1, effect=-0.5)
    table = lines(given).query("test == 'crossed_t'")
    assert table["comparison"].tolist() == ["treated_vs_baseline", "round1_vs_baseline"]  # the control has none
    reference = [crossed_t(given[c.treated] - given["baseline"]) for c in FAMILY[:2]]
    assert table["p"].tolist() == [found.p for found in reference]
    assert table["p_adjusted"].tolist() == pytest.approx(holm([found.p for found in reference]))
    first = table.iloc[0]
    assert (first["n"], first["unit"], first["verdict"]) == (600, "seed x user", "confirmed")
    assert lines(given, higher_is_better=True).iloc[0]["verdict"] == "refuted"


def test_a_test_over_rows_is_refused_where_seeds_move_all_rows_together():
    refused = lines(arms(1.0)).query("test == 'row_t'")
    assert (refused["v_ratio"] > 1).all()
    assert (refused["verdict"] == NOT_EVIDENCE).all()
    assert refused[["p", "p_adjusted", "ci_low", "effect_size"]].isna().all(axis=None)
    few = lines(arms(0.0, seeds=4, effect=-1.0)).query("test == 'row_t'")
    assert (few["verdict"] == NOT_EVIDENCE).all()


def test_it_is_printed_where_they_do_not():
    rng = np.random.default_rng(1)
    told = [lines(arms(0.0, effect=-1.0, rng=rng)).query("test == 'row_t'").iloc[0] for _ in range(20)]
    assert {line["verdict"] for line in told} == {"confirmed", NOT_EVIDENCE}
    assert all(np.isfinite(line["p"]) == (line["v_ratio"] <= 1) for line in told)


@pytest.mark.parametrize("seed_noise", [0.0, 0.1])
def test_what_is_printed_keeps_to_the_level(seed_noise):
    """Not every test over rows that V lets through is valid; V and the test together reject rarely enough."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        table = lines(arms(seed_noise, seeds=5, rng=rng), FAMILY[:1])
        alarms += table.iloc[1]["verdict"] in ("confirmed", "refuted")
    assert stats.binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.01


def test_a_run_that_diverged_has_no_lines():
    given = arms(0.1)
    given["treated"][3] = np.nan
    assert set(lines(given)["comparison"]) == {"round1_vs_baseline"}
    assert lines({name: np.full((5, 5), np.nan) for name in given}).empty
