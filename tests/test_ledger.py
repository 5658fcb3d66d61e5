"""Trials on file, and the confidence that follows from them."""

import os
import subprocess
import sys

import pytest

from flowgrad.__main__ import main
from flowgrad.errors import EvidenceError
from flowgrad.evidence import posterior
from flowgrad.ledger import COLUMNS, SHIPPED, Ledger, Trial
from flowgrad.rules import RuleBook


def trial(verdict="confirmed", rule="zombie_rows", sha256="abc", seen="1"):
    return Trial(rule, sha256, "e", "treated_vs_baseline", "mse", 10, 0.01, verdict, seen)


def test_confidence_counts_this_very_rule():
    verdicts = ["confirmed"] * 3 + ["refuted", "inconclusive"]
    ledger = Ledger().plus(trial(verdict, seen=str(n)) for n, verdict in enumerate(verdicts))
    assert ledger.confidence("zombie_rows", "abc") == posterior(3, 5, 1)
    assert ledger.confidence("zombie_rows", "another threshold") == posterior()
    assert ledger.confidence("dead_rows", "abc") == posterior()


def test_a_run_counts_once(tmp_path):
    ledger = Ledger().plus([trial(), trial(), trial(seen="2")])
    assert len(ledger.trials) == 2
    ledger.write(tmp_path / "mine.csv")
    assert Ledger.load(tmp_path / "mine.csv") == ledger
    assert Ledger.load(tmp_path / "mine.csv", tmp_path / "mine.csv") == ledger


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
