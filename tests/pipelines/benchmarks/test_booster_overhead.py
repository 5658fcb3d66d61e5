"""What watching a booster costs: everything but the times themselves, which no test can hold."""

import doctest
import math
import threading

import numpy as np
import pandas as pd
import pytest

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.overhead import table as tables
from pipelines.benchmarks.overhead.boosters import job, measurement, table, turns
from pipelines.benchmarks.overhead.boosters.checks import checked_cases
from pipelines.benchmarks.overhead.boosters.measurement import BoosterCase, BoosterPlan, Measured, measure
from pipelines.benchmarks.overhead.boosters.turns import BoosterArm, GivenUpError, Turns, alternating, in_turns
from pipelines.benchmarks.overhead.boosters.watchers import Timed, watcher
from pipelines.benchmarks.overhead.watchers import has_peer

WATCHERS = ["tracker", *(["peer"] if has_peer() else [])]
LIBRARIES = ["xgboost", "lightgbm"]
SMALL = ["dataset=diabetes", "task=progression"]
CASE = "+job.boosters.cases.mine={rounds: 16, trainings: 2}"


@pytest.fixture
def booster(composed):
    return lambda model, *more: composed("experiment=movielens_boosting_tuned", f"model={model}", *SMALL, *more)


@pytest.fixture
def here(monkeypatch):
    """Comparisons in this process, without the peer: what is tested is not the times."""
    monkeypatch.setattr(job, "run_isolated", lambda function, plan: function(plan))
    monkeypatch.setattr(job, "has_peer", lambda: False)


@pytest.mark.parametrize("module", [turns, measurement])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


class Training:
    """Rounds that note when they ran."""

    def __init__(self, log, name, rounds):
        self.log, self.name, self.rounds = log, name, rounds

    def __call__(self, begin, end_round, end):
        begin()
        for n in range(self.rounds):
            self.log.append((self.name, n))
            end_round()
        end()
        return self.name


def arms(rounds, block):
    order = Turns(alternating(rounds // block))
    return order, [BoosterArm(order, number, rounds, block) for number in range(2)]


def test_arms_take_turns_by_blocks():
    log = []
    order, pair = arms(8, 2)
    trainings = [
        lambda arm=arm, name=name: Training(log, name, 8)(arm._begin, arm._end_round, arm._end)
        for arm, name in zip(pair, "ab", strict=True)
    ]
    assert in_turns(trainings, order) == ["a", "b"]
    assert "".join(name for name, _ in log) == "aabbbbaaaabbbbaa"
    assert [len(arm.seconds) for arm in pair] == [4, 4]
    assert min(pair[0].seconds) >= 0


def test_waiting_for_the_other_arm_is_not_timed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    order, (quick, slow) = arms(2, 1)

    def train(arm, seconds):
        arm._begin()
        for _ in range(2):
            clock[0] += seconds
            arm._end_round()
        arm._end()

    in_turns([lambda: train(quick, 1), lambda: train(slow, 100)], order)
    assert quick.seconds == [1, 1]
    assert slow.seconds == [100, 100]


def test_a_training_that_fails_ends_the_other():
    order, (first, second) = arms(4, 1)

    def fails():
        first._begin()
        raise ZeroDivisionError("mine")

    def waits():
        second._begin()
        pytest.fail("had a turn")

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="mine"):
        in_turns([fails, waits], order)
    assert threading.active_count() == before
    with pytest.raises(GivenUpError):
        order.wait(0)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["none", *WATCHERS])
def test_what_a_comparison_gives(booster, library, name):
    seen = measure(BoosterPlan(booster(library), BoosterCase("c", 16, 5), name, trainings=2, block=4))
    assert len(seen.bare_ms) == len(seen.watched_ms) == 2 * 16 / 4
    assert min(*seen.bare_ms, *seen.watched_ms) > 0
    assert seen.cpu_ratio > 0
    assert (seen.own_ms == 0) == (name == "none")
    assert math.isnan(seen.growth) == (name == "none")
    assert (seen.rows, seen.columns) == (213, 10)
    assert seen.identical


def test_another_booster_is_not_identical(booster, monkeypatch):
    found = iter(range(100))
    monkeypatch.setattr(measurement, "content", lambda booster: next(found))
    assert not measure(BoosterPlan(booster("xgboost"), BoosterCase("c", 4, 1), "none", trainings=1, block=2)).identical


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_timed_tracker_sees_every_round(booster, library):
    config = booster(library)
    config.model.rounds, config.model.early_stopping_rounds = 7, 0
    trainer = measurement.Boosting(config)
    train, validation, _ = trainer.load().parts(0)
    tracker = watcher("tracker", 3)
    timed = Timed(tracker)
    measurement.target(config, "model")().train(config, train, validation, 0, None, [timed])
    assert tracker.measurements().scalars["rounds"] == 7
    assert tracker.trees()["round"].tolist() == list(range(1, 8))
    assert (len(timed.rounds), len(timed.outside)) == (7, 2 if library == "xgboost" else 0)
    assert min(timed.rounds) >= 0


