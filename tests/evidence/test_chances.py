"""How likely fixes are to help, by the trials of all rules on all data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from flowgrad.evidence import chances
from flowgrad.evidence.chances import LogOdds, fitted

TOLD = st.integers(1, 12).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))
COUNTS = st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), TOLD, min_size=1, max_size=6)


def chance(counts, rule, data):
    return fitted(counts).log_odds(rule, data).chance


def test_without_trials_all_is_open():
    found = fitted({}).log_odds("a", "x")
    assert found.chance == pytest.approx(0.5)
    assert found.quantile(0.025) < 0.01
    assert found.quantile(0.975) > 0.99


@settings(max_examples=15, deadline=None)
@given(COUNTS, st.sampled_from(chances._DEVIATIONS), st.sampled_from(chances._DEVIATIONS))
def test_the_fit_is_at_the_mode_with_its_curvature(counts, of_rule, of_both):
    """The slow plain version: a general optimizer of the posterior, and the inverse of its curvature there."""
    cases = tuple(counts)
    confirmed, trials = np.array(list(counts.values()), dtype=float).T
    variances = np.square([of_rule, 0.5, of_both])
    prior = chances._MEAN_VARIANCE + np.tensordot(variances, chances._same(cases, cases), 1)
    (pull,), (precision,), _ = chances._laplace(prior[None], confirmed, trials)

    def loss(log_odds):
        told = confirmed @ special.log_expit(log_odds) + (trials - confirmed) @ special.log_expit(-log_odds)
        return -told - stats.multivariate_normal.logpdf(log_odds, cov=prior)

    mode = optimize.minimize(loss, np.zeros(len(cases)), method="BFGS", options={"gtol": 1e-7}).x
    assert prior @ pull == pytest.approx(mode, abs=1e-3)
    p = special.expit(prior @ pull)
    curvature = np.linalg.inv(prior) + np.diag(trials * p * (1 - p))
    assert prior - prior @ precision @ prior == pytest.approx(np.linalg.inv(curvature), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(COUNTS)
def test_failures_mirror_successes(counts):
    mirrored = {case: (trials - confirmed, trials) for case, (confirmed, trials) in counts.items()}
    for case in [*counts, ("a", ""), ("", "x"), ("", "")]:
        assert chance(counts, *case) == pytest.approx(1 - chance(mirrored, *case), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(COUNTS)
def test_the_order_of_trials_does_not_matter(counts):
    assert chance(dict(reversed(counts.items())), "a", "x") == chance(counts, "a", "x")


def test_the_nearer_the_trials_the_more_they_tell():
    counts = {("a", "x"): (5, 5), ("b", "y"): (2, 4)}
    here, elsewhere, other, nothing = (chance(counts, *case) for case in (("a", "x"), ("a", "z"), ("", "x"), ("", "z")))
    assert here > elsewhere > nothing
    assert here > other > nothing
    assert nothing > 0.5


def test_data_on_which_other_fixes_fail_lower_a_fix_that_helps_elsewhere():
    well = {("a", "x"): (6, 6), ("b", "x"): (6, 6), ("c", "x"): (5, 6)}
    fails = {("b", "y"): (0, 6), ("c", "y"): (0, 6)}
    assert chance(well | fails, "a", "y") < chance(well, "a", "y") - 0.1
    assert chance(well | fails, "a", "x") > 0.8


def test_data_without_trials_are_taken_for_one_of_those_with_some():
    fit = fitted({("a", "x"): (5, 6), ("b", "x"): (2, 3), ("b", "y"): (0, 3)})
    x, y = (fit.log_odds("a", data) for data in "xy")
    mean = (9 * x.mean + 3 * y.mean) / 12
    spread = (9 * (x.mean - mean) ** 2 + 3 * (y.mean - mean) ** 2) / 12
    found = fit.log_odds("a", "new")
    assert found == pytest.approx((mean, (9 * x.variance + 3 * y.variance) / 12 + spread))
    assert found == fit.log_odds("a", "")


def test_a_rule_without_trials_is_any_new_one():
    counts = {("a", "x"): (6, 6)}
    assert chance(counts, "", "x") == chance(counts, "new", "x") < chance(counts, "a", "x")


def test_it_is_right_as_often_as_it_says_where_effects_are_normal():
    """Trials are drawn from the model: in each quarter of what is told, it is right in the mean."""
    random = np.random.default_rng(3)
    told, came = [], []
    for _ in range(12):
        rules, data = random.normal(0, 1, 8), random.normal(0, 1, 6)
        log_odds = 0.8 + rules[:, None] + data + random.normal(0, 0.5, (8, 6))
        confirmed = random.binomial(4, special.expit(log_odds))
        kept = random.random((8, 6)) < 0.6
        counts = {(f"r{i}", f"d{j}"): (int(confirmed[i, j]), 4) for i, j in zip(*np.nonzero(kept), strict=True)}
        fit = fitted(counts)
        for i, j in zip(*np.nonzero(~kept), strict=True):
            told.append(fit.log_odds(f"r{i}", f"d{j}").chance)
            came.append(special.expit(log_odds[i, j]))
    told, came = np.array(told), np.array(came)
    assert told.mean() == pytest.approx(came.mean(), abs=0.05)
    for part in np.array_split(np.argsort(told), 4):
        assert told[part].mean() == pytest.approx(came[part].mean(), abs=0.08)
    assert np.corrcoef(told, came)[0, 1] > 0.5


def test_a_chance_is_the_mean_of_its_distribution():
    drawn = special.expit(1.0 + 2.0 * stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    found = LogOdds(1.0, 4.0)
    assert found.chance == pytest.approx(drawn.mean(), abs=1e-5)
    assert found.quantile(0.975) == pytest.approx(np.quantile(drawn, 0.975), abs=1e-4)
