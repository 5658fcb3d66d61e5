"""Scores of weights, and what global pruning keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from flowgrad.measures import saliency

SIZES = st.floats(-1e3, 1e3, allow_subnormal=False)
LAYERS = st.lists(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 100), unique=True), min_size=1, max_size=4
)


def test_scores_by_hand():
    w, v = np.array([2.0, -3.0]), np.array([4.0, 0.25])
    assert saliency.second_moment(w, v).tolist() == [8.0, 4.5]
    assert saliency.obd(w, v).tolist() == [8.0, 1.125]
    assert saliency.magnitude(w).tolist() == [2.0, 3.0]
    assert saliency.taylor(w, [0.5, -1.0]).tolist() == [1.0, 3.0]


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e3, allow_subnormal=False), unique=True))
def test_layer_adaptive_is_the_plain_sum_and_keeps_the_order(score):
    found = saliency.layer_adaptive(score)
    for value, own in zip(found, score, strict=True):
        assert value == pytest.approx(own / score[score >= own].sum() if own > 0 else 0)
    assert np.array_equal(found, saliency.layer_adaptive(4.0 * score))
    if score.max() > 0:
        assert found[score.argmax()] == 1
    assert (np.diff(found[np.argsort(score)]) >= 0).all()


@given(hnp.arrays(np.float64, 6, elements=SIZES), hnp.arrays(np.float64, 6, elements=st.floats(0, 1e3)))
def test_expected_rise_is_the_sum_of_obd(change, v):
    """Setting weights to 0 is a change of -w."""
    assert saliency.expected_rise(change, v) == pytest.approx(saliency.obd(change, v).sum())


def test_expected_rise_is_exact_for_a_separable_quadratic_at_its_minimum():
    curvature, change = np.array([1.0, 5.0, 0.2]), np.array([0.3, -0.1, 2.0])
    loss = lambda w: 0.5 * float(curvature @ np.square(w - 1))  # noqa: E731
    assert saliency.expected_rise(change, curvature) == pytest.approx(loss(1 + change) - loss(np.ones(3)))


@given(hnp.arrays(np.float64, st.integers(3, 30), elements=SIZES), st.data())
def test_rank_agreement_is_spearmans(one, data):
    other = data.draw(hnp.arrays(np.float64, len(one), elements=SIZES))
    found = saliency.rank_agreement(one, other)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)


def test_rank_agreement_leaves_out_what_is_not_known():
    assert saliency.rank_agreement([1, 2, 3, np.nan], [2, 4, 9, 0]) == pytest.approx(1)
    assert np.isnan(saliency.rank_agreement([1, 2], [1, 2]))


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e3)), st.floats(0, 1))
def test_removable_share_holds_little_and_no_more_could_go(scores, little):
    share = saliency.removable_share(scores, little)
    if scores.sum() == 0:
        assert np.isnan(share)
        return
    count = round(share * len(scores))
    ordered = np.sort(scores)
    assert ordered[:count].sum() <= little * scores.sum() * (1 + 1e-9)
    assert count == len(scores) or ordered[: count + 1].sum() >= little * scores.sum() * (1 - 1e-9)


def test_concentration():
    assert saliency.concentration([0.0] * 9 + [3.0]) == 1.0
    assert np.isnan(saliency.concentration([0.0, 0.0]))


@given(LAYERS, st.floats(0, 1), st.integers(0, 2))
def test_exactly_the_least_go(layers, share, floor):
    """As the slow way round: all weights in one order, those that a layer must keep passed over."""
    floors = [min(floor, len(layer)) for layer in layers]
    total = sum(map(len, layers))
    drop = round(share * total)
    keep = saliency.keep_after(saliency.global_order(layers, floors), drop)
    free = [
        (value, i, k)
        for i, (layer, least) in enumerate(zip(layers, floors, strict=True))
        for k, value in enumerate(layer)
        if k not in set(np.argsort(layer)[len(layer) - least :].tolist())
    ]
    gone = {(i, k) for i, part in enumerate(keep) for k in np.flatnonzero(~part)}
    assert len(gone) == min(drop, len(free))
    assert all(part.sum() >= least for part, least in zip(keep, floors, strict=True))
    values = {(i, k): value for value, i, k in free}
    if gone and len(gone) < len(free):
        assert max(values[one] for one in gone) <= min(values[one] for one in values.keys() - gone)


@given(LAYERS, st.floats(0, 1), st.data())
def test_of_units_never_more_go_than_asked(layers, share, data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=len(layers), max_size=len(layers)))
    total = sum(len(layer) * size for layer, size in zip(layers, sizes, strict=True))
    drop = round(share * total)
    keep = saliency.keep_after(saliency.global_order(layers, [0] * len(layers), sizes), drop)
    dropped = sum(int((~part).sum()) * size for part, size in zip(keep, sizes, strict=True))
    assert drop - max(sizes) < dropped <= drop


def test_motion_is_the_mean_of_what_is_known():
    assert saliency.motion([1.0, 2.0, np.nan], [np.nan, 4.0, 1.0]).tolist() == [0.5, 1.0, 0.25]
    assert np.isnan(saliency.motion([0.0, 0.0], [0.0, 0.0])).all()
