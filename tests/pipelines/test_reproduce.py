"""`python -m pipelines.reproduce`: claims from runs, resumed, failed, and read from what runs leave."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flowgrad.collecting import trials_of
from flowgrad.errors import EvidenceError, FlowGradError
from flowgrad.ledger import Ledger
from flowgrad.report import Claim, ClaimsReport, read
from flowgrad.statistics import OBSERVATION_COLUMNS, Comparison, margin_table, significance
from tests.evidence_folders import write_trials
from pipelines import reproduce
from pipelines.claims import readings, runs
from pipelines.finished import hashes

RUN = [
    "dataset=synthetic",
    "training.epochs=4",
    "model.dim=4",
    "optimizer.lr=0.05",
    "seeds.test=[101,102,103]",
    'trial=["model.biases=true"]',
    "workers=1",
]
READ = "pipelines.claims.readings."
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


def test_a_claim_is_computed_once_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    assert reproduce.main(small(tmp_path)) == 0
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
    assert (tmp_path / "claims.md").is_file()
    performed = []
    monkeypatch.setattr(reproduce, "perform", lambda *given: performed.append(given))
    first = (tmp_path / "claims.csv").read_bytes()
    assert reproduce.main(small(tmp_path)) == 0
    assert not performed
    assert (tmp_path / "claims.csv").read_bytes() == first
    assert "files:" in capsys.readouterr().out


def test_a_run_that_fails_is_told_and_the_table_still_comes(tmp_path, capsys):
    assert reproduce.main(small(tmp_path, overrides=["dataset=synthetic", "optimizer.lr=-1"])) == 1
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
    monkeypatch.setattr(reproduce, "done", lambda folder, run, overrides: runs.Done(folder / run, "c", 1.0, ""))
    assert reproduce.main(small(tmp_path)) == 1
    assert "0 lines for treated_vs_baseline, mse" in capsys.readouterr().out


def evidence(tmp_path, monkeypatch, reason):
    """A set whose one claim is computed, and two runs of trials, of which the second may have failed."""
    for run in ("first", "second"):
        write_trials(tmp_path / run, experiment=run, seed=len(run))
    ended = {"second": reason}
    monkeypatch.setattr(
        reproduce, "perform", lambda folder, run, *_: runs.Done(folder / run, "c", 1.0, ended.get(run, ""))
    )
    monkeypatch.setattr(reproduce, "_claim", lambda *_: CLAIM)
    return reproduce.main(
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

    monkeypatch.setattr(reproduce, "trials_of", forged)
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
        (["claims.evidence=[none]"], "claims.evidence names 'none'"),
        (["nonsense=1"], "nonsense"),
        (["+claims.claims.mine={statement: S}"], "claims.claims.mine lacks read, runs"),
        (["+claims.claims.mine={statment: S}"], "statment"),
    ],
)
def test_bad_input_is_named_in_one_line(given, told, tmp_path, capsys):
    assert reproduce.main([f"folder={tmp_path}/none", *given]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_changed_command_or_source_is_run_again(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "cases.csv").write_text("a\n1\n")
    told = {"command": runs.command(["a=1"]), "source": runs.source_sha256(), "seconds": 2.0}
    (tmp_path / "r.json").write_text(json.dumps(told | {"files": hashes(tmp_path / "r")}))
    assert runs.done(tmp_path, "r", ["a=1"]) == runs.Done(tmp_path / "r", "python -m pipelines.run a=1", 2.0, "")
    assert runs.done(tmp_path, "r", ["a=2"]) is None
    monkeypatch.setattr(runs, "source_sha256", lambda: "other")
    assert runs.done(tmp_path, "r", ["a=1"]) is None
    (tmp_path / "r.json").write_text("{")
    assert runs.done(tmp_path, "r", ["a=1"]) is None


def test_two_reproductions_do_not_share_a_folder(tmp_path, capsys):
    with runs.writing(tmp_path):
        assert reproduce.main(small(tmp_path)) == 2
    assert "another run writes into" in capsys.readouterr().err


def test_the_sets_of_claims_compose():
    from hydra import compose, initialize_config_dir

    from pipelines.claims.settings import register

    register()
    names = {}
    for name in ("quick", "full"):
        with initialize_config_dir(reproduce.CONF, version_base="1.3"):
            config = compose("reproduce", overrides=[f"claims={name}"])
        reproduce._check(config)
        names[name] = set(config.claims.claims)
    assert names["quick"] < names["full"]


def folder_with(path, **tables):
    path.mkdir()
    for name, table in tables.items():
        table.to_csv(path / f"{name}.csv", index=False)
    return path


def test_a_bar_is_met_or_not(tmp_path):
    table = pd.DataFrame({"fault": ["a", "b"], "f1": [0.9, 0.99], "runs": [3, 4], "low": [0.8, 0.9]})
    folder = folder_with(tmp_path / "r", scores=table)
    found = readings.bar([folder], "scores.csv", {"fault": "b"}, "f1", "runs", at_least=0.95, low="low")
    assert (found.verdict, found.n, found.effect, found.ci_low) == ("confirmed", 4, 0.99, 0.9)
    assert readings.bar([folder], "scores.csv", {"fault": "a"}, "f1", "runs", at_least=0.95).verdict == "refuted"
    assert readings.bar([folder], "scores.csv", {"fault": "a"}, "f1", "runs", at_most=0.95).verdict == "confirmed"
    with pytest.raises(FlowGradError, match="one bar"):
        readings.bar([folder], "scores.csv", {"fault": "a"}, "f1", "runs")
    with pytest.raises(FlowGradError, match="0 lines for fault=c"):
        readings.bar([folder], "scores.csv", {"fault": "c"}, "f1", "runs", at_least=1)
    with pytest.raises(FlowGradError, match=r"holds no other\.csv"):
        readings.bar([folder], "other.csv", {}, "f1", "runs", at_least=1)


def test_a_figure_that_is_unknown_meets_no_bar(tmp_path):
    folder = folder_with(tmp_path / "r", scores=pd.DataFrame({"f1": [float("nan")], "runs": [3]}))
    assert readings.bar([folder], "scores.csv", {}, "f1", "runs", at_least=0.95).verdict == "refuted"
    assert readings.bar([folder], "scores.csv", {}, "f1", "runs", at_most=0.95).verdict == "refuted"


def test_a_share_counts_the_lines_of_all_folders(tmp_path):
    one = folder_with(tmp_path / "1", repairs=pd.DataFrame({"kind": ["run", "row"], "v": ["yes", "no"]}))
    two = folder_with(tmp_path / "2", repairs=pd.DataFrame({"kind": ["run", "run"], "v": ["yes", "no"]}))
    found = readings.share([one, two], "repairs.csv", {"kind": "run"}, "v", "yes", at_least=0.6)
    assert (found.verdict, found.n, found.effect) == ("confirmed", 3, pytest.approx(2 / 3))
    with pytest.raises(FlowGradError, match="no line"):
        readings.share([one], "repairs.csv", {"kind": "other"}, "v", "yes", at_least=0.6)


@pytest.mark.parametrize(
    ("worse", "told"), [(0.0, "confirmed"), (0.5, "refuted"), (0.02, "inconclusive")], ids=["no_worse", "worse", "near"]
)
def test_no_worse_is_read_as_what_it_proves(tmp_path, worse, told):
    """The line of the margin's test, not that of the t-test beside it, which is of whether there is any difference."""
    rng = np.random.default_rng(0)
    dense = 1 + 0.01 * rng.normal(size=10)
    arms = {"dense": dense, "prescribed": dense + worse + 0.01 * rng.normal(size=10)}
    lines = [("e", arm, seed, metric, value, False)
             for metric in ("loss", "mse") for arm, values in arms.items() for seed, value in enumerate(values)]  # fmt: skip
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
    assert readings.silence([tmp_path / "quiet"]).verdict == "confirmed"
    found = readings.silence([tmp_path / "quiet", tmp_path / "loud"])
    assert (found.verdict, found.n, found.effect) == ("refuted", 2, 2)


def test_the_p_of_all_claims_is_adjusted_together():
    def claim(name, p, verdict="confirmed"):
        return reproduce.Claim(name, "", verdict, "t", 10, 1.0, 0.0, 2.0, p, float("nan"), 1.0, "c")

    table = [claim("a", 0.03), claim("b", 0.02), claim("c", float("nan")), claim("d", 0.001)]
    adjusted = {one.id: one for one in reproduce._adjusted(table, 0.05)}
    assert adjusted["d"].p_adjusted == pytest.approx(0.003)
    assert adjusted["a"].verdict == "confirmed"
    assert adjusted["a"].p_adjusted == pytest.approx(0.04)
    assert adjusted["c"].verdict == "confirmed"
    table = [claim("a", 0.03), claim("b", 0.03)]
    assert [one.verdict for one in reproduce._adjusted(table, 0.05)] == ["inconclusive", "inconclusive"]


def test_help_tells_how(capsys):
    assert reproduce.main(["--help"]) == 0
    assert "claims=quick|full" in capsys.readouterr().out
