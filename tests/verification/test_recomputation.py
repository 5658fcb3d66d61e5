"""`python -m flowgrad validate` computes verdicts anew from the observations beside the report."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from flowgrad.__main__ import main
from flowgrad.evidence.confidence import posterior
from flowgrad.report import CausalModel, Report, Validation, write
from flowgrad.statistics import OBSERVATION_COLUMNS, PROVEN, Comparison, margin_table, significance

FAMILY = [
    Comparison("treated_vs_baseline", "baseline", "treated", "rounds"),
    Comparison("round1_vs_baseline", "baseline", "round1", "rounds"),
]


@pytest.fixture(params=[{}, {"overlap": 0.8}, {"margin": 0.02}], ids=["seeds", "splits", "margin"])
def run(request, tmp_path):
    """A folder with observations, their significance table and a report; gives the report's path and the proof."""
    rng = np.random.default_rng(0)
    base = 2 + 0.1 * rng.normal(size=8)
    arms = {
        "baseline": base,
        "round1": base - 0.1 + 0.1 * rng.normal(size=8),
        "treated": base - 0.3 + 0.1 * rng.normal(size=8),
    }
    lines = [
        ("e", arm, seed, metric, value * scale, False)
        for metric, scale in (("mse", 1.0), ("mae", 0.5))
        for arm, values in arms.items()
        for seed, value in enumerate(values, start=101)
    ]
    observations = pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))
    observations.to_csv(tmp_path / "observations.csv", index=False)
    if "margin" in request.param:
        table = margin_table(observations, FAMILY, ["mse", "mae"], request.param["margin"])
    else:
        table = significance(observations, FAMILY, ["mse", "mae"], **request.param)
    table.to_csv(tmp_path / "significance.csv", index=False)
    line = table[(table["comparison"] == "round1_vs_baseline") & (table["metric"] == "mse")].iloc[0]
    own = ("observations_sha256", "overlap", "margin", "verdict")
    taken = {field.name: line[field.name] for field in fields(Validation) if field.name not in own}
    sha256 = hashlib.sha256((tmp_path / "observations.csv").read_bytes()).hexdigest()
    verdict = PROVEN.get(line["verdict"], line["verdict"])
    proof = Validation(verdict=verdict, **taken, observations_sha256=sha256, **request.param)
    return tmp_path / "report.xml", proof


def write_report(path, proof):
    found = CausalModel("ZOMBIE", "zombie_rows", "high", "p", "i", "LOOK", "e", posterior(), validation=proof)
    write(Report("embedding", "item_emb", findings=(found,)), path)


def test_a_verdict_that_follows(run, capsys):
    path, proof = run
    write_report(path, proof)
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: valid; 1 verdict(s) follow from observations.csv\n"


def test_a_margin_that_is_not_told_or_another(run, capsys):
    path, proof = run
    if proof.margin is None:
        pytest.skip("a test without margin")
    for changes, told in (({"margin": None}, "does not say its margin"), ({"margin": 0.5}, "the observations give")):
        write_report(path, replace(proof, **changes))
        assert main(["validate", str(path)]) == 1
        assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"verdict": "refuted"}, "verdict is refuted in the report; the observations give"),
        ({"p": 1e-9}, "p is 1e-09 in the report; the observations give"),
        ({"p_adjusted": 1e-9}, "p_adjusted is 1e-09"),
        ({"ci_low": -9.0}, "ci_low is -9.0"),
        ({"n": 80}, "n is 80"),
        ({"comparison": "round9_vs_baseline"}, "no comparison 'round9_vs_baseline'"),
        ({"treated_arm": "treated"}, "no comparison 'round1_vs_baseline' of 'treated'"),
        ({"metric": "rmse"}, "no test of 'rmse'"),
        ({"family": "another"}, "in the family 'another'"),
        ({"alpha": None}, "does not say its alpha"),
        ({"observations_sha256": "0" * 64}, "its SHA-256 differs"),
    ],
)
def test_one_that_does_not(run, capsys, changes, told):
    path, proof = run
    write_report(path, replace(proof, **changes))
    assert main(["validate", str(path)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: zombie_rows: ")
    assert told in line


def test_observations_changed_afterwards(run, capsys):
    path, proof = run
    write_report(path, proof)
    table = pd.read_csv(path.parent / "observations.csv")
    table.loc[table["arm"] == "treated", "value"] -= 1
    table.to_csv(path.parent / "observations.csv", index=False)
    assert main(["validate", str(path)]) == 1
    assert "its SHA-256 differs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["observations.csv", "significance.csv"])
def test_nothing_to_compute_from(run, capsys, name):
    path, proof = run
    write_report(path, proof)
    (path.parent / name).unlink()
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: valid; {name} is not beside it, so that no verdict was computed anew\n"


def test_a_table_that_is_none(run, capsys):
    path, proof = run
    write_report(path, proof)
    (path.parent / "significance.csv").write_text("nothing\n1\n")
    assert main(["validate", str(path)]) == 1
    assert "cannot be computed" in capsys.readouterr().out
