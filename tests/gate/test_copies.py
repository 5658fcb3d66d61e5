"""Equal rows: counted exactly, and told from those that chance gives."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad.gate import GateError, copies, pairs_objection, parts_objection, refuse, seen, table_objection
from flowgrad.gate.rows import row_codes, rows_of


def noise(rows, columns, seed, classes=True):
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.1).astype(float) if classes else random.normal(size=rows)
    return random.normal(size=(rows, columns)), y


def oversampled(X, y, seed):
    random = np.random.default_rng(seed)
    rare = random.choice(np.flatnonzero(y == 1), int((y == 0).sum()))
    rows = random.permutation(np.r_[np.flatnonzero(y == 0), rare])
    return X[rows], y[rows], rows


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 300), st.integers(1, 6), st.integers(0, 10**6), st.booleans())
def test_rows_without_copies_pass(rows, columns, seed, classes):
    X, y = noise(rows, columns, seed, classes)
    assert copies(X).copied == 0
    assert table_objection(X, y) is None
    half = rows // 2
    assert seen(X[:half], X[half:]).count == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(60, 300), st.integers(0, 50), st.integers(0, 10**6))
def test_copies_between_parts_are_counted(rows, count, seed):
    X, _ = noise(rows, 3, seed)
    other, _ = noise(rows, 3, seed + 1)
    random = np.random.default_rng(seed)
    other[random.choice(rows, count, replace=False)] = X[random.choice(rows, count)]
    found = seen(X, other)
    assert found.count == count
    assert found.share == count / rows
    order = random.permutation(rows)
    assert seen(X[random.permutation(rows)], other[order]).count == count
    objection = parts_objection(X, other)
    if count > 15:
        assert objection is not None
        assert objection.count == count
        assert objection.of == rows


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 200), st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(0, 10**6))
def test_copies_within_a_table_are_counted_in_any_order(rows, times, seed):
    X, y = noise(rows, 4, seed)
    repeated = np.repeat(np.arange(rows), [*times, *[1] * rows][:rows])
    found = copies([*X[repeated].T, y[repeated]])
    assert (found.rows, found.distinct, found.copied) == (len(repeated), rows, len(repeated) - rows)
    counts = np.bincount(repeated)
    assert found.effective == pytest.approx(len(repeated) ** 2 / (counts**2).sum())
    order = np.random.default_rng(seed).permutation(len(repeated))
    again = copies([*X[repeated[order]].T, y[repeated[order]]])
    assert (again.copied, again.groups, again.kind) == (found.copied, found.groups, found.kind)


@pytest.mark.parametrize("rate", [0.02, 0.06, 0.2, 0.4])
@pytest.mark.parametrize("columns", [1, 3, 8, 30])
def test_an_oversampled_class_is_refused_and_its_groups_are_the_way_out(rate, columns):
    """`prove()` confirmed noise whose minority rows were copied before the halves were drawn."""
    random = np.random.default_rng(columns)
    X, y = random.normal(size=(1000, columns)), (random.random(1000) < rate).astype(float)
    copied, target, rows = oversampled(X, y, 1)
    with pytest.raises(GateError, match=r"exact copies of others.*drop_duplicates.*groups=") as error:
        refuse(table_objection(copied, target))
    objection = error.value.objection
    assert objection.count == len(rows) - len(np.unique(rows))
    assert objection.effective < len(np.unique(rows))
    assert table_objection(copied, target, rows) is None
    kept = np.unique(rows, return_index=True)[1]
    assert table_objection(copied[kept], target[kept]) is None
    assert table_objection(copied, target, np.arange(len(rows))) is not None  # a copy is no case of its own


def honest(name, random, n=1500):
    return {
        "three flags": random.integers(0, 2, (n, 3)),
        "three rare flags": random.random((n, 3)) < 0.05,
        "a flag and five that hardly vary": np.c_[random.integers(0, 2, n), random.random((n, 5)) < 0.01],
        "twelve flags": random.integers(0, 2, (n, 12)),
        "six marks": random.integers(1, 6, (n, 6)),
        "marks alike": np.clip(np.round(3 + random.normal(size=(n, 1)) + 0.4 * random.normal(size=(n, 8))), 1, 5),
        "categories one-hot": np.concatenate([np.eye(4)[random.integers(0, 4, n)] for _ in range(5)], axis=1),
        "latent classes": random.random((n, 10))
        < np.where(random.integers(0, 2, (5, 10))[random.integers(0, 5, n)], 0.9, 0.1),
        "mostly zero": np.where(random.random((n, 12)) < 0.15, random.exponential(size=(n, 12)), 0),
        "one decimal": np.round(random.normal(size=(n, 3)), 1),
        "a price and rare flags": np.c_[random.integers(0, 1000, n), random.random((n, 3)) < 0.05],
        "visits and a rare flag": np.c_[random.zipf(1.7, n), random.random(n) < 0.03],
        "log visits and a rare flag": np.c_[np.log1p(random.zipf(1.7, n)), random.random(n) < 0.03],
    }[name].astype(float)


HONEST = (
    "three flags", "three rare flags", "a flag and five that hardly vary", "twelve flags", "six marks", "marks alike",
    "categories one-hot", "latent classes", "mostly zero", "one decimal", "a price and rare flags",
    "visits and a rare flag", "log visits and a rare flag",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HONEST)
def test_columns_of_few_values_have_equal_rows_honestly(name, seed):
    random = np.random.default_rng(seed)
    X = honest(name, random)
    for y in ((random.random(len(X)) < 0.1) * 1.0, (random.random(len(X)) < 0.5) * 1.0, random.normal(size=len(X))):
        assert table_objection(X, y) is None
        rows = [*X.T, y]
        assert parts_objection([column[:1000] for column in rows], [column[1000:] for column in rows]) is None


@pytest.mark.parametrize("name", ["twelve flags", "six marks"])
def test_an_oversampled_class_of_columns_of_few_values_is_downgraded(name):
    """Whether chance gives so many equal rows is open: nothing is refused, and nothing confirmed."""
    random = np.random.default_rng(3)
    X = honest(name, random)
    copied, y, _ = oversampled(X, (random.random(len(X)) < 0.05) * 1.0, 4)
    objection = table_objection(copied, y)
    assert objection is not None
    assert objection.level == "downgraded"
    assert "groups=range(rows)" in objection.way_out
    assert table_objection(copied, y, np.arange(len(y))) is None


@pytest.mark.parametrize("times", [2, 3])
def test_a_log_written_several_times_is_refused(times):
    random = np.random.default_rng(0)
    X, y = random.integers(0, 3, (400, 6)), random.integers(0, 2, 400)
    X, y = np.repeat(X, times, axis=0), np.repeat(y, times)
    objection = table_objection(X, y)
    assert objection is not None
    assert objection.level == "refused"


def test_a_bootstrap_is_refused_and_few_copies_are_noted():
    X, y = noise(1000, 4, 0, classes=False)
    drawn = np.random.default_rng(0).integers(0, 1000, 1000)
    assert table_objection(X[drawn], y[drawn]).level == "refused"
    few = np.r_[np.arange(1000), np.arange(30)]
    noted = table_objection(X[few], y[few])
    assert (noted.level, noted.count, noted.blocks) == ("noted", 30, False)


def test_things_met_again_are_downgraded():
    """Fifty items, rated by many: rows have an item's columns, and a rating of their own."""
    random = np.random.default_rng(0)
    items = random.integers(0, 50, 1000)
    X = random.normal(size=(50, 5))[items]
    for y in (random.normal(size=1000), random.integers(0, 2, 1000)):
        objection = table_objection(X, y)
        assert objection is not None
        assert objection.level == "downgraded"
        assert "groups=" in objection.way_out
        assert table_objection(X, y, items) is None


