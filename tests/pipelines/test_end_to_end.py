"""Whole runs: on synthetic data in every detail, on MovieLens for what the README claims of it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from lxml import etree

from flowgrad.__main__ import main as reports
from flowgrad.report import read
from pipelines.output.tables import rounded
from tests.forked import ForkedPopen

ROOT = Path(__file__).parents[2]
SMALL = ["experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
FEW = ["dataset=synthetic", "seeds.test=[1,2]", "workers=1"]
"""As SMALL, for what does not rest on the number of seeds."""
FILES = {
    "config.yaml", "config_treated.yaml", "curves.csv", "learning_curves.png", "observations.csv", "prescription.yaml",
    "left_out.csv", "report.html", "report.json", "report.xml", "report_treated.xml", "run.log",
    "shares.csv", "shares.md", "shares.tex", "significance.csv", "significance.md", "significance.tex",
}  # fmt: skip


CACHES = {
    ".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis", "outputs", ".cache", "build",
}  # fmt: skip


def tree(folder):
    """Every file below the repository with its time, but for caches and what `make test` builds beside the tests."""
    times = {}
    for place, folders, files in os.walk(folder):
        folders[:] = set(folders) - CACHES
        paths = [os.path.join(place, name) for name in set(files) - CACHES]
        times |= {path: os.stat(path).st_mtime_ns for path in paths if os.path.isfile(path)}
    return times


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run, as a user starts it."""
    folder = tmp_path_factory.mktemp("end") / "run"
    before = tree(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.run", *SMALL, f"hydra.run.dir={folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tree(ROOT) == before, "a run writes nothing outside its folder"
    return folder, done


def test_all_files_are_there_and_no_others(finished):
    folder, _ = finished
    found = {path.name for path in folder.iterdir()} - {".hydra"}
    assert found >= FILES
    others = found - FILES
    assert all(name.startswith(("report_round", "report_stacked", "rows_", "points_")) for name in others), others


def test_reports_are_valid_and_carry_their_proof(finished):
    folder, _ = finished
    for path in folder.glob("*.xml"):
        read(path)
    prescription = yaml.safe_load((folder / "prescription.yaml").read_text())
    table = pd.read_csv(folder / "significance.csv")
    root = etree.parse(folder / "report.xml").getroot()
    acting = [m for m in root.iter("causal_model") if m.get("rule") in prescription["rounds"][0]["rules"]]
    assert acting
    for model in acting:
        proof = model.find("validation")
        line = table[(table["comparison"] == proof.get("comparison")) & (table["test"] == "paired_t")].iloc[0]
        assert float(proof.get("p_adjusted")) == pytest.approx(line["p_adjusted"], rel=1e-5)
        assert proof.get("verdict") == line["verdict"]
        changes = [f"{o.get('path')}={o.get('value')}" for o in model.iter("override")]
        dropped = prescription["rounds"][0].get("dropped", [])
        assert set(changes) <= {*prescription["rounds"][0]["overrides"], *dropped}
        assert [o.get("value") for o in model.iter("override") if o.find("ablation").get("outcome") == "dropped"] == [
            change.partition("=")[2] for change in changes if change in dropped
        ]


def test_every_override_says_what_it_is_worth_and_what_goes_is_not_proven(finished):
    folder, _ = finished
    prescription = yaml.safe_load((folder / "prescription.yaml").read_text())
    kept = [one for acting in prescription["rounds"] for one in acting["overrides"]]
    dropped = [one for acting in prescription["rounds"] for one in acting.get("dropped", ())]
    assert kept
    assert dropped, "the synthetic run has an override that does nothing"
    shares, runs = pd.read_csv(folder / "shares.csv"), pd.read_csv(folder / "left_out.csv")
    assert set(runs["seed"]) == {701, 702, 703}
    last = shares.drop_duplicates("overrides", keep="last").set_index("overrides")
    assert (last.loc[kept, "outcome"] == "kept").all()
    assert (last.loc[kept, "lost"] > 0.02).all()
    assert (last.loc[dropped, "lost"] <= 0.02).all()
    proven = set(pd.read_csv(folder / "significance.csv")["comparison"])
    assert {"treated_vs_baseline", "treated_vs_stacked"} <= proven
    assert all(one.split("=")[0] not in prescription["command"] for one in dropped)
    assert reports(["validate", *map(str, folder.glob("*.xml"))]) == 0


def test_treated_report_has_no_fix_left(finished):
    folder, _ = finished
    assert not list(etree.parse(folder / "report_treated.xml").getroot().iter("fix"))


def test_observations_hold_every_arm_and_seed(finished):
    folder, _ = finished
    table = pd.read_csv(folder / "observations.csv")
    assert list(table.columns) == ["experiment", "arm", "seed", "metric", "value", "higher_is_better"]
    seeds = table.groupby("arm")["seed"].unique().map(sorted).to_dict()
    assert seeds["baseline"] == seeds["treated"] == seeds["tuned"] == seeds["stacked"] == [1, 2, 3]
    assert seeds["aa"] == [1001, 1002, 1003]
    assert not table.duplicated(["arm", "seed", "metric"]).any()


def test_the_command_of_the_prescription_gives_the_treated_config(finished, composed):
    folder, _ = finished
    prescription = yaml.safe_load((folder / "prescription.yaml").read_text())
    words = shlex.split(prescription["command"])
    assert words[:3] == ["python", "-m", "pipelines.run"]
    config = composed(*words[3:])
    treated = yaml.safe_load((folder / "config_treated.yaml").read_text())
    assert config.optimizer.lr == treated["optimizer"]["lr"]
    assert config.model.biases == treated["model"]["biases"]
    assert config.training.epochs == treated["training"]["epochs"]


def test_outcome_is_told_on_the_terminal(finished):
    folder, done = finished
    rounds, whole = done.stdout.splitlines()[:-2], done.stdout.splitlines()[-2:]
    assert [line.split("  ")[0] for line in rounds[:-1]] == [f"round {n}" for n in range(1, len(rounds))]
    assert all(" on " in line and " → " in line for line in rounds[:-1])
    dropped = [
        one
        for acting in yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"]
        for one in acting.get("dropped", ())
    ]
    assert rounds[-1].startswith("treated   nothing found; ")
    assert f" overrides kept, without {' '.join(dropped)} (mse " in rounds[-1]
    assert whole[0].startswith("proof     mse ")
    assert whole[0].endswith(": confirmed")
    assert whole[1] == f"files     {folder}"
    assert done.stderr.strip() == ""


@pytest.mark.usefixtures("drawn")
def test_the_same_command_gives_the_same_bytes(finished, command):
    folder, _ = finished
    code, again, _ = command(*SMALL)
    assert code == 0
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in {".csv", ".xml", ".md", ".tex", ".png", ".html", ".json"}
    )
    assert names
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_arms_that_train_while_the_diagnosis_goes_on_get_the_same_bytes(finished, command):
    folder, _ = finished
    code, again, _ = command(*SMALL[:-1], "workers=2")
    assert code == 0
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".csv", ".xml"})
    assert {"observations.csv", "curves.csv", "report.xml"} <= set(names)
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_killed_run_leaves_no_half_written_file(tmp_path):
    folder = tmp_path / "run"
    words = [
        sys.executable, "-m", "pipelines.run", *SMALL, "seeds.test=[1,2,3,4,5,6,7,8,9,10]", "rounds=1",
        "pruning.enabled=false", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    with open(tmp_path / "printed", "wb") as printed:
        process = ForkedPopen(words, cwd=ROOT, env=os.environ, stdout=printed)
    deadline = time.monotonic() + 120
    while not (folder / "report.xml").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / "report.xml").exists()
    assert not (folder / "observations.csv").exists()
    assert not (folder / "significance.csv").exists()
    for path in folder.glob("*.xml"):
        read(path)
    for path in folder.glob("*.csv"):
        assert path.read_bytes().endswith(b"\n")
        assert len(pd.read_csv(path))


