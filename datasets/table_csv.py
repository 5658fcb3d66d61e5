"""Reads a log of clicks from a text file with one impression a line, in any column order and with any ids."""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pandas import DataFrame

from datasets.click_tables import click_table
from datasets.given_paths import given_path
from datasets.ratings_columns import did_you_mean
from datasets.ratings_text import Content, Record, checked_quote, checked_separator, read_text, records, shortened
from datasets.ratings_times import finite, parsed_times
from datasets.tables import Table, at_random, by_time
from datasets.unreadable_rows import BAD_LENGTH, BadRow, reasons
from flowgrad.errors import FlowGradError

TARGET = "clicked"
"""Name of the table's target, whatever the file calls it."""
CLICKS = Content("table file", "impression")
_CLICKED = re.compile(r"(?P<no>0([.,]0*)?|false)|1([.,]0*)?|true", re.ASCII)
_BAD_LABEL, _BAD_AMOUNT = "label is neither 0 nor 1", "is not a finite number"
_UNKNOWN = ("", "nan")
"""Texts of an amount that is not known, in small letters; NumPy writes the second."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns in a row of the file."""

    label: int
    categorical: dict[str, int]
    numerical: dict[str, int]
    time: int | None
    fields: int
    """Number of fields of a row."""


def load_table_csv(
    path: str | Path,
    categorical: Sequence[str | int],
    label: str | int = "clicked",
    numerical: Sequence[str | int] = (),
    time: str | int | None = None,
    separator: str = ",",
    *,
    header: bool = True,
    encoding: str = "utf-8",
    quote: str | None = '"',
    decimal: str = ".",
    max_bad_share: float = 0.01,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    split_seed: int = 0,
) -> Table:
    r"""Read a table of one target, `clicked`, from the text file `path`.

    - Categories are text, exactly as they stand: "007" and "7" are two. An empty field is a category of its own.
    - Amounts are finite numbers; an empty field, or nan, is one that is not known.
    - Labels are 0 and 1, as whole numbers or not, or false and true.
    - Times are numbers or dates, as those of `datasets.ratings_csv`. With them the last `test_share` of the rows are to
      test and those before to validate; without, rows are drawn at random.

    A row with another number of fields, or a label, amount or time that is not as above, is dropped; how many, why, and
    the first of each kind are logged in one warning. Above `max_bad_share` the file is refused instead.

    Args:
        path: the file.
        categorical: columns of ids and other categories, by name or by number from 0.
        label: column of the labels.
        numerical: columns of amounts.
        time: column of times; None: there is none.
        separator: text between fields; an escape such as `\t` is understood.
        header: whether the first row names the columns; without, they are given by number, and are called `c0`, `c1`.
        encoding: any that Python knows.
        quote: character that fields may be quoted with; None where quotes are text.
        decimal: decimal mark of numbers, "." or ",".
        max_bad_share: the largest share of rows, 0 to 1, that may be dropped.
        validation_share: share of the rows to validate.
        test_share: share of the rows to test.
        split_seed: of the split at random.

    Raises:
        FlowGradError: the file is missing, unreadable, empty, of another encoding, or has too many bad rows; a column
            is missing or named twice; labels are all alike; times are of several units; or a setting is of no use.
            Errors call an argument by its name in a config, `dataset.encoding` for `encoding`.
    """
    file = given_path("dataset.path", path)
    mark = checked_separator(separator, checked_quote(quote or None))
    if decimal not in (".", ","):
        raise FlowGradError(f"""dataset.decimal={decimal!r}: expected "." or ",", as in 'dataset.decimal=","'""")
    _check_shares(validation_share, test_share)
    for key, given in {"categorical": categorical, "numerical": numerical}.items():
        if isinstance(given, str):
            raise FlowGradError(f"dataset.{key}={given!r} is one text; give a list, as in dataset.{key}=[{given}]")
    found = list(records(read_text(file, encoding, CLICKS), mark, quote or None, file, CLICKS))
    if len(found) < (2 if header else 1):
        raise FlowGradError(f"{CLICKS.named(file)} holds no row; expected one impression a line, below a header")
    columns = _located(file, found[0], {"label": [label], "categorical": categorical, "numerical": numerical,
                                        "time": [] if time is None else [time]}, mark, header=header)  # fmt: skip
    kept, dropped = _readable(found[1:] if header else found, columns, decimal)
    classes = {_clicked(row.fields[columns.label]) for row in kept}
    if columns.time is not None:
        texts, lines = [row.fields[columns.time] for row in kept], [row.line for row in kept]
        times = parsed_times(texts, lines, CLICKS.named(file), None, "auto", decimal)
        for row, value in zip(kept, times, strict=True):
            if value is None:
                reason = "time is neither a finite number nor a date of a known form"
                dropped.append(BadRow(row.line, reason, row.fields[columns.time]))
        kept = [row for row, value in zip(kept, times, strict=True) if value is not None]
        moments = np.array([value for value in times if value is not None])
    _refuse_or_warn(file, dropped, len(kept), max_bad_share, several=len(classes) > 1)
    clicked = np.array([_clicked(row.fields[columns.label]) for row in kept])
    if len(np.unique(clicked)) < 2:
        raise FlowGradError(
            f"{CLICKS.named(file)}: every label is {clicked[0]:.0f}; there is nothing to learn, or dataset.label names "
            "another column"
        )
    frame = DataFrame({name: [row.fields[at] for row in kept] for name, at in columns.categorical.items()})
    for name, at in columns.numerical.items():
        frame[name] = np.array([_amount(row.fields[at], decimal) for row in kept], dtype=float)
    parts = (
        at_random(len(kept), validation_share, test_share, split_seed, clicked)
        if columns.time is None
        else by_time(moments, validation_share, test_share)
    )
    names = list(columns.categorical), list(columns.numerical)
    return click_table(file.stem, str(file), frame, *names, {TARGET: clicked}, parts)


