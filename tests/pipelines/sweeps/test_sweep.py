"""Sweeps: folders, marks, one table; what fails is told, and what is done is not done again."""

from __future__ import annotations

import json
import os
import shutil

import pandas as pd
import pytest
from joblib.externals import loky

from pipelines.config.folder_names import folder_name
from pipelines.sweeps.job_record import FILE, JOBS, JobRecord, is_done, read_record, write_record
from pipelines.sweeps.table import FAMILY, KILLED, collect
from tests.forked import forked_from
from tests.pipelines.conftest import SMALL

QUICK = [*SMALL, "rounds=1", "training.epochs=4", "pruning.enabled=false"]


SWEPT = ["-m", *QUICK, "optimizer.lr=0.005,0.05,-1,abc"]
"""Two jobs that can run, and two that cannot."""


def test_one_table_over_all_jobs(command_once):
    code, folder, _, _ = command_once(*SWEPT)
    assert code == 1
    table = pd.read_csv(folder / "sweep.csv")
    assert table["overrides"].unique().tolist() == [f"optimizer.lr={rate}" for rate in ("0.005", "0.05", "-1", "abc")]
    assert set(table["comparison"].dropna()) <= {"treated_vs_baseline", "aa"}
    whole = table[table["comparison"] == "treated_vs_baseline"]
    assert (whole["family"] == FAMILY).all()
    if len(whole) == 2:
        assert whole["p_sweep"].min() == pytest.approx(2 * whole["p"].min())
    for form in ("md", "tex"):
        text = (folder / f"sweep.{form}").read_text()
        assert "verdict" in text
    assert "p_sweep" in (folder / "sweep.md").read_text()


def test_a_job_that_fails_does_not_take_the_sweep_with_it(command_once):
    code, folder, err, _ = command_once(*SWEPT)
    assert code == 1
    assert "optimizer.lr=-1.0" in err
    table = pd.read_csv(folder / "sweep.csv").set_index("overrides")
    assert table.loc[["optimizer.lr=-1", "optimizer.lr=abc"], "verdict"].tolist() == ["failed", "failed"]
    assert "must be above 0" in table.loc["optimizer.lr=-1", "reason"]
    assert "abc" in table.loc["optimizer.lr=abc", "reason"]
    assert "failed" not in table.loc[["optimizer.lr=0.005", "optimizer.lr=0.05"], "verdict"].tolist()


def test_a_job_that_crashes_is_told_too(command, monkeypatch):
    from pipelines.jobs import closed_loop

    def broken(*given):
        raise RuntimeError("a thing of\ntwo lines")

    monkeypatch.setattr(closed_loop, "treat", broken)
    code, folder, _ = command("-m", *QUICK, "optimizer.lr=0.05,0.005", folder="sweep")
    assert code == 1
    assert pd.read_csv(folder / "sweep.csv")["reason"].tolist() == ["RuntimeError: a thing of two lines"] * 2
    assert "Traceback" in next(folder.glob("*/run.log")).read_text()


def test_only_what_is_missing_is_run_again(command_once, command, tmp_path):
    folder = shutil.copytree(command_once(*SWEPT)[1], tmp_path / "sweep")
    first = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/significance.csv")}
    assert len(first) == 2
    half_done = sorted(first)[0]
    (folder / half_done / FILE).unlink()
    # A longer axis shifts the jobs' numbers and nothing else.
    code, _, _ = command("-m", *QUICK, "optimizer.lr=0.01,0.005,0.05", folder="sweep")
    assert code == 0
    second = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/significance.csv")}
    assert len(second) == 3
    kept = sorted(first)[1]
    assert second[kept] == first[kept]
    assert second[half_done] > first[half_done]
    table = pd.read_csv(folder / "sweep.csv")
    assert set(table["comparison"]) <= {"treated_vs_baseline", "aa"}
    assert table["overrides"].unique().tolist() == ["optimizer.lr=0.01", "optimizer.lr=0.005", "optimizer.lr=0.05"]


def test_other_code_or_another_config_is_run_again(command, monkeypatch):
    given = ("-m", "job=search", "dataset=synthetic", "training.epochs=1", "model.dim=2,3")
    _, folder, _ = command(*given, folder="sweep")
    times = [path.stat().st_mtime_ns for path in sorted(folder.glob(f"*/{FILE}"))]
    command(*given, folder="sweep")
    assert [path.stat().st_mtime_ns for path in sorted(folder.glob(f"*/{FILE}"))] == times
    monkeypatch.setattr("pipelines.sweeps.job_record.code_sha256", lambda config: "other code")
    command(*given, folder="sweep")
    assert all(
        b > a for a, b in zip(times, [p.stat().st_mtime_ns for p in sorted(folder.glob(f"*/{FILE}"))], strict=True)
    )


