"""What a column says of the target, and what it does not say: when it was written down."""

import math

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.report import validate

RNG = np.random.default_rng(0)
N, CUT = 2000, 1400
CLAIMS = {"target_leak", "training_leak", "id_memorising"}


def looked(X, y, cut=CUT, **said):
    tracker = BoostingTracker()
    tracker.observe_data(X[:cut], y[:cut], X[cut:], y[cut:], **said)
    return tracker


def named(tracker, rule):
    return [name for one in tracker.findings() if one.rule_id == rule for name in one.rows.index]


def noise(columns="pqr"):
    return pd.DataFrame(RNG.normal(size=(N, len(columns))), columns=list(columns))


def autoregression(memory, drift=0.0):
    s = np.zeros(N + 1)
    for i in range(1, N + 1):
        s[i] = memory * s[i - 1] + drift + RNG.normal()
    return noise().assign(lag_1=s[:-1]), s[1:]


def area():
    X = noise().assign(area=RNG.uniform(20, 200, N), rooms=RNG.integers(1, 7, N))
    return X, (3000 * X["area"] + 20000 * RNG.normal(size=N)).to_numpy()


def acting_together():
    X = noise("abc").assign(area=RNG.normal(size=N))
    return X, (2 * X["area"] + 1.5 * np.sign(X["a"] * X["b"]) + 0.5 * RNG.normal(size=N)).to_numpy()


def a_threshold():
    X = noise().assign(score=RNG.normal(size=N))
    return X, (X["score"] > 0).to_numpy().astype(float)


def state_that_lasts():
    state = (np.cumsum(RNG.random(N + 1) < 0.01) % 2).astype(float)
    return noise().assign(state_before=state[:-1]), state[1:]


HONEST = {
    "lag": lambda: autoregression(0.85),
    "price of yesterday": lambda: autoregression(1.0),
    "a level that rises": lambda: autoregression(1.0, 0.2),
    "area": area,
    "beside columns that act together": acting_together,
    "a threshold on it": a_threshold,
    "a state that lasts": state_that_lasts,
}


@pytest.mark.parametrize("name", HONEST)
def test_a_strong_column_that_is_known_in_time_is_a_question_at_most(name):
    """An honest lag, explaining .67 of the target, was to be dropped as a critical leak: the error nearly doubled."""
    tracker = looked(*HONEST[name]())
    for finding in tracker.findings():
        assert finding.rule_id not in CLAIMS
        assert finding.fix is None
        assert not finding.plain
        if finding.rule_id == "strong_column":
            assert finding.severity == "low"
            assert {one.cause for one in finding.candidates} == {"TARGET_LEAK", "HONEST_PREDICTOR"}
    validate(tracker.to_agent_xml())


def test_the_answer_to_the_question_is_heard():
    X, y = autoregression(0.85)
    assert named(looked(X, y), "strong_column") == ["lag_1"]
    assert not named(looked(X, y, known_in_time=["lag_1"]), "strong_column")
    late = looked(X, y, written_after=["lag_1"])
    assert named(late, "target_leak") == ["lag_1"]
    assert not named(late, "strong_column")
    assert late.summary()["told_after"] == 1


def classes(y, k=2):
    return np.digitize(y, np.quantile(y, np.arange(1, k) / k)).astype(float)


LINEAR = noise("abc")
REAL = (LINEAR["a"] + RNG.normal(size=N)).to_numpy()
TWO, FIVE = classes(REAL), classes(REAL, 5)
SIGNS = {
    "the target": (REAL, REAL),
    "in another unit": (REAL, 1.8 * REAL + 32),
    "turned round": (REAL, -REAL),
    "in 32 bits": (1000 + REAL, (1000 + REAL).astype(np.float32)),
    "a code of two classes": (TWO, 7 - 4 * TWO),
    "words for two classes": (TWO, np.where(TWO > 0, "left", "stayed")),
    "a code of five classes": (FIVE, np.array([3.0, 9.0, 1.0, 7.0, 5.0])[FIVE.astype(int)]),
    "there for one class alone": (TWO, np.where(TWO > 0, RNG.normal(size=N), np.nan)),
    "there for most of one class": (TWO, np.where((TWO > 0) & (RNG.random(N) < 0.7), 1.0, np.nan)),
    "a date of leaving": (TWO, pd.Series(np.where(TWO > 0, "2024-05-01", None))),
}


