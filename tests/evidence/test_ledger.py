"""Trials on file, and the confidence that follows from them."""

import hashlib
import math
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest

from flowgrad.__main__ import main
from flowgrad.errors import EvidenceError
from flowgrad.evidence import ledger as ledger_module
from flowgrad.evidence.chances import fitted
from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import BENCHMARK, COLUMNS, SHIPPED, Ledger, Trial
from flowgrad.files import locked
from flowgrad.measurements import Measurements
from flowgrad.report import Override, Report, causal_model, to_text
from flowgrad.rules import RuleBook
from tests.evidence_folders import write_trials

OF_OVERRIDES = ",".join((*COLUMNS, "override", "share"))


def trial(verdict="confirmed", rule="zombie_rows", sha256="abc", seen="1"):
    return Trial(rule, sha256, "e", "treated_vs_baseline", "mse", 10, 0.01, verdict, seen)


def test_confidence_counts_this_very_rule():
    verdicts = ["confirmed"] * 3 + ["refuted", "inconclusive"]
    ledger = Ledger().plus(trial(verdict, seen=str(n)) for n, verdict in enumerate(verdicts))
    own = ledger.confidence("zombie_rows", "abc")
    assert (own.basis, own.trials, own.confirmed, own.refuted) == ("measured", 5, 3, 1)
    for rule, sha256 in (("zombie_rows", "another threshold"), ("dead_rows", "abc")):
        other = ledger.confidence(rule, sha256)
        assert (other.basis, other.trials, other.confirmed, other.refuted) == ("prior", 0, 0, 0)
        assert 0.5 < other.value < own.value


def test_a_confidence_is_by_the_trials_of_all_rules_on_the_data_at_hand():
    tried = {"ratings": ("confirmed", "zombie_rows"), "digits": ("refuted", "dead_rows")}
    ledger = Ledger().plus(
        replace(trial(verdict, rule, seen=f"{data}{n}"), tried_on=f"Mlp on {data}")
        for data, (verdict, rule) in tried.items()
        for n in range(3)
    )
    fit = fitted({("zombie_rows abc", "ratings"): (3, 3), ("dead_rows abc", "digits"): (0, 3)})
    for data in ("ratings", "digits", "flights"):
        found = ledger.confidence("zombie_rows", "abc", f"DeepFM on {data}")
        assert found.value == fit.log_odds("zombie_rows abc", data).chance
    assert ledger.confidence("hot_rows", "abc", "Mlp on digits").value == fit.log_odds("", "digits").chance


def test_data_that_are_not_known_are_taken_for_one():
    """Trials of loops of one's own tell of the next one, and a ledger of many runs is fitted to few cases."""
    ledger = Ledger().plus([trial(seen="1"), trial("refuted", "dead_rows", seen="1"), trial(seen="2")])
    fit = fitted({("zombie_rows abc", ""): (2, 2), ("dead_rows abc", ""): (0, 1)})
    assert ledger.confidence("zombie_rows", "abc").value == fit.log_odds("zombie_rows abc", "").chance


def test_a_run_counts_once(tmp_path):
    ledger = Ledger().plus([trial(), trial(), trial(seen="2")])
    assert len(ledger.trials) == 2
    ledger.write(tmp_path / "mine.csv")
    assert Ledger.load(tmp_path / "mine.csv") == ledger
    assert Ledger.load(tmp_path / "mine.csv", tmp_path / "mine.csv") == ledger


def test_overrides_count_beside_their_rule(tmp_path):
    left_out = [
        replace(trial(verdict, seen=str(n)), override=f"{path}=1", share=share)
        for n, (path, verdict, share) in enumerate(
            [("a", "kept", 0.4), ("a", "dropped", 0.01), ("b", "kept", math.inf)]
        )
    ]
    ledger = Ledger().plus([trial(), *left_out, replace(left_out[0], override="b=2"), left_out[0]])
    assert ledger.overrides("zombie_rows", "abc") == {"a": (1, 2), "b": (2, 2)}
    assert ledger.overrides("zombie_rows", "another fix") == {}
    assert (ledger.confidence("zombie_rows", "abc").confirmed, ledger.confidence("zombie_rows", "abc").trials) == (1, 1)
    ledger.write(tmp_path / "mine.csv")
    assert Ledger.load(tmp_path / "mine.csv") == ledger


