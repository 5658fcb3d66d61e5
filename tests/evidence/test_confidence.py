import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad.evidence.chances import LogOdds, fitted
from flowgrad.evidence.confidence import Confidence, posterior


def test_without_trials_nothing_is_known():
    confidence = posterior()
    assert (confidence.basis, confidence.trials, confidence.confirmed) == ("prior", 0, 0)
    assert confidence.value == pytest.approx(0.5)
    assert confidence.low < 0.01 < 0.99 < confidence.high


def test_of_a_rule_alone_it_is_by_its_own_trials():
    confidence, alone = posterior(38, 40), fitted({("a", "x"): (38, 40)}).log_odds("a", "x")
    assert (confidence.basis, confidence.trials, confidence.confirmed) == ("measured", 40, 38)
    assert (confidence.value, confidence.low, confidence.high) == (
        alone.chance, alone.quantile(0.025), alone.quantile(0.975),
    )  # fmt: skip
    assert 0.85 < confidence.value < 0.95


TRIALS = st.integers(0, 60).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


@settings(max_examples=20, deadline=None)
@given(TRIALS)
def test_interval_holds_the_mean_and_failures_mirror_successes(counts):
    confirmed, trials = counts
    confidence, mirrored = posterior(confirmed, trials), posterior(trials - confirmed, trials)
    assert 0 <= confidence.low < confidence.value < confidence.high <= 1
    assert mirrored.value == pytest.approx(1 - confidence.value)
    assert mirrored.low == pytest.approx(1 - confidence.high, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(TRIALS)
def test_another_confirmation_never_lowers_it(counts):
    confirmed, trials = counts
    assert posterior(confirmed + 1, trials + 1).value > posterior(confirmed, trials).value


@pytest.mark.parametrize(("confirmed", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_counts_that_cannot_be(confirmed, trials):
    with pytest.raises(ValueError, match=rf"confirmed={confirmed} must lie between 0 and trials={trials}"):
        posterior(confirmed, trials)


@pytest.mark.parametrize("log_odds", [None, LogOdds(0.3, 1.2)])
def test_values_are_plain_floats(log_odds):
    confidence = posterior(3, 5, log_odds=log_odds)
    assert isinstance(confidence, Confidence)
    assert {type(value) for value in (confidence.value, confidence.low, confidence.high)} == {float}
