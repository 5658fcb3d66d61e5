"""`python -m pipelines.reproduce`: claims from runs, resumed, failed, and read from what runs leave."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flowgrad.errors import EvidenceError, FlowGradError
from flowgrad.evidence.ledger import Ledger
from flowgrad.report import Claim, ClaimsReport, read
from flowgrad.statistics import OBSERVATION_COLUMNS, Comparison, margin_table, significance
from flowgrad.verification.collecting import trials_of
from pipelines.benchmarks.claims import readings, reproduction, runs
from pipelines.jobs.feature_synergy.linear import COMPARISON, HALF, METRICS
from pipelines.sweeps.finished import hashes, seal
from tests.evidence_folders import observed, write_run, write_trials
from tests.forked import ForkedPopen

RUN = [
    "dataset=synthetic",
    "training.epochs=4",
    "model.dim=4",
    "optimizer.lr=0.05",
    "seeds.test=[101,102,103]",
    'trial=["model.biases=true"]',
    "workers=1",
]
READ = "pipelines.benchmarks.claims.readings."
CLAIM = Claim(id="c", statement="s", verdict="confirmed", test="t", n=1, effect=1.0, ci_low=math.nan, ci_high=math.nan,
              p=math.nan, p_adjusted=math.nan, seconds=1.0, command="c", reason="")  # fmt: skip


def small(folder, *more, overrides=RUN, metric="mse"):
    """A set of one claim on the synthetic data."""
    read = f"{{_target_: {READ}difference, comparison: treated_vs_baseline, metric: {metric}}}"
    listed = ",".join(f"'{override}'" for override in overrides)
    return [
        f"folder={folder}",
        f"+claims.runs.small=[{listed}]",
        f"+claims.claims.lower={{statement: Biases lower the MSE,runs: [small],read: {read}}}",
        "only=[lower]",
        *more,
    ]


@pytest.fixture
def runs_are_forked(monkeypatch):
    """Fork the process of a run from one that has imported torch."""
    monkeypatch.setattr(subprocess, "Popen", ForkedPopen)


@pytest.mark.usefixtures("runs_are_forked")
def test_a_claim_is_computed_once_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    assert reproduction.main(small(tmp_path)) == 0
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table["claim"].tolist() == ["lower"]
    assert table["verdict"].item() in ("confirmed", "refuted", "inconclusive")
    assert table["n"].item() == 3
    assert table["p"].item() == table["p_adjusted"].item()
    assert table["command"].item().startswith("python -m pipelines.run dataset=synthetic")
    report = read(tmp_path / "claims.xml")
    assert isinstance(report, ClaimsReport)
    assert report.claims[0].effect == pytest.approx(table["effect"].item(), rel=1e-5)
    assert (tmp_path / "claims.tex").is_file()
    assert "of 1 claim" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "claims.md").is_file()
    performed = []
    monkeypatch.setattr(reproduction, "perform", lambda *given: performed.append(given))
    first = (tmp_path / "claims.csv").read_bytes()
    assert reproduction.main(small(tmp_path)) == 0
    assert not performed
    assert (tmp_path / "claims.csv").read_bytes() == first
    assert "files:" in capsys.readouterr().out


def test_runs_that_measure_time_are_done_alone_and_others_side_by_side(tmp_path, monkeypatch):
    order, inside = [], []
    both = threading.Barrier(2, timeout=60)

    def perform(folder, run, *_):
        inside.append(run)
        if run != "timed":
            both.wait()
        order.append((run, sorted(inside)))
        if run != "timed":
            both.wait()
        inside.remove(run)
        return runs.FinishedRun(folder / run, "c", 1.0, "")

    monkeypatch.setattr(reproduction, "perform", perform)
    monkeypatch.setattr(reproduction, "_claim", lambda *_: CLAIM)
    made = [f"+claims.runs.{run}=[]" for run in ("first", "timed", "second")]
    claim = f"{{statement: S, runs: [first,timed,second], read: {{_target_: {READ}no_prescription}}}}"
    chosen = ["claims.timed=[timed]", f"+claims.claims.mine={claim}", "only=[mine]"]
    assert reproduction.main([f"folder={tmp_path}", *made, *chosen]) == 0
    assert order[0] == ("timed", ["timed"])
    assert sorted(order[1:]) == [("first", ["first", "second"]), ("second", ["first", "second"])]


def test_a_run_that_breaks_ends_those_beside_it(monkeypatch):
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    began = threading.Event()

    def finish(run):
        if run == "breaks":
            began.wait(60)
            raise RuntimeError("no disk")
        threading.Timer(0.5, began.set).start()
        return runs._exit_code(words, None, (), os.environ)

    with pytest.raises(RuntimeError, match="no disk"):
        runs.several(finish, ["sleeps", "breaks"], 2)
    deadline = time.monotonic() + 60
    while runs._live and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs._live


@pytest.mark.usefixtures("runs_are_forked")
def test_a_run_that_fails_is_told_and_the_table_still_comes(tmp_path, capsys):
    assert reproduction.main(small(tmp_path, overrides=["dataset=synthetic", "optimizer.lr=-1"])) == 1
    out = capsys.readouterr().out
    assert "failed" in out
    assert "optimizer.lr" in out
    line = pd.read_csv(tmp_path / "claims.csv").iloc[0]
    assert line["verdict"] == "failed"
    assert "optimizer.lr" in line["reason"]
    assert pd.read_csv(tmp_path / "claims_confirmed.csv").empty
    assert not (tmp_path / "small.json").exists()


def test_a_reading_that_finds_nothing_fails_its_claim(tmp_path, monkeypatch, capsys):
    (tmp_path / "small").mkdir()
    pd.DataFrame({"comparison": ["aa"], "metric": ["mse"], "test": ["paired_t"]}).to_csv(
        tmp_path / "small" / "significance.csv"
    )
    monkeypatch.setattr(
        reproduction, "done", lambda folder, run, overrides: runs.FinishedRun(folder / run, "c", 1.0, "")
    )
    assert reproduction.main(small(tmp_path)) == 1
    assert "0 lines for treated_vs_baseline, mse" in capsys.readouterr().out


def evidence(tmp_path, monkeypatch, reason):
    """A set whose one claim is computed, and two runs of trials, of which the second may have failed."""
    for run in ("first", "second"):
        write_trials(tmp_path / run, experiment=run, seed=len(run))
    ended = {"second": reason}
    monkeypatch.setattr(
        reproduction, "perform", lambda folder, run, *_: runs.FinishedRun(folder / run, "c", 1.0, ended.get(run, ""))
    )
    monkeypatch.setattr(reproduction, "_claim", lambda *_: CLAIM)
    return reproduction.main(
        [f"folder={tmp_path}", "+claims.runs.first=[]", "+claims.runs.second=[]", "claims.evidence=[first,second]"]
    )


def test_the_ledger_holds_the_trials_of_every_run_of_evidence(tmp_path, monkeypatch):
    assert evidence(tmp_path, monkeypatch, "") == 0
    found = [trial.experiment for trial in Ledger.load(tmp_path / "evidence.csv").trials]
    assert found == ["b: first, diagnosis seed 1", "b: second, diagnosis seed 1"]


def test_a_ledger_is_not_written_from_a_trial_that_does_not_follow(tmp_path, monkeypatch, capsys):
    """A forged trials.csv entered the ledger unverified."""

    def forged(folder):
        found = trials_of(folder)
        if folder.name == "second":
            raise EvidenceError("p is 1e-9; the observations give 0.2")
        return found

    monkeypatch.setattr(reproduction, "trials_of", forged)
    assert evidence(tmp_path, monkeypatch, "") == 1
    assert not (tmp_path / "evidence.csv").exists()
    assert "evidence.csv is not written, since second does not verify: p is 1e-9" in capsys.readouterr().out


def test_a_ledger_is_not_written_from_half_of_its_runs(tmp_path, monkeypatch, capsys):
    assert evidence(tmp_path, monkeypatch, "it was killed") == 1
    assert not (tmp_path / "evidence.csv").exists()
    assert "evidence.csv is not written, since second failed: it was killed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["only=[mf_msee]"], "did you mean 'mf_mse'"),
        (["only=[]"], "chooses no claim"),
        (["alpha=2"], "between 0 and 1"),
        (["alpha=high"], "alpha"),
        (["claims=quik"], "quik"),
        (["claims.claims.mf_mse.runs=[mff]"], "did you mean 'mf'"),
        (["claims.claims.mf_mse.runs=[]"], "one run or more"),
        (["claims.claims.mf_mse.read._target_=pipelines.nowhere"], "nowhere"),
        (["at_once=0"], "at_once=0 must be 1 or more"),
        (["claims.timed=[none]"], "claims.timed names 'none'"),
        (["claims.evidence=[none]"], "claims.evidence names 'none'"),
        (["nonsense=1"], "nonsense"),
        (["+claims.claims.mine={statement: S}"], "claims.claims.mine lacks read, runs"),
        (["+claims.claims.mine={statment: S}"], "statment"),
    ],
)
def test_bad_input_is_named_in_one_line(given, told, tmp_path, capsys):
    assert reproduction.main([f"folder={tmp_path}/none", *given]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_changed_command_or_source_is_run_again(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "cases.csv").write_text("a\n1\n")
    told = {"command": runs.command(["a=1"]), "source": runs.source_sha256(), "seconds": 2.0}
    told["files"] = hashes(tmp_path / "r")
    (tmp_path / "r.json").write_text(json.dumps(told | {"sha256": seal(told)}))
    assert runs.done(tmp_path, "r", ["a=1"]) == runs.FinishedRun(tmp_path / "r", "python -m pipelines.run a=1", 2.0, "")
    assert runs.done(tmp_path, "r", ["a=2"]) is None
    monkeypatch.setattr(runs, "source_sha256", lambda: "other")
    assert runs.done(tmp_path, "r", ["a=1"]) is None
    (tmp_path / "r.json").write_text("{")
    assert runs.done(tmp_path, "r", ["a=1"]) is None


def test_two_reproductions_do_not_share_a_folder(tmp_path, capsys):
    with runs.writing(tmp_path):
        assert reproduction.main(small(tmp_path)) == 2
    assert "another run writes into" in capsys.readouterr().err


def test_the_sets_of_claims_compose():
    from hydra import compose, initialize_config_dir

    from pipelines.benchmarks.claims.settings import register

    register()
    names, shares = {}, {}
    for name in ("quick", "full", "everything"):
        with initialize_config_dir(reproduction.CONF, version_base="1.3"):
            config = compose("reproduce", overrides=[f"claims={name}"])
        reproduction._check(config)
        names[name] = set(config.claims.claims)
        shares[name] = [o for run in config.claims.runs.values() for o in run if o.startswith("job.again=")]
        assert set(config.claims.evidence) <= set(config.claims.runs)
    assert names["quick"] < names["full"] == names["everything"]
    # A ledger is written of all its trials alone.
    assert set(config.claims.evidence) == {run for run in config.claims.runs if run.startswith("evidence_")}
    assert set(shares["everything"]) == {"job.again=1"}
    assert len(shares["everything"]) == len(shares["full"]) == len(config.claims.evidence)


def folder_with(path, **tables):
    path.mkdir()
    for name, table in tables.items():
        table.to_csv(path / f"{name}.csv", index=False)
    return path


def test_a_bar_is_met_or_not(tmp_path):
    table = pd.DataFrame({"fault": ["a", "b"], "f1": [0.9, 0.99], "runs": [3, 4], "low": [0.8, 0.9]})
    folder = folder_with(tmp_path / "r", scores=table)
    found = readings.threshold([folder], "scores.csv", {"fault": "b"}, "f1", "runs", at_least=0.95, low="low")
    assert (found.verdict, found.n, found.effect, found.ci_low) == ("confirmed", 4, 0.99, 0.9)
    assert readings.threshold([folder], "scores.csv", {"fault": "a"}, "f1", "runs", at_least=0.95).verdict == "refuted"
    assert readings.threshold([folder], "scores.csv", {"fault": "a"}, "f1", "runs", at_most=0.95).verdict == "confirmed"
    with pytest.raises(FlowGradError, match="one bar"):
        readings.threshold([folder], "scores.csv", {"fault": "a"}, "f1", "runs")
    with pytest.raises(FlowGradError, match="0 lines for fault=c"):
        readings.threshold([folder], "scores.csv", {"fault": "c"}, "f1", "runs", at_least=1)
    with pytest.raises(FlowGradError, match=r"holds no other\.csv"):
        readings.threshold([folder], "other.csv", {}, "f1", "runs", at_least=1)


def test_a_figure_that_is_unknown_meets_no_bar(tmp_path):
    folder = folder_with(tmp_path / "r", scores=pd.DataFrame({"f1": [float("nan")], "runs": [3]}))
    for bar in ("at_least", "at_most"):
        found = readings.threshold([folder], "scores.csv", {}, "f1", "runs", **{bar: 0.95})
        assert found.verdict == "inconclusive"
        assert "not measured" in found.test


def test_a_share_counts_the_lines_of_all_folders(tmp_path):
    one = folder_with(tmp_path / "1", repairs=pd.DataFrame({"kind": ["run", "row"], "v": ["yes", "no"]}))
    two = folder_with(tmp_path / "2", repairs=pd.DataFrame({"kind": ["run", "run"], "v": ["yes", "no"]}))
    found = readings.proportion([one, two], "repairs.csv", {"kind": "run"}, "v", "yes", at_least=0.6)
    assert (found.verdict, found.n, found.effect) == ("confirmed", 3, pytest.approx(2 / 3))
    assert found.test == "share yes, at least 0.6"
    with pytest.raises(FlowGradError, match="no line"):
        readings.proportion([one], "repairs.csv", {"kind": "other"}, "v", "yes", at_least=0.6)


def test_a_share_tells_how_many_of_its_lines_were_observed(tmp_path):
    """A trial that stands in the ledger is no evidence of this run, and a reader has to see how much of it counts."""
    lines = pd.DataFrame({"v": ["yes", "yes", "no", "yes"], "taken_again": [True, False, False, False]})
    folder = folder_with(tmp_path / "r", again=lines)
    found = readings.proportion([folder], "again.csv", {}, "v", "yes", at_least=0.5, observed="taken_again")
    assert (found.n, found.effect) == (4, 0.75)
    assert found.test == "share yes, at least 0.5 (1 of 4 taken again, the others as in the ledger)"
    taken = readings.proportion([folder], "again.csv", {"taken_again": True}, "v", "yes", at_least=0.5)
    assert (taken.n, taken.effect, taken.verdict) == (1, 1.0, "confirmed")


@pytest.mark.parametrize(
    ("worse", "told"), [(0.0, "confirmed"), (0.5, "refuted"), (0.02, "inconclusive")], ids=["no_worse", "worse", "near"]
)
def test_no_worse_is_read_as_what_it_proves(tmp_path, worse, told):
    """The line of the margin's test, not that of the t-test beside it, which is of whether there is any difference."""
    rng = np.random.default_rng(0)
    dense = 1 + 0.01 * rng.normal(size=10)
    arms = {"dense": dense, "prescribed": dense + worse + 0.01 * rng.normal(size=10)}
    lines = [
        ("e", arm, seed, metric, value, False)
        for metric in ("loss", "mse")
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    observations = pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))
    observations.to_csv(tmp_path / "observations.csv", index=False)
    whole = Comparison("prescribed_vs_dense", "dense", "prescribed", "no worse than dense")
    table = margin_table(observations, [whole], ["loss", "mse"], 0.02)
    other = significance(observations, [replace(whole, family="another")], ["loss"])
    pd.concat([table, other]).to_csv(tmp_path / "significance.csv", index=False)
    found = readings.no_worse([tmp_path], "prescribed_vs_dense", "loss")
    assert (found.verdict, found.effect) == (told, pytest.approx(table["difference"].iloc[0]))
    assert found.p == pytest.approx(table["p_adjusted"].iloc[0])
    assert "margin 0.02" in found.test