def test_a_search_lists_its_trials_best_first(command, capsys):
    code, folder, _ = command("-m", "job=search", "dataset=synthetic", "training.epochs=3",
                              "optimizer.lr=0.0001,0.05,-1", folder="sweep")  # fmt: skip
    assert code == 1
    table = pd.read_csv(folder / "sweep.csv")
    assert table["overrides"].tolist() == ["optimizer.lr=0.05", "optimizer.lr=0.0001", "optimizer.lr=-1"]
    best = pd.read_csv(next(folder.glob("*lr=0.05*")) / "learning_curve.csv")
    assert table["objective"].iloc[0] == best["validation_loss"].min()


@pytest.fixture
def processes_of_joblib(monkeypatch):
    """Fork joblib's processes from one that has imported torch, and end those that it keeps for what may follow."""
    forked_from()
    monkeypatch.setattr(loky.backend.context, "_DEFAULT_START_METHOD", "forkserver")
    yield
    loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.usefixtures("processes_of_joblib")
def test_two_jobs_on_joblib(command_once):
    """Each in a process of its own, one of them failing."""
    words = ["-m", "launch=joblib", *QUICK, "tuned=null"]
    code, folder, err, out = command_once(*words, "optimizer.lr=0.05,-1")
    assert code == 1, err
    table = pd.read_csv(folder / "sweep.csv").set_index("overrides")
    assert table.loc["optimizer.lr=-1", "verdict"] == "failed"
    assert table.loc[["optimizer.lr=0.05"], "p_sweep"].notna().any()
    assert f"hydra.sweep.dir={folder}" in out


def test_a_missing_launcher_names_what_to_install(command, capsys):
    code, _, err = command("-m", "launch=ray", "dataset=synthetic", "optimizer.lr=1,2", folder="sweep")
    assert code == 2
    assert "pip install --group ray" in err


def test_a_job_that_was_killed_counts_as_failed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / JOBS).write_text(json.dumps(["a", "b"]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).write_text("{")
    table = collect(tmp_path, 0.05)
    assert table["verdict"].tolist() == ["failed", "failed"]
    assert table["reason"].tolist() == [KILLED, KILLED]
    assert read_record(tmp_path / "b") is None


def test_verdicts_rest_on_the_family_of_the_sweep(tmp_path):
    """Three jobs at p = .03 are nothing; one of ten at p = .001 is."""
    columns = {"metric": "mse", "n": 3, "baseline": 1.0, "treated": 0.9, "difference": -0.1, "ci_low": -0.2,
               "ci_high": -0.01, "effect_size": -1.0, "wins": 3, "gap_closed": float("nan")}  # fmt: skip
    for name, p in {"a": 0.03, "b": 0.03, "c": 0.001}.items():
        folder = tmp_path / name
        folder.mkdir()
        lines = [
            columns | {"comparison": c, "test": t, "p": q, "p_adjusted": q, "family": f, "verdict": "confirmed"}
            for c, t, q, f in [
                ("treated_vs_baseline", "paired_t", p, "rounds of this run"),
                ("treated_vs_baseline", "wilcoxon", 0.0001, "rounds of this run"),
                ("treated_vs_baseline", "crossed_t", 0.0001, "rounds of this run, new users"),
                ("round1_vs_baseline", "paired_t", 0.0001, "rounds of this run"),
                ("aa", "paired_t", 0.5, "control"),
            ]
        ]
        pd.DataFrame(lines).to_csv(folder / "significance.csv")
        (folder / "prescription.yaml").write_text("rounds: [{overrides: [x=1]}]")
        ended = JobRecord([f"x={name}", "y=1"], "", "")
        (folder / FILE).write_text(json.dumps(ended.__dict__))
    (tmp_path / JOBS).write_text(json.dumps(["a", "b", "c"]))
    table = collect(tmp_path, 0.05)
    assert len(table) == 6
    whole = table[table["comparison"] == "treated_vs_baseline"].set_index("overrides")
    assert whole["p_sweep"].tolist() == pytest.approx([0.06, 0.06, 0.003])
    assert whole["verdict"].tolist() == ["inconclusive", "inconclusive", "confirmed"]
    assert whole["prescribed"].tolist() == ["x=1"] * 3
    assert table.loc[table["comparison"] == "aa", "p_sweep"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("content", ["", "a,b\n1\n", '"', "\0"])
@pytest.mark.parametrize("name", ["significance.csv", "prescription.yaml"])
def test_a_job_whose_tables_were_cut_is_told_as_failed(tmp_path, name, content):
    """The table over all jobs ended in a traceback that named no file."""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "significance.csv").write_text("test,comparison,family\npaired_t,aa,control\n")
    (folder / "prescription.yaml").write_text("rounds: []")
    (folder / name).write_text(content)
    (folder / FILE).write_text(json.dumps(JobRecord(["x=a"], "", "").__dict__))
    table = collect(tmp_path, 0.05)
    assert table["verdict"].tolist() == ["failed"]
    assert str(folder / name) in table["reason"].iloc[0]


def test_a_job_whose_files_are_not_as_it_left_them_is_not_done(composed, tmp_path):
    """An edited p entered the table of the sweep that went on."""
    config = composed(*SMALL, rules=False)
    (tmp_path / "significance.csv").write_text("p\n0.5\n")
    write_record(tmp_path, config, [])
    assert is_done(tmp_path, config)
    assert is_done(tmp_path, composed(*SMALL, "workers=2", rules=False))
    assert not is_done(tmp_path, composed(*SMALL, "model.dim=3", rules=False))
    (tmp_path / "significance.csv").write_text("p\n0.05\n")
    assert not is_done(tmp_path, config)
    (tmp_path / "significance.csv").unlink()
    assert not is_done(tmp_path, config)


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ("experiment=a,optimizer.lr=0.1", "optimizer.lr=0.1-"),
        ("experiment=a", "job-"),
        ("dataset.path=/home/x/../y z", "dataset.path=_home_x_.._y_z-"),
        ("a=" + 200 * "x", "job-"),
        ("a=" + 70 * "x" + ",b=1,c=2,d=3", "b=1,c=2,d=3-"),
    ],
)
def test_folder_names_are_safe_and_tell_overrides_apart(overrides, start):
    name = folder_name(overrides)
    assert name.startswith(start)
    assert len(name) < 100
    assert "/" not in name
    assert name != folder_name(overrides + "1")


