"""Terms of two columns: fed to a booster, proven on halves of the rows, and the whole experiment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from datasets.tables import Table
from flowgrad.__main__ import main as reports
from flowgrad.errors import FlowGradError
from flowgrad.report import read
from pipelines.data.tables import Part, TableData
from pipelines.jobs.feature_synergy.linear import Task, observation_table, prove, synergy_table
from pipelines.trainers.boosting.columns import analyzer_of, check_columns, select_columns, without_gaps

SYNERGY = "experiment=feature_synergy"
SMALL = ["dataset=diabetes", "task=progression", "seeds.test=[101,102,103]", "workers=1", "tuned=null",
         "pruning.enabled=false"]  # fmt: skip


def table_of(strength, n=1500, seed=0):
    """Four columns, of which two multiply."""
    rng = np.random.default_rng(seed)
    features = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    target = features["a"] + strength * features["a"] * features["b"] + rng.normal(size=n)
    parts = np.repeat([0, 1, 2], [n * 6 // 10, n * 2 // 10, n * 2 // 10])
    return TableData(Table("t", "here", features, {"y": target.to_numpy()}, parts, None, "0"), "y", 0.9)


def config_of(composed, *, added=(), dropped=()):
    config = composed(SYNERGY)
    config.training.added_columns = {"features": list(added)}
    config.training.dropped_columns = {"booster": list(dropped)}
    return config


def test_terms_are_added_before_columns_are_dropped(composed):
    part = Part(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, np.nan]}), np.zeros(2))
    seen = select_columns(part, config_of(composed, added=["a * b", "a * b + a"], dropped=["a"])).features
    assert list(seen) == ["b", "a * b", "a * b + a"]
    np.testing.assert_array_equal(seen["a * b"], [3.0, np.nan])
    np.testing.assert_array_equal(seen["a * b + a"], [4.0, np.nan])
    assert list(part.features) == ["a", "b"]
    assert select_columns(part, config_of(composed)) is part


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"added": ["a * z"]}, "training.added_columns.features: 'a \\* z' needs the column 'z'"),
        ({"added": ["nonsense"]}, "training.added_columns.features: 'nonsense' is no term"),
        ({"added": ["a * b", "a * b"]}, "names 'a \\* b', which is there already"),
        ({"dropped": ["z"]}, "training.dropped_columns.booster names 'z', which the table lacks"),
        ({"dropped": ["a", "b"]}, "training.dropped_columns.booster leaves no column"),
    ],
)
def test_columns_that_cannot_be(composed, columns, message):
    with pytest.raises(FlowGradError, match=message):
        check_columns(config_of(composed, **columns), ["a", "b"])


def test_users_are_in_one_half_whole(composed):
    """Rows of one user on both halves: what a column said of him was found on the one, and confirmed on the other."""
    groups = np.repeat(np.arange(20), 75)
    data = table_of(1.0)
    data = replace(data, table=replace(data.table, groups=groups))
    part = data.part(0, 1)
    assert {*part.groups} == {*groups[:900]}
    seen = select_columns(part, config_of(composed, added=["a * b"]))
    one, other = analyzer_of(seen, 3)._table.halves(3)
    assert not {*one.groups} & {*other.groups}


def test_gaps_are_filled_by_the_median():
    part = Part(pd.DataFrame({"a": [1.0, np.nan, 2.0, 9.0], "b": np.nan}), np.zeros(4))
    assert without_gaps(part).features.to_dict("list") == {"a": [1.0, 2.0, 2.0, 9.0]}


def test_a_planted_product_is_proven_on_the_other_half_and_on_later_rows():
    trials = [prove(Task(seed, top=3, draws=5, alpha=0.05), table_of(1.0)) for seed in (1, 2)]
    table = synergy_table(trials, 0.05)
    assert all("a * b" in [s.name for s in trial.proof.suggestions] for trial in trials)
    assert (table["verdict"] == "confirmed").all()
    assert (table["gain"] > 0.2).all()
    assert (table["random_gain"] < 0.05).all()
    assert all(trial.rmse_terms < trial.rmse_columns - 0.2 for trial in trials)
    seen = observation_table(trials, "e").set_index(["metric", "arm", "seed"])["value"].sort_index()
    gain = seen["r2_adjusted", "terms"] - seen["r2_adjusted", "columns"]
    assert gain.to_numpy() == pytest.approx(table["gain"])


def test_each_seed_is_held_to_later_rows_of_its_own():
    """All seeds were held to the same later rows: where they chose the same terms their differences were one number,
    and a test over seeds confirmed what one draw of test rows had given.
    """
    one, other = (prove(Task(seed, top=1, draws=1, alpha=0.05), table_of(1.0)) for seed in (1, 2))
    assert [s.name for s in one.proof.suggestions] == [s.name for s in other.proof.suggestions] == ["a * b"]
    assert one.rmse_columns != other.rmse_columns
    assert one.rmse_terms - one.rmse_columns != other.rmse_terms - other.rmse_columns


def test_without_an_interaction_nothing_is_confirmed():
    trials = [prove(Task(seed, top=3, draws=5, alpha=0.05), table_of(0.0)) for seed in (1, 2)]
    table = synergy_table(trials, 0.05)
    assert (table["verdict"] == "inconclusive").all()
    assert table.loc[table["terms"] == 0, "random_gain"].isna().all()  # it was told as 0
    assert table["p_adjusted"].isna().all() or (table["p_adjusted"] >= 0.05).all()


@pytest.mark.usefixtures("drawn")
def test_from_end_to_end(command, capsys):
    """On 442 patients nothing is found; files are there, and say so."""
    code, folder, _ = command(SYNERGY, *SMALL, "job.seeds=[31,32]", "model.rounds=20", "model.early_stopping_rounds=0")
    assert code == 0
    table = pd.read_csv(folder / "linear/synergy.csv")
    assert table["seed"].tolist() == [31, 32]
    assert {"linear/interactions.png", "linear/terms.csv", "report.xml", "significance.csv"} <= {
        str(path.relative_to(folder)) for path in folder.rglob("*")
    }
    assert [report.kind for report in read(folder / "report.xml").reports] == ["boosting", "feature"]
    assert reports(["validate", str(folder / "report.xml")]) == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.seeds=[1]", "job.seeds=[1]: give two or more"),
        ("job.seeds=[1,1]", "job.seeds=[1, 1]: 1 is there more than once"),
        ("job.top=0", "job.top=0: must be at least 1"),
        ("job.draws=0", "job.draws=0: must be at least 1"),
    ],
)
def test_mistakes_are_one_line(command, override, message):
    code, _, err = command(SYNERGY, *SMALL, override)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_ratings_are_no_table(command):
    code, _, err = command("experiment=movielens_mf", "job=feature_synergy", "dataset=synthetic")
    assert code == 2
    assert "job=feature_synergy needs a table of features; use experiment=feature_synergy" in err
