"""`flowgrad run` on scripts as people write them: every step is counted, and things have the names of the script."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flowgrad.__main__ import main
from flowgrad.agents.findings import findings
from flowgrad.report import RunReport, from_xml, validate
from flowgrad.running.script import run

SCRIPTS = Path(__file__).parent / "scripts"
ROOT = Path(__file__).parents[2]
# Script with its arguments -> steps, names of the groups of tables, and what is seen further.
PLAIN = {
    "own_loop.py": (24, "users, items", {"losses": 24, "lookups": 24 * 32 * 2}),
    "notebook.py": (24, "users, items", {"losses": 24, "lookups": 24 * 32 * 2}),
    "in_function.py": (24, "encoder", {"losses": 24, "lookups": 24 * 32 * 3}),
    "gan.py": (23, None, {"losses": 0}),  # the first steps and the two losses are left out, and the report says so
    "sparse_and_dense.py": (24, "tables.user, tables.item", {"losses": 24, "lookups": 24 * 32 * 2}),
    "lbfgs.py": (10, "0", {"losses": 10}),
    "compiled.py": (24, "rows", {"losses": 24, "lookups": 24 * 32}),
    "compiled.py --fullgraph": (24, "rows", {"losses": 24, "lookups": 24 * 32}),
    "amp.py": (22, "0", {"losses": 96, "skipped_steps": 2}),
    "amp.py --fused": (22, "0", {"losses": 96, "skipped_steps": 2}),
}
FRAMEWORKS = {
    "lightning_script.py": ("pytorch_lightning", 24, "users", {"losses": 24}),
    "trainer_script.py": ("transformers", 24, "bert.embeddings.word_embeddings", {"losses": 24}),
}


@pytest.fixture(autouse=True)
def compiled_anew():
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


def told(out):
    """The JSON that was printed last."""
    return json.loads(out[re.search(r'^{\n  "flowgrad_(watch_)?report"', out, re.MULTILINE).start() :])


def seen(report):
    return {one["name"]: one["value"] for one in report["coverage"]["seen"]}


def checked(report, steps, tables, further):
    assert seen(report) | {"steps": steps, **further} == seen(report)
    groups = [one["layers"] for one in report["watched"] if one["kind"] == "embedding"]
    assert (", ".join(groups) or None) == tables or tables in groups
    assert report["status"] in ("HEALTHY", "FINDINGS")
    assert "other_models" not in {one["name"] for one in report["coverage"]["unseen"]}


@pytest.mark.parametrize("command", PLAIN)
def test_every_step_of_a_script_is_seen(command, capsys):
    name, *args = command.split()
    assert main(["run", "--json", str(SCRIPTS / name), *args]) == 0
    checked(told(capsys.readouterr().out)["flowgrad_watch_report"], *PLAIN[command])


@pytest.mark.parametrize("command", PLAIN)
@pytest.mark.parametrize(
    ("end", "code"), [("raise ValueError('lost')", 1), ("raise KeyboardInterrupt", 130), ("raise SystemExit(3)", 3)]
)
def test_a_script_that_ends_early_has_its_report_too(command, end, code, tmp_path, capsys):
    name, *args = command.split()
    (tmp_path / name).write_text(f"{(SCRIPTS / name).read_text()}\n{end}\n")
    assert main(["run", "--json", str(tmp_path / name), *args]) == code
    checked(told(capsys.readouterr().out)["flowgrad_watch_report"], *PLAIN[command])


HASH = """
import hashlib, torch
nets = [one for one in list(globals().values()) if isinstance(one, torch.nn.Module)]
weights = b"".join(one.detach().numpy().tobytes() for net in nets for one in net.parameters())
print("END", len(weights), hashlib.sha256(weights).hexdigest(), torch.rand(1).item())
"""


@pytest.mark.parametrize("command", [*(one for one in PLAIN if one.split("_")[0] not in ("own", "in")), "kfold.py"])
def test_no_bit_of_a_script_is_another(command, tmp_path, capsys):
    name, *args = command.split()
    path = tmp_path / name
    path.write_text((SCRIPTS / name).read_text() + HASH)
    assert run(str(path), args, module=False) == 0
    torch.compiler.reset()
    assert main(["run", str(path), *args]) == 0
    ends = [line for line in capsys.readouterr().out.splitlines() if line.startswith("END ")]
    assert len(ends) == 2
    assert ends[0] == ends[1]
    assert int(ends[0].split()[1]) > 100


def test_a_module_of_a_package_takes_its_arguments(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(SCRIPTS)
    assert main(["run", "--json", "-m", "package.train", "--steps", "24", "--width", "6"]) == 0
    report = told(capsys.readouterr().out)["flowgrad_watch_report"]
    checked(report, 24, "rows", {"losses": 24, "lookups": 24 * 32})
    assert report["watched"][-1]["content"] == "40 rows, 6 wide" or "40 rows, 6 wide" in str(report["watched"])
    assert main(["run", "-m", "package.train"]) == 2  # as argparse has it
    assert "NOT_OBSERVED" in capsys.readouterr().out


def test_models_of_folds_have_a_report_each(tmp_path, capsys):
    """Only the first was watched: the third, whose rate is far too high, passed for healthy."""
    path, file = str(SCRIPTS / "kfold.py"), tmp_path / "report.xml"
    assert main(["run", "--report", str(file), path]) == 0
    out = capsys.readouterr().out
    assert "3 trainings, one after the other" in out
    found = from_xml(file.read_bytes())
    assert isinstance(found, RunReport)
    assert [one.layer for one in found.reports] == [f"{path} ({place}: Ranker)" for place in (1, 2, 3)]
    assert [one.run.training["steps"] for one in found.reports] == [60, 61, 62]
    assert "LEARNING_RATE_TOO_HIGH" in {one.type for one in found.reports[2].findings}
    assert "LEARNING_RATE_TOO_HIGH" not in {one.type for one in found.reports[0].findings}
    validate(file.read_bytes())
    answer = findings(str(file))
    assert answer["learning_rate"]["verdict"] == "too_high"  # that of the first training was told for all
    (rate,) = [one for one in answer["findings"] if one["type"] == "LEARNING_RATE_TOO_HIGH"]
    assert rate["layer"] == rate["places"]["place"][0]["layer"] == f"{path} (3: Ranker)"
    assert main(["run", "--fail-on", "high", path]) == 1
    capsys.readouterr()
    for ending in (".json", ".html", ".txt"):
        file = tmp_path / f"report{ending}"
        assert main(["run", "--json", "--report", str(file), path]) == 0
        assert len(told(capsys.readouterr().out)["flowgrad_report"]["reports"]) == 3
        assert "LEARNING_RATE_TOO_HIGH" in file.read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "training loss (3: Ranker)" in page  # the one with findings is drawn


def test_a_script_that_evaluates_is_not_called_healthy(capsys):
    assert main(["run", "--json", "--fail-on", "low", str(SCRIPTS / "evaluates.py")]) == 0
    report = told(capsys.readouterr().out)["flowgrad_watch_report"]
    assert report["status"] == "NOT_OBSERVED"
    assert "the script trained nothing with torch" in report["coverage"]["blind"]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_step_of_a_frameworks_script_is_seen(name, tmp_path):
    """Outside of this repository, whose folder `datasets` passes for a package of that name."""
    package, steps, tables, further = FRAMEWORKS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "flowgrad").symlink_to(ROOT / "flowgrad")
    shutil.copy(SCRIPTS / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "flowgrad", "run", "--json", name],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path / "link")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    checked(told(done.stdout)["flowgrad_watch_report"], steps, tables, further)