@pytest.mark.parametrize("name", SIGNS)
def test_signs_that_a_column_was_written_down_after_the_target(name):
    y, column = SIGNS[name]
    tracker = looked(LINEAR.assign(late=column), y)
    assert named(tracker, "target_leak") == ["late"]
    (finding,) = [one for one in tracker.findings() if one.rule_id == "target_leak"]
    assert finding.fix is not None
    assert {"xgboost", "lightgbm", "catboost"} <= set(finding.plain)
    assert not named(tracker, "strong_column")
    said = looked(LINEAR.assign(late=column), y, known_in_time=["late"])
    assert not named(said, "target_leak")


NO_SIGNS = {
    "the target with noise": (REAL, REAL + 0.1 * RNG.normal(size=N)),
    "two of five classes alike": (FIVE, np.array([3.0, 9.0, 1.0, 7.0, 7.0])[FIVE.astype(int)]),
    "missing at random": (TWO, np.where(RNG.random(N) < 0.5, LINEAR["a"], np.nan)),
    "missing rather for one class": (TWO, np.where(RNG.random(N) < 0.2 + 0.6 * TWO, LINEAR["a"], np.nan)),
    "there for few of one class": (TWO, np.where((TWO > 0) & (RNG.random(N) < 0.05), 1.0, np.nan)),
    "missing for one class, and for some of the other": (
        TWO, np.where((TWO > 0) | (RNG.random(N) < 0.5), LINEAR["a"], np.nan),
    ),
    "never there": (TWO, np.full(N, np.nan)),
    "constant": (REAL, np.ones(N)),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_SIGNS)
def test_what_is_no_sign(name):
    y, column = NO_SIGNS[name]
    assert not named(looked(LINEAR.assign(x=column), y), "target_leak")


def test_a_state_that_never_changes_in_few_rows_is_no_copy():
    """Four rows of a class are not enough to tell."""
    y = np.r_[np.ones(4), np.zeros(200), np.ones(2), np.zeros(60)]
    frame = pd.DataFrame({"x": y, "z": RNG.normal(size=len(y))})
    assert not named(looked(frame, y, 204), "target_leak")


# --- what fits the training rows alone -------------------------------------------------------------------------------


