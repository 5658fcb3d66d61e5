"""Canonical ratings and the two splits."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datasets.duplicates import Duplicates
from datasets.ratings import Ratings, Split, content_sha256, encode_ratings, leave_one_out, random_split
from flowgrad.errors import FlowGradError

IDS = st.text(min_size=1, max_size=4)
ROWS = st.lists(st.tuples(IDS, IDS, st.sampled_from([0.5, 1.0, 3.5, 5.0]), st.integers(-3, 3)), min_size=1, max_size=40)
# Few users with many rows: lets most examples have someone to hold out.
DENSE_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), st.sampled_from([1.0, 2.5, 4.0]), st.integers(0, 5)),
    min_size=9,
    max_size=60,
)


def from_rows(rows):
    users, items, ratings, timestamps = (list(column) for column in zip(*rows, strict=True))
    return encode_ratings("rows", "test", users, items, ratings, timestamps)


def decoded(ratings, frame=None):
    """Rows of `frame` with the original ids, sorted."""
    frame = ratings.frame if frame is None else frame
    users, items = ratings.user_ids[frame["user"]], ratings.item_ids[frame["item"]]
    return sorted(zip(users, items, frame["rating"], frame["timestamp"], strict=True))


def assert_partition(ratings, split):
    parts = pd.concat([split.train, split.validation, split.test])
    assert not parts.index.has_duplicates
    pd.testing.assert_frame_equal(parts.sort_index(), ratings.frame)


@given(ROWS)
def test_encoding_keeps_every_row_and_its_ids(rows):
    ratings = from_rows(rows)
    assert decoded(ratings) == sorted(rows)
    assert (ratings.n_users, ratings.n_items) == (len({row[0] for row in rows}), len({row[1] for row in rows}))
    assert ratings.frame.dtypes.astype(str).to_dict() == {
        "user": "int64",
        "item": "int64",
        "rating": "float64",
        "timestamp": "int64",
    }


@given(ROWS)
def test_rows_keep_their_order(rows):
    ratings = from_rows(rows)
    assert ratings.user_ids[ratings.frame["user"]].tolist() == [row[0] for row in rows]
    assert ratings.item_ids[ratings.frame["item"]].tolist() == [row[1] for row in rows]
    assert ratings.frame["timestamp"].tolist() == [row[3] for row in rows]


@given(ROWS, st.data())
def test_sha256_tells_any_change_of_one_row(rows, data):
    position = data.draw(st.integers(0, len(rows) - 1))
    user, item, rating, timestamp = rows[position]
    changed = data.draw(
        st.sampled_from([(user + "x", item, rating, timestamp), (user, item, rating + 1, timestamp)])
        | st.just((user, item, rating, timestamp + 1))
    )
    assert from_rows(rows).sha256 != from_rows([*rows[:position], changed, *rows[position + 1 :]]).sha256


def test_sha256_of_known_bytes():
    """The canonical bytes by hand: '"8"\\t"a"\\t4\\t9\\n"7"\\t"a"\\t3.5\\t10\\n'."""
    ratings = encode_ratings("two", "test", ["8", "7"], ["a", "a"], [4.0, 3.5], [9, 10])
    assert ratings.sha256 == "b07a9661014f68f64b84261bf38ff3e6b3317d814a9f02785a2d1693388b1ff9"


def test_sha256_does_not_depend_on_the_source_nor_on_codes():
    one = encode_ratings("a", "here", ["x", "y"], ["i", "j"], [1, 2], [5, 6])
    frame = one.frame.assign(user=1 - one.frame["user"])
    assert content_sha256(frame, one.user_ids[::-1], one.item_ids) == one.sha256
    assert encode_ratings("b", "there", ["x", "y"], ["i", "j"], [1.0, 2.0], [5.0, 6.0]).sha256 == one.sha256


def test_sha256_keeps_ids_with_tabs_apart():
    one = encode_ratings("a", "", ["x\ty"], ["z"], [1], [1])
    other = encode_ratings("a", "", ["x"], ["y\tz"], [1], [1])
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["10", "9", "01"], ["01", "10", "9"]),
        (["10", "9", "b"], ["10", "9", "b"]),
        (["7", "007"], ["007", "7"]),
        (["٣", "2"], ["2", "٣"]),
        (["é", "z", "a b"], ["a b", "z", "é"]),
    ],
)
def test_codes_follow_sorted_ids(ids, expected):
    ratings = encode_ratings("ids", "", ids, ["i"] * len(ids), [1] * len(ids), [0] * len(ids))
    assert list(ratings.user_ids) == expected


@pytest.mark.parametrize(
    ("timestamps", "dtype"),
    [([1, 2], "int64"), ([1.0, 2.0], "int64"), ([1.5, 2.0], "float64"), ([1e300, 2.0], "float64")],
)
def test_timestamps_are_whole_where_they_can_be(timestamps, dtype):
    ratings = encode_ratings("t", "", ["a", "b"], ["i", "i"], [1, 1], timestamps)
    assert str(ratings.frame["timestamp"].dtype) == dtype
    assert sorted(ratings.frame["timestamp"]) == sorted(timestamps)


def test_nanosecond_timestamps_stay_apart():
    late = 1_700_000_000_000_000_001
    ratings = encode_ratings("t", "", ["a", "a"], ["i", "j"], [1, 1], [late, late - 1])
    assert list(ratings.frame["timestamp"]) == [late, late - 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": pd.DataFrame({"user": [0]})}, "columns"),
        ({"user_ids": np.array([], dtype=object)}, "user codes run from 0 to 1, but there are 0 user ids"),
        ({"item_ids": np.array(["i"], dtype=object)}, "item codes run from 0 to 1"),
        ({"user_ids": np.array(["a", "a"], dtype=object)}, "user ids occur more than once"),
    ],
)
def test_parts_that_disagree(change, message):
    ratings = encode_ratings("bad", "", ["a", "b"], ["i", "j"], [1, 2], [3, 4])
    with pytest.raises(FlowGradError, match=message):
        dataclasses.replace(ratings, **change)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"], ["i", "j"], [1], [1]), r"lengths \(1, 2, 1, 1\)"),
        ((["a"], ["i"], [float("nan")], [1]), "column 'rating' holds NaN or inf"),
        ((["a"], ["i"], [1], [float("inf")]), "column 'timestamp' holds NaN or inf"),
    ],
)
def test_columns_that_cannot_be_encoded(columns, message):
    with pytest.raises(FlowGradError, match=message):
        encode_ratings("bad", "", *columns)


def slow_leave_one_out(rows):
    """Plain Python: {user: (train, validation, test)} as rows with ids; the rows of an item stay together."""
    parts = {}
    for user in {row[0] for row in rows}:
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[3])
        items = list(dict.fromkeys(row[1] for row in reversed(own)))
        held = [[row for row in own if row[1] == item] for item in items[:2]] if len(items) >= 3 else [[], []]
        rest = [row for row in own if len(items) < 3 or row[1] not in items[:2]]
        parts[user] = (rest, held[1], held[0])
    return parts


def assume_somebody_to_hold_out(rows):
    assume(any(len({item for user, item, _, _ in rows if user == one}) >= 3 for one in "abc"))


@given(DENSE_ROWS)
def test_leave_one_out_agrees_with_plain_python(rows):
    ratings = from_rows(rows)
    assume_somebody_to_hold_out(rows)
    split = leave_one_out(ratings)
    assert_partition(ratings, split)
    expected = slow_leave_one_out(rows).values()
    for position, part in enumerate((split.train, split.validation, split.test)):
        assert decoded(ratings, part) == sorted(row for parts in expected for row in parts[position])


@given(DENSE_ROWS)
def test_leave_one_out_keeps_every_user_and_the_order_in_time(rows):
    ratings = from_rows(rows)
    assume_somebody_to_hold_out(rows)
    split = leave_one_out(ratings)
    assert set(split.train["user"]) == set(range(ratings.n_users))
    assert not split.test.drop_duplicates(["user", "item"])["user"].duplicated().any()
    assert set(split.validation["user"]) == set(split.test["user"])
    last = {part: frame.groupby("user")["timestamp"].max() for part, frame in dataclasses.asdict(split).items()}
    for user in split.test["user"]:
        assert last["train"][user] <= last["validation"][user] <= last["test"][user]


def test_leave_one_out_by_hand():
    """Ties at timestamp 2 keep the order of the rows; b has two ratings only; (a, 1) is there twice."""
    rows = [("a", "1", 5.0, 1), ("a", "9", 3.0, 2), ("a", "10", 4.0, 2), ("a", "1", 1.0, 0)]
    rows += [("b", "1", 2.0, 7), ("b", "9", 2.0, 8)]
    ratings = from_rows(rows)
    split = leave_one_out(ratings)
    assert decoded(ratings, split.test) == [("a", "10", 4.0, 2)]
    assert decoded(ratings, split.validation) == [("a", "9", 3.0, 2)]
    assert decoded(ratings, split.train) == sorted([rows[0], rows[3], rows[4], rows[5]])


@pytest.mark.parametrize("rows", [[("a", "1", 5.0, 1)], [("a", "1", 5.0, 1), ("a", "2", 5.0, 2), ("b", "1", 1.0, 1)]])
def test_leave_one_out_with_nobody_to_hold_out(rows):
    with pytest.raises(FlowGradError, match="no user has 3 ratings or more"):
        leave_one_out(from_rows(rows))


def test_splitting_no_rows_at_all():
    empty = from_rows([("a", "i", 1.0, 1)])
    empty = dataclasses.replace(empty, frame=empty.frame.iloc[:0])
    with pytest.raises(FlowGradError, match="largest count is 0"):
        leave_one_out(empty)
    with pytest.raises(FlowGradError, match="0 ratings"):
        random_split(empty, 0.2, 0.2, seed=0)


@given(DENSE_ROWS, st.integers(0, 2**32), st.sampled_from([0.1, 0.2, 0.4]), st.sampled_from([0.1, 0.3]))
def test_random_split_is_a_partition_of_the_asked_sizes(rows, seed, test_share, validation_share):
    ratings = from_rows(rows)
    n_pairs = len({row[:2] for row in rows})
    assume(n_pairs >= 8)
    split = random_split(ratings, test_share, validation_share, seed)
    assert_partition(ratings, split)
    for part, share in ((split.test, test_share), (split.validation, validation_share)):
        assert len(part.drop_duplicates(["user", "item"])) == round(share * n_pairs)


@given(DENSE_ROWS, st.integers(0, 9))
def test_copies_of_a_pair_stay_in_one_part(rows, seed):
    """A pair that a log held three times was trained on and tested on, and chance ratings were 'confirmed'."""
    ratings = from_rows(rows * 3)
    assume_somebody_to_hold_out(rows)
    for split in (leave_one_out(ratings), random_split(ratings, 0.3, 0.3, seed)):
        assert_partition(ratings, split)
        pairs = [
            set(zip(part["user"], part["item"], strict=True)) for part in (split.train, split.validation, split.test)
        ]
        assert sum(map(len, pairs)) == len(set.union(*pairs))


@given(st.permutations([(user, item, 3.0, 0) for user in "abc" for item in "uvwx"]), st.integers(0, 9))
def test_without_copies_the_random_split_is_one_of_rows(rows, seed):
    """Splits of earlier results stay what they were."""
    split = random_split(from_rows(rows), 0.25, 0.25, seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    assert set(split.test.index) == set(order[:3])
    assert set(split.validation.index) == set(order[3:6])


@pytest.mark.parametrize(
    ("rows", "timed", "expected"),
    [
        ([("a", "i", 1.0, 1), ("a", "j", 1.0, 1)], True, (0, 0, 0)),
        ([("a", "i", 1.0, 1), ("a", "i", 1.0, 1)], True, (1, 2, 1)),
        ([("a", "i", 1.0, 1), ("a", "i", 1.0, 2)], True, (1, 2, 0)),
        ([("a", "i", 1.0, 1), ("a", "i", 1.0, 2)], False, (1, 2, 1)),
        ([("a", "i", 1.0, 1), ("a", "i", 2.0, 1)] + 3 * [("b", "i", 2.0, 1)], True, (2, 5, 2)),
    ],
)
def test_duplicates_are_counted(rows, timed, expected):
    """Where a source has no times, the order of its rows does not make two of them different."""
    users, items, scores, times = zip(*rows, strict=True)
    ratings = encode_ratings("rows", "test", list(users), list(items), scores, times, timed=timed)
    assert ratings.duplicates == Duplicates(*expected)
    assert bool(ratings.duplicates) == any(expected)


def test_random_split_follows_the_seed():
    ratings = from_rows([(str(user), str(item), 3.0, user + item) for user in range(10) for item in range(10)])
    one, again, other = (random_split(ratings, 0.2, 0.1, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.test, again.test)
    pd.testing.assert_frame_equal(one.validation, again.validation)
    assert not one.test.index.equals(other.test.index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1, 0), "test_share is 0.0"),
        ((1.0, 0.1, 0), "test_share is 1.0"),
        ((float("nan"), 0.1, 0), "test_share is nan"),
        ((0.1, -0.1, 0), "validation_share is -0.1"),
        ((0.5, 0.5, 0), "add up to 1 or more"),
        ((0.2, 0.2, -1), "seed is -1"),
        ((0.2, 0.2, 1.5), "seed is 1.5"),
        ((0.2, 0.2, True), "seed is True"),
        ((0.1, 0.4, 0), "leave the test part empty"),
        ((0.4, 0.1, 0), "leave the validation part empty"),
        ((0.1, 0.1, 0), "leave the validation and test part empty"),
    ],
)
def test_random_split_that_cannot_be(arguments, message):
    ratings = from_rows([("a", "i", 1.0, 1), ("a", "j", 1.0, 1)])
    with pytest.raises(FlowGradError, match=message):
        random_split(ratings, *arguments)


def test_random_split_whose_rounding_leaves_nothing_to_train_on():
    ratings = from_rows([("a", item, 1.0, 1) for item in "ijk"])
    with pytest.raises(FlowGradError, match="leave the train part empty"):
        random_split(ratings, 0.49, 0.5, seed=0)


def test_ratings_and_split_compare_by_identity():
    """Field-wise equality would raise on data frames."""
    ratings = from_rows([("a", str(item), 1.0, item) for item in range(3)])
    assert isinstance(ratings, Ratings)
    assert ratings == ratings
    assert ratings != dataclasses.replace(ratings)
    assert isinstance(leave_one_out(ratings), Split)
