"""What the README shows is what the commands wrote."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipelines.readme import filled

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_those_of_the_results():
    assert filled(README, ROOT / "docs" / "results") == README
    assert "| treated_vs_baseline" in README


def test_every_local_link_leads_somewhere():
    for part in README.split("](")[1:]:
        target = part.split(")")[0]
        assert target.startswith("http") or (ROOT / target).exists(), target


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