def test_variance_is_read_from_the_observations(tmp_path):
    lines = [("e", arm, seed, "mse", value, False)
             for arm, values in {"baseline": [1, 5, 9, 2, 7, 4], "treated": [1.1, 1.2, 1.0, 1.1, 1.3, 1.2]}.items()
             for seed, value in enumerate(values)]  # fmt: skip
    table = pd.DataFrame(lines, columns=["experiment", "arm", "seed", "metric", "value", "higher_is_better"])
    found = readings.variance([folder_with(tmp_path / "r", observations=table)], "baseline", "treated", "mse")
    assert found.verdict == "confirmed"
    assert found.effect == pytest.approx(pd.Series([1.1, 1.2, 1.0, 1.1, 1.3, 1.2]).var() / 9.066667, rel=1e-5)


def test_silence_is_no_prescribed_override(tmp_path):
    for name, overrides in {"quiet": [], "loud": ["a=1", "b=2"]}.items():
        (tmp_path / name).mkdir()
        rounds = [{"overrides": overrides}] if overrides else []
        (tmp_path / name / "prescription.yaml").write_text(json.dumps({"rounds": rounds}))
    assert readings.no_prescription([tmp_path / "quiet"]).verdict == "confirmed"
    found = readings.no_prescription([tmp_path / "quiet", tmp_path / "loud"])
    assert (found.verdict, found.n, found.effect) == ("refuted", 2, 2)