def test_a_ledger_without_overrides_has_the_columns_that_it_had(tmp_path):
    Ledger().plus([trial()]).write(tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_confidence_tells_on_what_it_rests_and_how_near_the_case_is(tmp_path):
    flights, ratings = "DeepFM on flights", "Dlrm on ratings"
    known = [replace(trial(seen=str(n)), tried_on=pair) for n, pair in enumerate((flights, flights, ratings))]
    ledger = Ledger().plus([*known, trial(seen="unknown")])
    ledger.write(tmp_path / "mine.csv")
    assert Ledger.load(tmp_path / "mine.csv") == ledger
    assert (tmp_path / "mine.csv").read_text().splitlines()[0] == ",".join((*COLUMNS, "tried_on"))
    found = {
        case: ledger.confidence("zombie_rows", "abc", case)
        for case in (flights, "Dlrm on flights", "DeepFM on digits", "Mlp on ratings", "Mlp on digits", "")
    }
    assert [one.near for one in found.values()] == ["pair", "model", "model", "data", "neither", ""]
    assert {one.tried_on for one in found.values()} == {f"{flights}: 2; {ratings}: 1"}
    assert ledger.confidence("dead_rows", "abc", flights).near == ""


def test_every_shipped_trial_tells_its_model_and_data():
    assert all(" on " in one.tried_on for one in Ledger.load().trials)


def test_how_often_an_override_earned_its_place_stands_with_the_expected_effect():
    book = RuleBook.load()
    rule = next(one for one in book.values() if one.id == "overfitting")
    told = replace(trial("dropped", rule.id, rule.sha256), override="training.epochs=100")
    book = RuleBook.load(ledger=Ledger((told,)))
    figures = {"target_variance": 1.0, "stopped_early": 0.0, "val_rise": 0.5, "l2_penalty": 0.0, "val_best": 1.0}
    figures |= {"epochs_since_best": 3.0}
    (finding,) = [one for one in book.evaluate(Measurements("training", "training", figures)) if one.rule_id == rule.id]
    model = causal_model(finding, (Override("training.epochs", "100", "5"), Override("loss.l2", "0.1", "0.0")))
    assert [(one.earned, one.tried) for one in model.fix] == [(0, 1), (0, 0)]
    text = to_text(Report("training", "training", findings=(model,)))
    assert "Earned its place: training.epochs in 0 of 1 runs." in " ".join(text.split())


def test_refuted_more_often_than_confirmed():
    assert posterior(1, 4, 2).refutes
    assert not posterior(2, 4, 2).refutes
    assert not posterior(0, 9).refutes
    with pytest.raises(ValueError, match="refuted=3 must lie between 0 and the 2"):
        posterior(1, 3, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":1: no evidence"),
        ("rule,verdict\n", ":1: the columns are rule, verdict"),
        (",".join(COLUMNS) + "\nr,s,e,c,mse,10,0.01,maybe,x\n", ":2: verdict is 'maybe'"),
        (",".join(COLUMNS) + "\nr,s,e,c,mse,10,0.01,confirmed,x\nr,s,e,c,mse,ten,0.01,confirmed,x\n", ":3: n and p"),
        (",".join(COLUMNS) + "\nr,s,e,c,mse,10,1.5,confirmed,x\n", ":2: n=10 must be at least 2 and p=1.5"),
        (",".join(COLUMNS) + "\nr,s,e,c,mse,10,nan,confirmed,x\n", "p=nan"),
        (",".join(COLUMNS) + "\n,s,e,c,mse,10,0.1,confirmed,x\n", ":2: rule and rule_sha256"),
        (OF_OVERRIDES + "\nr,s,e,c,mse,10,0.1,confirmed,x,a=1,0.5\n", ":2: verdict is 'confirmed'; it must be kept"),
        (OF_OVERRIDES + "\nr,s,e,c,mse,10,0.1,kept,x,,0.5\n", ":2: verdict is 'kept'"),
        (OF_OVERRIDES + "\nr,s,e,c,mse,10,0.1,kept,x,a=1,much\n", "share"),
    ],
)
def test_a_file_that_holds_no_trials(tmp_path, text, told):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(EvidenceError) as error:
        Ledger.load(path)
    assert str(error.value).startswith(str(path))
    assert told in str(error.value)


