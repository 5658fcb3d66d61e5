"""The bench of hostile input: it tells faults apart, draws by seed, and finds none in a few attacks of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.evidence.ledger import read_trials
from pipelines.benchmarks.robustness import job
from pipelines.benchmarks.robustness.attack import FAULTS, RAN, REFUSED, Attack, Fault, Kind, Refused
from pipelines.benchmarks.robustness.child import attempt
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged, places, value_damaged, without
from pipelines.benchmarks.robustness.job import Parcel, attacks
from pipelines.benchmarks.robustness.kinds import KINDS
from pipelines.benchmarks.robustness.kinds.overrides import half_written
from pipelines.benchmarks.robustness.table import Line, counts, faults
from tests.evidence_folders import write_run

LIMITS = Kind(lambda rng, base: None, seconds=1.0, training=0.2, mebibytes=64)


def _raise(error):
    raise error


def _trains(place, steps):
    for _ in range(steps):
        place.training.touch()
        time.sleep(0.02)


def _child_that_stays(place):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


PERFORMED = {
    "good": (lambda place: None, RAN),
    "refused": (lambda place: _raise(FlowGradError("x must be at least 1")), REFUSED),
    "refused by a command": (lambda place: _raise(Refused("error: x")), REFUSED),
    "refused in two lines": (lambda place: _raise(FlowGradError("x\nTraceback")), "traceback"),
    "refused in a screenful": (lambda place: _raise(FlowGradError("x" * 3000)), "traceback"),
    "another error": (lambda place: _raise(KeyError("x")), "traceback"),
    "an exit": (lambda place: _raise(SystemExit(2)), "traceback"),
    "killed": (lambda place: os._exit(3), "traceback"),
    "ended by a signal": (lambda place: os.kill(os.getpid(), 11), "traceback"),
    "hangs": (lambda place: time.sleep(60), "hang"),
    "trains for long": (lambda place: _trains(place, 1000), RAN),
    "trained, then hangs": (lambda place: (_trains(place, 2), time.sleep(60)), "hang"),
    "eats memory": (lambda place: bytes(range(256)) * (1 << 19), "memory"),
    "eats memory bit by bit": (lambda place: [bytearray(os.urandom(1 << 20)) for _ in range(200)], "memory"),
    "writes where it is": (lambda place: open("mine.txt", "w").close(), "stray_file"),
    "writes into the home": (lambda place: os.mkdir(os.path.expanduser("~/.mine")), "stray_file"),
    "leaves temporary files": (lambda place: open(f"{os.environ['TMPDIR']}/x", "w").close(), "stray_file"),
    "writes where it was told to": (lambda place: place.run.mkdir(), RAN),
    **{f"says {kind}": (lambda place, kind=kind: _raise(Fault(kind, "seen")), kind) for kind in FAULTS},
}


@pytest.mark.parametrize("name", PERFORMED)
def test_what_came_of_an_attack(tmp_path, monkeypatch, name):
    """A bench that is blind finds no fault."""
    monkeypatch.setattr("pipelines.benchmarks.robustness.child._STILL", 0.1)
    perform, outcome = PERFORMED[name]
    came = attempt(Attack(name, perform), LIMITS, tmp_path / "place")
    assert came.outcome == outcome, came
    assert not (tmp_path / "place").exists()


def test_a_process_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.benchmarks.robustness.child._AFTERWARDS", 0.2)
    came = attempt(Attack("stays", _child_that_stays), LIMITS, tmp_path / "place")
    assert (came.outcome, came.said) == ("hang", "1 process(es) still there 0.2 s afterwards")


def test_nothing_of_an_attack_reaches_its_bench(tmp_path, capfd):
    def perform(place):
        print("seen")
        os.environ["OF_AN_ATTACK"] = "1"
        _raise(Fault("loss", place.out.name))

    before = os.getcwd()
    assert attempt(Attack("x", perform), LIMITS, tmp_path / "place").said == "out"
    assert "OF_AN_ATTACK" not in os.environ
    assert os.getcwd() == before
    assert capfd.readouterr().out == ""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_run(folder / "reported")
    return folder


FEW = {"rules": 3, "reports": 3, "packed": 8, "recipes": 6, "states": 5, "ledgers": 4, "ratings": 6, "trials": 6}


@pytest.mark.parametrize("kind", FEW)
def test_a_few_attacks_of_each_kind_find_no_fault(prepared, kind):
    lines = attacks(Parcel(kind, 11, tuple(range(FEW[kind]))), prepared)
    assert not len(faults(lines)), faults(lines).to_dict("records")
    assert counts(lines).iloc[-1]["tried"] == FEW[kind]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "overrides"])
def test_an_attack_is_drawn_by_its_seed_and_number(prepared, kind):
    told = [KINDS[kind].draw(np.random.default_rng([seed, 5]), prepared).tried for seed in (1, 1, 2)]
    assert told[0] == told[1]
    many = {KINDS[kind].draw(np.random.default_rng([seed, 5]), prepared).tried for seed in range(12)}
    assert len(many) > 6


def test_a_library_that_takes_a_damaged_file_is_told(prepared, monkeypatch):
    """Were `read_packed` to take what it is given, the bench would have to say so."""
    monkeypatch.setattr("pipelines.benchmarks.robustness.kinds.packed.read_packed", lambda model, file: None)
    found = Counter(line.came.outcome for line in attacks(Parcel("packed", 1, tuple(range(10))), prepared))
    assert found["accepted"] >= 3


def test_a_validation_that_calls_all_valid_is_told(prepared, monkeypatch):
    monkeypatch.setattr("flowgrad.__main__.main", lambda arguments: 0)
    found = Counter(line.came.outcome for line in attacks(Parcel("reports", 1, tuple(range(10))), prepared))
    assert found["accepted"] >= 3


def test_a_ledger_that_takes_a_forged_trial_is_told(prepared, monkeypatch):
    """As it was before verdicts were computed anew."""
    monkeypatch.setattr(
        "flowgrad.verification.collecting.verified_trials", lambda folder, book: read_trials(folder / "trials.csv")
    )
    found = Counter(line.came.outcome for line in attacks(Parcel("trials", 1, tuple(range(12))), prepared))
    assert found["accepted"] >= 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that is not quite the one that reproductions name, which is nothing to them."""
    folder = tmp_path_factory.mktemp("finished")
    write_run(folder / "killed")
    return folder


