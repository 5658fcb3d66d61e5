import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.measures import training
from flowgrad.measures.training import loss_course, validation_course
from flowgrad.rules import RuleBook
from flowgrad.trackers import TrainingTracker

LOSSES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30)
GAPPED = st.lists(st.one_of(st.floats(0.01, 1e6), st.just(math.nan)), max_size=30)


def slow_course(losses):
    """The validation figures, one at a time."""
    best, at = math.inf, 0
    for epoch, loss in enumerate(losses):
        if loss < best:
            best, at = loss, epoch
    risen, gained = losses[-1] - best, best - losses[0]
    return {
        "val_best": best,
        "val_last": losses[-1],
        "val_rise": losses[-1] / best - 1,
        "val_lost": risen / -gained if gained else math.inf if risen else 0.0,
        "val_fall": min(falls[-2:]) if (falls := [1 - b / a for a, b in pairwise(losses)]) else math.nan,
        "val_late_gain": min([a - b for a, b in pairwise(losses)][-2:]) / -gained if gained else math.nan,
        "epochs_since_best": len(losses) - 1 - at,
    }


def test_a_falling_training_loss():
    course = loss_course([4.0, 2.0, 1.5])
    assert course == {"loss_first": 4, "loss_last": 1.5, "loss_fall": 0.25, "loss_nonfinite": 0}


def test_a_growing_training_loss():
    assert loss_course([1.0, 3.0])["loss_fall"] == -2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_flagged_wherever_it_stands(bad):
    for losses in ([bad], [1, bad, 1], [1, bad]):
        assert loss_course(losses)["loss_nonfinite"] == 1
    assert math.isnan(loss_course([bad, 1])["loss_fall"]) or loss_course([bad, 1])["loss_fall"] == math.inf


def test_a_run_without_epochs_tells_nothing():
    course = loss_course([])
    assert all(math.isnan(value) for value in course.values())


def test_one_epoch_has_no_fall():
    assert math.isnan(loss_course([1.0])["loss_fall"])
    assert math.isnan(validation_course([1.0])["val_fall"])


def test_a_validation_loss_that_turns():
    course = validation_course([1.0, 0.8, 1.0, 1.2])
    assert course == pytest.approx(
        {"val_best": 0.8, "val_last": 1.2, "val_rise": 0.5, "val_lost": 2.0, "val_fall": -0.25, "val_late_gain": -1.0,
         "epochs_since_best": 2}
    )  # fmt: skip


def test_a_validation_loss_that_falls():
    course = validation_course([1.0, 0.75])
    assert (course["val_best"], course["val_last"], course["val_fall"]) == (0.75, 0.75, 0.25)
    assert (course["val_rise"], course["val_lost"], course["epochs_since_best"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        ([2.0, 1.5, 1.2, 1.0], [2.3] * 4, True),
        ([2.0, 1.5, 1.2, 1.0], [2.3, 2.28, 2.3, 2.29], False),
        ([2.0, 2.0, 2.0, 2.0], [2.3] * 4, False),  # nothing moves at all
        ([2.0, 1.5, 1.2, 1.0], [0.0] * 4, False),  # nothing is left to lose
        ([2.0, 1.5, 1.2], [2.3] * 3, False),
    ],
)
def test_a_validation_that_never_moves_while_training_does_is_of_another_model(train, validation, said):
    """An average of weights was validated that nothing updated, and the report had nothing to say."""
    tracker = TrainingTracker()
    for losses in zip(train, validation, strict=True):
        tracker.end_epoch(*losses)
    found = {one.type: one for one in tracker.findings()}
    assert ("VALIDATION_STANDS_STILL" in found) == said
    assert not said or found["VALIDATION_STANDS_STILL"].candidates[0].cause == "ANOTHER_MODEL_VALIDATED"


@pytest.mark.parametrize(
    ("validation", "said"), [([1.2, 0.4, 0.15, 0.05], {"TRAINING_CUT_SHORT"}), ([1.2, 0.01, 0.0006, 0.0003], set())]
)
def test_a_loss_that_is_nearly_nothing_falls_by_shares_that_mean_nothing(validation, said):
    """Training on was prescribed to a tagger that was right on every row: its loss had halved, from .0006."""
    tracker = TrainingTracker()
    for loss in validation:
        tracker.end_epoch(0.9 * loss, loss)
    assert {one.type for one in tracker.findings()} & {"TRAINING_CUT_SHORT", "STILL_IMPROVING"} == said


@pytest.mark.parametrize(
    ("validation", "asked"),
    [
        ([2.313 - 0.002 * k for k in range(25)], True),
        ([2.3 + 0.05 * k for k in range(25)], False),  # learned by heart
        ([2.3 * 0.9**k for k in range(25)], False),
    ],
)
def test_a_validation_that_creeps_while_training_is_done_is_of_weights_that_hardly_follow(validation, asked):
    """An average of decay .9999 was validated at chance for 850 steps, and the run was called healthy."""
    tracker = TrainingTracker()
    for epoch, loss in enumerate(validation):
        tracker.end_epoch(2.1 * 0.84**epoch, loss)
    found = {one.type: one for one in tracker.findings()}
    assert ("VALIDATION_STANDS_STILL" in found) == asked
    assert not asked or found["VALIDATION_STANDS_STILL"].candidates[0].cause == "AVERAGE_LAGS"


