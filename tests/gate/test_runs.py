"""Runs of two arms, targets and batches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flowgrad.gate import Batch, arms_objection, batches_objection, one_value_objection
from flowgrad.statistics import OBSERVATION_COLUMNS, Comparison, paired_t, sign_test, significance, tost, wilcoxon

RANDOM = np.random.default_rng(0)
BEFORE = RANDOM.normal(size=8)


def observations(**arms):
    lines = [
        ("e", arm, seed, metric, value, False)
        for arm, metrics in arms.items()
        for metric, values in metrics.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(0, 10**6))
def test_runs_of_their_own_pass(n, seed):
    random = np.random.default_rng(seed)
    assert arms_objection(random.normal(size=n), random.normal(size=n)) is None


@pytest.mark.parametrize("values", [[0.9] * 6, [35 / 36] * 6, [1.0] * 6], ids=str)
def test_a_value_that_ties_by_chance_is_no_objection(values):
    """An accuracy can be the same on every seed."""
    assert arms_objection(values, RANDOM.normal(size=6)) is None


@pytest.mark.parametrize("arms", ["treated", "baseline and treated"])
def test_one_run_on_every_seed_gives_no_p(arms):
    after = BEFORE - 1 + 0.1 * RANDOM.normal(size=8)
    one = {arm: np.full(8, RANDOM.normal()) for arm in arms.split(" and ")}
    values = {"baseline": BEFORE, "treated": after} | one
    tests = (paired_t, wilcoxon, sign_test) if len(one) == 1 else (wilcoxon, sign_test)
    for test in tests:
        result = test(values["baseline"], values["treated"], metric="loss", higher_is_better=False)
        assert result.verdict == "inconclusive"
        assert np.isnan(result.p)
        assert "all 8 values" in result.reason
        assert "seed" in result.reason
    if len(one) == 1:
        found = tost(values["baseline"], values["treated"], metric="loss", higher_is_better=False, margin=9.0)
        assert found.verdict == "inconclusive"


def test_a_baseline_without_a_seed_is_a_number_to_test_against():
    """A closed form, or the popularity of items, gives one value; a seeded arm against it was called one run."""
    before, after = np.full(8, 0.98765432101), 0.9 + 0.004 * RANDOM.normal(size=8)
    assert arms_objection(before, after) is None
    expected = stats.ttest_1samp(after, before[0]).pvalue
    found = paired_t(before, after, metric="rmse", higher_is_better=False)
    assert (found.verdict, found.p) == ("confirmed", pytest.approx(expected))
    table = significance(
        observations(a={"rmse": before}, b={"rmse": after}), [Comparison("b_vs_a", "a", "b", "f")], ["rmse"]
    )
    assert set(table["verdict"]) == {"confirmed"}
    assert set(table["reason"]) == {""}


def test_a_baseline_of_one_value_on_every_split_is_one_run():
    """Other rows give a closed form other values: where they do not, the splits did not reach it."""
    before, after = np.full(8, 0.98765432101), 0.9 + 0.004 * RANDOM.normal(size=8)
    assert arms_objection(before, after, splits=True) is not None
    table = significance(
        observations(a={"rmse": before}, b={"rmse": after}),
        [Comparison("b_vs_a", "a", "b", "f")],
        ["rmse"],
        overlap=0.2,
    )
    assert set(table["verdict"]) == {"inconclusive"}


def test_pairs_written_down_three_times_give_no_p():
    """Four runs, each three times: 12 pairs, which a test would take for 12 runs."""
    before, after = np.repeat(BEFORE[:4], 3), np.repeat(BEFORE[:4] - RANDOM.random(4), 3)
    result = paired_t(before, after, metric="loss", higher_is_better=False)
    assert (result.verdict, result.objection.count, result.objection.effective) == ("inconclusive", 8, 4.0)


def test_a_deterministic_training_is_not_confirmed_by_its_signs(caplog):
    """Six runs that were one run differed by the same on every seed; the sign test stood in, and confirmed it."""
    table = significance(
        observations(a={"mse": [0.5] * 6}, b={"mse": [0.25] * 6}), [Comparison("b_vs_a", "a", "b", "f")], ["mse"]
    )
    assert set(table["verdict"]) == {"inconclusive"}
    assert table["p"].isna().all()
    assert "all 6 pairs differ by -0.25" in table["reason"].iloc[0]


def test_a_treated_arm_of_one_run_in_all_metrics_is_one_run_in_each():
    """An accuracy may tie, unless the loss says that all runs are one."""
    before = {"loss": 0.1 * RANDOM.random(6), "accuracy": [0.75, 0.8, 0.85, 0.8, 0.9, 0.75]}
    found = observations(a=before, b={"loss": np.full(6, 0.123456789012), "accuracy": [0.5] * 6})
    table = significance(found, [Comparison("b_vs_a", "a", "b", "f")], ["accuracy", "loss"])
    assert set(table["verdict"]) == {"inconclusive"}
    assert table["reason"].str.contains("loss: all 6 values of the treated arm").all()


def test_runs_written_down_again_are_copies_in_each_metric():
    """Four runs, each three times: their sizes tie, and their copies are told by the errors."""
    before, after = np.repeat(BEFORE[:4], 3), np.repeat(BEFORE[:4] - 1 - RANDOM.random(4), 3)
    counted = np.repeat([5.0, 6.0, 7.0, 9.0], 3)
    found = observations(a={"loss": before, "right": counted}, b={"loss": after, "right": 2 * counted})
    table = significance(found, [Comparison("b_vs_a", "a", "b", "f")], ["right", "loss"])
    assert set(table["verdict"]) == {"inconclusive"}
    assert table["reason"].str.contains("8 of 12 pairs repeat another").all()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "sizes", [(1000.0, 250.0), (12.3456789012, 3.14159265358), (5.0, 5.0), (12.3456789012, 12.3456789012)], ids=str
)
def test_a_metric_that_no_seed_can_change_is_judged_alone(sizes, first):
    """The size of a model, or its operations, made the confirmed error beside it inconclusive."""
    after = BEFORE - 1 + 0.05 * RANDOM.normal(size=8)
    found = observations(
        a={"rmse": BEFORE, "size": np.full(8, sizes[0])}, b={"rmse": after, "size": np.full(8, sizes[1])}
    )
    metrics = ["size", "rmse"] if first else ["rmse", "size"]
    table = significance(found, [Comparison("b_vs_a", "a", "b", "f")], metrics).set_index("metric")
    alone = significance(found, [Comparison("b_vs_a", "a", "b", "f")], ["rmse"]).set_index("metric")
    assert set(table.loc["rmse", "verdict"]) == {"confirmed"}
    assert set(table.loc["rmse", "reason"]) == {""}
    assert table.loc["rmse", "p"].tolist() == alone["p"].tolist()
    assert set(table.loc[["size"], "verdict"]) == {"inconclusive"}


def judged(before, after):
    table = significance(
        observations(a={"loss": before}, b={"loss": after}), [Comparison("b_vs_a", "a", "b", "f")], ["loss"]
    )
    return set(table["verdict"]), table["reason"].iloc[0]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (BEFORE - 0.5 + 1e-9 * RANDOM.normal(size=8), "differ by -0.5"),
        (0.99 * BEFORE, "0.99 times the baseline's"),
        (0.4567891 * (1 + 3e-8 * RANDOM.normal(size=8)), "0.456789 to within rounding"),
    ],
    ids=["shifted", "scaled", "one run"],
)
def test_runs_that_differ_by_rounding_are_no_runs(after, told):
    """Ten seeds that never reached the training differed in the eighth digit, and were confirmed with p 1e-40."""
    verdict, reason = judged(BEFORE, after)
    assert verdict == {"inconclusive"}
    assert told in reason


def test_runs_written_down_again_with_rounding_are_copies():
    before, after = np.tile(BEFORE[:4], 3), np.tile(BEFORE[:4] - 1 - RANDOM.random(4), 3)
    noise = 1 + 3e-8 * RANDOM.normal(size=(2, 12))
    assert "8 of 12 pairs repeat another to within rounding" in judged(before * noise[0], after * noise[1])[1]


@pytest.mark.parametrize("spread", [1e-4, 1e-2])
@pytest.mark.parametrize("level", [0.76, -152_334.0])
def test_a_small_spread_is_no_rounding(level, spread):
    size = spread * abs(level)
    before, after = level + size * RANDOM.normal(size=(2, 8))
    assert judged(before, after - 20 * size) == ({"confirmed"}, "")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"training": [1.0, 2.0], "test": [3.0, 3.0, 3.0]}, "the target is 3 in all 3 test rows"),
        ({"training": [1.0, np.nan], "test": [1.0, 2.0]}, "NaN or infinite in 1 of 2 training rows"),
        ({"training": [1.0, 2.0], "test": [3.0]}, None),
    ],
)
def test_targets(parts, told):
    found = one_value_objection(parts)
    assert (told is None) == (found is None)
    assert told is None or told in found.reason


def batches(count=4, rows=16):
    random = np.random.default_rng(1)
    return [
        Batch((random.normal(size=(rows, 3)).astype(np.float32),), random.integers(0, 3, rows)) for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("change", "level", "told"),
    [
        (lambda found: found, None, ""),
        (lambda found: [found[0]], None, ""),
        (lambda found: [found[0]] * 4, "refused", "3 of 4 batches are exact copies"),
        (lambda found: [*found[:3], found[0]], "downgraded", "1 of 4 batches are exact copies"),
        (lambda found: [Batch((0 * b.inputs[0],), b.target) for b in found], "refused", "all 64 rows are zero"),
        (lambda found: [Batch((np.full((4, 3), np.nan),)), *found], "refused", "1 of 5 batches hold NaN"),
        (lambda found: [Batch(b.inputs, 0 * b.target) for b in found], "downgraded", "the target is 0 in all 64 rows"),
        (
            lambda found: [Batch((np.repeat(b.inputs[0][:4], 4, axis=0),), b.target) for b in found],
            "downgraded",
            "48 of 64 rows are copies",
        ),
        (lambda found: [Batch(())] * 3, None, ""),
    ],
)
def test_calibration_batches(change, level, told):
    found = batches_objection(change(batches()))
    assert (found.level if found else None) == level
    assert told in (found.reason if found else "")