OF_A_RUN = {"sweeps": 6, "reproductions": 3}


@pytest.mark.parametrize("kind", OF_A_RUN)
def test_a_few_attacks_on_finished_runs_find_no_fault(finished, kind):
    lines = attacks(Parcel(kind, 11, tuple(range(OF_A_RUN[kind]))), finished)
    assert not len(faults(lines)), faults(lines).to_dict("records")
    assert counts(lines).iloc[-1]["tried"] == OF_A_RUN[kind]


def test_a_sweep_that_believes_an_edited_job_is_told(finished, monkeypatch):
    """As it was before a mark had the hashes of what its job left."""
    monkeypatch.setattr("pipelines.sweeps.job_record.damage", lambda folder, told: "")
    found = Counter(line.came.outcome for line in attacks(Parcel("sweeps", 1, tuple(range(20))), finished))
    assert found["accepted"] >= 2


def test_writers_on_a_full_disk_find_no_fault(prepared):
    kind, found = KINDS["disks"], Counter()
    for seed in range(30):
        attack = kind.draw(np.random.default_rng(seed), prepared)
        if " a run" not in attack.tried:
            found[attempt(attack, kind, prepared / "disk").outcome] += 1
    assert set(found) == {REFUSED, RAN}


def test_a_writer_that_leaves_half_of_a_file_is_told(prepared, monkeypatch):
    monkeypatch.setattr("flowgrad.evidence.ledger.write_atomically", lambda path, data: Path(path).write_bytes(data))
    kind = KINDS["disks"]
    drawn = (kind.draw(np.random.default_rng(seed), prepared) for seed in range(5000))
    attack = next(one for one in drawn if "a ledger over an old one, files of 400 bytes" in one.tried)
    assert attempt(attack, kind, prepared / "disk").outcome == "loss"


