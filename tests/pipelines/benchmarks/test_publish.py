"""Tables of runs, put where README and docs quote them."""

from __future__ import annotations

import subprocess

import pytest
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from pipelines import publish
from pipelines.benchmarks.readme import DOCUMENTS
from pipelines.config.code_fingerprint import ROOT
from tests.forked import ForkedPopen

RUN = ["experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "rounds=0", "tuned=null", "workers=1"]


def test_a_run_is_done_once_and_its_tables_stand_beside_the_command(tmp_path, monkeypatch):
    (tmp_path / "docs/results").mkdir(parents=True)
    for document in DOCUMENTS:
        (tmp_path / document).write_text("<!-- results: mine -->\n<!-- end -->\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/results.yaml").write_text("summaries: {}\n")
    tables = {"mine": "run/significance", "mine_observations": "run/observations"}
    monkeypatch.setattr(subprocess, "Popen", ForkedPopen)
    publish.publish({"run": RUN}, tables, ["run"], tmp_path)
    results = tmp_path / "docs/results"
    text = (results / "mine.md").read_text()
    assert text.startswith("`python -m pipelines.run experiment=movielens_mf ")
    assert (results / "mine.csv").read_bytes() == (tmp_path / "outputs/results/run/significance.csv").read_bytes()
    assert not (results / "mine_observations.md").exists()
    assert all("| aa " in (tmp_path / document).read_text() for document in DOCUMENTS)
    monkeypatch.setattr(publish, "perform", None)  # not called again
    publish.publish({"run": RUN}, tables, ["run"], tmp_path)


def test_what_is_not_there(tmp_path, capsys):
    assert publish.main(["movielens_mv"]) == 2
    assert "no run is called 'movielens_mv', did you mean 'movielens_mf'" in capsys.readouterr().err.replace("; ", ", ")
    with pytest.raises(FlowGradError, match=r"nothing\.csv is missing; the run was to write it"):
        publish.copy_table(tmp_path / "nothing", tmp_path / "x", "command")


def test_every_table_is_of_a_run():
    config = OmegaConf.load(ROOT / "conf/results.yaml")
    assert {file.partition("/")[0] for file in config.tables.values()} == set(config.runs)


def test_runs_on_a_gpu_are_left_out_where_there_is_none(monkeypatch, capsys):
    """`make results` stopped at them; named, they still say what is missing."""
    done = []
    monkeypatch.setattr(publish, "publish", lambda runs, tables, chosen, root: done.extend(chosen))
    for there in (False, True):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        done.clear()
        assert publish.main([]) == 0
        assert ("layers_overhead_gpu" in done) is there
        assert "layers_overhead" in done
    done.clear()
    publish.main(["layers_overhead_gpu"])
    assert done == ["layers_overhead_gpu"]
