"""`flowgrad.compare`: anybody's results, held against SciPy and statsmodels, and what it refuses."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

import flowgrad
from flowgrad.errors import StatisticsError

LOWER = {"rmse": "lower"}


def results(n=10, arms=("baseline", "new"), shift=-0.1, seed=0, unit="seed"):
    random = np.random.default_rng(seed)
    base = random.normal(1, 0.05, n)
    return pd.DataFrame(
        [
            {"arm": arm, unit: at, "rmse": base[at] + shift * place + random.normal(0, 0.02)}
            for place, arm in enumerate(arms)
            for at in range(n)
        ]
    )


def values(frame, arm):
    return frame[frame["arm"] == arm].sort_values("seed")["rmse"].to_numpy()


@settings(max_examples=12, deadline=None)
@given(
    st.integers(3, 20), st.integers(2, 4), st.floats(-0.2, 0.2), st.integers(0, 2**31), st.sampled_from([0.01, 0.05])
)
def test_every_figure_is_that_of_scipy_and_statsmodels(n, k, shift, seed, alpha):
    arms = ["baseline", *(f"m{at}" for at in range(1, k))]
    frame = results(n, arms, shift, seed)
    table = flowgrad.compare(
        frame.sample(frac=1, random_state=seed % 1000), better=LOWER, alpha=alpha, margin={"rmse": 0.05}
    ).table.set_index("comparison")
    told = []
    for arm in arms[1:]:
        line, before, after = table.loc[f"{arm}_vs_baseline"], values(frame, "baseline"), values(frame, arm)
        found, difference = stats.ttest_rel(after, before), after - before
        low, high = found.confidence_interval(1 - alpha)
        assert line["p"] == pytest.approx(found.pvalue, rel=1e-9, abs=1e-300)
        assert (line["ci_low"], line["ci_high"]) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
        d_z = difference.mean() / difference.std(ddof=1)
        assert line["effect_size"] == pytest.approx(d_z, rel=1e-9)
        least = TTestPower().solve_power(effect_size=None, nobs=n, alpha=alpha, power=0.8)
        assert line["detectable"] == pytest.approx(least * difference.std(ddof=1), rel=1e-6)
        told.append((found.pvalue, DescrStatsW(difference).ttost_mean(-0.05, 0.05)[0]))
    for column, p in zip(("p_adjusted", "p_equivalent"), zip(*told, strict=True), strict=True):
        with patch("gc.collect"):  # which it calls, and which takes a second late in a suite
            adjusted = multipletests(p, method="holm")[1]
        assert table.loc[[f"{arm}_vs_baseline" for arm in arms[1:]], column].to_numpy() == pytest.approx(
            adjusted, rel=1e-9, abs=1e-300
        )


def test_equal_arms_are_called_different_no_more_often_than_the_level():
    """Three arms and two metrics against the baseline: Holm keeps the whole family at 5 %."""
    false = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        base = random.normal(0, 1, 8)
        frame = pd.DataFrame(
            {"arm": arm, "seed": at, "a": base[at] + random.normal(), "b": random.normal()}
            for arm in ("baseline", "x", "y", "z")
            for at in range(8)
        )
        found = flowgrad.compare(frame, better={"a": "higher", "b": "lower"}, power=0.8)
        false += (found.table["verdict"] != "inconclusive").any()
    assert stats.binomtest(int(false), 120, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize(
    ("shift", "verdict", "code"), [(-0.1, "confirmed", 0), (0.1, "refuted", 1), (0, "inconclusive", 1)]
)
def test_the_verdict_goes_by_the_direction(shift, verdict, code):
    found = flowgrad.compare(results(shift=shift), better=LOWER)
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert str(found).startswith(verdict)


def test_one_arm_that_is_worse_makes_the_whole_no_success():
    frame = results(arms=("baseline", "good", "bad"))
    frame.loc[frame["arm"] == "bad", "rmse"] += 0.5
    found = flowgrad.compare(frame, better=LOWER)
    assert list(found.table["verdict"]) == ["confirmed", "refuted"]
    assert found.verdict == "refuted"


def test_long_and_wide_tables_say_the_same():
    frame = results()
    long = frame.melt(["arm", "seed"], var_name="metric").assign(higher_is_better=False)
    pd.testing.assert_frame_equal(flowgrad.compare(long).table, flowgrad.compare(frame, better=LOWER).table)


def test_a_run_that_diverged_is_worse_than_any_other():
    frame = results()
    frame.loc[(frame["arm"] == "new") & (frame["seed"] < 3), "rmse"] = math.inf
    line = flowgrad.compare(frame, better=LOWER).table.iloc[0]
    assert (line["test"], line["wins"], line["verdict"]) == ("sign", 7, "inconclusive")


def test_folds_share_rows_and_are_corrected():
    """A plain t-test over ten folds rejected here, with p .03; folds are no ten samples."""
    frame = results(n=10, shift=-0.016, unit="fold")
    found = flowgrad.compare(frame, better=LOWER)
    line = found.table.iloc[0]
    plain = flowgrad.compare(frame.rename(columns={"fold": "seed"}), better=LOWER).table.iloc[0]
    assert line["test"] == "corrected_t"
    assert line["p"] > plain["p"]
    assert "share training rows" in found.cautions[0]


def test_users_in_seeds_give_the_v_ratio_and_a_test_for_new_users():
    random = np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": seed, "user": user, "rmse": 1 + random.normal(0, 0.1) - 0.1 * (arm == "new")}
        for arm in ("baseline", "new")
        for seed in range(6)
        for user in range(30)
    ]
    line = flowgrad.compare(pd.DataFrame(rows), better=LOWER).table.iloc[0]
    assert line["n"] == 6
    assert line["v_ratio"] > 0
    assert line["verdict_new_users"] == "confirmed"


def test_users_alone_are_no_seeds():
    found = flowgrad.compare(results(unit="user"), better=LOWER)
    assert "each arm is one run" in found.cautions[0]


def _edit(**columns):
    return lambda frame: frame.assign(**columns)


def _at(place, name, value):
    def edit(frame):
        frame = frame.astype({name: object})
        frame.loc[place, name] = value
        return frame.infer_objects()

    return edit


MALFORMED = {
    "no table": (lambda frame: frame.iloc[:0], {}, "nothing to compare"),
    "no arms": (lambda frame: frame.drop(columns="arm"), {}, "no column names the arms"),
    "no unit": (lambda frame: frame.drop(columns="seed"), {}, "no column names what pairs"),
    "no metric": (lambda frame: frame.drop(columns="rmse"), {}, "say which columns are metrics"),
    "no direction": (lambda frame: frame, {"better": None}, "say which columns are metrics"),
    "no such direction": (lambda frame: frame, {"better": {"rmse": "down"}}, "say higher or lower"),
    "no such arm": (lambda frame: frame, {"baseline": "old"}, "is none of the arms"),
    "which baseline": (lambda frame: frame.replace("baseline", "old"), {}, "is the baseline"),
    "no such column": (lambda frame: frame, {"arm": "model"}, "there is no such column"),
    "one arm": (lambda frame: frame[frame["arm"] == "new"], {}, "holds one arm"),
    "a run twice": (lambda frame: pd.concat([frame, frame.iloc[:1]]), {}, "stands twice"),
    "no pair": (lambda frame: frame.iloc[:-1], {}, "have no pair"),
    "other seeds": (lambda frame: frame.assign(seed=range(len(frame))), {}, "have no pair"),
    "too few": (lambda frame: frame[frame["seed"] < 2], {}, "needs 3 at least"),
    "missing": (_at(3, "rmse", math.nan), {}, "is missing in baseline at 3"),
    "text": (_at(3, "rmse", "0.9*"), {}, "is no number"),
    "switches": (_edit(rmse=True), {}, "is no number"),
    "no seed": (_at(3, "seed", None), {}, "line 4 has no seed"),
    "no arm": (_at(3, "arm", None), {}, "line 4 has no arm"),
    "one told twice": (lambda frame: frame.assign(rmse=[*frame["rmse"][:10]] * 2), {}, "one run, told twice"),
    "copied pairs": (
        lambda frame: frame.assign(rmse=[v for a in (0, 10) for v in [*frame["rmse"][a : a + 5]] * 2]), {},
        "repeat another",
    ),
    "column twice": (lambda frame: pd.concat([frame, frame[["rmse"]]], axis=1), {}, "stands twice"),
    "no margin": (lambda frame: frame, {"margin": {"rmse": 0.0}}, "above 0"),
    "margin of none": (lambda frame: frame, {"margin": {"mae": 1.0}}, "no metric 'mae'"),
    "a fold that diverged": (
        lambda frame: _at(3, "rmse", math.inf)(frame).rename(columns={"seed": "fold"}), {}, "no test of values",
    ),
    "no share": (lambda frame: frame, {"overlap": 2.0}, "between 0 and 1"),
    "splits": (lambda frame: frame.rename(columns={"seed": "split"}), {}, "say as overlap"),
    "level": (lambda frame: frame, {"alpha": 1.5}, "alpha"),
    "both ways": (
        lambda frame: frame.melt(["arm", "seed"], var_name="metric").assign(higher_is_better=[True, False] * 10),
        {"better": None}, "must be one of true and false",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_table_is_refused_in_one_line(kind):
    edit, changes, said = MALFORMED[kind]
    with pytest.raises(StatisticsError, match=said) as caught:
        flowgrad.compare(edit(results()), **{"better": LOWER, **changes})
    assert "\n" not in str(caught.value)


def _cross_validated(seed, gain=0.0, rounds=10, folds=5):
    """Rounds of cross-validation of one sample: what a fold's test rows say of the arms comes again in every round."""
    random = np.random.default_rng(seed)
    luck = random.normal(size=150) * 0.3
    lines = []
    for at in range(rounds):
        for fold, rows in enumerate(np.array_split(random.permutation(150), folds)):
            lines += [("baseline", at, fold, 0.0), ("new", at, fold, gain + luck[rows].mean() + 0.01 * random.normal())]
    return pd.DataFrame(lines, columns=["arm", "repeat", "fold", "score"]).assign(
        run=lambda frame: folds * frame["repeat"] + frame["fold"]
    )


