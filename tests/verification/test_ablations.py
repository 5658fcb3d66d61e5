"""`validate`, `evidence add` and `prove` on what a run says of overrides that were left out."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import yaml

from flowgrad.__main__ import main
from flowgrad.errors import EvidenceError
from flowgrad.evidence.ledger import Ledger
from flowgrad.report import Override, OverrideAblation, read, write
from flowgrad.statistics import OBSERVATION_COLUMNS, ablation, mean_gain
from flowgrad.verification.ablations import verify_shares
from tests.evidence_folders import NAME, RULES, shipped, write_run

ARMS = {"baseline": 2.0, "stacked": 1.0, "without a": 1.012, "without b": 1.8}
FIGURES = ("n", "loss", "ci_low", "ci_high", "p", "share", "share_low", "share_high")


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose first rule changed `a`, which was dropped, and `b`, which was kept."""
    folder = tmp_path / "r"
    write_run(folder)
    rng = np.random.default_rng(0)
    values = {arm: [mean + 0.01 * rng.normal() for _ in range(5)] for arm, mean in ARMS.items()}
    lines = [
        (NAME, arm, 701 + place, "mse", value, False) for arm, own in values.items() for place, value in enumerate(own)
    ]
    pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS)).to_csv(folder / "left_out.csv", index=False)
    gain = mean_gain(values["baseline"], values["stacked"], higher_is_better=False)
    shares, overrides = [], []
    sha256 = hashlib.sha256((folder / "left_out.csv").read_bytes()).hexdigest()
    for path, outcome in (("a", "dropped"), ("b", "kept")):
        arm = f"without {path}"
        found = asdict(ablation(values[arm], values["stacked"], gain, metric="mse", higher_is_better=False))
        told = {"outcome": outcome, "metric": "mse", "arm": arm, "left_out_of": "stacked"}
        shares.append({"overrides": f"{path}=1", **told, **found})
        figures = {name: found[name] for name in FIGURES}
        overrides.append(
            Override(path, "1", "0", ablation=OverrideAblation(**told, **figures, observations_sha256=sha256))
        )
    pd.DataFrame(shares).to_csv(folder / "shares.csv", index=False)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "pruning": {"margin": 0.02}}, sort_keys=False))
    (folder / "prescription.yaml").write_text(
        yaml.safe_dump({"rounds": [{"overrides": ["b=1"], "dropped": ["a=1"], "rules": list(RULES)}]})
    )
    rewrite(folder, lambda finding: replace(finding, fix=tuple(overrides) if finding.rule == RULES[0] else ()))
    return folder


def rewrite(folder, change):
    report = read(folder / "report.xml")
    (part,) = report.reports
    write(replace(report, reports=(replace(part, findings=tuple(map(change, part.findings))),)), folder / "report.xml")


def forged(folder, **changes):
    """Change what the report says of the first override."""

    def change(finding):
        fix = [
            replace(one, ablation=replace(one.ablation, **changes)) if one.path == "a" else one for one in finding.fix
        ]
        return replace(finding, fix=tuple(fix))

    rewrite(folder, change)


def test_what_follows_from_the_runs_is_valid_and_becomes_evidence(run, tmp_path, capsys):
    assert main(["validate", str(run / "report.xml")]) == 0
    verify_shares(run)
    assert main(["evidence", "add", str(run), "--into", str(tmp_path / "mine.csv")]) == 0
    assert "4 trial(s)" in capsys.readouterr().out
    ledger, rule = Ledger.load(tmp_path / "mine.csv"), shipped()[RULES[0]]
    assert ledger.overrides(rule.id, rule.sha256) == {"a": (0, 1), "b": (1, 1)}
    assert ledger.confidence(rule.id, rule.sha256).trials == 1, "an override is no trial of its rule"
    shares = {trial.override: trial.share for trial in ledger.trials if trial.override}
    assert shares["b=1"] == pytest.approx(0.8, abs=0.02)
    assert main(["evidence", "show", str(tmp_path / "mine.csv")]) == 0
    assert "b: earned its place in 1 of 1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": 0.5}, "share is 0.5"),
        ({"loss": -0.1}, "loss is -0.1"),
        ({"ci_high": 9.0}, "ci_high is 9"),
        ({"n": 50}, "n is 50"),
        ({"arm": "without b"}, "loss is"),
        ({"arm": "without c"}, "no observation of arm 'without c'"),
        ({"n": 0}, "no run is named"),
        ({"observations_sha256": "0" * 64}, "its SHA-256 differs"),
        ({"metric": "auc"}, "cannot be computed"),
    ],
)
def test_what_does_not_follow_is_named(run, tmp_path, capsys, changes, said):
    forged(run, **changes)
    assert main(["validate", str(run / "report.xml")]) == 1
    assert said in capsys.readouterr().out
    assert main(["evidence", "add", str(run), "--into", str(tmp_path / "mine.csv")]) == 2
    assert not (tmp_path / "mine.csv").exists()


def test_an_override_that_could_not_go_by_the_margin_was_not_dropped(run, capsys):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "pruning": {"margin": 1e-9}}, sort_keys=False))
    assert main(["validate", str(run / "report.xml")]) == 1
    assert "the margin is 1e-09" in capsys.readouterr().out


def test_an_outcome_that_the_prescription_does_not_have_is_named(run, capsys):
    for acting in ({"overrides": ["a=1", "b=1"]}, {"overrides": [], "dropped": ["a=1", "b=1"]}):
        (run / "prescription.yaml").write_text(yaml.safe_dump({"rounds": [acting | {"rules": list(RULES)}]}))
        assert main(["validate", str(run / "report.xml")]) == 1
        assert "prescription.yaml says otherwise" in capsys.readouterr().out


def test_without_its_runs_an_override_is_not_checked_and_no_evidence(run, tmp_path, capsys):
    (run / "left_out.csv").unlink()
    assert main(["validate", str(run / "report.xml")]) == 0
    assert "left_out.csv is not beside it" in capsys.readouterr().err
    assert main(["evidence", "add", str(run), "--into", str(tmp_path / "mine.csv")]) == 2
    assert "left_out.csv" in capsys.readouterr().err


def test_a_line_of_the_shares_that_was_edited_is_named(run):
    table = pd.read_csv(run / "shares.csv")
    table.loc[1, "share"] = 0.1
    table.to_csv(run / "shares.csv", index=False)
    with pytest.raises(EvidenceError, match=r"shares.csv: b=1: share is 0.1; the runs give 0\.7"):
        verify_shares(run)


def test_a_run_that_left_nothing_out_has_no_shares_to_check(tmp_path):
    write_run(tmp_path / "r")
    verify_shares(tmp_path / "r")