def test_the_p_of_all_claims_is_adjusted_together():
    def claim(name, p, verdict="confirmed"):
        return reproduction.Claim(name, "", verdict, "t", 10, 1.0, 0.0, 2.0, p, float("nan"), 1.0, "c")

    table = [claim("a", 0.03), claim("b", 0.02), claim("c", float("nan")), claim("d", 0.001)]
    adjusted = {one.id: one for one in reproduction._adjusted(table, 0.05)}
    assert adjusted["d"].p_adjusted == pytest.approx(0.003)
    assert adjusted["a"].verdict == "confirmed"
    assert adjusted["a"].p_adjusted == pytest.approx(0.04)
    assert adjusted["c"].verdict == "confirmed"
    table = [claim("a", 0.03), claim("b", 0.03)]
    assert [one.verdict for one in reproduction._adjusted(table, 0.05)] == ["inconclusive", "inconclusive"]


def test_help_tells_how(capsys):
    assert reproduction.main(["--help"]) == 0
    assert "claims=quick|full|everything" in capsys.readouterr().out


def redone(folder, run="r", overrides=("a=1",)):
    """A finished run as `perform` leaves it; whether it counts as done, and after a change that it does not."""
    told = {"command": runs.command(overrides), "source": runs.source_sha256(), "seconds": 2.0}
    told["files"] = hashes(folder / run)
    (folder / f"{run}.json").write_text(json.dumps(told | {"sha256": seal(told)}))
    return lambda: runs.done(folder, run, list(overrides)) is None


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["observations.csv", "significance.csv", "report.xml", "config.yaml"])
@pytest.mark.parametrize(
    "damage",
    [cut, lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_text("a\n1\n")],
    ids=["cut", "deleted", "empty", "replaced"],
)
def test_a_run_whose_files_are_not_as_it_left_them_is_done_anew(tmp_path, file, damage):
    """An edited p entered the claims, and deleted observations went unnoticed."""
    write_run(tmp_path / "r")
    again = redone(tmp_path)
    assert not again()
    damage(tmp_path / "r" / file)
    assert again()


