"""Ratings read from text files: what is kept, what is dropped and counted, and what stops the run."""

import csv
import io
import logging
import time
from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.ratings_csv import load_ratings_csv
from datasets.ratings_times import parsed_times
from flowgrad.errors import FlowGradError

COLUMNS = {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}
HEADER = "user,item,rating,time\n"


def written(tmp_path, content):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(ratings):
    """Rows with their original ids, in frame order."""
    frame = ratings.frame
    users, items = ratings.user_ids[frame["user"]], ratings.item_ids[frame["item"]]
    return list(zip(users, items, frame["rating"], frame["timestamp"], strict=True))


@pytest.fixture
def far_from_utc(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC-9")
        time.tzset()
        yield
    time.tzset()


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(str.strip)
ROWS = st.lists(st.tuples(IDS, IDS, st.floats(-10, 10), st.integers(0, 2**31)), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read_back(tmp_path, rows, separator, line_end):
    text = io.StringIO()
    # The csv module does not quote a lone carriage return when it does not end lines.
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["user", "item", "rating", "time"])
    writer.writerows([user, item, repr(rating), timestamp] for user, item, rating, timestamp in rows)
    ratings = load_ratings_csv(written(tmp_path, text.getvalue()), COLUMNS, separator, duplicates="keep")
    assert sorted(rows_of(ratings)) == sorted(rows)


def test_a_file_with_everything_at_once(tmp_path, caplog):
    """Byte order mark, CRLF, extra column, other order, spaces, unicode, "007" and "7", half stars, a repeated pair."""
    text = (
        "\ufefftime,extra,rating, item ,user\r\n"
        '3,x,4.5,"The Good, the Bad",007\r\n'
        "2,,0.5,Amélie 2,7\r\n"
        "\r\n"
        "1,x,5,Amélie 2,7\r\n"
        '4,x,1,"two\r\nlines","a ""b"""\r\n'
        "5,x,2,z,7"
    )
    ratings = load_ratings_csv(written(tmp_path, text), COLUMNS, duplicates="keep")
    assert rows_of(ratings) == [
        ("007", "The Good, the Bad", 4.5, 3),
        ("7", "Amélie 2", 0.5, 2),
        ("7", "Amélie 2", 5.0, 1),
        ('a "b"', "two\r\nlines", 1.0, 4),
        ("7", "z", 2.0, 5),
    ]
    assert ratings.name == "ratings"
    assert ratings.source == str(tmp_path / "ratings.csv")
    (record,) = caplog.records
    assert "1 (user, item) pairs occur more than once" in record.getMessage()


@pytest.mark.parametrize(
    "columns", [{**COLUMNS, "timestamp": None}, {"user": "user", "item": "item", "rating": "rating"}]
)
def test_without_timestamps_the_order_of_the_file_is_time(tmp_path, columns):
    path = written(tmp_path, HEADER + "b,j,1,9\na,i,2,bad\nb,i,3,7\n")
    ratings = load_ratings_csv(path, columns)
    assert not ratings.timed
    assert rows_of(ratings) == [("b", "j", 1.0, 0), ("a", "i", 2.0, 1), ("b", "i", 3.0, 2)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12),
        (" 12 ", 12),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("20240131", 20240131),
        ("1700000000000000001", 1700000000000000001),
        ("1970-01-02", 86400),
        ("1970-01-01T00:01", 60),
        ("1970-01-01 00:00:01.5", 1.5),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T23:59:59", -1),
    ],
)
@pytest.mark.usefixtures("far_from_utc")
def test_timestamps(tmp_path, text, seconds):
    ratings = load_ratings_csv(written(tmp_path, f"{HEADER}a,i,1,{text}\n"), COLUMNS)
    assert rows_of(ratings) == [("a", "i", 1.0, seconds)]


def seconds(*texts, unit="auto", date_format=None):
    """Timestamps of a column of texts."""
    return parsed_times(texts, range(2, len(texts) + 2), "file", date_format, unit, ".")


