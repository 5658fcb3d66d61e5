"""The cost of seeds that are trained together: the machinery of `experiment=stacking`, not its times."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from pipelines.benchmarks.stacking import job
from pipelines.benchmarks.stacking.measurement import Stacked, StackPlan, Times, measure

pytestmark = pytest.mark.usefixtures("garbage_is_left")

MINE = [
    "experiment=stacking", "+job.cases.mine=['experiment=movielens_mf','dataset=synthetic','training.epochs=2']",
    "job.only=[mine]", "job.rounds=2", "workers=1",
]  # fmt: skip


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(job, "run_isolated", lambda function, argument: function(argument))


def test_the_table_has_a_line_a_case(command, in_this_process):
    code, folder, err = command(*MINE, "job.seeds=3")
    assert code == 0, err
    table = pd.read_csv(folder / "stacking.csv")
    assert table["case"].tolist() == ["mine"]
    found = table.iloc[0]
    assert (found["seeds"], found["stack"], found["rounds"]) == (3, 3, 2)
    assert found["steps"] > 0
    assert 0 < found["alone_s"] < found["together_s"] * 3
    assert found["difference"] <= 1e-5
    assert math.isnan(found["ratio_limit"])
    assert found["within"]


def test_seeds_that_get_other_figures_are_seen(composed, monkeypatch):
    """A stack that trained one seed twice would be fast too."""
    config = composed("dataset=synthetic", "training.epochs=2", rules=False)
    assert measure(StackPlan(config, (1, 2), 1, 1)).difference <= 1e-5
    from pipelines.trainers.factorization.trainer import Factorization

    monkeypatch.setattr(Factorization, "train_stack", lambda self, data, seeds: [self.train(data, seeds[0])] * 2)
    assert measure(StackPlan(config, (1, 2), 1, 1)).difference > 1e-5


@pytest.mark.parametrize(
    ("together", "difference", "within"), [(3.0, 0.0, True), (3.0, 1e-4, False), (3.3, 0.0, False)]
)
def test_both_limits_are_kept(composed, together, difference, within):
    settings = composed("experiment=stacking", rules=False).job
    assert settings.limits.ratio.mf_d32 == 3.0
    alone, other = (Times((value,) * 7, (value,) * 7, None) for value in (1.0, together))
    seen = Stacked(5, 5, alone, alone, other, difference)
    line = job.line("mf_d32", 10, 2, seen, settings)
    assert (line["shared_ratio"], line["shared_low"], line["shared_high"]) == (together,) * 3
    assert (line["stack"], line["ratio"], line["within"]) == (5, 1.0, within)
    assert job.line("other", 10, 2, Stacked(5, 5, alone, other, alone, difference), settings)["within"] == (
        difference == 0
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.only=[mf_d3]", "job.only names 'mf_d3'"),
        ("+job.limits.ratio.mine=2", "job.limits.ratio names 'mine'"),
        ("job.cases.mf_d32=['model.dim=0']", "job.cases.mf_d32: model.dim=0"),
        ("job.seeds=1", "job.seeds=1"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(command, override, message):
    code, _, err = command("experiment=stacking", override)
    assert code == 2
    assert message in err
