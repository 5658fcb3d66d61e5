"""Ratings files of the forms that are found in use: each is read, or the error names the setting that reads it."""

import datetime
import gzip
import logging

import pytest

from datasets.duplicates import Duplicates
from datasets.ratings import leave_one_out, random_split
from datasets.ratings_csv import load_ratings_csv
from flowgrad.errors import FlowGradError

NAMES = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
NUMBERS = {"user": 0, "item": 1, "rating": 2, "timestamp": 3}
ROWS = [(f"u{k % 5}", f"i{k}", k % 4 + 1, 978_300_000 + 37_000 * k) for k in range(40)]
HEADER = "user,item,rating,timestamp\n"


def loaded(tmp_path, content, columns=NAMES, separator=",", **settings):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_ratings_csv(path, columns, separator, **settings)


def refused(tmp_path, content, columns=NAMES, separator=",", **settings):
    """The one line of the error."""
    with pytest.raises(FlowGradError) as caught:
        loaded(tmp_path, content, columns, separator, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(separator=",", rows=ROWS, header=True):
    top = separator.join(NAMES) + "\n" if header else ""
    return top + "".join(separator.join(map(str, row)) + "\n" for row in rows)


def with_times(form):
    """The rows, each with its time as `form` writes it, below a header."""
    return lines(rows=[(*row[:3], form(k, row[3])) for k, row in enumerate(ROWS)])


def date(form):
    return lambda k, t: datetime.datetime.fromtimestamp(t, datetime.UTC).strftime(form)


def rows_of(ratings):
    frame = ratings.frame
    users, items = ratings.user_ids[frame["user"]], ratings.item_ids[frame["item"]]
    return list(zip(users, items, frame["rating"], frame["timestamp"], strict=True))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::", "||", " ", "\x01", " , "])
@pytest.mark.parametrize("header", [True, False])
def test_separators_with_and_without_a_header(tmp_path, separator, header):
    ratings = loaded(tmp_path, lines(separator, header=header), NUMBERS, separator)
    assert rows_of(ratings) == ROWS


@pytest.mark.parametrize(("typed", "separator"), [(r"\t", "\t"), (r"\x01", "\x01"), (r"\u0001", "\x01")])
def test_separators_as_a_shell_hands_them_over(tmp_path, typed, separator):
    assert rows_of(loaded(tmp_path, lines(separator), separator=typed)) == ROWS


def test_quotes_around_a_separator_of_several_characters(tmp_path):
    text = 'user::item::rating\nann::"Alien :: Director\'s ""cut"""::5\nbob::x::3\n'
    ratings = loaded(tmp_path, text, {**NAMES, "timestamp": None}, "::")
    assert rows_of(ratings) == [("ann", 'Alien :: Director\'s "cut"', 5, 0), ("bob", "x", 3, 1)]


def test_quotes_that_are_text(tmp_path):
    text = 'user\titem\trating\nann\t12" vinyl\t5\nbob\t"Heroes\t3\ncyd\tx\t1\n'
    columns = {**NAMES, "timestamp": None}
    assert "dataset.quote=null" in refused(tmp_path, text, columns, "\t")
    assert [row[1] for row in rows_of(loaded(tmp_path, text, columns, "\t", quote=None))] == [
        '12" vinyl',
        '"Heroes',
        "x",
    ]
    single = "user,item,rating\nann,'a, b',5\n"
    assert rows_of(loaded(tmp_path, single, columns, quote="'")) == [("ann", "a, b", 5, 0)]


def test_no_header_and_names_tell_the_setting(tmp_path):
    for separator in ("\t", "::", ","):
        error = refused(tmp_path, lines(separator, header=False), separator=separator)
        assert "dataset.header=false" in error
        assert "'dataset.columns={user: 0, item: 1, rating: 2, timestamp: 3}'" in error
    assert "'dataset.columns={user: 0, item: 1, rating: 2, timestamp: null}'" in refused(
        tmp_path, "a,i,3\nb,j,4\n", {**NAMES, "timestamp": None}, header=False
    )


def test_a_true_header_with_another_name_is_not_taken_for_data(tmp_path):
    error = refused(tmp_path, lines().replace("rating", "stars"))
    assert "header=false" not in error
    assert "'user', 'item', 'stars', 'timestamp'" in error
    assert "dataset.columns.rating=null if there is none" in error


def test_another_separator_is_suggested(tmp_path):
    assert r"'dataset.separator=\t'" in refused(tmp_path, lines("\t"))
    assert "dataset.separator=::" in refused(tmp_path, lines("::"))
    assert """'dataset.separator=";"'""" in refused(tmp_path, lines(";"))


def test_numbers_of_columns_that_the_file_lacks(tmp_path):
    error = refused(tmp_path, lines(header=False), {**NUMBERS, "timestamp": 4})
    assert "no column number 4" in error
    assert "it has 4, numbered from 0: 0: 'u0', 1: 'i0', 2: '1', 3: '978300000'" in error


def test_a_name_of_digits_is_a_name(tmp_path):
    assert rows_of(loaded(tmp_path, "1,0,2\nb,a,3\n", {"user": "0", "item": "1", "rating": "2"})) == [("a", "b", 3, 0)]


@pytest.mark.parametrize("first", [True, False])
def test_ids_alone_tell_a_header_where_all_others_are_numbers(tmp_path, first):
    columns = {"user": 0, "item": 1}
    text = ("uid,iid\n" if first else "7,8\n") + "1,2\n3,4\n"
    ratings = loaded(tmp_path, text, columns)
    assert len(ratings.frame) == (2 if first else 3)
    assert not ratings.rated
    assert set(ratings.frame["rating"]) == {1.0}


def test_where_nothing_tells_a_header_the_user_does(tmp_path):
    text = "ann,x\nbob,y\n"
    error = refused(tmp_path, text, {"user": 0, "item": 1})
    assert "dataset.header=true or dataset.header=false" in error
    assert len(loaded(tmp_path, text, {"user": 0, "item": 1}, header=False).frame) == 2
    assert len(loaded(tmp_path, text, {"user": 0, "item": 1}, header=True).frame) == 1


def test_a_first_row_that_cannot_be_read_is_not_silently_a_header(tmp_path):
    """With columns by number a headerless file whose first rating is missing would lose it without a word."""
    text = lines(header=False).replace("u0,i0,1,", "u0,i0,none,")
    assert "dataset.header=false" in refused(tmp_path, text, NUMBERS)
    assert "39 of 40" not in refused(tmp_path, text, NUMBERS, header=False)


@pytest.mark.parametrize(
    ("encoding", "others"),
    [("latin-1", "latin-1"), ("cp1252", "latin-1"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le")],
)
def test_encodings(tmp_path, encoding, others):
    rows = [(user, f"{item} café", rating, time) for user, item, rating, time in ROWS]
    content = lines(rows=rows).encode(encoding)
    assert f"dataset.encoding={others}" in refused(tmp_path, content)
    assert rows_of(loaded(tmp_path, content, encoding=encoding)) == rows


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
def test_a_byte_order_mark_and_line_ends(tmp_path, mark, end, encoding):
    assert rows_of(loaded(tmp_path, (mark + lines()).replace("\n", end), encoding=encoding)) == ROWS


def test_a_decode_error_quotes_line_byte_and_count(tmp_path):
    content = lines().encode() + b"ann,caf\xe9,3,978300000\n" * 2
    error = refused(tmp_path, content)
    assert "byte 0xe9" in error
    assert "on line 42 (2 of 43 lines hold such bytes)" in error
    assert "dataset.encoding=latin-1" in error
    assert "'ann,café,3,978300000'" in error
    assert "on line 42" in refused(tmp_path, content, encoding="ascii")
    assert "dataset.encoding='utf9' is unknown" in refused(tmp_path, content, encoding="utf9")
    assert "dataset.encoding='hex' is unknown" in refused(tmp_path, content, encoding="hex")
    marked = ("\ufeff" + lines()).encode()
    assert "set dataset.encoding=utf-8" in refused(tmp_path, marked, encoding="latin-1")


def test_files_that_are_no_text(tmp_path):
    assert "compressed by gzip" in refused(tmp_path, gzip.compress(lines().encode()))
    assert "looks like JSON" in refused(tmp_path, '{"user": "ann", "item": "x", "rating": 3}\n' * 9)
    assert "Excel" in refused(tmp_path, b"PK\x03\x04" + b"\0" * 30)


def test_a_decimal_comma(tmp_path):
    text = lines(";", [(user, item, f"{rating},5", time) for user, item, rating, time in ROWS])
    error = refused(tmp_path, text, separator=";")
    assert """'dataset.decimal=","'""" in error
    assert "first '1,5' on line 2" in error
    ratings = loaded(tmp_path, text, separator=";", decimal=",")
    assert ratings.frame["rating"].tolist() == [row[2] + 0.5 for row in ROWS]
    assert "rating is not a finite number: 40" in refused(
        tmp_path, text.replace(",5;", ".5;"), separator=";", decimal=","
    )


@pytest.mark.parametrize("bad", ["{} stars", "five", "★★★", "{}/5"])
def test_ratings_with_words_are_refused_with_count_and_example(tmp_path, bad):
    """Half of the ratings were "4 stars", and the run went on with the other half."""
    rows = [(u, i, bad.format(r) if k % 2 else r, t) for k, (u, i, r, t) in enumerate(ROWS)]
    error = refused(tmp_path, lines(rows=rows))
    assert "20 of 40 rows cannot be read (rating is not a finite number: 20, first " in error
    assert f"{bad.format(2)!r} on line 3" in error
    assert "dataset.max_bad_share=0.5 leaves them out" in error
    assert len(loaded(tmp_path, lines(rows=rows), max_bad_share=0.5).frame) == 20


def test_a_few_bad_rows_are_left_out_and_told(tmp_path, caplog):
    rows = [(f"u{k}", "i", 1, k) for k in range(199)] + [("x", "i", "n/a", 3)]
    assert len(loaded(tmp_path, lines(rows=rows)).frame) == 199
    (record,) = caplog.records
    assert "dropped 1 of 200 rows (rating is not a finite number: 1, first 'n/a' on line 201)" in record.getMessage()


@pytest.mark.parametrize("columns", [{**NAMES, "rating": None}, {"user": "user", "item": "item", "timestamp": 3}])
def test_without_a_rating_column_every_row_counts_one(tmp_path, columns):
    ratings = loaded(tmp_path, lines(), columns)
    assert not ratings.rated
    assert ratings.timed
    assert rows_of(ratings) == [(user, item, 1.0, time) for user, item, _, time in ROWS]


FORMS = {
    "ISO": "%Y-%m-%d %H:%M:%S",
    "ISO with T": "%Y-%m-%dT%H:%M:%S",
    "BigQuery": "%Y-%m-%d %H:%M:%S UTC",
    "BigQuery with microseconds": "%Y-%m-%d %H:%M:%S.000000 UTC",
    "GMT": "%Y-%m-%d %H:%M:%S GMT",
    "Postgres": "%Y-%m-%d %H:%M:%S+00",
    "Go": "%Y-%m-%d %H:%M:%S +0000 UTC",
    "Ruby": "%Y-%m-%d %H:%M:%S +0000",
    "Z": "%Y-%m-%dT%H:%M:%SZ",
    "slashes, year first": "%Y/%m/%d %H:%M:%S",
    "US": "%m/%d/%Y %H:%M:%S",
    "US, half days": "%m/%d/%Y %I:%M:%S %p",
    "Europe": "%d/%m/%Y %H:%M:%S",
    "Europe, dots": "%d.%m.%Y %H:%M:%S",
    "Europe, dashes": "%d-%m-%Y %H:%M:%S",
    "months by name": "%d %b %Y %H:%M:%S",
    "months by name, US": '"%B %d, %Y %H:%M:%S"',
    "Twitter": "%a %b %d %H:%M:%S +0000 %Y",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_dates_of_common_forms_are_seconds(tmp_path, form):
    assert rows_of(loaded(tmp_path, with_times(date(form)))) == ROWS


@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M:%S", "%d.%m.%y %H:%M:%S", "%Y%m%d%H%M%S", "%d%b%Y:%H:%M:%S"])
def test_a_format_reads_what_is_not_clear(tmp_path, form):
    assert rows_of(loaded(tmp_path, with_times(date(form)), timestamp_format=form)) == ROWS


@pytest.mark.parametrize(
    ("form", "day_first", "month_first"),
    [
        ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
        ("%d.%m.%Y", "%d.%m.%Y", "%m.%d.%Y"),
        ("%d/%m/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M:%S %p"),
    ],
)
def test_days_that_could_be_months_ask_for_the_format(tmp_path, form, day_first, month_first):
    rows = [(u, i, r, date(form)(k, 976_000_000 + 86_400 * (k % 8))) for k, (u, i, r, _) in enumerate(ROWS)]
    error = refused(tmp_path, lines(rows=rows))
    assert "can be day first or month first, and none of the 40 rows tells" in error
    assert repr(rows[0][3]) + " on line 2" in error
    for chosen in (day_first, month_first):
        assert f"""'dataset.timestamp_format="{chosen}"'""" in error
        assert len(loaded(tmp_path, lines(rows=rows), timestamp_format=chosen).frame) == 40


def test_days_and_months_in_both_orders(tmp_path):
    rows = [
        (u, i, r, date("%d/%m/%Y" if k % 4 else "%m/%d/%Y")(k, t + 86_400 * 15)) for k, (u, i, r, t) in enumerate(ROWS)
    ]
    error = refused(tmp_path, lines(rows=rows))
    assert "day first (" in error
    assert "month first (" in error
    assert "dataset.timestamp_format" in error


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_an_epoch_of_one_unit_is_kept(tmp_path, factor):
    times = [row[3] * factor for row in ROWS]
    text = with_times(lambda k, t: t * factor)
    assert loaded(tmp_path, text).frame["timestamp"].tolist() == times
    assert rows_of(loaded(tmp_path, text, timestamp_unit="mixed")) == ROWS


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_a_unit_makes_seconds(tmp_path, factor, unit):
    assert rows_of(loaded(tmp_path, with_times(lambda k, t: t * factor), timestamp_unit=unit)) == ROWS


@pytest.mark.parametrize(("factor", "name"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
@pytest.mark.parametrize("every", [2, 40])
def test_mixed_units_are_refused(tmp_path, factor, name, every):
    """Half of the ratings were in milliseconds, so the split by time put all of them last."""
    text = with_times(lambda k, t: t if k % every else t * factor)
    error = refused(tmp_path, text)
    assert f"seconds ({40 - 40 // every} rows, such as '978337000' on line 3)" in error
    assert f"{name} ({40 // every} rows, such as '{978300000 * factor}' on line 2)" in error
    assert "dataset.timestamp_unit=mixed" in error
    assert rows_of(loaded(tmp_path, text, timestamp_unit="mixed")) == ROWS


def test_dates_beside_numbers(tmp_path):
    """Dates become seconds, so only numbers in seconds may stand beside them."""
    iso = date("%Y-%m-%d %H:%M:%S")
    assert rows_of(loaded(tmp_path, with_times(lambda k, t: t if k % 2 else iso(k, t)))) == ROWS
    for other in (lambda t: t * 1000, lambda t: int(date("%Y%m%d")(0, t))):
        error = refused(tmp_path, with_times(lambda k, t, other=other: other(t) if k % 2 else iso(k, t)))
        assert "mix dates (20 rows, such as '2000-12-31 22:00:00' on line 2)" in error
        assert "dataset.timestamp_unit" in error


@pytest.mark.parametrize(
    "numbers",
    [
        range(40),
        [10**k for k in range(1, 19)] * 2,
        [k * 10**10 for k in range(40)],
        [20_010_101 + k for k in range(40)],
        [-1, 0, *range(978_300_000, 978_300_038)],
        [2000 + k for k in range(40)],
    ],
)
def test_numbers_that_are_no_mixture_are_left_alone(tmp_path, numbers):
    """Counters, years, days and sentinels are not accused of mixing units."""
    rows = [(f"u{k}", "i", 1, number) for k, number in enumerate(numbers)]
    assert loaded(tmp_path, lines(rows=rows)).frame["timestamp"].tolist() == list(numbers)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"timestamp_unit": "minutes"}, "dataset.timestamp_unit='minutes'"),
        ({"timestamp_format": "YYYY"}, "dataset.timestamp_format='YYYY'"),
        ({"timestamp_format": "%Q"}, "dataset.timestamp_format='%Q'"),
        ({"decimal": ";"}, "dataset.decimal=';'"),
        ({"quote": "''"}, "dataset.quote is \"''\""),
        ({"header": "maybe"}, "dataset.header='maybe'"),
        ({"header": 1}, "dataset.header=1"),
        ({"max_bad_share": 1.5}, "dataset.max_bad_share=1.5"),
        ({"max_bad_share": True}, "dataset.max_bad_share=True"),
        ({"duplicates": "kep"}, "did you mean 'keep'"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path, setting, named):
    assert named in refused(tmp_path, lines(), **setting)


COPIED = HEADER + "a,i,1,30\na,i,5,10\na,i,3,20\nb,i,2,10\nb,i,2,10\nb,j,4,11\n"


def test_repeated_pairs_are_refused_unless_a_setting_says_what_to_do(tmp_path):
    error = refused(tmp_path, COPIED)
    assert "2 (user, item) pairs occur more than once, in 5 of 6 rows (1 are exact copies of an earlier one)" in error
    assert "user 'a', item 'i' on lines 2, 3, 4" in error
    assert "dataset.duplicates=drop" in error


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("drop", [("a", "i", 5, 10), ("b", "i", 2, 10), ("b", "j", 4, 11)]),
        ("last", [("a", "i", 1, 30), ("b", "i", 2, 10), ("b", "j", 4, 11)]),
        ("mean", [("a", "i", 3, 30), ("b", "i", 2, 10), ("b", "j", 4, 11)]),
    ],
)
def test_repeated_pairs_put_right(tmp_path, caplog, how, expected):
    ratings = loaded(tmp_path, COPIED, duplicates=how)
    assert rows_of(ratings) == expected
    assert not ratings.duplicates
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "5 of 6 rows" in record.getMessage()
    assert f"dataset.duplicates={how}" in record.getMessage()


def test_repeated_pairs_that_are_kept_stand_in_one_part(tmp_path, caplog):
    """Each pair of a log of chance ratings stood there three times, and a proof on it was 'confirmed'."""
    ratings = loaded(tmp_path, lines(rows=[row for row in ROWS for _ in range(3)]), duplicates="keep")
    assert ratings.duplicates == Duplicates(pairs=40, rows=120, copies=80)
    assert "dataset.duplicates=keep" in caplog.records[0].getMessage()
    for split in (leave_one_out(ratings), random_split(ratings, 0.2, 0.2, 0)):
        parts = [
            set(zip(part["user"], part["item"], strict=True)) for part in (split.train, split.validation, split.test)
        ]
        assert all(parts)
        assert sum(map(len, parts)) == 40
        assert len(split.train) + len(split.validation) + len(split.test) == 120


def test_without_times_a_row_that_says_the_same_is_a_copy(tmp_path):
    """The order of the rows stands for time there, and no two rows share a place."""
    ratings = loaded(tmp_path, COPIED, {**NAMES, "timestamp": None}, duplicates="keep")
    assert ratings.duplicates == Duplicates(pairs=2, rows=5, copies=1)
    dropped = loaded(tmp_path, COPIED, {**NAMES, "timestamp": None}, duplicates="drop")
    assert dropped.frame["timestamp"].tolist() == [0, 1, 2]


def test_the_healthy_counterpart(tmp_path, caplog):
    ratings = loaded(tmp_path, lines())
    assert rows_of(ratings) == ROWS
    assert ratings.duplicates == Duplicates()
    assert not caplog.records


@pytest.mark.parametrize("first", ["sep=;", "SEP=;"])
def test_the_line_that_tells_a_spreadsheet_the_separator_is_no_row(tmp_path, first):
    content = f"{first}\n" + lines(";")
    assert len(loaded(tmp_path, content, separator=";").frame) == len(ROWS)
    assert len(loaded(tmp_path, content.replace(";", ","), separator=",").frame) == len(ROWS)


@pytest.mark.parametrize(
    ("start", "named"), [(b"ARROW1\0\0", "an Arrow file"), (b"SQLite format 3\0", "an SQLite database")]
)
def test_files_of_databases_are_named(tmp_path, start, named):
    assert f"is {named}; unpack it, or save it as text" in refused(tmp_path, start + b"x" * 50)