def _check_shares(validation: float, test: float) -> None:
    for key, share in (("validation_share", validation), ("test_share", test)):
        if not 0 < share < 1:
            raise FlowGradError(f"dataset.{key}={share}: must lie between 0 and 1")
    if validation + test >= 1:
        raise FlowGradError(
            f"dataset.validation_share={validation} and dataset.test_share={test} leave no row to train on"
        )


def _located(
    file: Path, first: Record, given: dict[str, Sequence[str | int]], separator: str, *, header: bool
) -> _Columns:
    names = [name.strip() for name in first.fields] if header else [f"c{k}" for k in range(len(first.fields))]
    taken: dict[int, str] = {}
    places: dict[str, dict[str, int]] = {role: {} for role in given}
    for role, wanted in given.items():
        for one in wanted:
            at = _position(file, role, one, names, separator, header=header)
            if at in taken:
                raise FlowGradError(
                    f"dataset.{role} names column {names[at]!r}, which dataset.{taken[at]} names too; name it once"
                )
            taken[at] = role
            places[role][names[at]] = at
    if not places["categorical"]:
        raise FlowGradError(
            "dataset.categorical is empty; name the columns of ids, as in dataset.categorical=[user,item]"
        )
    return _Columns(
        next(iter(places["label"].values())),
        places["categorical"],
        places["numerical"],
        next(iter(places["time"].values()), None),
        len(names),
    )


