"""Rows of things that are met often, split at random, are no copies; copies are found all the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datasets.tables import Table
from flowgrad import BoostingTracker
from flowgrad.gate import parts_objection, table_objection
from pipelines.data.tables import TableData
from pipelines.stages.data_gate import pass_gate

ROWS, STORES = 3000, 200
RANDOM = np.random.default_rng(0)
MET = RANDOM.integers(0, STORES, ROWS)
OF_STORES = RANDOM.normal(size=(STORES, 3))
PLACE = RANDOM.integers(0, 50, ROWS)
TABLES = {
    "stores": OF_STORES[MET],
    "stores and their number": np.c_[MET, OF_STORES[MET]],
    "dependent categories": np.c_[PLACE, PLACE // 2, PLACE % 7, PLACE * 3 % 11, PLACE % 5],
}
PARTS = RANDOM.permutation(np.arange(ROWS) * 5 // ROWS)
"""Every fifth row, drawn at random, is tested on (0) or validated on (1)."""
TARGETS = {
    "half": lambda X: (RANDOM.random(ROWS) < 0.5) * 1.0,
    "rare": lambda X: (RANDOM.random(ROWS) < 0.004) * 1.0,
    "by store": lambda X: (RANDOM.random(ROWS) < 1 / (1 + np.exp(-3 * X[:, -1]))) * 1.0,
    "counts": lambda X: RANDOM.poisson(np.exp(4 + X[:, -1] / 4)) * 1.0,
    "what it is": lambda X: (X[:, 0] > np.median(X[:, 0])) * 1.0,
}


def parts(X, y):
    rows = np.c_[X, y].astype(float)
    return list(rows[PARTS > 0].T), list(rows[PARTS == 0].T)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("table", TABLES)
def test_things_met_often_are_never_copies(table, target):
    """Honest rows of 400 stores were refused as "99.7 % exact copies"; a booster was accused of having seen them."""
    X = TABLES[table].astype(float)
    y = TARGETS[target](X)
    one, other = parts(X, y)
    found = parts_objection(one, other)
    assert found is not None
    assert (found.check, found.level) == ("repeated rows", "downgraded")
    assert "groups=" in found.way_out
    assert parts_objection(one, other, groups=MET) is None
    tracker = BoostingTracker()
    tracker.observe_data(np.array(one[:-1]).T, one[-1], np.array(other[:-1]).T, other[-1])
    assert tracker.summary()["seen_rows"] == 0
    assert "validation_rows_seen" not in {finding.rule_id for finding in tracker.findings()}


def test_a_measured_target_of_things_met_again_is_no_objection():
    """No row is another with its target, so that nothing could be a copy."""
    assert parts_objection(*parts(TABLES["stores"], RANDOM.normal(size=ROWS))) is None


@pytest.mark.parametrize("grouped", [False, True])
def test_a_table_of_stores_passes_the_gate_of_the_data(grouped):
    """`pass_gate` refused it, and had no way out: groups are one."""
    features = pd.DataFrame(TABLES["stores"], columns=list("abc"))
    y = TARGETS["half"](TABLES["stores"])
    table = Table("stores", "here", features, {"sold": y}, np.array([2, 1, 0, 0, 0], dtype=np.int8)[PARTS],
                  MET if grouped else None, "")  # fmt: skip
    objection = pass_gate(TableData(table, "sold", 1.0))
    assert (objection is None) == grouped
    assert grouped or objection.level == "downgraded"


def copied(name, random):
    X = random.normal(size=(1000, 4))
    y = random.normal(size=1000) if name == "measured bootstrap" else (random.random(1000) < 0.06) * 1.0
    if name == "oversampled":
        rows = np.r_[np.flatnonzero(y == 0), random.choice(np.flatnonzero(y == 1), int((y == 0).sum()))]
    else:
        rows = np.repeat(np.arange(1000), 3) if name == "thrice" else random.integers(0, 1000, 1000)
    rows = random.permutation(rows)
    return X[rows], y[rows]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["oversampled", "bootstrap", "measured bootstrap", "thrice"])
def test_copies_are_refused_and_found_all_the_same(name, seed):
    """What lets honest rows pass must not let copies: a class drawn again, a bootstrap, a log written three times."""
    X, y = copied(name, np.random.default_rng(seed))
    cut = len(X) * 3 // 4
    both = ([*X[:cut].T, y[:cut]], [*X[cut:].T, y[cut:]])
    for groups in (None, np.arange(len(X))):
        found = parts_objection(*both, groups=groups)
        assert found is not None
        assert (found.check, found.level) == ("seen rows", "refused")
    assert table_objection(X, y).level == "refused"
    tracker = BoostingTracker()
    tracker.observe_data(X[:cut], y[:cut], X[cut:], y[cut:])
    assert tracker.summary()["seen_rows"] == found.count
    assert "validation_rows_seen" in {finding.rule_id for finding in tracker.findings()}
