import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from flowgrad.evidence.confidence import Confidence, posterior
from flowgrad.evidence.prior import Prior


def test_without_trials_nothing_is_known():
    confidence = posterior()
    assert (confidence.value, confidence.basis, confidence.trials, confidence.confirmed) == (0.5, "prior", 0, 0)
    # The arcsine distribution has its quantiles at sin^2(pi q / 2).
    assert (confidence.low, confidence.high) == pytest.approx((0.001542, 0.998458), abs=1e-6)


@pytest.mark.parametrize(
    ("confirmed", "trials", "value"), [(1, 1, 0.75), (0, 1, 0.25), (9, 10, 9.5 / 11), (38, 40, 38.5 / 41)]
)
def test_posterior_mean_by_hand(confirmed, trials, value):
    confidence = posterior(confirmed, trials)
    assert confidence.value == pytest.approx(value)
    assert (confidence.basis, confidence.trials, confidence.confirmed) == ("measured", trials, confirmed)


def test_interval_agrees_with_a_slow_plain_version():
    """The posterior's density, likelihood times Jeffreys prior, integrated up to the ends."""

    def density(p):
        return p ** (7 - 0.5) * (1 - p) ** (3 - 0.5)

    confidence = posterior(7, 10)
    whole = integrate.quad(density, 0, 1)[0]
    assert integrate.quad(density, 0, confidence.low)[0] / whole == pytest.approx(0.025, abs=1e-6)
    assert integrate.quad(density, confidence.high, 1)[0] / whole == pytest.approx(0.025, abs=1e-6)


TRIALS = st.integers(0, 200).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


@given(TRIALS)
def test_interval_holds_the_mean_and_failures_mirror_successes(counts):
    confirmed, trials = counts
    confidence, mirrored = posterior(confirmed, trials), posterior(trials - confirmed, trials)
    assert 0 <= confidence.low < confidence.value < confidence.high <= 1
    assert mirrored.value == pytest.approx(1 - confidence.value)
    assert mirrored.low == pytest.approx(1 - confidence.high, abs=1e-9)


@given(TRIALS)
def test_another_confirmation_never_lowers_it(counts):
    confirmed, trials = counts
    before, after = posterior(confirmed, trials), posterior(confirmed + 1, trials + 1)
    assert after.value > before.value
    assert after.low >= before.low - 1e-12
    assert after.high >= before.high - 1e-12


@pytest.mark.parametrize(("confirmed", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_counts_that_cannot_be(confirmed, trials):
    with pytest.raises(ValueError, match=rf"confirmed={confirmed} must lie between 0 and trials={trials}"):
        posterior(confirmed, trials)


def test_values_are_plain_floats():
    confidence = posterior(3, 5)
    assert isinstance(confidence, Confidence)
    assert {type(value) for value in (confidence.value, confidence.low, confidence.high)} == {float}


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Brown, Cai & DasGupta 2001: for 20 trials and rates between .1 and .9, close to 95 % on average."""
    coverage = []
    for rate in (0.1, 0.3, 0.5, 0.7, 0.9):
        inside = [k for k in range(21) if posterior(k, 20).low <= rate <= posterior(k, 20).high]
        coverage.append(stats.binom.pmf(inside, 20, rate).sum())
    assert min(coverage) > 0.9
    assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("prior", [(0.0, 1.0), (1.0, -1.0), (float("inf"), 1.0), (float("nan"), 1.0)])
def test_a_prior_that_cannot_be(prior):
    with pytest.raises(ValueError, match="must be positive and finite"):
        posterior(1, 2, prior=Prior(*prior))


@given(TRIALS, st.floats(0.01, 50), st.floats(0.01, 50))
def test_the_mean_lies_between_the_prior_and_the_share_confirmed(counts, alpha, beta):
    confirmed, trials = counts
    found = posterior(confirmed, trials, prior=Prior(alpha, beta))
    assert (found.prior_alpha, found.prior_beta) == (alpha, beta)
    ends = (alpha / (alpha + beta), confirmed / trials if trials else alpha / (alpha + beta))
    assert min(ends) - 1e-12 <= found.value <= max(ends) + 1e-12
