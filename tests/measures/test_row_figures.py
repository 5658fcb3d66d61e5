"""Whether targets belong to their rows: on real images and tables, on planted ones, against slow versions, and
properties.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_digits

from flowgrad.measures import targets
from flowgrad.measures.drift import drift
from flowgrad.measures.row_figures import BELONGING_MEASURES, TARGET_MEASURES, belonging_figures, row_figures
from flowgrad.measures.strong import strongest

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


def split(x, y, seed, share=0.7):
    order = np.random.default_rng(seed).permutation(len(y))
    cut = round(share * len(y))
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


def digits(seed=0):
    return split(*load_digits(return_X_y=True), seed)


def diabetes(seed=0):
    return split(*load_diabetes(return_X_y=True, scaled=False), seed)


def noisy(seed=0, rows=3000, columns=40, r2=0.25):
    """A table whose columns tell a quarter of the target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) * np.logspace(-1, 2, columns)
    told = (x / x.std(axis=0)) @ rng.normal(size=columns)
    y = told / told.std() * math.sqrt(r2) + rng.normal(size=rows) * math.sqrt(1 - r2)
    return split(x, y, seed)


def rare(seed=0):
    """Two classes, the one 3 % of the rows, told a little."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4000, 10))
    y = (x[:, 0] + x[:, 1] + 2 * rng.normal(size=4000) > 4.6).astype(int)
    return split(x, y, seed)


def codes(seed=0):
    """Stars that users give to items; the numbers of the two have no order."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(200, size=4000), rng.integers(150, size=4000)
    y = np.round(3 + rng.normal(size=200)[user] * 0.7 + rng.normal(size=150)[item] * 0.7 + rng.normal(size=4000) * 0.7)
    return split(np.column_stack([user, item]), y, seed)


SOUND = {"digits": digits, "diabetes": diabetes, "noisy": noisy, "rare": rare, "codes": codes}
CLASSES = ("digits", "rare")


def at_chance(found):
    return found["train_agreement_z"] < 3.5 and found["val_agreement_z"] < 3.5 and found["across_agreement_z"] < 3.5


@pytest.mark.parametrize("name", SOUND)
def test_sound_rows_agree_and_nothing_is_held_against_them(name):
    x, y, new_x, new_y = SOUND[name]()
    found = row_figures(x, y, new_x, new_y, name in CLASSES)
    assert set(found) == {measure.name for measure in TARGET_MEASURES} | {"class_map"}
    assert found["train_agreement_z"] > 6
    assert found["across_agreement_z"] > 4
    assert abs(found["agreement_lost_z"]) < 3
    assert found["class_map"] == ""
    assert found["reordered_columns"] == found["rescaled_columns"] == 0
    assert not found["strong_r2"] > 0.5


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("seed", [1, 2])
def test_targets_in_random_order_are_at_chance_where_they_would_have_been_seen(name, seed):
    x, y, new_x, new_y = SOUND[name](seed)
    rng = np.random.default_rng(seed)
    found = belonging_figures(x, rng.permutation(y), new_x, rng.permutation(new_y), name in CLASSES)
    assert at_chance(found)
    assert found["least_agreement"] < 0.1


@pytest.mark.parametrize("name", ["digits", "noisy", "codes"])
@pytest.mark.parametrize("share", [0.33, 1.0])
def test_wrong_targets_in_training_alone_show_against_validation(name, share):
    x, y, new_x, new_y = SOUND[name](3)
    rng = np.random.default_rng(3)
    chosen = np.flatnonzero(rng.random(len(y)) < share)
    wrong = y.copy()
    wrong[chosen] = y[rng.permutation(chosen)]
    found = belonging_figures(x, wrong, new_x, new_y, name in CLASSES)
    if share == 1.0:
        assert found["train_agreement_z"] < 3.5
        assert found["val_agreement_z"] > 6
    else:
        assert found["agreement_lost_z"] > 3
        assert found["wrong_share"] == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize("shift", [1, 3])
def test_the_map_of_classes_is_told(shift):
    x, y, new_x, new_y = digits(4)
    found = row_figures(x, (y + shift) % 10, new_x, new_y, True)
    assert found["renamed_classes"] == 10
    assert found["map_gain_z"] > 20
    assert found["mapped_agreement"] > 0.6
    assert f"class 4 of validation is class {4 + shift} of training" in found["class_map"]
    assert found["renamed_to"] == (found["renamed_from"] + shift) % 10


