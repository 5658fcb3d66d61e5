"""Trials of the ledger that are taken again: which are drawn, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from flowgrad.evidence.ledger import BENCHMARK, Ledger, Trial
from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.repair import experiment_of
from pipelines.benchmarks.faults.taken_again import again_table, again_told, draw

BOOK = RuleBook.load(ledger=Ledger())
RULE = "overfitting"
CASES = [
    FaultCase("run", f"fault_{at}", "means", "adam", "", 31, None, (), (), (RULE,)) for at in range(10)
]  # fmt: skip


def trial(case, verdict="confirmed", rule=RULE, sha256=None):
    name = experiment_of(case.fault, case.table, case.setting, case.seed)
    return Trial(rule, sha256 or BOOK[rule].sha256, f"run: {name}", BENCHMARK, "mse", 6, 0.01, verdict, "0" * 64)


LEDGER = Ledger(tuple(map(trial, CASES)))


def names(cases):
    return [case.fault for case in cases]


def drawn(share, ledger=LEDGER, book=BOOK):
    return draw(CASES, share, book, "run", ledger)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.2, 2), (0.21, 3), (1.0, 10)])
def test_a_share_is_drawn_one_at_least_and_the_same_by_the_same_rules(share, count):
    found = drawn(share)
    assert len(found.taken) == count
    assert names(found.taken) == names(drawn(share).taken)
    assert sorted(names([*found.taken, *found.left])) == names(CASES)


def test_another_rule_book_draws_others():
    others = {rule.id: rule for rule in list(BOOK.values())[:-1]}
    books = [BOOK, others]
    assert len({tuple(names(drawn(0.3, book=book).taken)) for book in books}) == 2


def test_what_changed_and_what_the_ledger_lacks_is_taken_in_any_case():
    """A trial of a rule as it was before says nothing about the rule as it is."""
    ledger = Ledger((trial(CASES[0], sha256="0" * 16), trial(CASES[1], rule="no_such_rule", sha256="1" * 16),
                     *map(trial, CASES[3:])))  # fmt: skip
    assert {"fault_0", "fault_1", "fault_2"} < set(names(drawn(0.01, ledger).taken))
    assert len(drawn(0.01, ledger).taken) == 4


def test_trials_of_another_run_and_of_single_overrides_are_none():
    other = replace(trial(CASES[0]), experiment="other: x")
    override = replace(trial(CASES[1]), override="model.dim=2", verdict="kept")
    found = drawn(0.01, Ledger((other, override)))
    assert len(found.taken) == len(CASES)


def repairs(cases, verdict="confirmed", rules=RULE):
    return pd.DataFrame(
        [
            {"fault": case.fault, "table": case.table, "setting": case.setting, "seed": case.seed, "rules": rules,
             "treated_verdict": verdict}
            for case in cases
        ]
    )  # fmt: skip


def test_the_table_tells_what_was_taken_and_whether_it_agrees():
    found = drawn(0.2)
    table = again_table(found, repairs(found.taken[:1]).pipe(
        lambda first: pd.concat([first, repairs(found.taken[1:], "inconclusive")], ignore_index=True)))  # fmt: skip
    assert len(table) == len(CASES)
    taken = table[table["taken_again"]]
    assert taken["agrees"].tolist() == [True, False]
    assert taken["verdict"].tolist() == ["confirmed", "inconclusive"]
    left = table[~table["taken_again"]]
    assert (left["verdict"] == "confirmed").all()
    assert left["detected"].all()
    assert "2 of the ledger's 10 trials" in again_told(table)
    assert "1 have its verdict" in again_told(table)


def test_what_is_prescribed_no_longer_disagrees():
    found = drawn(0.1)
    table = again_table(found, repairs(found.taken, "none", rules=""))
    line = table[table["taken_again"]].iloc[0]
    assert (line["verdict"], line["ledger_verdict"], line["agrees"], line["detected"]) == (
        "none", "confirmed", False, False,
    )  # fmt: skip


def test_a_case_that_no_fix_is_for_has_no_line():
    found = drawn(1.0, Ledger())
    assert again_table(found, pd.DataFrame()).empty
