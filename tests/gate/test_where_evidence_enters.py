"""Proofs, plans and trainings refuse or downgrade what fails the gate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flowgrad import BoostingTracker, Calibration, FeatureAnalyzer, QuantizationAdvisor, SaliencyAnalyzer
from flowgrad.features.terms import Term
from flowgrad.gate import GateError
from flowgrad.statistics import nested_f


def copied_noise(seed):
    random = np.random.default_rng(seed)
    X = pd.DataFrame(random.normal(size=(1000, 8)), columns=list("abcdefgh"))
    y = (random.random(1000) < 0.06).astype(int)
    rows = random.permutation(np.r_[np.flatnonzero(y == 0), random.choice(np.flatnonzero(y == 1), int((y == 0).sum()))])
    return X.iloc[rows].reset_index(drop=True), y[rows], rows


class Mean:
    """Predicts the mean of the target."""

    def fit(self, X, y):
        self.mean = y.mean()

    def predict(self, X):
        return np.full(len(X), self.mean) + 1e-3 * X.iloc[:, -1]


@pytest.mark.parametrize("seed", range(4))
def test_oversampled_noise_is_never_proven(seed):
    """`prove()` said "confirmed" on 7 of 8 such tables, and the report named two pairs of columns of noise."""
    X, y, rows = copied_noise(seed)
    analyzer = FeatureAnalyzer(X, y)
    count = len(rows) - len(np.unique(rows))
    with pytest.raises(GateError, match=f"{count} of {len(rows):,} rows are exact copies of others"):
        analyzer.prove()
    with pytest.raises(GateError):
        analyzer.prove([Term("product", "a", "b")])
    with pytest.raises(GateError):
        analyzer.prove_by_retraining(Mean, [Term("product", "a", "b")])
    assert (analyzer.proof.verdict, analyzer.proof.proven) == ("inconclusive", ())
    found = {finding.rule_id: finding for finding in analyzer.findings()}
    assert "feature_synergy" not in found
    assert f"{count} of {len(rows)} rows" in found["copied_rows"].premise
    assert "copied_rows" in analyzer.to_agent_xml()
    assert np.isnan(analyzer.summary()["joint_p"])
    assert FeatureAnalyzer(X, y, groups=rows).prove().verdict == "inconclusive"


def test_groups_let_what_is_there_be_proven():
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
    y = X["a"] * X["b"] + random.normal(size=600)
    rows = np.repeat(np.arange(600), 3)
    with pytest.raises(GateError):
        FeatureAnalyzer(X.iloc[rows], y.iloc[rows]).prove()
    analyzer = FeatureAnalyzer(X.iloc[rows], y.iloc[rows], groups=rows)
    assert analyzer.prove().verdict == "confirmed"
    assert "copied_rows" not in {finding.rule_id for finding in analyzer.findings()}


def test_items_met_again_are_not_confirmed_without_groups():
    """An item's own level passes for an interaction of its columns where its rows count one by one."""
    random = np.random.default_rng(1)
    items = np.repeat(np.arange(60), 40)
    X = random.normal(size=(60, 4))[items]
    y = random.normal(size=60)[items] + 0.1 * random.normal(size=len(items))
    analyzer = FeatureAnalyzer(X, y)
    proof = analyzer.prove()
    assert proof.verdict == "inconclusive"
    assert "things met again" in proof.reason
    assert set(proof.each["verdict"]) <= {"inconclusive"}
    assert "feature_synergy" not in {finding.rule_id for finding in analyzer.findings()}


def test_retraining_holds_out_whole_groups():
    """Rows of one group stood on both sides of every split."""
    random = np.random.default_rng(0)
    X, y, rows = (
        pd.DataFrame(random.normal(size=(400, 3)), columns=list("abc")),
        random.normal(size=400),
        np.arange(400) // 4,
    )
    seen = []

    class Watching(Mean):
        def fit(self, X, y):
            self.rows = set(X.index)
            super().fit(X, y)

        def predict(self, X):
            seen.append(set(rows[list(self.rows)]) & set(rows[X.index]))
            return super().predict(X)

    FeatureAnalyzer(X, y, groups=rows).prove_by_retraining(Watching, [Term("product", "a", "b")], splits=3)
    assert seen == [set()] * 6


