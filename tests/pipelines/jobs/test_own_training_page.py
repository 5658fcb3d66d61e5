"""The settings on the page about scripts of one's own: each is run as it stands there, on few seeds.

Their programs are forked from one that has imported torch; `test_own_scripts` starts its own as users do.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from datasets.insteval import main as main_of_insteval
from flowgrad.__main__ import main
from flowgrad.agents.proving import prove
from tests.forked import ForkedPopen

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "own_training.md").read_text(encoding="utf-8")
SETTINGS = {yaml.safe_load(block)["name"]: block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}
DATA = "outputs/insteval.csv"


@pytest.fixture
def page(tmp_path, monkeypatch, command):
    """Run the settings of that name from the folder that the page's paths start from."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "Popen", ForkedPopen)
    folder = tmp_path / "my_settings" / "experiment"
    folder.mkdir(parents=True)

    def run(name, *overrides):
        mine = name if name.startswith("my_") else f"my_{name}"  # the shipped one would hide another of its name
        (folder / f"{mine}.yaml").write_text(SETTINGS[name], encoding="utf-8")
        return command(
            f"experiment={mine}", "--config-dir", str(folder.parent), f"training.runs={tmp_path}/runs", "workers=1",
            *overrides,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(("name", "seeds"), [("my_function", 8), ("my_app", 5), ("my_notebook", 5)])
def test_a_function_an_app_and_a_notebook_are_proven(page, name, seeds):
    """The page has ten seeds; each change gets as many of them as it needs."""
    code, folder, err = page(name, f"seeds.test={[*range(101, 101 + seeds)]}")
    assert code == 0, err
    assert prove(str(folder))["verdict"] == "confirmed"


@pytest.mark.insteval
def test_a_strangers_script_goes_from_a_report_to_a_verdict(page, tmp_path, capsys):
    """The page's three commands on the first eighth of the ratings, by smaller batches and at a higher rate."""
    main_of_insteval([str(tmp_path / "all.csv")])
    file = tmp_path / "insteval.csv"
    file.write_text("".join((tmp_path / "all.csv").read_text().splitlines(keepends=True)[:8001]))
    script = str(ROOT / "docs" / "examples" / "factorise.py")
    given = ["--ratings", str(file), "--batch", "64", "--lr", "0.2"]
    assert main(["run", "--report", str(tmp_path / "report.xml"), script, *given]) == 0
    assert "Change     for group in optimizer.param_groups" in capsys.readouterr().out
    SETTINGS["small"] = SETTINGS["script_ratings"].replace(DATA, str(file)).replace("--lr", "--batch 64 --lr")
    code, folder, err = page("small", "parameters.lr=0.2", "rounds=1", "seeds.test=[101,102]")
    assert code == 0, err
    rounds = yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"]
    assert [one["overrides"] for one in rounds] == [["parameters.lr=0.02"]]
    line = pd.read_csv(folder / "significance.csv").iloc[0]
    assert line["wins"] == 2
    assert main(["validate", *map(str, folder.glob("report*.xml"))]) == 0


def test_the_shipped_experiment_is_the_pages():
    shipped = yaml.safe_load((ROOT / "conf" / "experiment" / "script_ratings.yaml").read_text(encoding="utf-8"))
    assert shipped == yaml.safe_load(SETTINGS["script_ratings"])
