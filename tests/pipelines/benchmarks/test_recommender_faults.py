"""A small benchmark of faults in models of clicks, from end to end on a log of four thousand impressions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.benchmarks.faults.matrix import SOUND, matrix_picture, matrix_table

MODELS = ("deepfm", "dlrm")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Overrides that add a setting for each model, on a file of clicks that two columns decide."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, 120, 4000), random.integers(0, 150, 4000)
    odds = random.normal(0, 1.5, 120)[user] + random.normal(0, 1.5, 150)[item]
    clicked = (random.random(4000) < 1 / (1 + np.exp(-odds))).astype(int)
    file = tmp_path_factory.mktemp("log") / "clicks.csv"
    pd.DataFrame({"clicked": clicked, "user": user, "item": item, "at": np.arange(4000)}).to_csv(file, index=False)
    common = [
        "experiment=movielens_dlrm_tuned", "dataset=table_csv", "task=clicked", f"dataset.path={file}",
        "dataset.categorical=[user,item]", "dataset.numerical=[]", "dataset.time=at", "model.dim=4",
        "model.width=16", "training.batch_size=128", "optimizer.lr=0.01",
    ]  # fmt: skip
    return [f"+job.settings.{model}={[*common, f'model={model}']}" for model in MODELS] + [f"job.only={[*MODELS]}"]


@pytest.mark.usefixtures("drawn")
def test_a_small_benchmark_from_end_to_end(command, settings):
    code, folder, err = command(
        "experiment=faults_recommenders", *settings, "job.seeds=[3]", "job.repair=false", "workers=1",
        "job.only_controls=[as_is]", "job.only_faults=[clicks_weighted,tables_left_out]",
    )  # fmt: skip
    assert code == 0, err
    table = pd.read_csv(folder / "cases.csv")
    assert (table["hits"] == table["true"]).all()
    assert (table["found"] == table["true"]).all()
    scores = pd.read_csv(folder / "left_out.csv").set_index(["thresholds", "left_out", "kind"])
    assert scores.loc[("without pair", "all pairs", "run"), "true"] == 4
    assert "without model and data" not in scores.index.get_level_values(0)  # no pair shares neither with another
    figures = pd.read_csv(folder / "figures.csv")
    level = figures[figures["comparison"] == "train_level > 0.2"].groupby("fault")["below"]
    assert level.get_group("clicks_weighted").min() > 1
    thresholds = pd.read_csv(folder / "thresholds.csv")
    assert set(thresholds["rule"]) <= {"loss_is_weighted", "frozen_by_mistake", "not_in_optimizer"}
    matrix = pd.read_csv(folder / "matrix.csv").set_index("fault")
    assert matrix.loc["clicks_weighted"].tolist() == ["1/1", "1/1"]
    assert (folder / "matrix.svg").read_text().startswith("<?xml")


def test_the_benchmark_has_more_sound_runs_than_sick_ones(composed):
    job = composed("experiment=faults_recommenders", rules=False).job
    sound = len(job.seeds) * len(job.settings) * len(job.controls)
    assert sound >= 200
    assert len(job.controls) > len(job.run_faults)


@pytest.mark.usefixtures("drawn")
def test_a_matrix_counts_faults_found_and_sound_runs_without_a_fix():
    lines = [
        ("run", "weak", 1, 2, 1), ("run", "weak", 0, 0, 1), ("run", "strong", 1, 1, 1),
        ("control", "as_is", 0, 1, 0), ("control", "wide", 0, 0, 0),
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["kind", "fault", "hits", "found", "true"])
    matrix = matrix_table(table, ["A on x", "A on x", "B on x", "A on x", "A on x"])
    assert matrix.to_numpy().tolist() == [["weak", "1/2", ""], ["strong", "", "1/1"], [SOUND, "1/2", ""]]
    assert list(matrix) == ["fault", "A on x", "B on x"]
    drawn = matrix_picture(matrix)
    assert b"1/2" in drawn
    assert matrix_picture(matrix) == drawn