def measured(bare=(1.0,) * 12, watched=(1.0,) * 12, own=0.1, identical=True, cpu=1.0):
    return Measured(tuple(bare), tuple(watched), cpu, own, 1.0, rows=5, columns=3, identical=identical)


@pytest.mark.parametrize(
    ("watched", "cpu", "identical", "within"),
    [
        ([1.0] * 12, 1.05, True, True),
        ([1.2] * 12, 1.05, True, False),
        ([1.0] * 11 + [3.0], 1.05, True, True),  # something else on the machine
        ([1.0] * 12, 1.07, True, False),  # most blocks keep to it, all together do not
        ([1.0] * 12, 1.05, False, False),
    ],
)
def test_within_the_limit(watched, cpu, identical, within):
    seen = {"tracker": measured(watched=watched, cpu=cpu, identical=identical), "none": measured()}
    line = table.row(BoosterCase("c", 100, 1), "xgboost", seen, 1.06)
    assert line["within"] is within
    assert line["aa_ratio"] == 1
    assert math.isnan(line["peer_ratio"])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 0.85])
def test_growth_is_the_exponent_of_all_rounds_together(exponent):
    """Rounds whose time stays make linear growth, and those that grow with their number quadratic."""
    assert measurement.growth(np.arange(1, 20001) ** exponent) == pytest.approx(1 + exponent, abs=1e-3)
    assert math.isnan(measurement.growth(np.ones(3)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_whole_job(command, here, library):
    code, folder, err = command(
        "experiment=tracker_overhead", f"model={library}", *SMALL, CASE, "job.only=[mine]", "job.boosters.block=4"
    )
    assert code == 0, err
    (line,) = pd.read_csv(folder / "overhead.csv").to_dict("records")
    assert {"case": "mine", "library": library, "rounds": 16, "trainings": 2, "columns": 10}.items() <= line.items()
    assert line["identical"]
    assert library in line
    assert set(table.SHOWN) <= set(line)
    assert "mine" in (folder / "overhead.md").read_text()
    assert (
        f"boosting.models.{'XGBoost' if library == 'xgboost' else 'LightGBM'}" in (folder / "config.yaml").read_text()
    )
    assert "mine" in (folder / "config.yaml").read_text()


def test_the_table_fits_120_columns(capsys, tmp_path):
    seen = dict.fromkeys(("tracker", "none", "peer"), measured([1.2345] * 12, [12.345678] * 12, 0.012345))
    lines = pd.DataFrame([table.row(BoosterCase("r2000", n, 1), "lightgbm", seen, 1.06) for n in (500, 2000)])
    tables.show(lines, tmp_path, "a note", table.HEADINGS)
    out = capsys.readouterr().out
    assert "10.001-10.001" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 120


MISTAKES = {
    "rounds": ("+job.boosters.cases.x={rounds: 120, trainings: 1}", ["cases.x.rounds=120", "multiple of two blocks"]),
    "no rounds": ("+job.boosters.cases.x={rounds: 0, trainings: 1}", ["cases.x.rounds=0", "at least 1"]),
    "trainings": ("job.boosters.cases.r100.trainings=true", ["cases.r100.trainings=True", "whole number"]),
    "keys": ("+job.boosters.cases.r100.colour=1", ["job.boosters.cases.r100", "nothing else"]),
    "no mapping": ("+job.boosters.cases.x=3", ["job.boosters.cases.x=3", "rounds"]),
    "only": ("job.only=[x]", ["job.only", "'x'", "r2000"]),
    "no case": ("job.only=[]", ["job.only", "at least one"]),
    "block": ("job.boosters.block=0", ["job.boosters.block=0", "at least 1"]),
    "peer": ("job.boosters.peer_trainings=-1", ["job.boosters.peer_trainings=-1", "at least 0"]),
    "limit": ("job.boosters.ratio_limit=0.9", ["job.boosters.ratio_limit=0.9", "at least 1"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(composed, mistake, tmp_path):
    argument, named = MISTAKES[mistake]
    with pytest.raises(FlowGradError) as raised:
        job.run(composed("experiment=tracker_overhead", "model=xgboost", argument), [], [], tmp_path)
    assert all(part in str(raised.value) for part in named), raised.value


def test_a_mistake_in_the_booster_ends_the_command_with_one_line(command):
    code, folder, err = command("experiment=tracker_overhead", "model=xgboost", "model.learning_rate=2", *SMALL)
    assert code == 2
    assert "model.learning_rate=2.0" in err
    assert not (folder / "overhead.csv").exists()


def test_the_cases_are_those_that_are_promised(composed):
    cases = checked_cases(composed("experiment=tracker_overhead", "model=xgboost").job)
    assert [case.rounds for case in cases] == [100, 500, 2000]
