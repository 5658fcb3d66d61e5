"""`seeds.test=auto`: as many seeds as a pilot says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowgrad.errors import FlowGradError
from flowgrad.statistics import CONTROL, OBSERVATION_COLUMNS, Comparison, detectable_effect
from pipelines.stages.plan_seeds import plan_seeds

AUTO = ["experiment=movielens_mf", "dataset=synthetic", "workers=1", "rounds=1", "training.epochs=2",
        "seeds.test=auto", "pruning.enabled=false"]  # fmt: skip
PLANNED = [Comparison("treated_vs_baseline", "baseline", "treated", "treatment"),
           Comparison("aa", "baseline", "aa", CONTROL)]  # fmt: skip


def pilot(differences, baseline=1.0):
    lines = []
    for seed, difference in enumerate(differences):
        for arm, value in (("baseline", baseline), ("treated", baseline + difference)):
            lines.append(("x", arm, seed, "mse", value, False))
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


def planned(composed, differences, *overrides, baseline=1.0):
    config = composed(*AUTO, *overrides)
    return plan_seeds(config, pilot(differences, baseline), PLANNED, ["mse"])


def test_the_seeds_follow_from_the_spread_and_the_effect(composed):
    """By hand: SD .01 over six seeds; its upper 80 % limit is .01 sqrt(5 / 2.3425) = .01461 (chi-squared table), so
    that .02 is 1.369 of them: seven pairs reach a power of .8 at .05, six do not."""
    differences = np.array([-1, -1, -1, 1, 1, 1]) * 0.01 * np.sqrt(5 / 6)
    seeds, plan = planned(composed, differences)
    line = plan.iloc[0]
    assert len(plan) == 1, "the control asks for nothing"
    assert line["sd"] == pytest.approx(0.01)
    assert line["sd_upper"] == pytest.approx(0.01461, rel=1e-3)
    assert line["effect"] == pytest.approx(0.02)
    assert seeds == list(range(101, 108))
    assert line["needed"] == 7
    assert line["detectable"] <= 0.02 < detectable_effect(6, power=0.8) * line["sd_upper"]


def test_a_spread_of_nothing_takes_the_fewest(composed):
    seeds, plan = planned(composed, [0.1] * 6)
    assert seeds == list(range(101, 107))
    assert plan["needed"].tolist() == [2]


def test_no_more_than_the_most_are_taken_and_the_plan_says_so(composed):
    seeds, plan = planned(composed, np.array([-1, 1, -1, 1, -1, 1]), "seeds.auto.most=12")
    assert len(seeds) == 12
    assert plan["needed"].tolist() == [13]
    assert plan["detectable"].item() > plan["effect"].item()


def test_a_pilot_that_diverged_is_no_plan(composed):
    with pytest.raises(FlowGradError, match=r"treated_vs_baseline cannot be planned.*mse.*list"):
        planned(composed, [0.1, 0.1, float("inf"), 0.1, 0.1, 0.1])


def test_the_planned_power_is_reached(composed):
    """Of 300 proofs of a true effect that were planned by a pilot, at least the asked share finds it."""
    rng = np.random.default_rng(0)
    config = composed(*AUTO)
    found = []
    for _ in range(300):
        seeds, _ = plan_seeds(config, pilot(rng.normal(-0.02, 0.02, 6)), PLANNED, ["mse"])
        differences = rng.normal(-0.02, 0.02, len(seeds))
        t = differences.mean() / (differences.std(ddof=1) / np.sqrt(len(seeds)))
        found.append(abs(t) > 2.0)
    assert np.mean(found) > 0.8


def test_a_run_plans_its_seeds_and_leaves_the_pilot_out(command):
    code, folder, _ = command(*AUTO, "seeds.auto.pilot=[901,902,903]", "seeds.auto.least=3", "seeds.auto.most=5")
    assert code == 0
    plan = pd.read_csv(folder / "seeds.csv")
    assert plan["comparison"].tolist() == ["treated_vs_baseline"]
    assert plan["pilot"].tolist() == [3]
    observed = pd.read_csv(folder / "observations.csv").query("arm == 'baseline'")["seed"].unique()
    n = min(5, max(3, plan["needed"].max()))
    assert sorted(observed) == list(range(101, 101 + n))
    assert ("is too few" in (folder / "run.log").read_text()) == (plan["needed"].max() > 5)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seeds.auto.pilot=[901,902]", "seeds.auto.pilot"),
        ("seeds.auto.pilot=[901,902,102]", "holds 102"),
        ("seeds.auto.pilot=[901,902,0]", "holds 0"),
        ("seeds.auto.effect=0", "seeds.auto.effect"),
        ("seeds.auto.effect=nan", "seeds.auto.effect"),
        ("seeds.auto.power=1", "seeds.auto.power"),
        ("seeds.auto.least=41", "seeds.auto.least"),
        ("seeds.auto.first=-1", "seeds.auto.first"),
        ("seeds.test=automatic", "seeds.test=automatic"),
        ("seeds.test=[1,a]", "seeds.test"),
    ],
)
def test_mistakes(command, override, named):
    code, _, error = command(*AUTO, override)
    assert code == 2
    assert named in error


def test_a_job_that_cannot_plan_says_so(command):
    code, _, error = command("experiment=faults_embedding", "dataset=synthetic", "seeds.test=auto")
    assert code == 2
    assert "seeds.test=auto" in error
