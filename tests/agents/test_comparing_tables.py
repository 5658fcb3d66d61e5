"""`flowgrad compare FILE.csv`: exit codes, forms, and files that are refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import flowgrad
from flowgrad.__main__ import main
from tests.agents.test_answers import check


@pytest.fixture
def table(tmp_path):
    def write(shift=-0.1, arms=("mf", "deep"), **further):
        random = np.random.default_rng(1)
        luck = random.normal(1, 0.05, 8)
        frame = pd.DataFrame(
            {"model": arm, "seed": seed, "rmse": luck[seed] + shift * place + random.normal(0, 0.01), **further}
            for place, arm in enumerate(arms)
            for seed in range(8)
        )
        frame.to_csv(tmp_path / "results.csv", index=False)
        return str(tmp_path / "results.csv"), frame

    return write


OPTIONS = ["--baseline", "mf", "--better", "rmse=lower"]


@pytest.mark.parametrize(
    ("shift", "code", "verdict"), [(-0.1, 0, "confirmed"), (0.1, 1, "refuted"), (0.0, 1, "inconclusive")]
)
def test_the_exit_code_tells(table, capsys, shift, code, verdict):
    file, frame = table(shift)
    assert main(["compare", file, *OPTIONS, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    check(found)
    assert found["verdict"] == verdict
    line = flowgrad.compare(frame, baseline="mf", better={"rmse": "lower"}).table.iloc[0]
    told = found["proofs"][0]
    assert [told[name] for name in ("difference", "ci_low", "ci_high", "p_adjusted")] == [
        line[name] for name in ("difference", "ci_low", "ci_high", "p_adjusted")
    ]
    assert main(["compare", file, *OPTIONS]) == code
    assert verdict in capsys.readouterr().out


def test_equivalence_is_told_with_its_margin(table, capsys):
    file, _ = table(0.0)
    assert main(["compare", file, *OPTIONS, "--margin", "rmse=0.05"]) == 1
    assert "equivalent within 0.05: p " in capsys.readouterr().out


def test_folds_are_told_to_share_rows(table, capsys):
    file, frame = table()
    frame.rename(columns={"seed": "fold"}).to_csv(file, index=False)
    main(["compare", file, *OPTIONS, "--json"])
    found = json.loads(capsys.readouterr().out)
    check(found)
    assert found["proofs"][0]["test"] == "corrected_t"
    assert "share training rows" in found["cautions"][0]


WRONG = {
    "no file": (lambda text: None, OPTIONS, "cannot be read"),
    "cut": (lambda text: text[:-30], OPTIONS, ""),
    "a pair is missing": (lambda text: "\n".join(text.split("\n")[:-2]), OPTIONS, "have no pair"),
    "an empty field": (lambda text: text.replace(text.split("\n")[2].split(",")[2], ""), OPTIONS, "is missing in mf"),
    "no baseline": (lambda text: text, ["--better", "rmse=lower"], "which of mf, deep is the baseline"),
    "no direction": (lambda text: text, ["--baseline", "mf"], "say which columns are metrics"),
    "no pair of an option": (lambda text: text, ["--baseline", "mf", "--better", "rmse"], "NAME=VALUE"),
    "no number": (lambda text: text, [*OPTIONS, "--margin", "rmse=x"], "NAME=NUMBER"),
    "level": (lambda text: text, [*OPTIONS, "--alpha", "2"], "alpha=2.0"),
    "overlap": (lambda text: text, [*OPTIONS, "--overlap", "2"], "overlap=2.0"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_table_of_pairs_ends_with_2_and_one_line(table, tmp_path, capsys, kind):
    edit, options, said = WRONG[kind]
    file, _ = table()
    text = edit((tmp_path / "results.csv").read_text())
    if text is None:
        (tmp_path / "results.csv").unlink()
    else:
        (tmp_path / "results.csv").write_text(text)
    assert main(["compare", file, *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_one_run_alone_is_no_comparison(capsys):
    assert main(["compare", "outputs"]) == 2
    assert "one CSV file" in capsys.readouterr().err
