"""What a release says of itself is the same everywhere, and its checks are those that `make test` knows."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import flowgrad

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", CHANGES, re.MULTILINE)
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def loaded(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_one_version_stands_everywhere():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "flowgrad/__init__.py"
    assert flowgrad.__version__ == CITATION["version"] == RELEASES[0][0]
    told = subprocess.run(
        [sys.executable, "-m", "flowgrad", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["flowgrad", flowgrad.__version__]


def test_one_date_stands_everywhere():
    assert CITATION["date-released"] == RELEASES[0][1]
    dates = [date.fromisoformat(day) for _, day in RELEASES]
    assert dates == sorted(dates, reverse=True)


def test_the_changes_keep_their_sections():
    versions = re.findall(r"^## (.*)$", CHANGES, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert len(versions) == len(RELEASES) + 1
    for part in re.split(r"^## .*$", CHANGES, flags=re.MULTILINE)[1:]:
        named = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert set(named) <= set(SECTIONS)
        assert named == sorted(set(named), key=SECTIONS.index)
        assert not re.search(r"^### .*\n+(?=##|\Z)", part, re.MULTILINE), "a section is empty"


def test_the_citation_is_one():
    """What the schema of CFF 1.2.0 asks for; `make release` has cffconvert check the whole of it."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert CITATION["type"] == "software"
    assert CITATION["license"] == PROJECT["project"]["license"]
    assert [author["name"] for author in CITATION["authors"]] == [one["name"] for one in PROJECT["project"]["authors"]]
    assert set(CITATION["keywords"]) <= set(PROJECT["project"]["keywords"])


def test_hooks_run_what_make_test_runs_and_fetch_nothing():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert makefile.partition("\ntest: ")[2].partition("\n\n")[0].endswith(" tests checks")
    recipe = makefile.partition("\nchecks:\n")[2].partition("\n\n")[0]
    repos = loaded(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    tools = {" ".join(hook["entry"].split()[:2]).removeprefix(".venv/bin/") for hook in repos[0]["hooks"]}
    assert tools == {"ruff check", "ruff format", "mypy"}
    assert all(f"$(BIN)/{tool}" in recipe for tool in tools)
    assert {hook["language"] for hook in repos[0]["hooks"]} == {"system"}


@pytest.mark.skipif(find_spec("pre_commit") is None, reason="`make setup` installs pre-commit")
def test_the_hooks_are_valid(tmp_path, monkeypatch):
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path))
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    assert subprocess.run(command, check=False).returncode == 0


def test_other_hosts_run_the_same_script():
    job = loaded(".github/workflows/ci.yml")["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert len(versions) > 1
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_every_tool_of_the_project_is_pinned():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    groups = PROJECT["dependency-groups"]
    wanted = {one for name in ("dev", "docs", "release", "pipelines") for one in groups[name] if isinstance(one, str)}
    names = {re.split(r"[<>=;\[ ]", one)[0].lower() for one in wanted}
    assert names - pinned <= {"types-requests", "xgboost"}


def test_what_is_installed_is_the_library_alone():
    build = PROJECT["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["packages"] == ["flowgrad"]
    for name in build["sdist"]["include"]:
        assert (ROOT / name).exists(), name
    assert not {"pipelines", "tests", "datasets", "conf"} & set(build["sdist"]["include"])
    assert (ROOT / "flowgrad" / "py.typed").is_file()


def test_the_check_of_what_is_installed_compares_pages_and_prints():
    """A page whose output has other words is refused; figures may differ, as on another machine."""
    alike = runpy.run_path(str(ROOT / ".ci" / "check_installed.py"))["alike"]
    assert alike("steps 160, looks 26\n…\n", "steps 161, looks 27\nand more\n")
    assert alike("loss 1.5e-3\n", "loss 0.5\n")
    assert not alike("critical A\n", "critical B\n")