def test_two_classes_that_change_places_are_told_and_no_other():
    x, y, new_x, new_y = digits(5)
    changed = np.where(new_y == 3, 8, np.where(new_y == 8, 3, new_y))
    found = row_figures(x, y, new_x, changed, True)
    assert found["renamed_classes"] == 2
    assert {found["renamed_from"], found["renamed_to"]} == {3, 8}


def test_amounts_of_the_other_sign_agree_the_wrong_way_round():
    x, y, new_x, new_y = noisy(6)
    found = belonging_figures(x, y, new_x, -new_y, False)
    assert found["across_agreement"] < -0.7 * found["val_agreement"] < 0
    assert found["across_agreement_z"] < -6


@pytest.mark.parametrize("name", ["digits", "diabetes", "noisy"])
def test_columns_in_another_order_are_told(name):
    x, y, new_x, new_y = SOUND[name](7)
    order = np.random.default_rng(7).permutation(x.shape[1])
    found = belonging_figures(x, y, new_x[:, order], new_y, name in CLASSES)
    assert found["reordered_columns"] >= 0.4 * x.shape[1]
    assert found["rescaled_columns"] == 0
    mixed = new_x[:, order]
    matched = np.array(drift(x, mixed).order)
    moved = matched != np.arange(x.shape[1])
    off, back = (np.abs(part.mean(axis=0) - x.mean(axis=0))[moved] for part in (mixed, mixed[:, matched]))
    assert np.median(back) < 0.3 * np.median(off)


@pytest.mark.parametrize("name", ["digits", "diabetes", "noisy"])
def test_columns_that_are_standardised_in_one_part_alone_are_told(name):
    x, y, new_x, new_y = SOUND[name](8)
    scaled = (new_x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 0.1)
    found = belonging_figures(x, y, scaled, new_y, name in CLASSES)
    assert found["rescaled_columns"] > 0.5 * found["columns_compared"]
    assert found["reordered_columns"] == 0


def test_a_table_split_by_time_whose_columns_drift_has_neither():
    rng = np.random.default_rng(9)
    time = np.arange(3000.0)
    x = np.column_stack([time, rng.normal(size=(3000, 8)) + np.outer(time / 1500, rng.normal(size=8))])
    found = drift(x[:2000], x[2000:])
    assert found.differing > 3
    assert found.reordered == 0
    assert found.rescaled <= 1  # the time itself


@pytest.mark.parametrize("seed", range(4))
def test_classes_that_are_sampled_otherwise_are_no_other_order(seed):
    """Two pixels that moved most looked like two others, and undersampled digits were told to be in another order."""
    x, y, new_x, _ = digits(seed)
    rng = np.random.default_rng(seed)
    for kept in (rng.random(len(y)) * (1 + y) < 1, rng.random(len(y)) < np.where(y % 2 == 1, 0.1, 1.0)):
        assert drift(x[kept], new_x).reordered == 0
    order = np.arange(64)
    few = rng.choice(64, 6, replace=False)
    order[few] = np.roll(few, 1)
    assert drift(x, new_x[:, order]).reordered >= 2


def test_copies_of_training_rows_say_nothing_of_wrong_targets():
    """Held-out rows that copy training rows, shuffled targets too, agree with them, and training rows do not."""
    x, y, new_x, new_y = noisy(10)
    rng = np.random.default_rng(10)
    y, new_y = rng.permutation(y), rng.permutation(new_y)
    new_x[:500], new_y[:500] = x[:500], y[:500]
    found = belonging_figures(x, y, new_x, new_y, False)
    assert abs(found["across_agreement_z"]) < 3.5


@pytest.mark.parametrize("jitter", [0.0, 0.02])
def test_a_column_that_holds_the_class_is_the_strongest(jitter):
    """Standardised by each part's own mean, its values differ a little between the parts."""
    x, y, new_x, new_y = digits(11)
    x[:, 0], new_x[:, 0] = y / 3, new_y / 3 + jitter
    told, new_told, _ = targets.coded(y, new_y, classes=True)
    found = strongest(x, told, new_x, new_told)
    assert found.place == 0
    assert found.r2 > 0.99
    assert found.rest < 0.05