def test_trials_that_are_lost_are_told(prepared, monkeypatch):
    """As they were before `Ledger.extend` held the file's folder."""
    from flowgrad.evidence.ledger import Ledger

    def careless(path, trials):
        before = Ledger.load(path) if path.exists() else Ledger()
        time.sleep(0.01)
        before.plus(trials).write(path)

    monkeypatch.setattr(Ledger, "extend", careless)
    kind = KINDS["ledgers"]
    drawn = (kind.draw(np.random.default_rng(seed), prepared) for seed in range(100))
    attack = next(one for one in drawn if "processes" in one.tried and "killed" not in one.tried)
    assert attempt(attack, kind, prepared / "careless").outcome == "loss"


HALF = {"a.xml": "<a>", "b.csv": "x,y\n1", "c.csv": "x,y\n1\n", "d.yaml": "", "e.json": "{", "f.png": "PNG"}


def test_half_written_files_are_seen(tmp_path):
    for name, text in HALF.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "whole.csv").write_text("x,y\n1,2\n")
    (tmp_path / ".part").write_text("<a>")
    assert half_written(tmp_path) == list(HALF)


def test_damage_is_damage():
    rng = np.random.default_rng(0)
    value = {"a": [1, 2.5, "x"], "b": {"c": True, "d": None}}
    kept = repr(value)
    changed = sum(repr(value_damaged(value, rng)[0]) != kept for _ in range(100))
    assert changed > 95
    assert repr(value) == kept
    assert sum(bytes_damaged(b"some bytes, some more", rng)[0] != b"some bytes, some more" for _ in range(100)) > 95
    assert sum(lines_damaged("a: 1\nb: 2\nc: 3\n", rng)[0] != "a: 1\nb: 2\nc: 3\n" for _ in range(100)) > 60
    assert len(list(places(value))) == 7
    assert without(value, ("b", "c")) == {"a": [1, 2.5, "x"], "b": {"d": None}}


SMALL = {"seeds": [3], "attacks": {"packed": 3, "recipes": 2}, "only": None, "only_number": None}


def run(tmp_path, monkeypatch, **changes):
    monkeypatch.setattr("pipelines.benchmarks.robustness.base.prepare", lambda folder: None)
    job.run(OmegaConf.create({"job": {**SMALL, **changes}, "workers": 1}), (), (), tmp_path)
    return pd.read_csv(tmp_path / "robustness.csv")


def test_the_job_writes_its_tables(tmp_path, monkeypatch, capsys):
    table = run(tmp_path, monkeypatch)
    assert list(table["kind"]) == ["packed", "recipes", "all"]
    assert list(table["tried"]) == [3, 2, 5]
    assert len(pd.read_csv(tmp_path / "robustness_faults.csv")) == 0
    assert "0 fault(s) in 5 attacks" in capsys.readouterr().out
    assert list(run(tmp_path, monkeypatch, only=["recipes"], only_number=1)["tried"]) == [1, 1]


def test_a_fault_fails_the_job(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "pipelines.benchmarks.robustness.kinds.packed.read_packed", lambda model, file: _raise(KeyError("odd"))
    )
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, monkeypatch)
    assert stop.value.code == 1
    found = pd.read_csv(tmp_path / "robustness_faults.csv")
    assert list(found["fault"]) == ["traceback"] * 3
    assert found["came"].str.contains("KeyError").all()
    assert "number 2: packed model" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"only": ["package"]}, {"attacks": {"rule": 3}}, {"seeds": []}, {"only": []}])
def test_a_job_that_cannot_be(tmp_path, monkeypatch, changes):
    with pytest.raises(FlowGradError, match=r"job[.:]"):
        run(tmp_path, monkeypatch, **changes)


def test_the_table_counts():
    from pipelines.benchmarks.robustness.child import Came

    lines = [Line("a", 1, n, "x", Came(outcome, "", 0.5 * n, 3.0)) for n, outcome in enumerate((REFUSED, "loss", RAN))]
    table = counts(lines)
    assert table.iloc[0][["tried", REFUSED, RAN, "loss", "hang", "seconds"]].tolist() == [3, 1, 1, 1, 0, 1.0]
    assert faults(lines)[["number", "fault"]].to_numpy().tolist() == [[1, "loss"]]
