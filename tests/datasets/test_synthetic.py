"""The generator of ratings with a known structure."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.ratings import leave_one_out
from datasets.synthetic import MINIMUM_PER_USER, make_ratings
from flowgrad.errors import FlowGradError

ARGUMENTS = {
    "n_users": 40,
    "n_items": 60,
    "n_ratings": 600,
    "dim": 3,
    "noise": 0.3,
    "popularity_exponent": 1.0,
    "seed": 0,
}


@st.composite
def arguments(draw):
    n_users, n_items = draw(st.integers(1, 30)), draw(st.integers(MINIMUM_PER_USER, 30))
    return {
        "n_users": n_users,
        "n_items": n_items,
        "n_ratings": draw(st.integers(MINIMUM_PER_USER * n_users, n_users * n_items)),
        "dim": draw(st.integers(1, 8)),
        "noise": draw(st.floats(0, 3)),
        "popularity_exponent": draw(st.floats(0, 3)),
        "seed": draw(st.integers(0, 2**64)),
    }


@settings(deadline=None)
@given(arguments())
def test_counts_ranges_and_order_in_time(chosen):
    ratings = make_ratings(**chosen)
    frame = ratings.frame
    assert (ratings.n_users, ratings.n_items, len(frame)) == (chosen["n_users"], chosen["n_items"], chosen["n_ratings"])
    assert not frame.duplicated(["user", "item"]).any()
    assert frame.groupby("user").size().reindex(range(chosen["n_users"]), fill_value=0).min() >= MINIMUM_PER_USER
    assert frame["rating"].between(1, 5).all()
    assert (frame["timestamp"].diff().dropna() > 0).all()
    assert frame.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64"]


def test_the_same_seed_gives_the_same_ratings():
    one, again, other = make_ratings(**ARGUMENTS), make_ratings(**ARGUMENTS), make_ratings(**{**ARGUMENTS, "seed": 1})
    pd.testing.assert_frame_equal(one.frame, again.frame)
    assert one.sha256 == again.sha256 != other.sha256


def test_source_names_the_arguments():
    assert make_ratings(**ARGUMENTS).source == (
        "make_ratings(n_users=40, n_items=60, n_ratings=600, dim=3, noise=0.3, popularity_exponent=1.0, seed=0)"
    )


def full_matrix(dim, noise):
    """All pairs rated, as a users x items matrix."""
    ratings = make_ratings(80, 70, 80 * 70, dim, noise, 0.0, seed=3)
    return ratings.frame.pivot_table(index="user", columns="item", values="rating").to_numpy()


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_without_noise_the_rank_is_that_of_biases_and_factors(dim):
    """Mean and biases have rank 2, the factors `dim`; clipping to 1..5 adds the little that is left."""
    energy = np.linalg.svd(full_matrix(dim, noise=0.0), compute_uv=False) ** 2
    centred = np.linalg.svd(full_matrix(dim, noise=0.0) - 3.5, compute_uv=False) ** 2
    assert energy[dim + 2 :].sum() < 0.002 * energy.sum()
    assert centred[: dim + 2].sum() > 0.95 * centred.sum()
    assert centred[dim] > 0.01 * centred.sum()


def test_noise_has_the_asked_size():
    residual = full_matrix(2, noise=0.4) - full_matrix(2, noise=0.0)
    assert residual.std() == pytest.approx(0.4, abs=0.02)


def test_popularity_follows_the_exponent():
    def counts(exponent):
        frame = make_ratings(500, 200, 5000, 2, 0.1, exponent, seed=5).frame
        return np.sort(np.bincount(frame["item"], minlength=200))[::-1]

    uniform, zipf = counts(0.0), counts(1.0)
    assert uniform[:20].sum() < 0.2 * uniform.sum()
    assert zipf[:20].sum() > 0.35 * zipf.sum()
    ranks = np.arange(5, 100)
    slope = np.polyfit(np.log(ranks + 1), np.log(zipf[ranks]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.25)


def test_codes_do_not_tell_popularity():
    frame = make_ratings(500, 200, 5000, 2, 0.1, 1.0, seed=5).frame
    counts = np.bincount(frame["item"], minlength=200)
    assert abs(np.corrcoef(np.arange(200), counts)[0, 1]) < 0.25


def test_every_user_can_be_held_out():
    split = leave_one_out(make_ratings(**ARGUMENTS))
    assert len(split.test) == len(split.validation) == ARGUMENTS["n_users"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_users", 0, "n_users is 0; expected an integer of 1 or more"),
        ("n_users", 2.0, "n_users is 2.0"),
        ("n_users", True, "n_users is True"),
        ("n_items", -1, "n_items is -1"),
        ("n_items", MINIMUM_PER_USER - 1, "n_items is 4; expected 5 or more"),
        ("n_ratings", "9", "n_ratings is '9'"),
        ("n_ratings", 199, r"n_ratings is 199; expected between 200 \(5 per user\) and 2400"),
        ("n_ratings", 2401, "n_ratings is 2401; expected between 200"),
        ("dim", 0, "dim is 0"),
        ("noise", -0.1, "noise is -0.1; expected a finite number of 0 or more"),
        ("noise", math.nan, "noise is nan"),
        ("noise", math.inf, "noise is inf"),
        ("noise", "0.1", "noise is '0.1'"),
        ("popularity_exponent", -1, "popularity_exponent is -1"),
        ("popularity_exponent", None, "popularity_exponent is None"),
        ("seed", -1, "seed is -1; expected an integer of 0 or more"),
        ("seed", 0.5, "seed is 0.5"),
        ("n_users", 10**7, "n_users \\* n_items is 600000000; expected 20000000 at most"),
    ],
)
def test_arguments_that_cannot_be(name, value, message):
    with pytest.raises(FlowGradError, match=message):
        make_ratings(**{**ARGUMENTS, name: value})
