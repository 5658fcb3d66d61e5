"""`experiment=faults_field`: faults are what they say, habits are sound, and what is said is scored as it should be."""

from __future__ import annotations

import functools
import math

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.field import job, scoring
from pipelines.benchmarks.field.data import load, split
from pipelines.benchmarks.field.registry import FAULTS, HABITS, HOSTS
from pipelines.benchmarks.field.run import Result, Task, made, watched
from pipelines.benchmarks.field.training import Training, fit, prepare
from pipelines.benchmarks.field.watching import Said


@pytest.fixture(scope="module")
def data():
    return load(movielens=False)


@pytest.fixture(scope="module")
def seen(data):
    """The watched run of a task; each is trained once."""
    return functools.cache(lambda task: watched(task, data))


@pytest.fixture
def settings(composed):
    return composed("experiment=faults_field").job


class Nobody:
    """Watches nothing."""

    def batch(self, rows):
        pass

    def step(self, loss):
        pass

    def end_epoch(self, train_loss, validation_loss):
        pass


def said(kind, severity="high", fix=True, candidates=()):
    return Said("flow:m", kind, severity, fix, tuple(candidates))


TRUTH = scoring.Truth(frozenset({"CAUSE"}), frozenset({"SYMPTOM"}), ("clear",))


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], (False, False, False, ())),
        ([said("CAUSE")], (True, True, True, ())),
        ([said("CAUSE", "info")], (True, False, True, ())),
        ([said("SYMPTOM")], (True, False, False, ())),
        ([said("SYMPTOM", "low")], (False, False, False, ())),
        ([said("OTHER")], (False, False, False, ("OTHER",))),
        ([said("OTHER", "low")], (False, False, False, ())),
        ([said("OTHER", "critical"), said("CAUSE", "medium")], (True, False, True, ("OTHER",))),
        ([said("SYMPTOM", fix=False, candidates=["gradients are not cleared", "rate"])], (True, True, True, ())),
        ([said("SYMPTOM", fix=False, candidates=["rate", "gradients are not cleared"])], (True, False, True, ())),
        ([said("OTHER", fix=False, candidates=["rate"])], (False, False, False, ())),
        ([said("OTHER", fix=False)], (False, False, False, ("OTHER",))),
        ([said("OTHER", fix=True, candidates=["rate"])], (False, False, False, ("OTHER",))),
    ],
)
def test_verdict(findings, expected):
    """A symptom that names no cause is a detection and no accusation; only a claim can be wrong."""
    found = scoring.verdict(findings, TRUTH)
    assert (found.detected, found.first, found.named, found.wrong) == expected


def test_an_alert_of_another_vocabulary_counts_for_all_that_it_amounts_to():
    means = scoring.meaning({"THEIRS": ["SYMPTOM", "CAUSE"]})
    assert scoring.verdict([said("THEIRS")], TRUTH, means).first
    assert scoring.verdict([said("UNKNOWN")], TRUTH, means).wrong == ("UNKNOWN",)


def result(name="f", cost=1.0, told=1.0, findings=(), kind="fault", host="cnn", seed=1, null=2.0):
    return Result(Task(host, seed, kind, name), tuple(findings), {}, cost, null, told)


def test_harm_is_a_share_of_what_was_learned():
    sound = result(cost=1.0, told=1.0, null=2.0)
    assert scoring.harm(result(cost=1.5, told=1.5), sound).most == pytest.approx(0.5)
    assert scoring.harm(result(cost=1.0, told=0.2), sound).most == pytest.approx(0.8)
    assert scoring.harm(result(cost=math.nan, told=math.nan), sound).cost == 1.0


def test_a_fault_without_harm_need_not_be_found():
    """It stays in the table, and what is wrongly said of it counts."""
    sound = result("", kind="sound")
    lines = pd.DataFrame(
        [
            scoring.fault_line("flowgrad", one, sound, scoring.verdict(one.findings, TRUTH))
            for one in (result("harmful", cost=1.9, findings=[said("CAUSE")]), result("harmless", findings=[said("X")]))
        ]
    )
    habits = pd.DataFrame([scoring.habit_line("flowgrad", sound, [])])
    scores = scoring.score_table(lines, habits, 0.05)
    pooled = scores[(scores["host"] == scoring.ALL) & (scores["name"] == "all faults")].set_index("score")
    assert tuple(pooled.loc["detected", ["hits", "runs"]]) == (1, 1)
    assert tuple(pooled.loc["detected, harmless ones too", ["hits", "runs"]]) == (1, 2)
    assert tuple(pooled.loc["wrong cause asserted", ["hits", "runs"]]) == (1, 2)
    alarms = scores[scores["kind"] == "habit"]
    assert set(alarms["hits"]) == {0}
    assert alarms["high"].max() < 1


def test_every_fault_has_its_truth(settings):
    assert set(settings.faults) == set(FAULTS)
    for name, spec in settings.faults.items():
        assert FAULTS[name].change.__doc__
        assert spec.causes or spec.symptoms or spec.words, name