def test_a_file_that_is_missing(tmp_path, capsys):
    with pytest.raises(EvidenceError, match=r"none\.csv: cannot be read: No such file"):
        Ledger.load(tmp_path / "none.csv")
    assert main(["evidence", "show", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_shipped_trials_are_of_shipped_rules():
    """A threshold or fix that changes takes its trials with it; `make results` measures them anew."""
    book = RuleBook.load()
    for told in Ledger.load(SHIPPED).trials:
        assert told.rule in book, told
        assert told.rule_sha256 == book[told.rule].sha256, told


def test_show_lists_every_rule_with_a_fix(capsys):
    assert main(["evidence", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [r.id for r in RuleBook.load().values() if r.fix is not None]


def test_a_folder_without_a_run(tmp_path, capsys):
    assert main(["evidence", "add", str(tmp_path), "--into", str(tmp_path / "mine.csv")]) == 2
    assert "there is no report*.xml and no trials.csv" in capsys.readouterr().err
    assert not (tmp_path / "mine.csv").exists()


def test_a_reader_that_leaves_early_sees_no_traceback():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "flowgrad", "evidence", "show"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (2, b"")


def test_trials_that_are_added_at_once_are_all_kept(tmp_path):
    """Eight processes that added at once lost 132 of 160 trials: each wrote back what it had read before."""
    path = tmp_path / "mine.csv"

    def add(number):
        for place in range(5):
            Ledger.extend(path, [trial(seen=f"{number} {place}")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert len(Ledger.load(path).trials) == 40
    before, after = Ledger.extend(path, [trial(seen="0 0"), trial(seen="new")])
    assert (len(before.trials), len(after.trials)) == (40, 41)


def test_processes_that_add_at_once(tmp_path):
    """The lock is between processes too."""
    process = multiprocessing.get_context("fork").Process
    path = tmp_path / "mine.csv"
    running = [process(target=_add, args=(path, number)) for number in range(4)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert [one.exitcode for one in running] == [0] * 4
    assert len(Ledger.load(path).trials) == 20


def _add(path, number):
    for place in range(5):
        Ledger.extend(path, [trial(seen=f"{number} {place}")])


def test_a_folder_that_somebody_holds_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.05)
    with locked(tmp_path), pytest.raises(EvidenceError, match="somebody else has written there"):
        Ledger.extend(tmp_path / "mine.csv", [trial()])
    with pytest.raises(EvidenceError, match="cannot be written: No such file"):
        Ledger.extend(tmp_path / "none" / "mine.csv", [trial()])
    with pytest.raises(EvidenceError, match="Is a directory"):
        Ledger.extend(tmp_path, [trial()])


def test_the_same_observations_count_once(tmp_path):
    one = trial()
    for same in ({"experiment": "another run"}, {"metric": "mae"}, {"p": 0.5}, {"verdict": "refuted"}, {"n": 5}):
        assert Ledger((one,)).plus([replace(one, **same)]).trials == (one,)
    for other in (
        {"observations_sha256": "2"},
        {"rule": "x"},
        {"rule_sha256": "x"},
        {"comparison": "round1_vs_baseline"},
    ):
        assert len(Ledger((one,)).plus([replace(one, **other)]).trials) == 2
    fault = replace(one, comparison=BENCHMARK, experiment="b: hot in x")
    assert len(Ledger((fault,)).plus([replace(fault, experiment="b: cold in x")]).trials) == 2
    assert len(Ledger((fault,)).plus([replace(fault, experiment="c: hot in x")]).trials) == 1


def test_a_trial_without_p_is_read_back(tmp_path):
    """A verdict that the gate objects to has no p; a ledger with one could not be read any more."""
    one = replace(trial("inconclusive"), p=math.nan)
    Ledger((one,)).write(tmp_path / "mine.csv")
    (again,) = Ledger.load(tmp_path / "mine.csv").trials
    assert math.isnan(again.p)
    assert replace(again, p=0.5) == replace(one, p=0.5)


@pytest.mark.parametrize("line", ["r,s,e,c,mse,10,0.01,confirmed", "r,s,e,c,mse,10,0.01,confirmed,x,y", "r", '"r,s'])
def test_a_line_that_was_cut_is_named(tmp_path, line):
    """A field too many made pandas take the first column for names of the lines, and shift all others."""
    path = tmp_path / "mine.csv"
    path.write_text(",".join(COLUMNS) + f"\nr,s,e,c,mse,10,0.01,confirmed,x\n{line}\n")
    with pytest.raises(EvidenceError, match=rf"{re.escape(str(path))}:[34]: "):
        Ledger.load(path)


@pytest.fixture
def bench(tmp_path):
    write_trials(tmp_path / "b", faults=3, rules=("row_effects", "popularity_skew"))
    return tmp_path / "b"


def add(folder):
    return main(["evidence", "add", str(folder), "--into", str(folder.parent / "mine.csv")])


@pytest.mark.parametrize("settings", [{}, {"overlap": 0.8}, {"alpha": 0.001}, {"seed": 7, "faults": 2}])
def test_trials_that_follow_from_their_observations(tmp_path, settings):
    told = write_trials(tmp_path / "b", **settings)
    assert add(tmp_path / "b") == 0
    assert Ledger.load(tmp_path / "mine.csv").trials == tuple(told)


def test_the_model_and_data_of_a_trial_are_those_of_the_plan(bench):
    for name in ("trials.csv", "trials.plan.csv"):
        frame(bench, name, lambda t: t.assign(tried_on="DeepFM on flights"))
    assert add(bench) == 0
    assert {one.tried_on for one in Ledger.load(bench.parent / "mine.csv").trials} == {"DeepFM on flights"}


def frame(folder, name, change):
    path = folder / name
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def first(**changes):
    def change(table):
        for name, value in changes.items():
            table.loc[0, name] = value
        return table

    return change


FORGED = [
    ("trials.csv", first(verdict="refuted")),
    ("trials.csv", first(p="1e-9")),
    ("trials.csv", first(p="", verdict="inconclusive")),
    ("trials.csv", first(n="60")),
    ("trials.csv", first(metric="mae")),
    ("trials.csv", first(rule="dead_rows")),
    ("trials.csv", first(rule_sha256="0" * 16)),
    ("trials.csv", first(comparison="treated_vs_healthy")),
    ("trials.csv", first(experiment="b: hot, diagnosis seed 9")),
    ("trials.csv", lambda t: t.assign(tried_on="DeepFM on flights")),
    ("trials.csv", first(experiment="hot, diagnosis seed 1")),
    ("trials.csv", lambda t: t.iloc[1:]),
    ("trials.csv", lambda t: t.iloc[:-1]),
    ("trials.csv", lambda t: t.iloc[:0]),
    ("trials.csv", lambda t: pd.concat([t, t.iloc[:1]])),
    ("trials.csv", lambda t: pd.concat([t, t.iloc[:1].assign(experiment="c: hot, diagnosis seed 1")])),
    ("trials.csv", lambda t: pd.concat([t, t.iloc[:1].assign(verdict="refuted", p="1e-9")])),
    ("trials.plan.csv", first(overlap="0.8")),
    ("trials.plan.csv", first(overlap="2")),
    ("trials.plan.csv", first(alpha="5")),
    ("trials.plan.csv", first(alpha="")),
    ("trials.plan.csv", first(alpha="high")),
    ("trials.plan.csv", first(rules="dead_rows")),
    ("trials.plan.csv", first(rules="")),
    ("trials.plan.csv", first(metric="mae")),
    ("trials.plan.csv", lambda t: t.iloc[1:]),
    ("trials.plan.csv", lambda t: pd.concat([t, t.iloc[:1]])),
    ("trials.plan.csv", lambda t: t.drop(columns="alpha")),
    ("observations.csv", lambda t: t.assign(value=t["value"].where(t.index != 8, "0.0001"))),
    ("observations.csv", lambda t: t.assign(value=t["value"].where(t.index != 8, "nan"))),
    ("observations.csv", first(value="high")),
    ("observations.csv", lambda t: t.drop(index=8)),
    ("observations.csv", lambda t: t.assign(arm=t["arm"].map({"faulted": "treated", "treated": "faulted"}.get))),
    ("observations.csv", lambda t: t.iloc[:0]),
    ("observations.csv", lambda t: pd.concat([t, t.iloc[6:7]])),
    ("observations.csv", lambda t: t.assign(higher_is_better="True")),
]


@pytest.mark.parametrize(("name", "change"), FORGED)
@pytest.mark.parametrize("hashed", [False, True], ids=["", "hashed again"])
def test_a_forged_trial_does_not_enter(bench, capsys, name, change, hashed):
    """A forged trials.csv entered the ledger unverified."""
    frame(bench, name, change)
    if hashed:
        sha256 = hashlib.sha256((bench / "observations.csv").read_bytes()).hexdigest()
        frame(bench, "trials.csv", lambda t: t.assign(observations_sha256=sha256))
    assert add(bench) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("error: ")
    assert str(bench) in err
    assert not (bench.parent / "mine.csv").exists()


def test_trials_of_other_observations(bench, capsys):
    frame(bench, "trials.csv", first(observations_sha256="0" * 64))
    assert add(bench) == 2
    assert "its SHA-256 differs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["observations.csv", "trials.plan.csv"])
@pytest.mark.parametrize("content", [None, b"", b"\xff", b"a\n1\n", b'"'])
def test_trials_without_what_they_follow_from(bench, capsys, name, content):
    """Folders of earlier versions hold no plan; the way out is to do the run again."""
    if content is None:
        (bench / name).unlink()
    else:
        (bench / name).write_bytes(content)
    assert add(bench) == 2
    err = capsys.readouterr().err
    assert name in err
    assert err.count("\n") == 1
    assert content is not None or "do the run again" in err


@pytest.mark.parametrize("name", ["x: b", "", " ", "B", "a\nb", "x" * 5000, "hot, diagnosis seed 2"])
@pytest.mark.parametrize("lines", ["one", "all"])
def test_a_trial_of_another_runs_name(bench, capsys, name, lines):
    """`x: b: FAULT` counted beside `b: FAULT`, as a trial of its own, of the same observations."""
    (bench / "config.yaml").write_text("name: b\n")
    frame(bench, "trials.csv", lambda t: t.assign(
        experiment=[f"{name}: {e.partition(': ')[2]}" if lines == "all" or not at else e
                    for at, e in enumerate(t["experiment"])]
    ))  # fmt: skip
    assert add(bench) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) < 1000


def test_trials_of_two_names_without_a_config(bench, capsys):
    frame(bench, "trials.csv", first(experiment="c: hot, diagnosis seed 1"))
    assert add(bench) == 2
    assert "the run's name is 'c'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["name: b", "name: 'b: hot'", "{}", "name: ${x}", "name: b\ncomparison: {alpha: 0.05}"]
)
def test_trials_of_the_run_whose_config_is_beside_them(tmp_path, content):
    write_trials(tmp_path / "b")
    (tmp_path / "b" / "config.yaml").write_text(content)
    if "hot" in content:
        frame(tmp_path / "b", "trials.csv", lambda t: t.assign(experiment="b: hot: " + t["experiment"].str[3:]))
    assert add(tmp_path / "b") == 0


@pytest.mark.parametrize("settings", [{"alpha": 0.5}, {"overlap": 0.8}])
def test_a_plan_by_another_level_than_the_configs(tmp_path, capsys, settings):
    """A level of .5, edited into the plan, confirms anything."""
    write_trials(tmp_path / "b", **settings)
    (tmp_path / "b" / "config.yaml").write_text("name: b\ncomparison: {alpha: 0.05, overlap: 0.5}\n")
    assert add(tmp_path / "b") == 2
    assert "config.yaml says" in capsys.readouterr().err
    (tmp_path / "b" / "config.yaml").write_text(
        "name: b\ncomparison: {alpha: 0.05}\njob: {settings: {a: [comparison=x]}}\n"
    )
    assert add(tmp_path / "b") == 0


def test_a_setting_that_keeps_another_share_of_the_data(tmp_path):
    """Splits of half of the users were refused, since the data set of the run itself keeps nine in ten."""
    write_trials(tmp_path / "b", overlap=0.5)
    settings = "{a: [dataset.keep=0.5]}"
    (tmp_path / "b" / "config.yaml").write_text(
        f"name: b\ncomparison: {{overlap: 0.9}}\njob: {{settings: {settings}}}\n"
    )
    assert add(tmp_path / "b") == 0


def test_a_plan_whose_experiment_is_empty(bench, capsys):
    """It ended in a TypeError."""
    frame(bench, "trials.plan.csv", first(experiment=""))
    assert add(bench) == 2
    assert "names no experiment" in capsys.readouterr().err


def test_a_very_long_rule_is_cut(bench, capsys):
    frame(bench, "trials.csv", first(rule="x" * 9999))
    assert add(bench) == 2
    assert len(capsys.readouterr().err) < 1000