def test_a_healthy_run_prescribes_nothing(command):
    code, folder, _ = command("experiment=movielens_mf_tuned", *FEW)
    assert code == 0
    assert yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"] == []
    assert not list(etree.parse(folder / "report.xml").getroot().iter("fix"))
    assert set(pd.read_csv(folder / "significance.csv")["comparison"]) == {"aa"}


def test_no_rounds_diagnose_only_and_an_older_run_in_the_same_folder_does_not_show_through(command, tmp_path):
    """`report_treated.xml` of an earlier run stood beside the files of one that prescribed nothing."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report_treated.xml").write_text("<old/>")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    code, folder, _ = command("experiment=movielens_mf", *FEW, "rounds=0")
    assert code == 0
    assert not (folder / "report_treated.xml").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"] == []
    assert list(etree.parse(folder / "report.xml").getroot().iter("fix"))


def test_own_ratings_from_a_csv(command, tmp_path, capsys):
    from datasets.synthetic import make_ratings

    frame = make_ratings(60, 40, 1500, 3, 0.5, 1.0, 0).frame
    frame = frame.rename(columns={"user": "who", "item": "what", "rating": "stars", "timestamp": "when"})
    frame["stars"] = (frame["stars"] * 2).round() / 2
    path = tmp_path / "own.csv"
    path.write_text(frame.to_csv(index=False) + "x,y,not a number,3\n")
    columns = "{user: who, item: what, rating: stars, timestamp: when}"
    code, folder, err = command(
        "experiment=movielens_mf", "dataset=ratings_csv", f"dataset.path={path}", f"dataset.columns={columns}",
        *FEW[1:], "rounds=1", "pruning.enabled=false",
    )  # fmt: skip
    assert code == 0
    assert not (folder / "shares.csv").exists()
    assert "dropped" not in (folder / "prescription.yaml").read_text()
    assert "1502" in err
    assert (folder / "significance.csv").exists()


def test_implicit_feedback_prescribes_the_correction(command):
    code, folder, _ = command(
        "experiment=movielens_implicit", *FEW, "training.batch_size=128", "rounds=1", "seeds.control=false"
    )
    assert code == 0
    assert set(pd.read_csv(folder / "observations.csv")["arm"]) == {"baseline", "treated", "tuned"}
    assert reports(["validate", str(folder / "report.xml")]) == 0
    rounds = yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"]
    assert rounds[0]["rules"] == ["popularity_skew"]
    assert rounds[0]["overrides"] == ["loss.logq=1.0"]
    assert set(pd.read_csv(folder / "significance.csv")["metric"]) == {"ndcg@10", "hr@10"}


def test_rounding_leaves_unknown_cells_empty():
    shown = rounded(pd.DataFrame({"p": [1e-9, float("nan")], "n": [10, 3]}))
    assert shown["p"].tolist() == ["1e-09", ""]
    assert shown["n"].tolist() == ["10", "3"]


@pytest.mark.movielens
def test_the_main_job_on_movielens(command):
    """The demonstration: the learning rate is found first, and what is found next closes the rest of the gap."""
    code, folder, _ = command("experiment=movielens_mf", "seeds.test=[21,22,23]", "seeds.diagnosis=4", "workers=1")
    assert code == 0
    first = yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"][0]
    assert first["overrides"] == ["optimizer.lr=0.005"]
    assert "zombie_rows" in first["rules"]
    table = pd.read_csv(folder / "significance.csv")
    table = table[table["test"] == "paired_t"].set_index("comparison")
    assert table.loc["treated_vs_baseline", "verdict"] == "confirmed"
    assert table.loc["treated_vs_baseline", "treated"] <= 1.03
    assert table.loc["treated_vs_baseline", "gap_closed"] >= 0.95
    assert not list(etree.parse(folder / "report_treated.xml").getroot().iter("fix"))


@pytest.mark.movielens
@pytest.mark.parametrize(
    "change", [[], ["model.dim=64"], ["training.batch_size=256"], ["training.batch_size=4096"], ["seeds.diagnosis=9"]]
)
def test_the_tuned_configuration_gets_no_fix(composed, change):
    from pipelines.data.ratings import load
    from pipelines.stages.diagnose import diagnose
    from pipelines.stages.experiment import Experiment
    from pipelines.stages.rule_book import rule_book

    overrides = ("experiment=movielens_mf_tuned", *change)
    config = composed(*overrides)
    book = rule_book(config, overrides, [])
    diagnosis = diagnose(Experiment(config, overrides, book, load(config)), 1)
    assert not diagnosis.prescription
    assert not [finding.type for finding in diagnosis.all_findings if finding.fix]