EDITED = {
    "overrides": [5, None, [[1]], "abc", {}],
    "config_sha256": [None, 5],
    "reason": ["", 5, None, ["a"]],
    "objective": ["x", 5, [1], 0.001],
    "files": [{}, None, [], {"significance.csv": 5}, {"../x": "0"}],
    "sha256": ["", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in EDITED.items() for value in values])
def test_a_job_whose_record_was_edited_is_not_done(composed, tmp_path, name, value):
    """An edited objective was the best of a search, and overrides that are no list took the whole table."""
    config = composed(*SMALL, rules=False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "significance.csv").write_text("p\n0.5\n")
    write_record(tmp_path / "a", config, ["x=1"], objective=0.5)
    told = json.loads((tmp_path / "a" / FILE).read_text())
    (tmp_path / "a" / FILE).write_text(json.dumps({**told, name: value}))
    if value != told[name]:
        assert not is_done(tmp_path / "a", config)
    (tmp_path / "a" / "significance.csv").unlink()
    assert collect(tmp_path, 0.05)["verdict"].item() in ("failed", "done")


@pytest.mark.parametrize("content", [b"", b"null", b"5", b"[1]", b"[null]", b"{}", b"\xff", b"[" * 100_000, None])
def test_a_list_of_jobs_that_is_none(tmp_path, content):
    """Of an exception Hydra made a warning: the sweep ended with 0, and its table was not there, or an old one."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / FILE).write_text(json.dumps(JobRecord(["x=a"], "", "").__dict__))
    os.mkfifo(tmp_path / JOBS) if content is None else (tmp_path / JOBS).write_bytes(content)
    assert collect(tmp_path, 0.05)["job"].tolist() in (["a"], [])


def test_a_table_that_cannot_be_written_is_told(command, monkeypatch):
    """Hydra made a warning of it, and the sweep ended with 0."""

    def full(*given):
        raise OSError(28, "No space left on device", "sweep.csv")

    monkeypatch.setattr("pipelines.sweeps.table.write_table", full)
    code, _, err = command("-m", "job=search", "dataset=synthetic", "training.epochs=1", "model.dim=2", folder="sweep")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: the table of this sweep is not there: sweep.csv cannot be written")


SAME = (
    ["optimizer.lr=0.01,0.01"],
    ["workers=1,2"],
    ["model.dim=2,3", "hydra.sweep.subdir=a"],
    ["model.dim=2,3", "hydra.sweep.subdir=${hydra.job.num}"],
)


@pytest.mark.parametrize("more", SAME)
def test_two_jobs_of_one_folder_are_refused(command, more):
    """The second wrote over the first, and its figures stood twice in the table."""
    code, folder, err = command("-m", "job=search", "dataset=synthetic", "training.epochs=1", *more, folder="sweep")
    assert code == 2
    assert "would write into one folder" in err
    assert not list(folder.glob(f"**/{FILE}"))


def test_a_folder_of_jobs_may_have_parts(command):
    """The table looked for the last part of the folder alone, and told that the jobs came to no end."""
    code, folder, _ = command("-m", "job=search", "dataset=synthetic", "training.epochs=1", "model.dim=2,3",
                              "hydra.sweep.subdir=a/${model.dim}", folder="sweep")  # fmt: skip
    assert code == 0
    assert pd.read_csv(folder / "sweep.csv")["verdict"].tolist() == ["done", "done"]
