"""A user's own log of clicks: what is read, and how each mistake is told."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from datasets.table_csv import TARGET, load_table_csv
from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError

HEADER = "clicked,user,item,price,at"


def lines(n=100, price="{:.2f}"):
    return [f"{k % 2},u{k % 7},{k % 5:03},{price.format(k / 10)},{1000 + k}" for k in range(n)]


@pytest.fixture
def written(tmp_path):
    def write(rows=None, header=HEADER, name="log.csv"):
        file = tmp_path / name
        file.write_text("\n".join([*([header] if header else []), *(lines() if rows is None else rows)]) + "\n")
        return file

    return write


def test_categories_are_text_and_amounts_are_numbers(written):
    rows = lines()
    rows[3] = "true,,7,,1003"
    table = load_table_csv(written(rows), ["user", "item"], numerical=["price"], time="at")
    assert table.name == "log"
    assert list(table.features) == ["user", "item", "price"]
    assert {"", "u0"} <= set(table.categories["user"])
    assert {"000", "7"} <= set(table.categories["item"])  # "007" would be another than "7"
    assert np.isnan(table.features["price"][3])
    assert table.targets[TARGET][:4].tolist() == [0, 1, 0, 1]


def test_rows_are_split_by_time_where_there_is_one(written):
    table = load_table_csv(written(lines()[::-1]), ["user"], time="at")
    assert [int((table.parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)] == [70, 10, 20]
    assert table.parts[0] == TEST
    assert table.parts[-1] == TRAIN


def test_without_times_each_part_has_its_share_of_clicks(written):
    table = load_table_csv(written(), ["user"], split_seed=1)
    for part in (TRAIN, VALIDATION, TEST):
        assert table.targets[TARGET][table.parts == part].mean() == pytest.approx(0.5)
    again = load_table_csv(written(), ["user"], split_seed=1)
    assert np.array_equal(again.parts, table.parts)


def test_a_file_without_a_header_is_read_by_numbers(written):
    rows = [row.replace(",", "\t") for row in lines()]
    table = load_table_csv(written(rows, header=None), [1, 2], label=0, numerical=[3], separator="\\t", header=False)
    assert list(table.features) == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"categorical": ["usr"]}, "has no column 'usr' .did you mean 'user'.*dataset.categorical"),
        ({"categorical": []}, "dataset.categorical is empty"),
        ({"categorical": ["user", "clicked"]}, "dataset.categorical names column 'clicked', which dataset.label"),
        (
            {"label": "item", "categorical": ["user"]},
            r"cannot be read \(label is neither 0 nor 1: 100, first '000' on line 2",
        ),
        ({"numerical": ["user"], "categorical": ["item"]}, "user is not a finite number: 100, first 'u0' on line 2"),
        ({"time": "item"}, "dataset.time names column 'item', which dataset.categorical names too"),
        ({"categorical": [9]}, "has no column number 9; split by ',' it has 5"),
        ({"header": False}, "dataset.header=false says that there are no names"),
        ({"separator": ";"}, "has no column 'clicked'.*dataset.separator"),
        ({"decimal": "-"}, "dataset.decimal='-'"),
        ({"test_share": 0.95}, "leave no row to train on"),
        ({"test_share": 0}, "dataset.test_share=0: must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(written, settings, told):
    with pytest.raises(FlowGradError, match=told):
        load_table_csv(written(), **{"categorical": ["user", "item"], **settings})


def test_few_bad_rows_are_left_out_with_a_warning_and_many_refused(written, caplog):
    rows = lines(200)
    rows[10] = "maybe,u1,1,1,1"
    rows[20] = "1,u1"
    with caplog.at_level(logging.WARNING):
        table = load_table_csv(written(rows), ["user"])
    assert len(table.features) == 198
    assert "dropped 2 of 200 rows" in caplog.text
    with pytest.raises(FlowGradError, match=r"2 of 200 rows cannot be read .*dataset\.max_bad_share=0\.01 leaves"):
        load_table_csv(written(rows), ["user"], max_bad_share=0.001)


def test_times_that_are_none_count_as_bad_rows(written):
    rows = lines()
    rows[5] = rows[5].rpartition(",")[0] + ",yesterday"
    assert len(load_table_csv(written(rows), ["user"], time="at").features) == 99


def test_files_that_hold_nothing_to_learn_are_refused(written, tmp_path):
    with pytest.raises(FlowGradError, match="holds no row; expected one impression a line"):
        load_table_csv(written([]), ["user"])
    with pytest.raises(FlowGradError, match="every label is 1"):
        load_table_csv(written(["1,u,i,1,1"] * 9), ["user"])
    with pytest.raises(FlowGradError, match=r"table file .* does not exist; set dataset.path to a table file"):
        load_table_csv(tmp_path / "none.csv", ["user"])
    (tmp_path / "packed.csv").write_bytes(b"PK\x03\x04")
    with pytest.raises(FlowGradError, match="save it as text with one impression a line"):
        load_table_csv(tmp_path / "packed.csv", ["user"])


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("0.0", "1.0"), ("False", "TRUE"), ("0,0", "1,0")])
def test_labels_as_programs_write_them(written, no, yes):
    """A column of labels that pandas had once seen a gap in holds 0.0 and 1.0, and was refused."""
    rows = [f"{yes if k % 3 else no};u{k % 7};{k}" for k in range(90)]
    table = load_table_csv(written(rows, header="clicked;user;price"), ["user"], numerical=["price"], separator=";")
    assert table.targets[TARGET].sum() == 60


def test_amounts_that_are_not_known_and_what_is_none(written):
    rows = [f"{k % 2},u{k % 7},{'nan' if k % 5 else k}" for k in range(90)]
    header = "clicked,user,price"
    table = load_table_csv(written(rows, header=header), ["user"], numerical=["price"])
    assert table.features["price"].isna().mean() == pytest.approx(0.8)
    rows = [row.replace("nan", "NULL") for row in rows]
    with pytest.raises(FlowGradError, match=r"first 'NULL' on line 3.*leave a field empty.*max_bad_share=0\.8"):
        load_table_csv(written(rows, header=header), ["user"], numerical=["price"])


def test_no_way_out_leaves_one_class(written):
    """The setting that was offered for labels -1 and 1 left out all of the one."""
    rows = [f"{2 * (k % 2) - 1},u{k % 7},{k}" for k in range(90)]
    with pytest.raises(FlowGradError, match=r"first '-1' on line 2\); write 1 for a click and 0 for none") as error:
        load_table_csv(written(rows, header="clicked,user,price"), ["user"])
    assert "max_bad_share" not in str(error.value)
    with pytest.raises(FlowGradError, match=r"dataset.categorical='user' is one text; give a list"):
        load_table_csv(written(rows, header="clicked,user,price"), "user")
