"""`trial=[...]`: a change that is proven instead of a prescription; here, damping gradients while training."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from flowgrad.trackers.embedding.tracker import DAMPING

SMALL = ["dataset=synthetic", "training.epochs=5", "seeds.test=[1,2,3]", "workers=1"]
GUARDED = 'trial=["tracker.auto_fix=true"]'


def test_a_guarded_run_writes_what_it_did(command):
    code, folder, err = command(*SMALL, GUARDED, "optimizer.lr=0.5")
    assert code == 0, err
    table = pd.read_csv(folder / "interventions.csv")
    assert list(table.columns) == ["arm", "seed", "table", "step", "factor", "count", "rows"]
    assert set(table["arm"]) == {"treated"}, "the baseline is not guarded"
    assert set(table["seed"]) <= {1, 2, 3}
    assert set(table["table"]) <= {"user_emb", "item_emb"}
    assert set(table["factor"]) <= {DAMPING, 1.0}
    assert [len(str(rows).split()) for rows in table["rows"]] == table["count"].tolist()
    rounds = yaml.safe_load((folder / "prescription.yaml").read_text(encoding="utf-8"))["rounds"]
    assert rounds == [{"overrides": ["tracker.auto_fix=true"], "rules": [], "was": {"tracker.auto_fix": False}}]
    observed = pd.read_csv(folder / "observations.csv")
    assert set(observed["arm"]) == {"baseline", "treated", "aa"}
    means = observed[observed["metric"] == "mse"].groupby("arm")["value"].mean()
    assert means["treated"] != means["baseline"]


def test_a_guard_with_nothing_to_damp_leaves_no_table_and_no_difference(command):
    """One epoch is no window to compare with another."""
    code, folder, err = command(*SMALL, GUARDED, "optimizer.lr=0.001", "training.epochs=1", "training.batch_size=8192")
    assert code == 0, err
    assert not (folder / "interventions.csv").exists()
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