def test_a_class_that_is_rarer_in_training_is_another_distribution_of_targets():
    """Targets of a rare class agree less with each other; nothing is wrong with them."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(6000, 5))
    y = (x[:, 0] + rng.normal(size=6000) > 0).astype(int)
    rare_rows = np.flatnonzero((y == 0) | (rng.random(6000) < 0.05))[:2000]
    found = belonging_figures(x[rare_rows], y[rare_rows], x[4000:], y[4000:], True)
    assert found["targets_apart"] > 0.2
    parts = split(x, y, 12)
    assert belonging_figures(*parts, True)["targets_apart"] == 0


def test_too_few_rows_and_constant_columns_are_not_known():
    found = row_figures(np.zeros((500, 3)), np.arange(500) % 2, np.zeros((500, 3)), np.arange(500) % 2, True)
    assert math.isnan(found["train_agreement_z"])
    assert math.isnan(found["strong_r2"])
    assert found["least_agreement"] == 1
    found = row_figures(np.eye(10), np.arange(10), np.eye(10), np.arange(10), False)
    unknown = {"train_agreement_z", "val_agreement_z", "across_agreement_z", "reordered_columns", "strong_r2"}
    assert all(math.isnan(found[name]) for name in unknown)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"train_x has the shape \(5, 2\), train_y 4 targets"):
        row_figures(np.zeros((5, 2)), np.zeros(4), np.zeros((5, 2)), np.zeros(5), False)
    with pytest.raises(ValueError, match="train_x has 2 columns, validation_x 3"):
        row_figures(np.zeros((5, 2)), np.zeros(5), np.zeros((5, 3)), np.zeros(5), False)


def test_the_same_rows_give_the_same_figures_and_no_random_number_is_drawn():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    parts = diabetes()
    assert row_figures(*parts, False) == pytest.approx(row_figures(*parts, False), nan_ok=True)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@few
@given(SEEDS)
def test_ridge_is_that_of_each_row_left_out(seed):
    """Against a fit without the row, for every row."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    fit = targets._Ridge(x, y)
    centred, t = x - x.mean(axis=0), y - y.mean(axis=0)
    penalty = float(np.median(fit._sizes**2 * (1 / fit._shrunk - 1)))
    found = fit._held_out(fit._shrunk)
    for row in range(50):
        rest = np.arange(50) != row
        gram = centred[rest].T @ centred[rest] + penalty * np.eye(4)
        assert centred[row] @ np.linalg.solve(gram, centred[rest].T @ t[rest]) == pytest.approx(found[row])


@few
@given(SEEDS, st.booleans())
def test_standard_errors_are_those_of_targets_in_random_order(seed, nearest):
    """Against forty orders of the targets."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(150, 5)), rng.normal(size=(150, 1))

    def told(t):
        places = targets._nearest(x, x, own=True)[0] if nearest else None
        return targets._of_weights(places, t) if nearest else targets._Ridge(x, t).agreement()

    scores = [told(y[rng.permutation(150)]).z for _ in range(40)]
    assert abs(np.mean(scores)) < 0.8
    assert 0.5 < np.std(scores) < 1.7


@few
@given(SEEDS, st.floats(0.1, 50), st.floats(-20, 20))
def test_units_of_columns_and_amounts_do_not_matter(seed, scale, shift):
    x, y, new_x, new_y = noisy(seed, rows=300, columns=5)
    one = belonging_figures(x, y, new_x, new_y, False)
    other = belonging_figures(scale * x + shift, 3 * y - 1, scale * new_x + shift, 3 * new_y - 1, False)
    for name in ("train_agreement", "val_agreement", "across_agreement", "agreement_lost_z"):
        assert other[name] == pytest.approx(one[name], abs=0.02, nan_ok=True)


@few
@given(SEEDS, st.integers(2, 30))
def test_two_samples_of_one_population_have_columns_in_order_and_on_one_scale(seed, columns):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, columns)) ** rng.integers(1, 4, columns) * rng.random(columns)
    x[:, ::3] = rng.random((400, len(x[0, ::3]))) < rng.random(len(x[0, ::3]))
    found = drift(x[:250], x[250:])
    assert found.reordered == found.rescaled == 0


@few
@given(SEEDS)
def test_names_of_classes_do_not_matter_where_both_parts_use_them(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, 3))
    y = np.digitize(x[:, 0] + rng.normal(size=400), [-1, 0, 1])
    names = rng.permutation(50)[:4]
    parts = x[:250], y[:250], x[250:], y[250:]
    one = belonging_figures(*parts, True)
    other = belonging_figures(parts[0], names[parts[1]], parts[2], names[parts[3]], True)
    for name in ("train_agreement", "across_agreement", "renamed_classes"):
        assert other[name] == pytest.approx(one[name], nan_ok=True)


def test_measures_are_named_once():
    names = [measure.name for measure in TARGET_MEASURES]
    assert len(names) == len(set(names))
    assert set(BELONGING_MEASURES) <= set(TARGET_MEASURES)