def test_a_run_whose_folder_is_gone_is_done_anew(tmp_path, caplog):
    write_run(tmp_path / "r")
    again = redone(tmp_path)
    shutil.rmtree(tmp_path / "r")
    assert again()
    assert "r is done anew" in caplog.text


def test_a_run_that_wrote_more_files_later_is_done(tmp_path):
    write_run(tmp_path / "r")
    again = redone(tmp_path)
    (tmp_path / "r" / "notes.txt").write_text("mine")
    (tmp_path / "r" / "run.log").write_text("more")
    assert not again()


@pytest.mark.parametrize(
    "column", ["p_adjusted", "difference", "ci_low", "effect_size", "n", "verdict", "baseline_arm"]
)
def test_hashes_written_anew_do_not_help_a_table_that_does_not_follow(tmp_path, column):
    write_run(tmp_path / "r", rounds=1)
    path = tmp_path / "r" / "significance.csv"
    table = pd.read_csv(path)
    first = table[column].iloc[0]
    forged = {"verdict": "refuted", "baseline_arm": "tuned", "n": 80}.get(column, 0.5)
    assert first != forged
    table.loc[0, column] = forged
    table.to_csv(path, index=False)
    assert redone(tmp_path)()
    with pytest.raises(FlowGradError, match=re.escape(str(path))):
        readings.difference([tmp_path / "r"], "treated_vs_baseline", "mse")