@given(st.datetimes())
def test_iso_dates_without_an_offset_are_utc(moment):
    expected = pytest.approx(moment.replace(tzinfo=UTC).timestamp(), rel=1e-15)
    assert seconds(moment.isoformat(), moment.isoformat(" ") + "Z") == [expected, expected]


BAD_ROWS = [
    (",i,1,1", "missing user id"),
    ("  ,i,1,1", "missing user id"),
    ('"",i,1,1', "missing user id"),
    ("a,,1,1", "missing item id"),
    ("a,i,,1", "missing rating"),
    ("a,i,good,1", "rating is not a finite number"),
    ("a,i,nan,1", "rating is not a finite number"),
    ("a,i,-inf,1", "rating is not a finite number"),
    ("a,i,1e999,1", "rating is not a finite number"),
    ("a,i,1_5,1", "rating is not a finite number"),
    ("a,i,1,", "missing timestamp"),
    ("a,i,1,yesterday", "timestamp is neither a finite number nor a date"),
    ("a,i,1,31.01.24", "timestamp is neither a finite number nor a date"),
    ("a,i,1,now", "timestamp is neither a finite number nor a date"),
    ("a,i,1,May", "timestamp is neither a finite number nor a date"),
    ("a,i,1,2024-01-31 10:00 PST", "timestamp is neither a finite number nor a date"),
    ("a,i,1,2024-02-30", "timestamp is neither a finite number nor a date"),
    ("a,i,1,inf", "timestamp is neither a finite number nor a date"),
    ("a,i,1", "wrong number of fields"),
    ("a,i,3,5,1", "wrong number of fields"),
    ("a", "wrong number of fields"),
    ('"a"b,i,1,1', "not CSV"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_is_dropped_and_named(tmp_path, caplog, row, reason):
    path = written(tmp_path, f"{HEADER}\na,i,1,1\n{row}\nb,j,2,2\n")
    with caplog.at_level(logging.WARNING):
        ratings = load_ratings_csv(path, COLUMNS, max_bad_share=0.5)
    assert rows_of(ratings) == [("a", "i", 1.0, 1), ("b", "j", 2.0, 2)]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "dropped 1 of 3 rows" in record.getMessage()
    assert reason in record.getMessage()
    assert record.getMessage().endswith("on line 4)")


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_file_of_bad_rows_only(tmp_path, row, reason):
    with pytest.raises(FlowGradError, match=f"no row can be used .*2 of 2 rows.*{reason}.*: 2.* on line 2"):
        load_ratings_csv(written(tmp_path, f"{HEADER}{row}\n{row}\n"), COLUMNS)


def test_one_warning_counts_reasons_and_names_true_lines(tmp_path, caplog):
    """The record on line 3 goes over two lines, so the rows after it are one line further down than their count."""
    good = "a,i,1,1\n"
    text = HEADER + good + 'a,"two\nlines",1,1\n' + ",i,1,1\n" * 4 + "b,i,1,1\n" + "a,i,x,1\n" * 2 + "a,i\n"
    with caplog.at_level(logging.WARNING):
        load_ratings_csv(written(tmp_path, text), COLUMNS, max_bad_share=0.7)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"ratings file {str(tmp_path / 'ratings.csv')!r}: dropped 7 of 10 rows (missing user id: 4, first "
        "on line 5; rating is not a finite number: 2, first 'x' on line 10; wrong number of fields (2 and not 4): 1, "
        "first 'a | i' on line 12)"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["u,i,3,1", *(row for row, _ in BAD_ROWS)]), min_size=1, max_size=15))
def test_every_row_is_kept_or_counted(tmp_path, caplog, lines):
    caplog.clear()
    path = written(tmp_path, HEADER + "\n".join(["u,i,3,1", *lines]))
    kept = len(load_ratings_csv(path, COLUMNS, max_bad_share=1, duplicates="keep").frame)
    dropped = len(lines) + 1 - kept
    assert kept == 1 + lines.count("u,i,3,1")
    assert len(caplog.records) == bool(dropped) + (kept > 1)
    if dropped:
        assert f"dropped {dropped} of {len(lines) + 1} rows" in caplog.records[0].getMessage()


