"""`experiment=treatment`: what it compares, and that a run which nothing changed is the untreated one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.treatment.job import SHOWN, UNCHANGED, case_table
from pipelines.stages.compare import Observed

SEEDS = range(6)
SETTINGS = OmegaConf.create({"metrics": ["mse"], "alpha": 0.05, "overlap": None})


def observed(changed=SEEDS, gain=1.0, retrained=True, off=0.0):
    """Six seeds of an error of 2 with noise; treated, it is lower by `gain` on the seeds that are changed."""
    noise = dict(enumerate(np.random.default_rng(0).normal(scale=0.1, size=2 * len(SEEDS))))
    value = {
        "untreated": lambda seed: 2 + noise[seed],
        "treated": lambda seed: 2 + noise[seed] - ((gain + 0.1 * noise[seed + 6]) if seed in changed else off),
        "retrained": lambda seed: 0.8 + noise[seed] + 0.1 * noise[seed + 6],
    }
    arms = ["untreated", "treated", *(["retrained"] if retrained else [])]
    rows = [("e", arm, seed, "mse", value[arm](seed), False) for arm in arms for seed in SEEDS]
    changes = pd.DataFrame([{"arm": "treated", "seed": seed, "kind": "learning_rate"} for seed in changed])
    frame = pd.DataFrame(rows, columns=["experiment", "arm", "seed", "metric", "value", "higher_is_better"])
    return Observed(frame, {}, {}, changes, dict.fromkeys(arms, (10,) * len(SEEDS)))


def test_each_arm_is_set_beside_each_other_one():
    table = case_table("rate", observed(), SETTINGS)
    primary = table[table["test"] == "paired_t"].set_index("comparison")
    assert set(SHOWN) <= set(table.columns)
    assert primary["verdict"].to_dict() == {
        "treated_vs_untreated": "confirmed", "retrained_vs_untreated": "confirmed", "treated_vs_retrained": "refuted",
    }  # fmt: skip
    assert primary["changed"].to_dict() == {
        "treated_vs_untreated": "6 of 6", "retrained_vs_untreated": "", "treated_vs_retrained": "6 of 6",
    }  # fmt: skip
    assert primary.loc["treated_vs_untreated", "steps_treated"] == 10


def test_a_case_that_no_finding_changed_is_not_tested_against_itself():
    table = case_table("healthy", observed(changed=(), retrained=False), SETTINGS)
    assert table["verdict"].tolist() == [UNCHANGED]
    assert table["changed"].tolist() == ["0 of 6"]
    assert table["difference"].tolist() == [0.0]
    assert set(SHOWN) <= set(table.columns), "also where nothing is tested"
    with_fix = case_table("incurable", observed(changed=()), SETTINGS)
    assert with_fix.loc[with_fix["test"] == "paired_t", "comparison"].tolist() == [
        "treated_vs_untreated", "retrained_vs_untreated",
    ]  # fmt: skip


@pytest.mark.parametrize("changed", [(), (0, 1)])
def test_a_difference_that_no_finding_made_is_an_error(changed):
    with pytest.raises(FlowGradError, match="a run that no finding changed gave another result"):
        case_table("odd", observed(changed=changed, off=1e-9), SETTINGS)


def test_the_job_writes_its_tables(command):
    code, folder, err = command(
        "experiment=treatment",
        "job.cases.rate_of_tables=['experiment=movielens_mf', 'optimizer.lr=0.5', 'training.batch_size=64']",
        "job.cases.healthy_tables=['experiment=movielens_mf', 'optimizer.lr=0.001', 'training.epochs=1']",
        "job.only=[rate_of_tables,healthy_tables]",
        "dataset=synthetic",
        "seeds.test=[1,2,3]",
        "workers=1",
    )
    assert code == 0, err
    table = pd.read_csv(folder / "treatment.csv").set_index(["case", "comparison", "test"])
    assert table.loc[("healthy_tables", "treated_vs_untreated", "paired_t"), "verdict"] == UNCHANGED
    line = table.loc[("rate_of_tables", "treated_vs_untreated", "paired_t")]
    assert line["changed"] == "3 of 3"
    assert line["difference"] < 0
    assert set(pd.read_csv(folder / "treated.csv")["case"]) == {"rate_of_tables"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("job.only=[rates]", "job.only names 'rates'"),
        ("job.cases={rate_of_tables: ['model.dim=0']}", "job.cases.rate_of"),
    ],
)
def test_a_case_that_is_unknown_or_cannot_run_is_named(command, override, said):
    code, _, err = command("experiment=treatment", override)
    assert code == 2
    assert said in err
