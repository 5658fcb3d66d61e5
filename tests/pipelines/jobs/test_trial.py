"""`trial=[...]`: a change that is proven instead of a prescription; here, findings that change it while it trains."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from flowgrad.agents.history import history

SMALL = ["dataset=synthetic", "training.epochs=5", "seeds.test=[1,2,3]", "workers=1"]
TREATED = 'trial=["training.treat=true"]'


def test_a_training_that_findings_change_writes_what_they_did(command):
    code, folder, err = command(*SMALL, TREATED, "optimizer.lr=0.5", "training.batch_size=64", "training.epochs=4")
    assert code == 0, err
    table = pd.read_csv(folder / "treated.csv")
    assert list(table.columns) == ["arm", "seed", "step", "kind", "where", "old", "new", "finding"]
    assert set(table["arm"]) == {"treated"}, "nothing changes the baseline"
    rates = table[table["kind"] == "learning_rate"]
    assert set(rates["seed"]) == {1, 2, 3}
    assert set(rates["old"].astype(float)) == {0.5}
    assert set(rates["new"].astype(float)) == {0.05}
    rounds = yaml.safe_load((folder / "prescription.yaml").read_text(encoding="utf-8"))["rounds"]
    assert rounds == [{"overrides": ["training.treat=true"], "rules": [], "was": {"training.treat": False}}]
    observed = pd.read_csv(folder / "observations.csv")
    means = observed[observed["metric"] == "mse"].groupby("arm")["value"].mean()
    assert means["treated"] < means["baseline"]
    first = rates[rates["seed"] == 1].iloc[0]
    told = history(str(folder), first["where"], "learning_rate", arm="treated", seed=1)
    assert [[*point] for series in told["series"] for point in series["points"]] == [[first["step"], 0.05]]


def test_a_sound_training_is_changed_by_no_finding(command):
    """Every run gives what it gives without treatment, and there is no table of changes."""
    code, folder, err = command(*SMALL, TREATED, "optimizer.lr=0.001", "training.epochs=1", "training.batch_size=8192")
    assert code == 0, err
    assert not (folder / "treated.csv").exists()
    observed = pd.read_csv(folder / "observations.csv").pivot_table("value", ["seed", "metric"], "arm")
    treated = observed.dropna(subset=["treated"])
    assert treated["treated"].tolist() == treated["baseline"].tolist()


MISTAKES = {
    "key": ("tracker.nope=true", ["trial=", "tracker.nope"]),
    "type": ("optimizer.lr=abc", ["trial=", "optimizer.lr", "abc"]),
    "value": ("model.dim=0", ["trial=", "model.dim=0", "at least 1"]),
    "data": ("dataset.seed=3", ["trial", "dataset.seed=3", "proof"]),
    "seeds": ("seeds.diagnosis=1", ["trial", "seeds.diagnosis=1", "proof"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_trial_is_named_before_anything_is_trained(command, mistake):
    """It ended in a traceback after the diagnosis, or trained the baseline twice and called it a trial."""
    trial, named = MISTAKES[mistake]
    code, folder, err = command(*SMALL, f'trial=["{trial}"]')
    lines = [line for line in err.splitlines() if line]
    assert code == 2
    assert len(lines) == 1, err
    assert all(part in lines[0] for part in named), lines[0]
    assert not (folder / "config.yaml").exists()
    assert "round 1" not in (folder / "run.log").read_text(encoding="utf-8")
