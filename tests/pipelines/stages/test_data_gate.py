"""What is tested on must not have been trained on: asked of the split data before anything is trained."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from datasets.small_tables import load_small_table
from flowgrad.gate import GateError
from pipelines.data.tables import TableData
from pipelines.stages.data_gate import pass_gate


def test_a_log_with_each_pair_three_times_is_refused(command, tmp_path):
    """The closed loop confirmed a change on chance ratings that were logged three times."""
    draw = random.Random(0)
    rows = {(draw.randint(1, 20), draw.randint(1, 30)): draw.randint(1, 5) for _ in range(400)}
    lines = [f"{u},{i},{r},{u * 100 + i}\n" for (u, i), r in rows.items() for _ in range(3)]
    (tmp_path / "log.csv").write_text("user,item,rating,timestamp\n" + "".join(lines))
    code, folder, told = command(
        "experiment=movielens_mf",
        "dataset=ratings_csv",
        f"dataset.path={tmp_path / 'log.csv'}",
        "rounds=1",
        "workers=1",
    )
    assert code == 2
    assert "pairs of user and item" in told.replace("\n", " ") or "duplicate" in told
    assert not (folder / "observations.csv").exists()


@pytest.mark.parametrize(
    ("name", "target"), [("diabetes", "progression"), ("breast_cancer", "malignant"), ("digits", "digit")]
)
def test_shipped_tables_pass(name, target):
    assert pass_gate(TableData(load_small_table(name), target, 1.0)) is None


def test_a_table_whose_test_rows_were_trained_on_is_refused():
    table = load_small_table("diabetes")
    test = np.flatnonzero(table.parts == 2)
    train = np.flatnonzero(table.parts == 0)[: len(test)]
    features = table.features.copy()
    features.iloc[test] = features.iloc[train].to_numpy()
    target = table.targets["progression"].copy()
    target[test] = target[train]
    copied = replace(table, features=features, targets={"progression": target})
    with pytest.raises(GateError, match=r"88 of 88 test rows \(100.0%\) are exact copies of training rows"):
        pass_gate(TableData(copied, "progression", 1.0))


def test_a_target_of_one_value_in_a_part_is_refused():
    table = load_small_table("breast_cancer")
    target = np.where(table.parts == 2, 0.0, table.targets["malignant"])
    with pytest.raises(GateError, match="the target is 0 in all 113 test rows"):
        pass_gate(TableData(replace(table, targets={"malignant": target}), "malignant", 1.0))