@pytest.mark.parametrize("seed", range(6))
def test_batches_of_a_target_with_heavy_tails_are_no_divergence(seed):
    """A tenth of the rate was prescribed to sound runs in each of which some batch had a delay of twenty hours."""
    draws = np.random.default_rng(seed).standard_t(2, (200, 64)) ** 2
    tracker, level = TrainingTracker(), np.linspace(1.0, 0.9, 5)
    for epoch, losses in zip(level, draws.mean(1).reshape(5, 40), strict=True):
        for loss in losses:
            tracker.step(epoch * loss)
        tracker.end_epoch(epoch * losses.mean(), epoch)
    assert not {"DIVERGENCE", "LOSS_PEAK"} & {one.type for one in tracker.findings()}


@pytest.mark.parametrize(
    "course", [lambda k: 1.1**k, lambda k: 1 + 4 * (k > 20), lambda k: 1 + 30 * (10 < k < 30) - 0.3 * (k > 60)]
)
def test_losses_that_rise_above_where_they_began_still_are(course):
    """A loss that grows, one that settles higher, and a blow-up that is made up for."""
    random = np.random.default_rng(0)
    tracker = TrainingTracker()
    losses = [course(k) * random.uniform(0.8, 1.25) for k in range(120)]
    for loss in [1.0, *losses]:
        tracker.step(loss)
    assert "DIVERGENCE" in {one.type for one in tracker.findings()}


@pytest.mark.parametrize(
    ("fall", "kind", "severity", "first"),
    [
        (0.9, "STILL_IMPROVING", "low", "RATE_DESCENDS"),
        (0.1, "TRAINING_CUT_SHORT", "medium", None),
        (math.nan, "TRAINING_CUT_SHORT", "medium", None),
    ],
)
def test_a_loss_that_falls_with_the_rate_is_no_more_than_a_low_question(fall, kind, severity, first):
    """Cosine schedules that ended with the run were asked first, at medium, whether it had been cut short."""
    tracker = TrainingTracker()
    for loss in [1.2, 0.8, 0.6, 0.5]:
        tracker.end_epoch(0.9 * loss, loss, late_rate_fall=fall)
    (found,) = [one for one in tracker.findings() if one.type in {"TRAINING_CUT_SHORT", "STILL_IMPROVING"}]
    assert (found.type, found.severity) == (kind, severity)
    assert (found.candidates[0].cause if found.candidates else None) == first


@pytest.mark.parametrize("losses", [[], [math.nan], [math.nan, math.nan], [math.inf]])
def test_no_validation_tells_nothing(losses):
    assert all(math.isnan(value) for value in validation_course(losses).values())


def test_epochs_that_were_not_validated_are_passed_over():
    course = validation_course([math.nan, 2.0, 1.0, math.nan, 1.5])
    assert (course["val_best"], course["epochs_since_best"], course["val_rise"]) == (1, 2, 0.5)
    assert course["val_lost"] == 0.5
    assert math.isnan(validation_course([2.0, 1.0, math.nan])["val_lost"])
    assert math.isnan(course["val_fall"])


@given(LOSSES)
def test_validation_agrees_with_a_slow_plain_version(losses):
    assert validation_course(losses) == pytest.approx(slow_course(losses), rel=1e-9, abs=1e-9, nan_ok=True)


@given(LOSSES, st.floats(0.1, 10))
def test_ratios_know_no_scale(losses, factor):
    for course, names in ((loss_course, ["loss_fall"]), (validation_course, ["val_rise", "val_fall"])):
        plain, scaled = course(losses), course([factor * loss for loss in losses])
        for name in names:
            assert scaled[name] == pytest.approx(plain[name], rel=1e-6, abs=1e-6, nan_ok=True)


@given(GAPPED, GAPPED)
def test_what_is_known_is_in_its_bounds(losses, validated):
    course = {**loss_course(losses), **validation_course(validated)}
    assert not course["val_rise"] < 0
    assert not course["epochs_since_best"] < 0
    assert not course["loss_fall"] > 1
    assert not course["val_best"] > course["val_last"]


def test_the_tracker_measures_exactly_what_is_declared():
    tracker = TrainingTracker(target_variance=2.0, rules=RuleBook.load())
    for _ in range(2):
        assert sorted(tracker.measurements().scalars) == sorted(measure.name for measure in training.MEASURES)
        tracker.end_epoch(3.0, 2.5, steps=7)
    scalars = tracker.measurements().scalars
    assert scalars["loss_to_variance"] == 1.5
    assert (scalars["epochs"], scalars["steps"]) == (2, 14)
    assert (tracker.train_losses, tracker.validation_losses) == ((3.0, 3.0), (2.5, 2.5))
    assert tracker.to_agent_xml().startswith("<flowgrad_training_report ")


@pytest.mark.parametrize("variance", [None, 0.0])
def test_without_a_variance_there_is_no_ratio_to_it(variance):
    tracker = TrainingTracker(target_variance=variance)
    tracker.end_epoch(1.0)
    assert math.isnan(tracker.measurements().scalars["loss_to_variance"])