def test_nested_models_of_copied_rows():
    X, y, rows = copied_noise(1)
    with pytest.raises(GateError, match="exact copies"):
        nested_f(X.assign(y=y), "y", ["a"], ["b"])
    kept = np.unique(rows, return_index=True)[1]
    assert nested_f(X.assign(y=y).iloc[kept], "y", ["a"], ["b"]).objection is None


def test_a_booster_says_how_many_validation_rows_it_saw():
    """The AUC on rows "held out" was 1.0 on noise, and nothing was said."""
    X, y, rows = copied_noise(0)
    cut = int(0.75 * len(X))
    tracker = BoostingTracker()
    tracker.observe_data(X[:cut], y[:cut], X[cut:], y[cut:])
    share = np.isin(rows[cut:], rows[:cut]).mean()
    assert tracker.summary()["seen_share"] == pytest.approx(share)
    (found,) = (finding for finding in tracker.findings() if finding.rule_id == "validation_rows_seen")
    assert f"{share:.1%}" in found.premise
    assert found.severity == "high"
    assert found.fix is None


@pytest.mark.parametrize("columns", [3, 8])
def test_a_booster_of_few_values_is_not_accused(columns):
    random = np.random.default_rng(0)
    X, y = random.integers(0, 2, (1000, columns)), random.integers(0, 2, 1000)
    tracker = BoostingTracker()
    tracker.observe_data(X[:700], y[:700], X[700:], y[700:])
    assert tracker.summary()["seen_rows"] == 0
    assert np.isnan(BoostingTracker().summary()["seen_share"])


def test_plans_say_what_is_wrong_with_their_calibration():
    torch.manual_seed(0)
    model, loss = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(64, 5), torch.randint(0, 3, (64,))
    loss(model(x), y).backward()
    optimizer.step()
    batches = list(zip(x.split(16), y.split(16), strict=True))
    sound = SaliencyAnalyzer(model, optimizer, calibration=Calibration.of_pairs(batches, loss))
    assert "not to be relied on" not in sound.pruning_plan(0.5).reason
    assert np.isfinite(sound.summary()["rise_50_high"])
    unsound = SaliencyAnalyzer(model, optimizer, calibration=Calibration.of_pairs([*batches, batches[0]], loss))
    assert "1 of 5 batches are exact copies of another" in unsound.pruning_plan(0.5).reason
    assert np.isnan(unsound.summary()["rise_50_high"])
    assert "saliency_calibration_unsound" in {finding.rule_id for finding in unsound.findings()}
    assert not any(finding.fix for finding in unsound.findings())
    for bad in ([batches[0]] * 4, [(x * float("nan"), y)], [(torch.zeros(8, 5), y[:8])]):
        with pytest.raises(GateError, match="calibration: "):
            Calibration.of_pairs(bad, loss)


@pytest.mark.parametrize("kind", ["honest", "weak", "sorted", "misaligned"])
def test_targets_of_other_rows_prescribe_nothing(kind):
    """Pruning 90 % was prescribed because it "lowered" the loss of targets that belonged to other rows."""
    torch.manual_seed(0)
    signal = 0.5 if kind == "weak" else 5.0
    x = torch.randn(640, 6)
    y = torch.bernoulli(torch.sigmoid(signal * x[:, 0])).long()
    model, loss = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(x[:384]), y[:384]).backward()
        optimizer.step()
    x, y = x[384:], y[384:]
    if kind == "sorted":
        x, y = x[y.argsort()], y[y.argsort()]
    if kind == "misaligned":
        y = y.roll(1)
    calibration = Calibration.of_pairs(list(zip(x.split(64), y.split(64), strict=True)), loss)
    for advisor in (SaliencyAnalyzer, QuantizationAdvisor):
        found = advisor(model, optimizer, calibration=calibration)
        types = {finding.type for finding in found.findings()}
        assert ("CALIBRATION_UNSOUND" in types) == (kind == "misaligned")
        if kind == "misaligned":
            assert all(finding.fix is None for finding in found.findings())
    plan = SaliencyAnalyzer(model, optimizer, calibration=calibration).pruning_plan(0.5)
    assert ("with the targets of other rows" in plan.reason) == (kind == "misaligned")
