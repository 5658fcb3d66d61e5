"""What the documents show is what the commands wrote, and what they name is there."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

import flowgrad
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.readme import DOCUMENTS, filled, line, summary
from pipelines.stages.outcome import proof_line

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").glob("*.md"))]
INTEGRATIONS = [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs" / "integrations").glob("*.md"))]
API = [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs" / "api").glob("*.md"))]
TUTORIALS = [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
PAGES = ["README.md", "CONTRIBUTING.md", "datasets/README.md", *DOCS, *INTEGRATIONS, *API, *TUTORIALS]
_FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"<!-- line: make_run -->.*?<!-- end -->", re.DOTALL)


def commands():
    """Every command that stands in a block of its own, once."""
    found = {}
    for page in PAGES:
        for block in _FENCED.findall(_OUTPUT.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            for text in block.replace("\\\n", " ").splitlines():
                if text.startswith(("python -m ", "pip ", "make ")):
                    found.setdefault(" ".join(text.partition("  #")[0].split()), page)
    return list(found)


COMMANDS = commands()


def results():
    return OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "results.yaml"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_figures_are_those_of_the_results(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    config = results()
    assert filled(text, ROOT / "docs" / "results", config["summaries"], config["lines"]) == text
    assert re.search(r"<!-- (results|summary|line): \w+ -->\S*\n?[^\n]*\w", text)


def test_every_page_with_figures_is_rewritten():
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    marked = [page for page, text in texts.items() if re.search("<!-- (results|summary|line): [a-z]", text)]
    assert sorted(marked) == sorted(DOCUMENTS)


def test_every_summary_and_line_is_shown_somewhere():
    text = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    config = results()
    for kind, names in (("summary", config["summaries"]), ("line", config["lines"])):
        assert [name for name in names if f"<!-- {kind}: {name} -->" not in text] == []


def test_the_three_numbers_of_the_readme_come_from_tables():
    """A figure that is typed by hand goes stale: between the markers stands all that the table of answers claims."""
    table = README.partition("## Does it work?")[2].partition("\n## ")[0]
    rows = [text for text in table.splitlines() if text.startswith("| ") and "question" not in text]
    assert len(rows) == 3
    for row in rows:
        assert row.count("<!-- line: ") == row.count("<!-- end -->") == 2
        assert not re.search(r"\d", re.sub(r"<!-- line: \w+ -->.*?<!-- end -->", "", row))


def test_what_networks_miss_did_no_harm_but_for_one_fault():
    """docs/does_it_work.md says so in words."""
    tables = ROOT / "docs" / "results"
    cases, repairs = (pd.read_csv(tables / f"faults_layers_{name}.csv") for name in ("cases", "repairs"))
    missed = cases[(cases["kind"] == "run") & (cases["hits"] < cases["true"])]
    harm = missed.merge(repairs[["fault", "setting", "harmful"]].drop_duplicates(), on=["fault", "setting"])
    assert len(harm) == len(missed)
    assert harm.loc[harm["harmful"], "fault"].tolist() == ["too_few_epochs"]


def test_the_output_of_make_run_is_what_the_console_prints():
    table = pd.read_csv(ROOT / "docs" / "results" / "movielens_mf.csv").assign(detectable=None)
    proven = table[(table["comparison"] == "treated_vs_baseline") & (table["test"] == "paired_t")]
    (shown,) = [text for text in README.splitlines() if text.startswith("proof  ")]
    assert shown == f"proof     {proof_line(proven.iloc[0])}"
    shares = pd.read_csv(ROOT / "docs" / "results" / "movielens_mf_shares.csv")
    outcomes = shares[~shares["overrides"].str.contains(" ")].groupby("overrides")["outcome"].last()
    kept, dropped = set(outcomes.index[outcomes == "kept"]), set(outcomes.index[outcomes == "dropped"])
    told = re.search(r"^treated .*; (\d+) of (\d+) overrides kept, without (.*) \(mse ", README, re.MULTILINE)
    assert told is not None
    assert (int(told[1]), int(told[2]), set(told[3].split())) == (len(kept), len(outcomes), dropped)


def test_the_readme_stays_short():
    assert len(README.splitlines()) <= 135
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([text for text in code.splitlines() if text]) == 8


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_somewhere(page):
    for part in (ROOT / page).read_text(encoding="utf-8").split("](")[1:]:
        target, _, heading = part.split(")")[0].partition("#")
        if target.startswith("http"):
            continue
        there = (ROOT / page).parent / target if target else ROOT / page
        assert there.is_file(), target
        if page.startswith("docs/"):  # the site holds nothing else
            assert there.resolve().is_relative_to(ROOT / "docs"), target
        if heading:
            lines = there.read_text(encoding="utf-8").splitlines()
            titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
            assert heading in ["".join(c for c in t if c.isalnum() or c in " -_").replace(" ", "-") for t in titles]


def test_every_page_stands_in_the_navigation_of_the_site():
    def pages(entry):
        if isinstance(entry, str):
            return [f"docs/{entry}"]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]

    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(pages(config["project"]["nav"])) == sorted(DOCS + INTEGRATIONS + API + TUTORIALS)


def test_every_public_name_has_a_place_in_the_api_pages():
    told = set(re.findall(r"^::: (\S+)$", "\n".join((ROOT / page).read_text("utf-8") for page in API), re.MULTILINE))
    whole = {name.rpartition(".")[0] for name in told} | told
    missing = [name for name in flowgrad.__all__ if f"flowgrad.{name}" not in told and name != "__version__"]
    assert missing == ["apply_recipe"]
    assert "flowgrad.compression" in whole  # where `apply_recipe` is told


def test_a_summary_takes_lines_and_columns_of_several_tables(tmp_path):
    (tmp_path / "a.csv").write_text("kind,share\nx,0.5\ny,0.25\n")
    (tmp_path / "b.csv").write_text("kind,rate,p\nz,0.125,1\n")
    parts = [
        {"table": "a", "where": {"kind": ["x"]}, "add": {"of": "first"}},
        {"table": "b", "add": {"of": "second"}, "names": {"rate": "share"}},
    ]
    found = summary(tmp_path, ["of", "kind", "share"], parts)
    assert found.to_numpy().tolist() == [["first", "x", 0.5], ["second", "z", 0.125]]
    with pytest.raises(FlowGradError, match="a has no line with kind=w"):
        summary(tmp_path, ["kind"], [{"table": "a", "where": {"kind": ["w"]}}])
    with pytest.raises(FlowGradError, match="'other' is not among mine"):
        filled("<!-- summary: other -->\n<!-- end -->", tmp_path, {"mine": {}})


def test_a_line_takes_single_figures_of_several_tables(tmp_path):
    (tmp_path / "a.csv").write_text("kind,hits,runs\nx,3,4\ny,1,4\n")
    (tmp_path / "b.csv").write_text("kind,p\nz,0.0123456\n")
    parts = [
        {"table": "a", "where": {"kind": ["x"]}, "names": {"hits": "found"}},
        {"table": "a", "where": {"kind": ["y"]}, "names": {"hits": "wrong"}},
        {"table": "b", "names": {"p": "least"}},
    ]
    lines = {"ours": {"text": "{found} of {runs}, {wrong} wrong (p {least})", "parts": parts}}
    text = filled("We say <!-- line: ours -->nothing<!-- end -->, now.", tmp_path, {}, lines)
    assert text == "We say <!-- line: ours -->3 of 4, 1 wrong (p 0.012)<!-- end -->, now."
    assert filled(text, tmp_path, {}, lines) == text
    block = filled("<!-- line: ours -->\n<!-- end -->", tmp_path, {}, {"ours": {"text": "{found}\n", "parts": parts}})
    assert block == "<!-- line: ours -->\n3\n<!-- end -->"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"text": "{kind}", "parts": [{"table": "a"}]}, "a has 2 lines with {}, not one"),
        ({"text": "{kind}", "parts": [{"table": "a", "where": {"kind": ["w"]}}]}, "a has no line with kind=w"),
        ({"text": "{share}", "parts": [{"table": "a", "where": {"kind": ["x"]}}]}, "has a column 'share'"),
    ],
)
def test_a_line_that_no_table_gives_is_refused(tmp_path, entry, named):
    (tmp_path / "a.csv").write_text("kind,hits\nx,3\ny,1\n")
    with pytest.raises(FlowGradError, match=re.escape(named)):
        line(tmp_path, **entry)


@pytest.mark.parametrize("command", [text for text in COMMANDS if text.startswith("python -m pipelines.run")])
def test_every_run_composes(command, monkeypatch, tmp_path):
    """The overrides of every run that the documents show give a valid config and rule book."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pipelines.config.command_line import flags_first
    from pipelines.config.schema import register
    from pipelines.stages.check import check_settings
    from pipelines.stages.rule_book import rule_book

    monkeypatch.setenv("FLOWGRAD_RUN_ID", "test")
    words = flags_first(shlex.split(command)[3:])
    overrides = [word for word in words if not word.startswith("-")]
    overrides = [o for o in overrides if o not in ("my_folder", "+rules=mine") and not o.startswith("hydra.")]
    overrides = [o.replace("[my_evidence.csv]", "[]") for o in overrides]
    if "-m" in words or "--multirun" in words:
        overrides = [o.partition(",")[0] for o in overrides]
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    check_settings(config)
    assert rule_book(config, overrides, [])


@pytest.mark.parametrize("command", [text for text in COMMANDS if not text.startswith("python -m pipelines.run")])
def test_every_other_command_is_one(command):
    from flowgrad.__main__ import _parser

    words = shlex.split(command, comments=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[0] == "pip":
        assert words[:2] == ["pip", "install"]
        for extra in re.findall(r"\[(.+)\]", words[2]):
            assert set(extra.split(",")) <= set(project["project"]["optional-dependencies"])
    elif words[2] == "pipelines.reproduce":
        assert all((ROOT / "conf" / f"{word.replace('=', '/')}.yaml").is_file() for word in words[3:])
    elif words[2].startswith("datasets."):
        assert callable(importlib.import_module(words[2]).main)
    else:
        assert words[:3] == ["python", "-m", "flowgrad"]
        _parser().parse_args(words[3:])


@pytest.mark.parametrize("page", DOCS)
def test_a_marker_does_not_break_a_paragraph_of_the_site(page):
    """A line that begins with a comment ended the list that it stood in; only tables and blocks stand by themselves."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.search(r"^\s*<!-- line: \w+ -->[^\n]", text, re.MULTILINE)