@pytest.mark.parametrize(
    "changes",
    [{"seconds": "x"}, {"seconds": None}, {"seconds": math.nan}, {"seconds": -1}, {"files": {}}, {"files": None},
     {"files": []}, {"files": {"none": "x"}}, {"files": {"\0": "x"}}, {"files": {"report.xml": 7}}],
)  # fmt: skip
@pytest.mark.parametrize("hashed", [False, True], ids=["", "hashed again"])
def test_a_mark_that_was_edited(tmp_path, changes, hashed):
    write_run(tmp_path / "r")
    assert not redone(tmp_path)()
    path = tmp_path / "r.json"
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(told | ({"sha256": seal(told)} if hashed else {})))
    assert runs.done(tmp_path, "r", ["a=1"]) is None
    path.write_text("[" * 100_000)
    assert runs.done(tmp_path, "r", ["a=1"]) is None


def test_seconds_that_were_edited(tmp_path):
    """Any number of seconds was taken."""
    write_run(tmp_path / "r")
    assert not redone(tmp_path)()
    path = tmp_path / "r.json"
    path.write_text(path.read_text().replace('"seconds": 2.0', '"seconds": 3.0'))
    assert runs.done(tmp_path, "r", ["a=1"]) is None


@pytest.mark.parametrize("name", ["r.json", "r/observations.csv", "r/report.xml"])
def test_a_pipe_in_the_place_of_a_file_of_a_run(tmp_path, name):
    """It was waited for, for ever."""
    write_run(tmp_path / "r")
    assert not redone(tmp_path)()
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert runs.done(tmp_path, "r", ["a=1"]) is None


