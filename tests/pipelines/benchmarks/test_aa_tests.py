"""`experiment=calibration`: what it counts, and that it would see a test that rejects too often."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines.benchmarks.aa_tests import levels, rates, table
from pipelines.benchmarks.aa_tests.levels import sign_level, wilcoxon_level
from pipelines.benchmarks.aa_tests.pool import Pool
from pipelines.benchmarks.aa_tests.rates import rejection_rate
from pipelines.benchmarks.aa_tests.table import POOLED, SHOWN, calibration_table
from pipelines.benchmarks.aa_tests.tests import FAMILY_ARMS, ROW_T, TESTS, Calibrated
from pipelines.benchmarks.readme import filled
from pipelines.config.schema.jobs import CalibrationSettings
from pipelines.config.schema.limits import limit_of
from pipelines.output.tables import write_table
from pipelines.trainers.evaluation import higher_is_better


def noise(runs: int, users: int = 30, seed_effect: float = 0.0, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    by_user = rng.normal(size=(runs, users)) + seed_effect * rng.normal(size=(runs, 1))
    return Pool({"mse": by_user.mean(axis=1), "mae": rng.normal(size=runs)}, by_user)


@pytest.mark.parametrize("module", [levels, rates])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.2])
@pytest.mark.parametrize("pairs", [3, 5, 6, 8, 10])
def test_levels_of_the_exact_tests_are_those_of_scipy(pairs, alpha):
    """By all signs of distinct ranks."""
    ranks = np.arange(1, pairs + 1)
    signs = np.array(np.meshgrid(*[[-1, 1]] * pairs)).reshape(pairs, -1).T
    if pairs <= 8:
        p = [stats.wilcoxon(ranks * s, method="exact").pvalue for s in signs]
        assert wilcoxon_level(pairs, alpha) == pytest.approx(np.mean(np.array(p) < alpha))
    p = [stats.binomtest(int((s > 0).sum()), pairs).pvalue for s in signs]
    assert sign_level(pairs, alpha) == pytest.approx(np.mean(np.array(p) < alpha))


@pytest.mark.parametrize("rejections", [0, 3, 40])
def test_the_interval_is_exact(rejections):
    """As the binomial test of SciPy inverts it."""
    found = rejection_rate(rejections, 40, 0.05, at_most=False, confidence=0.9)
    expected = stats.binomtest(rejections, 40).proportion_ci(0.9, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("rejections", "two_sided", "bound"),
    [(0, False, True), (6, True, True), (20, False, False)],
)
def test_too_few_rejections_are_as_wrong_as_too_many_unless_the_level_is_a_bound(rejections, two_sided, bound):
    found = [rejection_rate(rejections, 120, 0.05, at_most=most, confidence=0.95).within for most in (False, True)]
    assert found == [two_sided, bound]


@pytest.mark.parametrize(("arms", "tests"), [(2, 3), (3, 2)])
def test_no_two_tests_share_a_run(arms, tests):
    dealt = noise(25).dealt(4, arms)
    assert len(dealt) == tests
    values = np.concatenate([one.metrics["mse"].ravel() for one in dealt])
    assert len(np.unique(values)) == len(values) == tests * arms * 4


def test_users_and_metrics_are_of_the_same_run():
    for one in noise(24).dealt(4, order=reversed(range(24))):
        assert one.users.mean(axis=2) == pytest.approx(one.metrics["mse"])


def test_sound_tests_keep_their_level():
    found = calibration_table({"a": noise(360, seed=1), "b": noise(360, seed=2)}, 6, 1, 0.05)
    assert list(found.columns) == SHOWN
    assert found["setting"].tolist() == [POOLED] * len(TESTS) + ["a"] * len(TESTS) + ["b"] * len(TESTS)
    pooled = found[found["setting"] == POOLED].set_index("test")
    assert set(pooled["tests"]) == {60, 40}
    assert pooled.loc[pooled["judged"], "within"].all(), pooled
    assert pooled["judged"].tolist() == [test.evidence != "no" for test in TESTS.values()]
    assert not found.loc[found["setting"] != POOLED, "judged"].any()
    assert pooled.loc["paired_t", "resampled_rate"] == pytest.approx(0.05, abs=0.06)
    assert np.isnan(pooled.loc["bootstrap_interval", "resampled_rate"]), "too slow to deal anew"
    assert pooled.loc[ROW_T, "v_ratio"] == pytest.approx(1, abs=0.2)
    assert pooled.loc[ROW_T, "foretold"] == pytest.approx(0.05, abs=0.03)


def test_intervals_of_single_settings_hold_together():
    found = calibration_table({"a": noise(24), "b": noise(24)}, 6, 0, 0.05)
    judged = sum(test.judged for test in TESTS.values())
    confidence = found.groupby(found["setting"] == POOLED)["confidence"].unique()
    assert confidence[True].tolist() == [0.95]
    assert confidence[False].tolist() == pytest.approx([1 - 0.05 / (2 * judged)])


def test_a_test_over_rows_is_caught_where_seeds_move_all_rows():
    found = calibration_table({"a": noise(240, seed_effect=1.0)}, 6, 0, 0.05).set_index(["setting", "test"])
    naive = found.loc[(POOLED, ROW_T)]
    assert naive["rate"] > 0.5
    assert naive["v_ratio"] == pytest.approx(31, rel=0.4)
    assert naive["low"] < naive["foretold"] < naive["high"]
    assert not naive["within"]
    assert found.loc[(POOLED, "row_t where printed"), "within"]
    assert np.isnan(found.loc[(POOLED, "paired_t"), "resampled_rate"])


def test_broken_tests_are_not_within(monkeypatch):
    deaf, shy = (Calibrated(lambda arms, alpha: False, "yes", at_most=most) for most in (False, True))
    eager = Calibrated(lambda arms, alpha: arms.metrics["mae"][0, 0] > 1, "yes")
    monkeypatch.setattr(table, "TESTS", {"deaf": deaf, "shy": shy, "eager": eager})
    found = calibration_table({"a": noise(2400)}, 6, 0, 0.05).set_index(["setting", "test"])
    assert not found.loc[(POOLED, "deaf"), "within"]
    assert found.loc[(POOLED, "shy"), "within"]
    assert not found.loc[(POOLED, "eager"), "within"]


def test_runs_of_which_nothing_varies_between_users():
    same = Pool({"mse": np.random.default_rng(0).normal(size=24)}, np.ones((24, 5)))
    found = calibration_table({"a": same}, 6, 1, 0.05).set_index(["setting", "test"])
    assert found.loc[(POOLED, "crossed_t"), "rejections"] == 0
    assert np.isnan(found.loc[(POOLED, ROW_T), "v_ratio"])


def test_the_equivalence_test_stands_at_its_margin():
    """Whatever the metric's direction: a margin on the wrong side would always or never reject."""
    rng = np.random.default_rng(3)
    for metric in ("mse", "ndcg@10"):
        values = rng.normal(size=2400)
        dealt = Pool({metric: values}, values[:, None]).dealt(6)
        rejected = [TESTS["tost, at the margin"].rejects(arms, 0.05) for arms in dealt]
        assert 0.01 < np.mean(rejected) < 0.1, higher_is_better(metric)