def test_what_counts_as_equal():
    frame = pd.DataFrame({"a": [0.0, -0.0, np.nan, np.nan], "b": ["x", "x", None, np.nan]})
    assert copies(frame).copied == 2
    assert copies(np.array([2**53, 2**53 + 1])).copied == 0
    assert copies(np.array([0.1 + 0.2, 0.3])).copied == 0
    assert seen(pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1.0, 3.0]})).count == 1
    assert seen(["u1", "u2"] and [np.array(["u1", "u2"])], [np.array(["u2", "u3"])]).count == 1


def test_rows_that_share_a_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr("flowgrad.gate.rows.hashes", lambda keys: np.zeros(keys.shape[1], dtype=np.uint64))
    X = np.random.default_rng(0).integers(0, 3, (50, 3))
    codes = row_codes(rows_of(list(X.T)).keys)
    assert len(np.unique(codes)) == len(np.unique(X, axis=0))


def test_pairs_of_user_and_item():
    """The closed loop confirmed chance ratings that were logged three times."""
    random = np.random.default_rng(0)
    users, items = np.divmod(random.permutation(2000), 50)
    ratings = random.integers(1, 6, 2000)
    log = (users, items, ratings)
    train, test = (tuple(part[:1500] for part in log), tuple(part[1500:] for part in log))
    assert pairs_objection(train, test) is None
    copied = tuple(np.concatenate([part, own[:400]]) for part, own in zip(train, test, strict=True))
    found = pairs_objection(copied, test)
    assert (found.level, found.count, found.of, found.examples) == ("refused", 400, 500, (0, 1, 2))
    anew = (*copied[:2], np.concatenate([train[2], 6 - test[2][:400]]))
    assert pairs_objection(anew, test).level == "downgraded"
    few = tuple(np.concatenate([part, own[:10]]) for part, own in zip(train, test, strict=True))
    assert pairs_objection(few, test).level == "noted"


def test_a_million_rows_take_a_second_or_so():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(10**6, 5)), random.normal(size=10**6)
    start = time.process_time()
    assert table_objection(X, y) is None
    assert time.process_time() - start < 5  # .7 s on an idle core