def _position(file: Path, role: str, one: str | int, names: list[str], separator: str, *, header: bool) -> int:
    shown = ", ".join(map(shortened, names[:12])) + (", ..." if len(names) > 12 else "")
    if isinstance(one, int) and not isinstance(one, bool):
        if 0 <= one < len(names):
            return one
        raise FlowGradError(
            f"{CLICKS.named(file)} has no column number {one}; split by {separator!r} it has {len(names)}, numbered "
            f"from 0; set dataset.{role} or dataset.separator"
        )
    if not header:
        raise FlowGradError(
            f"dataset.{role} names {one!r}, and dataset.header=false says that there are no names; give its number "
            "from 0"
        )
    if names.count(str(one)) == 1:
        return names.index(str(one))
    if str(one) in names:
        raise FlowGradError(f"{CLICKS.named(file)}: column {one!r} is there {names.count(str(one))} times; rename one")
    raise FlowGradError(
        f"{CLICKS.named(file)} has no column {one!r}{did_you_mean(str(one), names)}; split by {separator!r} its "
        f"columns are {shown}; set dataset.{role} or dataset.separator, or dataset.header=false if the first line is "
        "none"
    )


def _readable(found: Sequence[Record], columns: _Columns, decimal: str) -> tuple[list[Record], list[BadRow]]:
    kept: list[Record] = []
    dropped: list[BadRow] = []
    for row in found:
        bad = _fault(row, columns, decimal)
        if bad is None:
            kept.append(row)
        else:
            dropped.append(bad)
    return kept, dropped


def _fault(row: Record, columns: _Columns, decimal: str) -> BadRow | None:
    if row.fault:
        return BadRow(row.line, row.fault, row.fields[0])
    if len(row.fields) != columns.fields:
        return BadRow(row.line, f"{BAD_LENGTH} ({len(row.fields)} and not {columns.fields})", " | ".join(row.fields))
    label = row.fields[columns.label]
    if _clicked(label) is None:
        return BadRow(row.line, _BAD_LABEL, label)
    for name, at in columns.numerical.items():
        text = row.fields[at]
        if text.strip().lower() not in _UNKNOWN and math.isnan(_amount(text, decimal)):
            return BadRow(row.line, f"{name} {_BAD_AMOUNT}", text)
    return None


def _clicked(text: str) -> float | None:
    """Label of 0 or 1; None where the text is none."""
    found = _CLICKED.fullmatch(text.strip().lower())
    return None if found is None else float(found["no"] is None)


def _amount(text: str, decimal: str) -> float:
    number = finite(text.strip(), decimal) if text.strip() else None
    return math.nan if number is None else number


def _refuse_or_warn(file: Path, dropped: list[BadRow], kept: int, max_bad_share: float, *, several: bool) -> None:
    """Log a warning of the dropped rows, or refuse the file for them.

    Args:
        file: for messages.
        dropped: rows that cannot be read.
        kept: number of rows that can.
        max_bad_share: as of `load_table_csv`.
        several: whether rows of both labels are kept, so that the others could be left out.
    """
    rows = kept + len(dropped)
    if not kept or len(dropped) > max_bad_share * rows:
        share = math.ceil(1000 * len(dropped) / rows) / 1000
        ways = _ways_out(dropped) + ([f"dataset.max_bad_share={share:g} leaves them out"] if several else [])
        raise FlowGradError(
            f"{CLICKS.named(file)}: {len(dropped)} of {rows} rows cannot be read ({reasons(dropped)}); "
            f"{'; '.join(ways)}"
        )
    if dropped:
        _logger.warning("%s: dropped %d of %d rows (%s)", CLICKS.named(file), len(dropped), rows, reasons(dropped))


def _ways_out(dropped: list[BadRow]) -> list[str]:
    """Suggest a setting that may make these rows readable."""
    ways = []
    if any(bad.reason == _BAD_LABEL for bad in dropped):
        ways.append("write 1 for a click and 0 for none, or name another column with dataset.label")
    if any(bad.reason.endswith(_BAD_AMOUNT) for bad in dropped):
        ways.append(
            "write plain numbers (dataset.decimal tells a decimal comma), and leave a field empty where the amount is "
            "not known, or name other columns with dataset.numerical"
        )
    return ways or ["check dataset.separator, dataset.quote and dataset.time"]
