"""`experiment=calibration`: what it counts, and that it would see a test that rejects too often."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines.calibration import table
from pipelines.calibration.table import SHOWN, Pool, calibration_table
from pipelines.calibration.tests import TESTS, Calibrated, sign_level, wilcoxon_level
from pipelines.run import main


def noise(runs: int, users: int = 30, seed_effect: float = 0.0, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    by_user = rng.normal(size=(runs, users)) + seed_effect * rng.normal(size=(runs, 1))
    return Pool({"mse": by_user.mean(axis=1), "mae": rng.normal(size=runs)}, by_user)


@pytest.mark.parametrize("pairs", [5, 6, 8, 10])
def test_levels_of_the_exact_tests_are_those_of_scipy(pairs):
    """By all signs of distinct ranks."""
    ranks = np.arange(1, pairs + 1)
    signs = np.array(np.meshgrid(*[[-1, 1]] * pairs)).reshape(pairs, -1).T
    if pairs <= 8:
        p = [stats.wilcoxon(ranks * s, method="exact").pvalue for s in signs]
        assert wilcoxon_level(pairs, 0.05) == pytest.approx(np.mean(np.array(p) < 0.05))
    p = [stats.binomtest(int((s > 0).sum()), pairs).pvalue for s in signs]
    assert sign_level(pairs, 0.05) == pytest.approx(np.mean(np.array(p) < 0.05))


def test_no_two_tests_share_a_run():
    arms = noise(25).dealt(4, range(25))
    assert len(arms) == 3
    values = np.concatenate([np.concatenate(one.metrics["mse"]) for one in arms])
    assert len(np.unique(values)) == 24


def test_sound_tests_keep_their_level():
    found = calibration_table({"a": noise(360, seed=1), "b": noise(360, seed=2)}, 6, 1, 0.05)
    assert list(found.columns) == SHOWN
    assert found["setting"].tolist() == ["all"] * len(TESTS) + ["a"] * len(TESTS) + ["b"] * len(TESTS)
    pooled = found[found["setting"] == "all"].set_index("test")
    assert (pooled["tests"] == 60).all()
    assert pooled.loc[pooled["evidence"] == "yes", "within"].all(), pooled
    assert pooled.loc["paired_t", "resampled_rate"] == pytest.approx(0.05, abs=0.06)
    assert pooled.loc["row_t of one seed", "v_ratio"] == pytest.approx(1, abs=0.3)


def test_a_test_over_rows_is_caught_where_seeds_move_all_rows():
    found = calibration_table({"a": noise(240, seed_effect=1.0)}, 6, 0, 0.05).set_index(["setting", "test"])
    naive = found.loc[("all", "row_t of one seed")]
    assert naive["rate"] > 0.5
    assert naive["v_ratio"] > 10
    assert not naive["within"]
    assert found.loc[("all", "row_t where printed"), "within"]
    assert np.isnan(found.loc[("all", "paired_t"), "resampled_rate"])


def test_a_test_that_never_rejects_is_not_within(monkeypatch):
    deaf, shy = (Calibrated(lambda arms, alpha: False, "yes", at_most=most) for most in (False, True))
    monkeypatch.setattr(table, "TESTS", {"deaf": deaf, "shy": shy})
    found = calibration_table({"a": noise(2400)}, 6, 0, 0.05).set_index(["setting", "test"])
    assert not found.loc[("all", "deaf"), "within"]
    assert found.loc[("all", "shy"), "within"]


SMALL = "experiment=calibration", "dataset=synthetic", "workers=1", "job.tests=2", "job.pairs=3", "job.resamples=2"


def test_the_experiment_runs(tmp_path, capsys):
    quick = "['dataset=synthetic','model.dim=4','training.epochs=2']"
    given = [*SMALL, "job.only=[quick]", f"+job.settings.quick={quick}", f"hydra.run.dir={tmp_path}"]
    assert main(given) == 0
    assert "paired_t" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "calibration.csv")
    assert set(found["test"]) == set(TESTS)
    observations = pd.read_csv(tmp_path / "observations.csv")
    assert observations["seed"].tolist() == list(range(5001, 5013))
    assert (tmp_path / "calibration.md").is_file()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("job.pairs=2", "at least 3"),
        ("job.tests=0", "at least 1"),
        ("job.only=[mse_randon]", "did you mean 'mse_random'"),
    ],
)
def test_bad_settings_are_named(given, told, tmp_path, capsys):
    assert main(["experiment=calibration", given, f"hydra.run.dir={tmp_path}"]) == 2
    assert told in capsys.readouterr().err


def test_a_configuration_that_diverges_is_refused(tmp_path, capsys):
    quick = "['dataset=synthetic','optimizer=sgd','optimizer.lr=1e9','training.epochs=3']"
    given = [*SMALL, "job.only=[wild]", f"+job.settings.wild={quick}", f"hydra.run.dir={tmp_path}"]
    assert main(given) == 2
    assert "job.settings.wild: seed 5001 diverged" in capsys.readouterr().err
