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


def test_the_files_hold_the_events_of_each_part_or_all_in_their_order(composed, tmp_path):
    data = trainer_of(composed("experiment=movielens_sasrec_tuned", "dataset=synthetic", rules=False)).load()
    write_split(data, tmp_path / "pairs", ordered=False)
    tables = {part: pd.read_csv(tmp_path / "pairs" / f"split.{part}.inter", sep="\t") for part in ("train", "test")}
    assert tables["test"]["item_id:token"].tolist() == data.items[data.held_out(TEST)].tolist()
    assert len(tables["train"]) == len(data.train)
    write_split(data, tmp_path / "whole", ordered=True)
    whole = pd.read_csv(tmp_path / "whole" / "split.inter", sep="\t")
    assert list(whole) == ["user_id:token", "item_id:token", "timestamp:float"]
    assert whole["item_id:token"].tolist() == data.items.tolist()
    assert whole["timestamp:float"].is_monotonic_increasing


def test_without_a_python_of_recbole_nothing_is_trained(composed, tmp_path):
    config = composed("experiment=ranking_soundness", rules=False)
    config.job.python = "nowhere/python"
    with pytest.raises(FlowGradError, match=r"job\.python=nowhere/python: no such file"):
        run(config, [], [], tmp_path)
    config.job.only = ["none"]
    with pytest.raises(FlowGradError, match=r"job\.only names 'none'"):
        run(config, [], [], tmp_path)
