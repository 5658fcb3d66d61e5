"""Our ranking models against RecBole's: the files of the split, and the table."""

from __future__ import annotations

import pandas as pd
import pytest

from datasets.tables import TEST
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.ranking.job import run, soundness, write_split
from pipelines.trainers.trainer import trainer_of


def observations(ours, theirs):
    rows = [("m", of, seed, "ndcg@10", value) for of, values in (("ours", ours), ("recbole", theirs))
            for seed, value in enumerate(values)]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "of", "seed", "metric", "value"])


@pytest.mark.parametrize(
    ("ours", "sound"), [([0.5, 0.5, 0.5], True), ([0.49, 0.5, 0.51], True), ([0.3, 0.3, 0.31], False)]
)
def test_a_model_is_sound_within_two_standard_errors_below(ours, sound):
    line = soundness(observations(ours, [0.49, 0.5, 0.51])).iloc[0]
    assert line["sound"] == sound
    assert line["difference"] == pytest.approx(line["ours"] - line["recbole"])
    assert line["difference_se"] == pytest.approx((line["ours_se"] ** 2 + line["recbole_se"] ** 2) ** 0.5)


def test_the_files_hold_the_events_of_each_part_with_what_came_before(composed, tmp_path):
    data = trainer_of(composed("experiment=movielens_sasrec_tuned", "dataset=synthetic", rules=False)).load()
    write_split(data, tmp_path / "split", 3)
    table = pd.read_csv(tmp_path / "split" / "split.test.inter", sep="\t", dtype=str)
    assert list(table) == ["user_id:token", "item_id_list:token_seq", "item_id:token"]
    places = data.held_out(TEST)
    assert table["item_id:token"].astype(int).tolist() == data.items[places].tolist()
    last = [int(row.split()[-1]) for row in table["item_id_list:token_seq"]]
    assert last == data.items[places - 1].tolist()
    train = pd.read_csv(tmp_path / "split" / "split.train.inter", sep="\t")
    assert len(train) == int((data.train > data.first[data.train]).sum())
    write_split(data, tmp_path / "pairs", 0)
    assert len(pd.read_csv(tmp_path / "pairs" / "split.train.inter", sep="\t")) == len(data.train)


def test_without_a_python_of_recbole_nothing_is_trained(composed, tmp_path):
    config = composed("experiment=ranking_soundness", rules=False)
    config.job.python = "nowhere/python"
    with pytest.raises(FlowGradError, match=r"job\.python=nowhere/python: no such file"):
        run(config, [], [], tmp_path)
    config.job.only = ["none"]
    with pytest.raises(FlowGradError, match=r"job\.only names 'none'"):
        run(config, [], [], tmp_path)