def test_the_readme_shows_the_settings_together(tmp_path):
    write_table(calibration_table({"a": noise(24)}, 6, 0, 0.05), tmp_path, "calibration", SHOWN)
    shown = filled("<!-- results: calibration -->\n<!-- end -->", tmp_path, {}).splitlines()
    assert len(shown) == 2 + 2 + len(TESTS)
    assert sum("wilcoxon" in line for line in shown) == 1


SMALL = "experiment=calibration", "dataset=synthetic", "workers=1", "job.tests=2", "job.pairs=3", "job.resamples=2"


def test_the_experiment_runs(command):
    quick = "['dataset=synthetic','model.dim=4','training.epochs=2']"
    code, folder, _ = command(*SMALL, "job.only=[slow,quick]", f"+job.settings={{slow: {quick}, quick: {quick}}}")
    assert code == 0
    found = pd.read_csv(folder / "calibration.csv")
    assert found["setting"].unique().tolist() == [POOLED, "slow", "quick"]
    assert set(found["test"]) == set(TESTS)
    observations = pd.read_csv(folder / "observations.csv")
    mse = observations[observations["metric"] == "mse"]
    assert mse["seed"].tolist() == list(range(5001 + 4 * 12, 5001 + 6 * 12)), "no two settings share a seed"
    users = np.load(folder / "by_user.npz")
    assert {name: len(users[name]) for name in users} == {"slow": 12, "quick": 12}
    assert (folder / "calibration.md").is_file()

    pools = {name: Pool({"mse": mse.loc[mse["experiment"] == name, "value"].to_numpy()}, users[name]) for name in users}
    again = calibration_table(pools, 3, 2, 0.05)
    again["metric"] = again["metric"].replace("", np.nan)
    pd.testing.assert_frame_equal(again, found, check_dtype=False)


def test_a_setting_has_the_same_seeds_alone(command):
    quick = "['dataset=synthetic','model.dim=4','training.epochs=1']"
    code, folder, _ = command(*SMALL, "job.only=[quick]", f"+job.settings={{other: [], quick: {quick}}}")
    assert code == 0
    assert pd.read_csv(folder / "observations.csv")["seed"].min() == 5001 + 5 * 12


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("job.pairs=2", "at least 3"),
        ("job.tests=1", "at least 2"),
        ("job.resamples=-1", "at least 0"),
        ("job.first_seed=-1", "at least 0"),
        ("job.only=[mse_randon]", "did you mean 'mse_random'"),
    ],
)
def test_bad_settings_are_named(given, told, command):
    code, _, error = command("experiment=calibration", given)
    assert code == 2
    assert told in error


def test_the_fewest_tests_have_the_arms_that_a_family_takes():
    """The limit stands apart from the tests that it is for."""
    least = limit_of(CalibrationSettings, "tests").least
    assert 2 * (least - 1) < FAMILY_ARMS <= 2 * least


def test_a_configuration_that_diverges_is_refused(command):
    wild = "['dataset=synthetic','optimizer=sgd','optimizer.lr=1e9','training.epochs=3']"
    code, _, error = command(*SMALL, "job.only=[wild]", f"+job.settings.wild={wild}")
    assert code == 2
    assert "job.settings.wild: seed 5049 diverged" in error
