"""Ids told batch by batch: exact sums, one count a row, and findings on logs that are sound or are not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad.measurements import Measurements
from flowgrad.measures.ids import ID_MEASURES
from flowgrad.rules import RuleBook
from flowgrad.trackers.batches import BatchTracker, id_rows, id_sums
from flowgrad.trackers.batches.ids import Ids


@pytest.fixture(scope="module")
def book():
    return RuleBook.load()


def feed(watched, columns, targets=None, *, batch=512, training=True, order=None):
    count = len(next(iter(columns.values())))
    order = np.arange(count) if order is None else order
    for at in np.split(order, range(batch, count, batch)):
        values = None if targets is None else torch.from_numpy(np.asarray(targets)[at])
        watched.see({name: torch.from_numpy(column[at]) for name, column in columns.items()}, values, training=training)
    return watched


def told(train, targets=None, valid=None, valid_targets=None, *, sizes=None, order=None, batch=512):
    watched = feed(Ids(sizes), train, targets, order=order, batch=batch)
    if valid is not None:
        feed(watched, valid, valid_targets, training=False)
    watched.end_epoch()
    return watched


def said(book, watched, epochs=2.0):
    measured = Measurements("batches", "run", watched.figures() | {"epochs": epochs}, {"rows": watched.table()})
    return {one.type: one for one in book.evaluate(measured)}


def draw(rng, count, rows, skew=0.7):
    shares = 1 / np.arange(1, count + 1) ** skew
    return rng.choice(count, rows, p=rng.permutation(shares / shares.sum()))


def log(seed, users=600, items=900, rows=40_000):
    """Users choose by taste among popular items, each pair once, and rate by taste, generosity and quality."""
    rng = np.random.default_rng(seed)
    tastes, kinds = rng.normal(size=(users, 3)), rng.normal(size=(items, 3))
    user, offered = draw(rng, users, rows, 0.4), draw(rng, items, 4 * rows).reshape(4, rows)
    wanted = (tastes[user] * kinds[offered]).sum(-1) + rng.gumbel(size=offered.shape)
    item = offered[wanted.argmax(0), np.arange(rows)]
    user, item = np.unique(np.stack([user, item]), axis=1)
    quality = rng.normal(size=users)[user] * 0.4 + rng.normal(size=items)[item] * 0.4
    rating = 3 + quality + 0.3 * (tastes[user] * kinds[item]).sum(1) + rng.normal(size=len(user))
    rating = np.clip(np.round(rating), 1, 5)
    mixed = rng.permutation(len(user))
    return {"user": user[mixed], "item": item[mixed]}, rating[mixed], rng


def halves(columns, targets, share=0.8):
    cut = int(len(targets) * share)
    return (
        {name: column[:cut] for name, column in columns.items()},
        targets[:cut],
        {name: column[cut:] for name, column in columns.items()},
        targets[cut:],
    )


# sums


@given(seed=st.integers(0, 1000), batch=st.integers(1, 700), shift=st.sampled_from([0.0, 1e9]))
@settings(max_examples=12, deadline=None)
def test_sums_are_those_of_a_table(seed, batch, shift):
    rng = np.random.default_rng(seed)
    columns, targets = {"a": rng.integers(0, 40, 900), "b": rng.integers(0, 3000, 900)}, rng.normal(size=900) + shift
    table = feed(Ids(), columns, targets, batch=batch).table()
    for name, column in columns.items():
        by_id = pd.Series(targets - shift).groupby(column)
        between = float((by_id.size() * (by_id.mean() - (targets - shift).mean()) ** 2).sum()) / (by_id.ngroups - 1)
        within = float(by_id.apply(lambda part: ((part - part.mean()) ** 2).sum()).sum()) / (900 - by_id.ngroups)
        assert table.loc[name, "id_count"] == by_id.ngroups
        assert table.loc[name, "id_f"] == pytest.approx(between / within, rel=1e-4)


def test_how_rows_are_cut_into_batches_changes_no_sum():
    columns, targets, _ = log(1, rows=6000)
    one, other = (feed(Ids(), columns, targets, batch=batch).table() for batch in (64, 1000))
    kept = [name for name in one.columns if name not in ("id_distinct_ratio", "id_few_share", "id_batches")]
    pd.testing.assert_frame_equal(one[kept], other[kept])


def test_every_name_is_declared_and_every_declared_name_told():
    columns, targets, _ = log(2, rows=3000)
    watched = told(*halves(columns, targets))
    assert set(watched.figures()) == {one.name for one in ID_MEASURES if not one.per_row}
    assert set(watched.table().columns) == {one.name for one in ID_MEASURES if one.per_row}


def test_nothing_told_is_nothing_known(book):
    watched = Ids()
    assert math.isnan(watched.figures()["ids_repeats"])
    assert said(book, watched) == {}
    watched.end_epoch()
    assert watched.figures()["ids_rows"] == 0


def test_after_the_first_epoch_rows_are_not_counted_again():
    columns, targets, _ = log(3, rows=3000)
    watched = told(columns, targets)
    before = watched.figures()
    feed(watched, columns, targets)
    assert watched.figures() == pytest.approx(before, nan_ok=True)


def test_where_no_epoch_is_told_repeats_are_taken_off():
    """Five epochs counted as one made F five times as large."""
    columns, targets, _ = log(4, rows=8000)
    once = feed(Ids(), columns, targets)
    often = Ids()
    for _ in range(5):
        feed(often, columns, targets)
    assert often.figures()["ids_repeats"] == pytest.approx(5.0)
    assert often.table()["id_f"].to_numpy() == pytest.approx(once.table()["id_f"].to_numpy())


def test_a_state_goes_on_where_it_was_taken():
    columns, targets, _ = log(5, rows=5000)
    train, own, valid, other = halves(columns, targets)
    half = {name: column[:2000] for name, column in train.items()}, own[:2000]
    rest = {name: column[2000:] for name, column in train.items()}, own[2000:]
    first, whole = feed(Ids({"user": 700}), *half), feed(Ids({"user": 700}), *half)
    second = Ids()
    second.load(first.state())
    for watched in (second, whole):
        feed(watched, *rest)
        feed(watched, valid, other, training=False)
        watched.end_epoch()
    assert second.figures() == pytest.approx(whole.figures(), nan_ok=True)
    pd.testing.assert_frame_equal(second.table(), whole.table())


def test_a_state_is_of_tensors_and_plain_values():
    columns, targets, _ = log(5, rows=1000)

    def check(value):
        if isinstance(value, dict):
            for one in value.values():
                check(one)
        elif isinstance(value, list):
            for one in value:
                check(one)
        else:
            assert isinstance(value, (torch.Tensor, bool, int, float, str))

    check(told(columns, targets, sizes={"user": 600}).state())


def test_batches_that_are_written_over_later_were_copied():
    ids, targets = torch.arange(100) % 7, torch.randn(100, generator=torch.Generator().manual_seed(0))
    watched = Ids()
    watched.see({"a": ids}, targets)
    ids.zero_()
    assert watched.table().loc["a", "id_count"] == 7


def test_nobody_draws_random_numbers():
    columns, targets, _ = log(6, rows=2000)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    told(*halves(columns, targets)).figures()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("columns", "targets", "words"),
    [
        ({"a": torch.zeros(4)}, None, "'a' is torch.float32"),
        ({"a": torch.zeros(4, 2, dtype=torch.long)}, None, "shape (4, 2)"),
        ({"a": torch.zeros(4, dtype=torch.long)}, torch.zeros(5), "shape (5,)"),
    ],
)
def test_what_is_no_column_of_ids_is_refused(columns, targets, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        Ids().see(columns, targets)


def test_ids_beyond_the_bound_are_folded_and_said_to_be(monkeypatch, book):
    monkeypatch.setattr(id_sums, "MOST_IDS", 4096)
    monkeypatch.setattr("flowgrad.trackers.batches.ids.MOST_IDS", 4096)
    columns, targets, rng = log(7)
    raw = rng.integers(-(2**62), 2**62, 600)
    watched = told(*halves({**columns, "user": raw[columns["user"]]}, targets))
    assert watched.folded == ("user",)
    assert math.isnan(watched.table().loc["user", "id_count"])
    assert watched.table().loc["user", "id_icc_low"] > 0.05
    assert said(book, watched) == {}


def test_the_sample_is_bounded_and_keeps_equal_rows_together(monkeypatch):
    monkeypatch.setattr(id_rows, "MOST_ROWS", 256)
    rng = np.random.default_rng(8)
    columns = {"a": rng.integers(0, 50, 6000), "b": rng.integers(0, 60, 6000)}
    watched = feed(Ids(), columns, np.zeros(6000))
    part = watched._sample.training
    watched.figures()
    assert 64 <= len(part.keys) <= 512
    pairs = pd.Series(1, index=pd.MultiIndex.from_arrays(list(columns.values()))).groupby(level=[0, 1]).size()
    assert [pairs[tuple(pair)] for pair in part.ids.T] == part.times.sum(axis=0).tolist()


# what is said


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["ratings", "clicks", "positives", "plays of value 1"])
def test_a_sound_log_is_sound(book, seed, kind):
    columns, rating, _ = log(seed)
    train, own, valid, other = halves(columns, rating)
    if kind == "positives":
        own = other = None
    elif kind == "clicks":
        own, other = (own > 3).astype(float), (other > 3).astype(float)
    elif kind != "ratings":
        own, other = np.ones_like(own), np.ones_like(other)
    assert said(book, told(train, own, valid, other, sizes={"user": 600, "item": 900})) == {}


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("seed", range(2))
def test_ids_of_other_rows(book, seed, column):
    columns, rating, rng = log(seed)
    train, own, valid, other = halves(columns, rating)
    train[column], valid[column] = rng.permutation(train[column]), rng.permutation(valid[column])
    found = said(book, told(train, own, valid, other))
    assert set(found) == {"IDS_NOT_OF_THEIR_ROWS"}
    assert list(found["IDS_NOT_OF_THEIR_ROWS"].rows.index) == [column]
    without = said(book, told(train, None, valid, None))
    assert set(without) == {"PAIRS_UNRELATED"}
    assert without["PAIRS_UNRELATED"].candidates[0].cause == "IDS_NOT_OF_THEIR_ROWS"


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_sampled_negatives_are_not_ids_of_other_rows(book, power):
    """A column of negatives is drawn, uniformly or by popularity, and has nothing to do with the user by design."""
    columns, _, rng = log(3)
    shares = np.bincount(columns["item"], minlength=900) ** power
    negative = rng.choice(900, len(columns["item"]), p=shares / shares.sum())
    found = said(book, told({**columns, "negative": negative}))
    assert set(found) <= {"IDS_TELL_NOTHING", "POSITIVES_AMONG_NEGATIVES"}
    assert all(one.severity == "low" and one.fix is None for one in found.values())


@pytest.mark.parametrize("every", [1, 4])
def test_negatives_of_each_user_leave_the_user_without_effect_and_are_sound(book, every):
    """With so many negatives for each positive, the mean target of a user is the same for all."""
    columns, _, rng = log(4)
    user, item = np.repeat(columns["user"], every), rng.integers(0, 900, every * len(columns["user"]))
    rows = {"user": np.r_[columns["user"], user], "item": np.r_[columns["item"], item]}
    clicked = np.r_[np.ones(len(columns["user"])), np.zeros(len(user))]
    order = rng.permutation(len(clicked))
    rows, clicked = {name: column[order] for name, column in rows.items()}, clicked[order]
    assert "IDS_NOT_OF_THEIR_ROWS" not in said(book, told(*halves(rows, clicked)))


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("target", [True, False])
def test_another_numbering_in_validation(book, column, target):
    columns, rating, rng = log(5)
    train, own, valid, other = halves(columns, rating)
    valid[column] = rng.permutation(900 if column == "item" else 600)[valid[column]]
    found = said(book, told(train, own if target else None, valid, other if target else None))
    assert set(found) <= {"IDS_NUMBERED_DIFFERENTLY", "IDS_DISAGREE_IN_USE"}
    assert len(found) == 1
    finding = next(iter(found.values()))
    assert list(finding.rows.index) == [column]
    assert not finding.candidates or finding.candidates[0].cause == "IDS_NUMBERED_DIFFERENTLY"


def test_new_ids_and_drift_are_another_thing_than_a_numbering(book):
    columns, rating, rng = log(6)
    late = columns["item"] >= 700  # met in validation alone
    train, own = {name: column[~late] for name, column in columns.items()}, rating[~late]
    drifted = rating + rng.normal(size=900)[columns["item"]] * 0.4
    found = said(book, told(train, own, {name: column[late] for name, column in columns.items()}, drifted[late]))
    assert set(found) == {"IDS_NEW_IN_USE"}
    train, own, valid, _ = halves(columns, rating)
    assert said(book, told(train, own, valid, drifted[len(own) :])) == {}


def test_one_id_everywhere(book):
    columns, rating, _ = log(7)
    found = said(book, told({**columns, "user": np.zeros_like(columns["user"])}, rating))
    assert set(found) == {"IDS_ALL_ALIKE"}
    assert list(found["IDS_ALL_ALIKE"].rows.index) == ["user"]


@pytest.mark.parametrize("vocabulary", ["even", "skewed"])
def test_padding_and_marks_of_texts_are_no_ids_all_alike(book, vocabulary):
    """Texts that were told as one tensor were accused where all of them ended before its last column."""
    rng = np.random.default_rng(7)
    odds = np.ones(299) if vocabulary == "even" else 1 / np.arange(1, 300)
    texts = rng.choice(np.arange(1, 300), (900, 24), p=odds / odds.sum())
    texts[np.arange(24) >= rng.integers(3, 16, (900, 1))] = 0
    texts[:, 0] = 300
    parts = {"tokens": texts, "attention_mask": (texts > 0).astype(int), "token_type_ids": np.zeros_like(texts)}
    train, valid = (
        {f"{name}[{k}]": part[rows, k] for name, part in parts.items() for k in range(24)}
        for rows in (slice(0, 600), slice(600, None))
    )
    target = rng.normal(size=900) + texts[:, 1] / 50
    assert said(book, told(train, target[:600], valid, target[600:])) == {}


@pytest.mark.parametrize("shift", [0, 1000])
def test_a_field_of_one_tensor_that_is_all_unknown_is_told(book, shift):
    """Fields have vocabularies of their own, numbered from 0 each or one after the other."""
    rng = np.random.default_rng(7)
    columns = {
        f"fields[{k}]": rng.integers(0, size, 900) + k * shift for k, size in enumerate((2, 300, 7, 90, 25, 600, 12))
    }
    found = said(book, told({**columns, "fields[3]": np.zeros(900, dtype=int)}, rng.normal(size=900)))
    assert list(found["IDS_ALL_ALIKE"].rows.index) == ["fields[3]"]


def test_an_id_of_what_is_not_found(book):
    columns, rating, rng = log(7)
    user = np.where(rng.random(len(rating)) < 0.5, 0, columns["user"])
    assert set(said(book, told({**columns, "user": user}, rating))) == {"ONE_ID_FOR_MANY_ROWS"}


@pytest.mark.parametrize("buckets", [7, 31])
def test_ids_that_share_rows(book, buckets):
    columns, rating, _ = log(8)
    found = said(book, told({**columns, "user": columns["user"] * 7919 % buckets}, rating, sizes={"user": 600}))
    assert set(found) == {"IDS_COLLIDE"}
    assert found["IDS_COLLIDE"].candidates[0].cause == "IDS_COLLIDE"


def test_a_table_that_is_larger_than_needed_is_a_question(book):
    """Sixty users, each pair met once: nobody shares a row."""
    columns, rating, _ = log(8, users=60, items=4000)
    found = said(book, told(columns, rating, sizes={"user": 1000}))
    assert set(found) == {"TABLE_BARELY_USED"}


def test_columns_that_are_equal(book):
    columns, rating, _ = log(9)
    found = said(book, told({"user": columns["user"], "item": columns["user"]}, rating))
    assert "COLUMNS_ALIKE" in found
    assert sorted(found["COLUMNS_ALIKE"].rows.index) == ["item", "user"]


@pytest.mark.parametrize("blocks", [False, True])
def test_batches_of_few_users(book, blocks):
    columns, rating, rng = log(10)
    order = np.argsort(columns["user"], kind="stable")
    if blocks:
        parts = np.split(order, range(512, len(order), 512))
        order = np.concatenate([parts[place] for place in rng.permutation(len(parts) - 1)] + parts[-1:])
    found = said(book, told(columns, rating, order=order))
    assert set(found) == {"BATCHES_OF_FEW_IDS"}
    assert list(found["BATCHES_OF_FEW_IDS"].rows.index) == ["user"]
    assert found["BATCHES_OF_FEW_IDS"].severity == "medium"


def test_one_pass_in_the_order_of_time_is_asked_about_quietly(book):
    """A log of clicks was read once, as it came, session by session: a medium question on a sound model."""
    columns, rating, _ = log(10)
    watched = told(columns, rating, order=np.argsort(columns["user"], kind="stable"))
    (found,) = said(book, watched, epochs=1.0).values()
    assert (found.type, found.severity) == ("BATCHES_OF_FEW_IDS", "low")


def test_negatives_that_were_liked(book):
    columns, rating, _ = log(12)
    clicked = (rating > 3).astype(float)
    liked = np.flatnonzero(clicked)[::2]
    rows = {name: np.r_[column, column[liked]] for name, column in columns.items()}
    found = said(book, told(rows, np.r_[clicked, np.zeros(len(liked))]))
    assert "CONFLICTING_LABELS" in found


@pytest.mark.parametrize("kind", ["skipped", "duration", "stable"])
def test_plays_of_the_same_thing_are_neither_contradictions_nor_copies(book, kind):
    columns, rating, rng = log(13, rows=12_000)
    often = rng.geometric(0.3, size=len(rating))
    rows = {name: np.repeat(column, often) for name, column in columns.items()}
    order = rng.permutation(often.sum())
    rows = {name: column[order] for name, column in rows.items()}
    liked = np.repeat(rating > 3, often)[order]
    targets = {
        "skipped": (rng.random(len(order)) < 0.3).astype(float),
        "duration": rng.integers(0, 200, len(order)).astype(float),
        "stable": np.where(rng.random(len(order)) < 0.1, ~liked, liked).astype(float),
    }[kind]
    assert not {"CONFLICTING_LABELS", "VALIDATION_ROWS_SEEN"} & set(said(book, told(*halves(rows, targets))))


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_validation_rows_that_stand_in_training(book, share):
    columns, rating, rng = log(14)
    train, own, valid, other = halves(columns, rating)
    copied = rng.permutation(len(own))[: int(share * len(other))]
    valid = {name: np.r_[column[len(copied) :], train[name][copied]] for name, column in valid.items()}
    found = said(book, told(train, own, valid, np.r_[other[len(copied) :], own[copied]]))
    assert set(found) == {"VALIDATION_ROWS_SEEN"}
    without = said(book, told(train, None, valid, None))
    assert set(without) <= {"VALIDATION_PAIRS_SEEN"}
    assert ("VALIDATION_PAIRS_SEEN" in without) == (share == 1.0)


def test_a_field_that_holds_the_target(book):
    columns, rating, _ = log(15)
    found = said(book, told({**columns, "flag": rating.astype(np.int64)}, rating))
    assert set(found) == {"STRONG_COLUMN"}
    assert found["STRONG_COLUMN"].candidates[0].cause == "TARGET_LEAK"


@pytest.mark.parametrize("shape", ["many users, three rows each", "twenty users"])
def test_logs_of_other_shapes_are_silent(book, shape):
    rng = np.random.default_rng(16)
    user = np.repeat(np.arange(30_000), 3) if shape.startswith("many") else rng.integers(0, 20, 90_000)
    item = draw(rng, 2000, 90_000)
    targets = rng.normal(size=30_000)[user] * 0.5 + rng.normal(size=2000)[item] * 0.5 + rng.normal(size=90_000)
    order = rng.permutation(90_000)
    rows = {"user": user[order], "item": item[order]}
    assert said(book, told(*halves(rows, targets[order]))) == {}


def test_too_few_rows_say_nothing(book):
    columns, rating, rng = log(17, rows=400)
    mixed = {**columns, "user": rng.permutation(columns["user"])}
    assert said(book, told(*halves(mixed, rating))) == {}


@pytest.mark.parametrize(("targets", "told"), [("numbers of the rows", False), ("shuffled ratings", True)])
def test_numbers_of_the_rows_of_a_batch_are_no_targets_of_theirs(targets, told):
    """The targets of a softmax over the batch are 0, 1, 2 and so on; that users and items had nothing to do with them
    was told as TARGETS_NOT_OF_THEIR_ROWS.
    """
    g = torch.Generator().manual_seed(0)
    tracker = BatchTracker()
    for _ in range(60):
        user = torch.randint(200, (128,), generator=g)
        item = user // 10 * 10 + torch.randint(10, (128,), generator=g)
        shuffled = torch.randint(5, (128,), generator=g)
        tracker.step({"user": user, "item": item}, torch.arange(128) if targets != "shuffled ratings" else shuffled)
    tracker.end_epoch()
    assert ("TARGETS_NOT_OF_THEIR_ROWS" in {finding.type for finding in tracker.findings()}) == told


@pytest.mark.parametrize(("kind", "told"), [("not checked", True), ("checked", False), ("of a large catalogue", False)])
def test_negatives_that_are_positives_of_the_same_user(book, kind, told):
    """Items drawn by popularity, liked ones too, halved the precision of BPR and were only called unrelated."""
    rng = np.random.default_rng(0)
    users, items, rows = (300, 250, 12_000) if kind != "of a large catalogue" else (2_000, 6_000, 12_000)
    user, taste = rng.integers(users, size=rows), rng.permutation(items)
    popular = 1 / (1 + np.arange(items)) ** 0.6
    item = taste[(rng.choice(items, rows, p=popular / popular.sum()) + user % 5 * (items // 5)) % items]
    liked = set(zip(user.tolist(), item.tolist(), strict=True))
    negative = rng.choice(item, rows)
    for _ in range(20 if kind == "checked" else 0):
        again = np.array([pair in liked for pair in zip(user.tolist(), negative.tolist(), strict=True)])
        negative[again] = rng.choice(item, again.sum())
    watched = Ids()
    feed(watched, {"user": user, "item": item, "negative": negative})
    watched.end_epoch()
    assert ("POSITIVES_AMONG_NEGATIVES" in said(book, watched)) == told