def test_trials_that_do_not_follow_are_done_anew(tmp_path):
    write_trials(tmp_path / "r")
    assert not redone(tmp_path)()
    path = tmp_path / "r" / "trials.csv"
    path.write_text(re.sub("confirmed|inconclusive", "refuted", path.read_text()))
    assert redone(tmp_path)()


@pytest.mark.parametrize(
    "content", ["", "a,b\n1\n", "a,b\n", "\0", "comparison,metric\nx,y\n", b"\xff\xfe", '"', "a,a\n1,2\n"]
)
@pytest.mark.parametrize(
    ("read", "file"),
    [
        (lambda folder: readings.difference([folder], "c", "mse"), "significance.csv"),
        (lambda folder: readings.no_worse([folder], "c", "mse"), "significance.csv"),
        (lambda folder: readings.variance([folder], "baseline", "treated", "mse"), "observations.csv"),
        (
            lambda folder: readings.threshold([folder], "scores.csv", {"fault": "b"}, "f1", "runs", at_least=0),
            "scores.csv",
        ),
        (lambda folder: readings.proportion([folder], "repairs.csv", {}, "v", "yes", at_least=0), "repairs.csv"),
    ],
    ids=["difference", "no_worse", "variance", "bar", "share"],
)
def test_a_table_that_was_cut_is_named(tmp_path, content, read, file):
    """Cut or empty tables ended in tracebacks that named no file."""
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / file).write_bytes(data)
    with pytest.raises(FlowGradError) as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[", "rounds: 1", "rounds: [1]", "rounds: [{}]", "x: 1", "- 1", "\0"])
def test_a_prescription_that_was_cut_is_named(tmp_path, content):
    (tmp_path / "prescription.yaml").write_text(content)
    with pytest.raises(FlowGradError, match=r"prescription\.yaml: it is no prescription"):
        readings.no_prescription([tmp_path])


def test_figures_that_are_none_are_named(tmp_path):
    folder = folder_with(tmp_path / "r", scores=pd.DataFrame({"f1": ["high"], "runs": [2.5]}))
    with pytest.raises(FlowGradError, match=r"scores\.csv: f1 is 'high', and must be a number"):
        readings.threshold([folder], "scores.csv", {}, "f1", "runs", at_least=0)
    with pytest.raises(FlowGradError, match=r"scores\.csv: runs is 2\.5, and must be a whole number"):
        readings.threshold([folder], "scores.csv", {}, "runs", "runs", at_least=0)


def test_a_claim_read_with_an_argument_that_there_is_not_fails_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        reproduction, "done", lambda folder, run, overrides: runs.FinishedRun(folder / run, "c", 1.0, "")
    )
    assert reproduction.main(small(tmp_path, "+claims.claims.lower.read.nonsense=1")) == 1
    assert "unexpected keyword argument 'nonsense'" in capsys.readouterr().out


def test_terms_in_linear_models_are_read_with_the_overlap_of_their_halves(tmp_path):
    """No config stands beside that table; the test is of splits that share a half of the rows."""
    place = tmp_path / "linear"
    place.mkdir()
    observations = observed(["columns", "terms"], ("r2_adjusted", "rmse"))
    observations.to_csv(place / "observations.csv", index=False)
    table = significance(observations, [COMPARISON], METRICS, overlap=HALF)
    table.to_csv(place / "significance.csv", index=False)
    found = readings.difference([tmp_path], COMPARISON.name, "rmse", "linear/significance.csv")
    line = table[table["metric"] == "rmse"].iloc[0]
    assert (found.p, found.verdict) == (pytest.approx(line["p_adjusted"]), line["verdict"])
