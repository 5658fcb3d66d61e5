"""What the documents show is what the commands wrote."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.readme import DOCUMENTS, filled, summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_are_those_of_the_results(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    summaries = OmegaConf.load(ROOT / "conf" / "results.yaml").summaries
    assert filled(text, ROOT / "docs" / "results", OmegaConf.to_container(summaries)) == text
    assert "| treated_vs_baseline" in text


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_somewhere(page):
    for part in (ROOT / page).read_text(encoding="utf-8").split("](")[1:]:
        target, _, heading = part.split(")")[0].partition("#")
        if target.startswith("http"):
            continue
        there = (ROOT / page).parent / target if target else ROOT / page
        assert there.exists(), target
        if heading:
            lines = there.read_text(encoding="utf-8").splitlines()
            titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
            assert heading in ["".join(c for c in t if c.isalnum() or c in " -_").replace(" ", "-") for t in titles]


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


@pytest.mark.parametrize("line", [line for line in README.splitlines() if line.startswith("python -m pipelines.run")])
def test_every_command_composes(line, monkeypatch, tmp_path):
    """The overrides of every command that the README shows give a valid config and rule book."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pipelines.checks import check_settings
    from pipelines.command_line import flags_first
    from pipelines.rule_book import rule_book
    from pipelines.settings import register

    monkeypatch.setenv("FLOWGRAD_RUN_ID", "test")
    overrides = [word for word in flags_first(shlex.split(line, comments=True)[3:]) if not word.startswith("-")]
    overrides = [o for o in overrides if o not in ("my_folder", "+rules=mine") and not o.startswith("hydra.")]
    overrides = [o.partition(",")[0] if o.startswith("optimizer.lr=") else o for o in overrides]
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    check_settings(config)
    assert rule_book(config, overrides, [])
