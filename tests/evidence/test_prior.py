"""The prior of a rule's confidence, by trials of other rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from flowgrad.evidence.prior import JEFFREYS, fitted_prior

COUNTS = st.lists(
    st.integers(1, 20).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))), max_size=8
).map(tuple)


def log_posterior(odds, log_weight, counts):
    """The slow plain version, in the parameters that it is the mode of."""
    mean, weight = special.expit(odds), np.exp(log_weight)
    alpha, beta = mean * weight, (1 - mean) * weight
    told = sum(special.betaln(alpha + k, beta + n - k) - special.betaln(alpha, beta) for k, n in counts)
    return told + 0.5 * np.log(mean * (1 - mean)) + log_weight - 2 * np.log1p(weight)


def test_without_trials_it_is_jeffreys():
    assert fitted_prior(()) == JEFFREYS == (0.5, 0.5)
    assert fitted_prior(((0, 0),)) == JEFFREYS


@pytest.mark.parametrize(("confirmed", "mean"), [(0, 0.25), (1, 0.75)])
def test_by_one_trial_of_one_rule_as_by_hand(confirmed, mean):
    """One trial tells nothing of the weight, which stays 1, and Jeffreys' prior gives the mean (k + 1/2) / (n + 1)."""
    assert fitted_prior(((confirmed, 1),)) == pytest.approx((mean, 1 - mean), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(COUNTS)
def test_no_other_prior_fits_better(counts):
    prior = fitted_prior(counts)
    assert min(prior) > 0
    at = np.log(prior.alpha / prior.beta), np.log(sum(prior))
    best = optimize.minimize(lambda x: -log_posterior(*x, counts), at, method="Nelder-Mead")
    assert log_posterior(*at, counts) == pytest.approx(-best.fun, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(COUNTS)
def test_failures_mirror_successes(counts):
    prior = fitted_prior(counts)
    mirrored = fitted_prior(tuple((trials - confirmed, trials) for confirmed, trials in counts))
    assert mirrored == pytest.approx(prior[::-1], rel=1e-3)


def test_rules_that_agree_weigh_more_than_rules_that_differ():
    agree, differ = fitted_prior(((4, 5),) * 6), fitted_prior(((5, 5), (0, 5)) * 3)
    assert sum(agree) > 10 > 1 > sum(differ)
    assert agree.alpha / sum(agree) == pytest.approx(0.8, abs=0.05)
    assert differ.alpha / sum(differ) == pytest.approx(0.5, abs=1e-3)