def test_every_variant_stands_in_hosts_that_exist():
    for variant in [*FAULTS.values(), *HABITS.values()]:
        assert set(variant.hosts) <= set(HOSTS)
        assert not variant.base or variant.base in HABITS
    laid = {host for fault in FAULTS.values() for host in fault.hosts}
    assert laid == {name for name, host in HOSTS.items() if host.faults}


def test_there_are_enough_of_them(settings):
    planned = job.tasks(settings)
    healthy = [task for task in planned if task.kind == "habit" or (task.kind == "sound" and not task.name)]
    assert len(FAULTS) >= 40
    assert len(healthy) >= 120


def test_only_what_is_asked_for_is_run(settings):
    settings.only_hosts, settings.only_faults, settings.only_habits = ["cnn"], ["sum_instead_of_mean"], []
    settings.seeds = [3]
    found = [(task.kind, task.name) for task in job.tasks(settings)]
    assert found == [("sound", ""), ("sound", "sgd_momentum"), ("fault", "sum_instead_of_mean")]


def test_a_name_that_is_unknown_is_refused(command, settings):
    code, _, error = command("experiment=faults_field", "job.only_hosts=[cn]")
    assert code == 2
    assert "job.only_hosts names 'cn'" in error
    for key in ("only_faults", "only_habits"):
        settings[key] = ["clippin"]
        with pytest.raises(FlowGradError, match=f"job.{key} names 'clippin'"):
            job._check(settings)
        settings[key] = None


def test_parts_do_not_overlap():
    parts = split({"row": torch.arange(100)}, 1)
    assert sorted(torch.cat([part["row"] for part in parts]).tolist()) == list(range(100))


def test_a_watched_training_is_the_same_training(data, seen):
    task = Task("cnn", 1, "sound")
    watched_one = seen(task)
    alone = made(task, data)
    assert isinstance(alone, Training)
    torch.set_num_threads(1)
    prepare(alone)
    assert fit(alone, Nobody()).cost == watched_one.cost
    assert watched_one.error == ""
    assert watched_one.measures["flow:cnn"]["steps"] == watched_one.steps > 100


@pytest.mark.parametrize("host", ["cnn", "student", "xgboost_progression"])
def test_hosts_are_sound(seen, host):
    found = seen(Task(host, 1, "sound"))
    assert found.error == ""
    assert found.cost < 0.8 * found.null


@pytest.mark.parametrize(
    ("fault", "host"),
    [("cleared_before_step", "cnn"), ("optimizer_of_another_model", "cnn"), ("inputs_constant", "cnn"),
     ("teacher_not_loaded", "student"), ("rate_too_high", "xgboost_progression")],
)  # fmt: skip
def test_faults_do_harm(seen, fault, host):
    sound, faulted = seen(Task(host, 1, "sound")), seen(Task(host, 1, "fault", fault))
    assert faulted.error == ""
    assert scoring.harm(faulted, sound).most > 0.2


def test_a_run_that_raises_does_not_take_the_others_with_it(data, monkeypatch):
    def broken(run):
        raise RuntimeError("no such thing\nand more")

    monkeypatch.setitem(HABITS, "broken", HABITS["clipping"].__class__("broken", ("cnn",), broken))
    found = watched(Task("cnn", 1, "habit", "broken"), data)
    assert found.error == "RuntimeError: no such thing"
    assert math.isnan(found.cost)


def test_the_command_writes_every_table(command):
    code, folder, error = command(
        "experiment=faults_field", "job.seeds=[1]", "job.only_hosts=[cnn,xgboost_progression]",
        "job.only_faults=[head_left_out,rate_too_high]", "job.only_habits=[as_is]", "workers=1",
    )  # fmt: skip
    assert code == 0, error
    runs = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    assert set(runs["kind"]) == {"fault", "sound"}
    assert (runs["error"] == "").all()
    assert float(runs.loc[runs["name"] == "head_left_out", "sound_cost"].iloc[0]) < 0.3
    for name in ("scores", "faults"):
        assert all((folder / f"{name}.{ending}").exists() for ending in ("csv", "md", "tex"))
    assert {"tracker", "steps"} <= set(pd.read_csv(folder / "measures.csv"))
    assert "premise" in pd.read_csv(folder / "findings.csv")
    assert OmegaConf.load(folder / "config.yaml").job.seeds == [1]


def test_a_run_without_findings_leaves_a_table_that_can_be_read(command):
    """`findings.csv` held no header, and nothing could read it."""
    code, folder, error = command(
        "experiment=faults_field", "job.seeds=[1]", "job.only_hosts=[gan]", "job.only_habits=[as_is]", "workers=1"
    )
    assert code == 0, error
    assert list(pd.read_csv(folder / "findings.csv")) == list(scoring.FINDING_COLUMNS)


def test_truth_is_read_from_the_config(settings):
    truth = job._truth(settings, "gradients_not_cleared")
    assert "GRADIENTS_NOT_CLEARED" in truth.causes
    assert truth.names("call optimizer.zero_grad()")
    with pytest.raises(FlowGradError, match="differ"):
        job._check(OmegaConf.create({**settings, "faults": {"made_up": {"causes": ["X"]}}}))