@pytest.mark.parametrize("named", [None, "run"], ids=["repeat and fold", "a column of runs beside fold"])
def test_folds_of_repeated_cross_validation_are_no_runs_of_their_own(named):
    """Fifty folds of one sample were called fifty runs, and noise was confirmed."""
    false = 0
    for seed in range(8):
        frame = _cross_validated(seed)
        found = flowgrad.compare(frame, better={"score": "higher"}, unit=named)
        assert set(found.table["test"]) == {"corrected_t"}
        assert set(found.table["n"]) == {50}
        false += found.verdict != "inconclusive"
    assert false <= 2
    assert (
        flowgrad.compare(_cross_validated(0, gain=0.2), better={"score": "higher"}, unit=named).verdict == "confirmed"
    )


@pytest.mark.parametrize(
    "kind", [lambda share: 1 - share, lambda share: 100 * share, np.float32], ids=["error", "%", "float32"]
)
def test_shares_of_few_rows_tie_and_are_no_copies(kind):
    """Errors of 54 test rows tied as `1 - accuracy`, whose last bit is no ratio's, and were refused."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"arm": arm, "seed": seed, "score": float(kind(right / 54))}
        for arm, level in (("baseline", 40), ("new", 51))
        for seed, right in enumerate(level + random.integers(-1, 2, size=15))
    )
    assert flowgrad.compare(frame, better={"score": "higher"}).table["test"].tolist() == ["paired_t"]


def test_losses_that_repeat_are_copies_in_float32_too():
    frame = results(12)
    frame.loc[frame["seed"] == 11, "rmse"] = frame.loc[frame["seed"] == 3, "rmse"].to_numpy()
    for one in (frame, frame.assign(rmse=frame["rmse"].astype(np.float32).astype(float))):
        with pytest.raises(StatisticsError, match="1 of 12 pairs repeat another"):
            flowgrad.compare(one, better=LOWER)