def test_users_with_one_rating_stay(tmp_path):
    assert load_ratings_csv(written(tmp_path, HEADER + "a,i,1,1\nb,i,1,1\n"), COLUMNS).n_users == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected one rating a line"),
        ("\n\n", "is empty; expected one rating a line"),
        (HEADER, r"no row can be used \(there is only a header\)"),
        ("User,item,rating,time\n", r"no column 'user' \(did you mean 'User'\?\); .*'User', 'item', 'rating', 'time'"),
        ("user,item,ratings,time\n", r"did you mean 'ratings'\?.*set dataset.columns.rating"),
        ("user;item;rating;time\n", r"split by ',' its columns are 'user;item;rating;time'.*dataset.separator"),
        ("user,item,rating,q\n", "no column 'time'; split .* dataset.columns.timestamp=null if there is none"),
        ("user,item,rating,time,user\n", "column 'user' is there 2 times"),
        ('"user"x,item,rating,time\n', "line 1 is not CSV"),
        (
            HEADER.encode() + b"a,i,1,1\ncaf\xe9,i,1,1\n",
            r"not utf-8: byte 0xe9 at position .*, on line 3 .*1 of 3 lines.*dataset.encoding=latin-1.*'café,i,1,1'",
        ),
        (HEADER.encode() + b"a,i,1,1\n\xff", r"not utf-8: byte 0xff at position .*, on line 3"),
        (HEADER.encode("utf-16"), "byte order mark of utf-16 .*set dataset.encoding=utf-16"),
        (HEADER + 'a,i,1,1\n"b,i,1,1\nc,i,1,1\n', "quote opened on line 3 is not closed"),
        (HEADER + 'a,i,1,1\n"b,i,1,1\nc,"i",1,1\n', "quote opened on line 3 is not closed"),
        (HEADER + 'a,i,1,"1', "quote opened on line 2 is not closed"),
        (HEADER + '"' + "b,i,1,1\n" * 20_000, "quote opened on line 2 is not closed"),
    ],
)
def test_files_that_stop_the_run(tmp_path, content, message):
    with pytest.raises(FlowGradError, match=message) as caught:
        load_ratings_csv(written(tmp_path, content), COLUMNS)
    assert str(tmp_path / "ratings.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**COLUMNS, "item": None}, "dataset.columns.item is not set"),
        ({**COLUMNS, "user": True}, "dataset.columns.user is True; expected a column's name as text, or its number"),
        ({**COLUMNS, "user": -1}, "dataset.columns.user is -1; columns are numbered from 0"),
        ({**COLUMNS, "itme": "x"}, r"unknown key 'itme' \(did you mean 'item'\?\); the keys are user, item"),
        ({**COLUMNS, "item": "user"}, "user and item name the same column 'user'"),
    ],
)
def test_columns_that_stop_the_run(tmp_path, columns, message):
    with pytest.raises(FlowGradError, match=message):
        load_ratings_csv(written(tmp_path, HEADER + "a,i,1,1\n"), columns)


@pytest.mark.parametrize("separator", ["", '"', "\n", "\r", ":\n", '";"', "\\n"])
def test_separators_that_stop_the_run(tmp_path, separator):
    with pytest.raises(FlowGradError, match=r"dataset\.separator is .*; expected one or several characters"):
        load_ratings_csv(written(tmp_path, HEADER + "a,i,1,1\n"), COLUMNS, separator)


def test_a_missing_file(tmp_path):
    with pytest.raises(FlowGradError, match=r"none\.csv' does not exist; set dataset\.path"):
        load_ratings_csv(tmp_path / "none.csv", COLUMNS)


def test_a_folder(tmp_path):
    with pytest.raises(FlowGradError, match=r"cannot be read \(Is a directory\); set dataset\.path"):
        load_ratings_csv(str(tmp_path), COLUMNS)