def trend():
    """Split by time: the level of all that grows is another one in the later rows."""
    time = np.arange(N, dtype=float)
    y = 0.01 * time + RNG.normal(size=N)
    return noise().assign(level=0.01 * time + RNG.normal(size=N), day=time, week=time // 7), y


def test_columns_that_drift_with_the_target_are_a_question():
    tracker = looked(*trend())
    assert not named(tracker, "training_leak")
    assert not named(tracker, "id_memorising")
    assert named(tracker, "fits_training_alone") == ["level", "week"]
    assert all(one.fix is None for one in tracker.findings())
    X, y = trend()
    mixed = RNG.permutation(N)
    assert not named(looked(X.iloc[mixed], y[mixed]), "fits_training_alone")


def test_a_number_for_each_row_is_a_question():
    """It may name the row, or count the time."""
    X, y = trend()
    tracker = BoostingTracker()
    xgb.train({"nthread": 1}, xgb.DMatrix(X[:CUT], y[:CUT]), 10, callbacks=[tracker.as_xgb_callback()])
    tracker.observe_data(X[:CUT], y[:CUT], X[CUT:], y[CUT:])
    assert named(tracker, "row_numbers") == ["day"]
    (finding,) = [one for one in tracker.findings() if one.rule_id == "row_numbers"]
    assert {one.cause for one in finding.candidates} == {"ROW_NUMBER", "TIME", "AMOUNT"}
    assert finding.fix is None
    tracker.observe_data(X[:CUT], y[:CUT], X[CUT:], y[CUT:], known_in_time=["day", "week", "level"])
    assert not {"row_numbers", "fits_training_alone"} & {one.rule_id for one in tracker.findings()}


def test_an_encoding_that_counts_the_row_itself_is_still_found():
    y = RNG.normal(size=N)
    group = RNG.integers(300, size=N)
    sums = np.bincount(group[:CUT], y[:CUT], 300) / np.maximum(np.bincount(group[:CUT], minlength=300), 1)
    tracker = looked(noise().assign(mean_of_group=sums[group]), y)
    assert named(tracker, "training_leak") == ["mean_of_group"]


def batches():
    """Codes of training batches that have like targets; elsewhere they say nothing."""
    y = RNG.normal(size=N)
    batch = RNG.integers(100, size=N)
    batch[np.argsort(y[:CUT])] = np.arange(CUT) * 100 // CUT
    return noise().assign(batch=RNG.permutation(1000)[:100][batch]), y


def test_codes_that_training_rows_are_known_by_are_still_found():
    assert named(looked(*batches()), "id_memorising") == ["batch"]


@pytest.mark.parametrize("known", [40, 36])
def test_codes_that_each_part_numbers_by_itself_are_no_memory(known):
    """An encoder fitted to each part gives one number to different things: the column was to be dropped."""
    city = RNG.integers(40, size=N)
    y = 2 * RNG.normal(size=40)[city] + RNG.normal(size=N)
    names = np.arange(40)
    names[:known] = RNG.permutation(known)
    column = np.where(np.arange(N) < CUT, city, names[city])
    found = {one.rule_id: one for one in looked(noise().assign(city=column), y).findings()}
    assert not {"id_memorising", "training_leak"} & set(found)
    assert found["codes_tell_otherwise"].candidates[0].cause == "CODES_NUMBERED_DIFFERENTLY"
    assert "codes_tell_otherwise" not in {one.rule_id for one in looked(noise().assign(city=city), y).findings()}


def test_codes_of_rows_whose_negatives_are_sampled_mean_the_same():
    city = RNG.integers(40, size=N)
    y = (2 * RNG.normal(size=40)[city] - 3 + RNG.logistic(size=N) > 0).astype(float)
    kept = (np.arange(N) >= CUT) | (y == 1) | (RNG.random(N) < 0.15)
    tracker = looked(noise().assign(city=city)[kept], y[kept], cut=int(kept[:CUT].sum()))
    assert not {"id_memorising", "codes_tell_otherwise"} & {one.rule_id for one in tracker.findings()}


@pytest.mark.parametrize("kind", [float, str])
def test_codes_of_times_that_were_not_trained_on_are_no_memory(kind):
    """Each month has a level of its own: the months of the held-out rows are yet to come."""
    month = np.arange(N) // 70
    level = RNG.normal(size=month.max() + 1)
    column = month.astype(float) if kind is float else pd.Series([f"month {m}" for m in month])
    assert not named(looked(noise().assign(month=column), level[month] + 0.3 * RNG.normal(size=N)), "id_memorising")


# --- rows enough -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 10, 29])
def test_of_few_validation_rows_no_column_is_judged(rows):
    tracker = looked(*autoregression(0.85), cut=N - rows)
    assert math.isnan(tracker.summary()["leak_r2"])
    assert not {"strong_column", "training_leak", "id_memorising"} & {one.rule_id for one in tracker.findings()}
    assert f"{rows} validation rows are too few" in tracker.measurements().coverage.unseen["columns_on_validation_rows"]


def test_validation_rows_of_one_class_are_told_of():
    y = np.r_[np.tile([0.0, 1.0], CUT // 2), np.zeros(N - CUT)]
    tracker = looked(noise(), y)
    assert "y_validation holds nothing but 0" in tracker.measurements().coverage.unseen["columns_on_validation_rows"]
    assert not {"strong_column", "training_leak"} & {one.rule_id for one in tracker.findings()}


@pytest.mark.parametrize("argument", ["written_after", "known_in_time"])
def test_names_of_no_column(argument):
    with pytest.raises(ValueError, match=f"{argument} names 'lag_2', which is no column of X; did you mean 'lag_1'?"):
        looked(*autoregression(0.5), **{argument: ["lag_2"]})
    with pytest.raises(ValueError, match="'lag_1' stands in written_after and in known_in_time"):
        looked(*autoregression(0.5), written_after=["lag_1"], known_in_time="lag_1")


def test_a_column_whose_relation_fades_is_not_called_a_leak():
    """A coefficient that halves with time was a TRAINING_LEAK, and dropping the column nearly doubled the error."""
    rng = np.random.default_rng(0)
    n = 2000
    strength = np.where(np.arange(n) < 1400, 1.5, 0.5)
    column = rng.normal(size=n)
    table = pd.DataFrame({"fades": column, "noise": rng.normal(size=n)})
    target = strength * column + 0.5 * rng.normal(size=n)
    tracker = BoostingTracker()
    tracker.observe_data(table[:1400], target[:1400], table[1400:], target[1400:])
    types = {finding.type: finding for finding in tracker.findings()}
    assert "TRAINING_LEAK" not in types
    assert types["COLUMN_DOES_NOT_CARRY_OVER"].fix is None
    assert tracker.measurements().tables["rows"].loc["fades", "recovered"] > 0.3


# --- columns that are empty where they are used ----------------------------------------------------------------------

FEW, FEW_CUT = 700, 500
ILL = (np.random.default_rng(5).random(FEW) < 0.4).astype(float)
SESSIONS = np.where(ILL > 0, np.random.default_rng(6).poisson(18, FEW), 0.0)
HELD_OUT = np.arange(FEW) >= FEW_CUT
EMPTIED = {
    "zeros": np.where(HELD_OUT, 0.0, SESSIONS),
    "missing": np.where(HELD_OUT | (SESSIONS == 0), np.nan, SESSIONS),
    "missing, once always there": np.where(HELD_OUT, np.nan, SESSIONS + 1),
    "text": np.where(HELD_OUT | (SESSIONS == 0), "none", "booked"),
}


@pytest.mark.parametrize("kind", EMPTIED)
def test_a_column_that_is_empty_in_held_out_rows_and_told_the_target_is_asked_about(kind):
    """Radiotherapy sessions, booked after the diagnosis, were 0 in the rows in use; the check that was named first, a
    random split, acquits them.
    """
    tracker = looked(noise()[:FEW].assign(sessions=EMPTIED[kind]), ILL, FEW_CUT)
    (finding,) = [one for one in tracker.findings() if one.type == "COLUMN_DOES_NOT_CARRY_OVER"]
    assert (finding.severity, finding.fix, list(finding.rows.index)) == ("medium", None, ["sessions"])
    assert "one and the same value, or none" in finding.premise
    assert finding.candidates[0].cause == "TARGET_LEAK"
    assert "still open" in finding.candidates[0].check
    validate(tracker.to_agent_xml())


def test_a_column_that_is_empty_in_held_out_rows_and_known_in_time_is_let_alone():
    tracker = looked(noise()[:FEW].assign(promotion=EMPTIED["zeros"]), ILL, FEW_CUT, known_in_time=["promotion"])
    assert not named(tracker, "empty_when_held_out") + named(tracker, "fits_training_alone")


MONTH = np.arange(FEW) % 12.0
SOUND = {
    "filled in both parts": (SESSIONS, ILL),
    "says nothing": (np.where(HELD_OUT, 0.0, np.random.default_rng(7).integers(2, size=FEW)), ILL),
    "one month of twelve": (np.where(HELD_OUT, 11.0, MONTH), (MONTH > 5) + 0.1 * np.random.default_rng(8).random(FEW)),
    "a later year": (np.where(HELD_OUT, 5.0, np.arange(FEW) * 5 // FEW_CUT), np.arange(FEW) * 5 // FEW_CUT % 2 + 0.0),
    "one value in both": (np.zeros(FEW), ILL),
}


@pytest.mark.parametrize("kind", SOUND)
def test_columns_with_other_reasons_to_have_one_value_are_no_medium_question(kind):
    column, y = SOUND[kind]
    y = np.where(HELD_OUT, np.random.default_rng(9).permutation(y), y)
    tracker = looked(noise()[:FEW].assign(column=column), y, FEW_CUT)
    assert not named(tracker, "empty_when_held_out")
    assert bool(named(tracker, "fits_training_alone")) == (kind in ("one month of twelve", "a later year"))


@pytest.mark.parametrize(
    ("order", "asked"), [(lambda y, r: y, True), (lambda y, r: r, False), (lambda y, r: y + 3 * np.std(y) * r, False)]
)
def test_a_table_that_was_sorted_by_its_target_and_cut_is_asked_about(order, asked):
    """Columns were blamed, low, for validation rows whose targets are all above those of training."""
    random = np.random.default_rng(3)
    X = pd.DataFrame(random.normal(size=(FEW, 3)), columns=list("abc"))
    y = X["a"].to_numpy() + random.normal(size=FEW)
    at = np.argsort(order(y, random.normal(size=FEW)))
    found = {one.type: one for one in looked(X.iloc[at], y[at], FEW_CUT).findings()}
    assert ("TARGETS_OF_THE_PARTS_APART" in found) == asked
    assert not asked or found["TARGETS_OF_THE_PARTS_APART"].candidates[0].cause == "SORTED_BEFORE_THE_SPLIT"


def test_no_check_acquits_a_column_because_a_random_split_brings_it_back():
    (finding,) = [one for one in looked(*trend()).findings() if one.rule_id == "fits_training_alone"]
    checks = {one.cause: one.check for one in finding.candidates}
    assert "no more is shown" in checks["DRIFT"]
    assert "still open" in checks["TARGET_LEAK"]
