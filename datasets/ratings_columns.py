"""Finds which column of a ratings file is which, by name or by number, and whether the file has a header."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from datasets.ratings import COLUMNS
from datasets.ratings_text import Record, named, shortened, suggested_separator
from datasets.ratings_times import finite, is_date
from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import LONGEST, MOST_COMPARED

HEADERS = ("auto", True, False)
_REQUIRED = ("user", "item")
_NUMERIC = ("rating", "timestamp")
_SHOWN = 12


def checked_columns(columns: Mapping[str, str | int | None]) -> dict[str, str | int]:
    """Check the columns that the file has, without those that are None.

    Raises:
        FlowGradError: an unknown key, a value that is neither a name nor a number, a missing id, or a column twice.
    """
    for role in columns:
        if role not in COLUMNS:
            raise FlowGradError(
                f"dataset.columns has the unknown key {role!r}{did_you_mean(str(role), COLUMNS)}; "
                f"the keys are {', '.join(COLUMNS)}"
            )
        given = columns[role]
        if isinstance(given, bool) or (given is not None and not isinstance(given, str | int)):
            raise FlowGradError(
                f"dataset.columns.{role} is {given!r}; expected a column's name as text, or its number from 0"
            )
        if isinstance(given, int) and given < 0:
            raise FlowGradError(f"dataset.columns.{role} is {given}; columns are numbered from 0")
    known = {role: given for role, given in columns.items() if given is not None}
    for role in _REQUIRED:
        if role not in known:
            raise FlowGradError(
                f"dataset.columns.{role} is not set; give the name or number of the file's {role} column"
            )
    for given, count in Counter(known.values()).items():
        if count > 1:
            roles = " and ".join(role for role, value in known.items() if value == given)
            raise FlowGradError(f"dataset.columns: {roles} name the same column {given!r}; give each its own")
    return known


def checked_header(header: bool | str) -> bool | str:
    """Check whether there is a header: `auto`, True or False.

    Raises:
        FlowGradError: it is something else.
    """
    if isinstance(header, str) and header.lower() in ("true", "false"):
        return header.lower() == "true"
    if header not in HEADERS or (header is not True and header is not False and header != "auto"):
        raise FlowGradError(f"dataset.header={header!r}: expected true, false or auto")
    return header


def located(
    columns: Mapping[str, str | int], header: bool | str, rows: Sequence[Record], separator: str, file: Path
) -> tuple[dict[str, int], bool]:
    """Find the position of each column, and whether the first row is a header.

    Args:
        columns: role -> name or number.
        header: as `checked_header` gives it. `auto` is a header where a column has a name; where all have numbers the
            first two rows decide, by whether they hold numbers where ratings and timestamps stand.
        rows: all records of the file; at least one.
        separator: for errors.
        file: for errors.

    Raises:
        FlowGradError: there is no such column, or it occurs twice, or nothing shows whether there is a header.
    """
    first = rows[0]
    if first.fault:
        raise FlowGradError(
            f"{named(file)}: line {first.line} is {first.fault}; expected column names split by {separator!r}"
        )
    by_name = [role for role, given in columns.items() if isinstance(given, str)]
    if header is False and by_name:
        raise FlowGradError(
            f"{named(file)}: dataset.columns.{by_name[0]}={columns[by_name[0]]} is a name, and dataset.header=false "
            f"says that there are none; give numbers from 0, such as {_by_number(first)}; line {first.line} holds "
            f"{_numbered(first.fields)}"
        )
    names = [name.strip() for name in first.fields]
    positions = {role: _position(role, given, names, rows, separator, file) for role, given in columns.items()}
    if header == "auto":
        header = bool(by_name) or _first_is_header(positions, rows, file)
    return positions, bool(header)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint on the name that is closest among the first `MOST_COMPARED`; empty if none is close."""
    if len(name) > LONGEST:
        return ""
    by_folded = {one.casefold(): one for one in islice(known, MOST_COMPARED) if len(one) <= LONGEST}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[close[0]]!r}?)" if close else ""


def _position(role: str, given: str | int, names: list[str], rows: Sequence[Record], separator: str, file: Path) -> int:
    if isinstance(given, int):
        if given < len(names):
            return given
        raise FlowGradError(
            f"{named(file)} has no column number {given}; split by {separator!r} it has {len(names)}, numbered from 0: "
            f"{_numbered(names)}; set {_likely(role, rows, separator)}"
        )
    if names.count(given) == 1:
        return names.index(given)
    if given in names:
        numbers = ", ".join(str(number) for number, name in enumerate(names) if name == given)
        raise FlowGradError(
            f"{named(file)}: column {given!r} is there {names.count(given)} times; rename one, or give its number "
            f"({numbers}) as dataset.columns.{role}"
        )
    left_out = f", dataset.columns.{role}=null if there is none" if role not in _REQUIRED else ""
    if rows[0].fields[0].lstrip().startswith(("{", "[")):
        raise FlowGradError(
            f"{named(file)} has no column {given!r}, and line {rows[0].line} looks like JSON: "
            f"{shortened(separator.join(rows[0].fields))}; save it as text with one rating a line"
        )
    headerless = (
        f"; line {rows[0].line} looks like a rating and not like a header: if there is none, set dataset.header=false "
        f"and number the columns from 0, such as {_by_number(rows[0])}"
        if any(finite(name) is not None or is_date(name) for name in names)
        else ""
    )
    raise FlowGradError(
        f"{named(file)} has no column {given!r}{did_you_mean(given, names)}; split by {separator!r} its columns "
        f"are {_listed(names)}; set {_likely(role, rows, separator)}{left_out}{headerless}"
    )


def _first_is_header(positions: Mapping[str, int], rows: Sequence[Record], file: Path) -> bool:
    """Whether the first row is a header where columns have numbers.

    Raises:
        FlowGradError: the rows do not show it.
    """
    telling = [positions[role] for role in _NUMERIC if role in positions] or list(positions.values())
    first, below = rows[0], [row for row in rows[1:] if not row.fault]
    if all(_is_value(first, position) for position in telling):
        return False
    # A row that cannot be read is no header: there is one only if the next row is clearly another kind.
    if below and not any(_is_value(first, position) for position in telling):
        ids_only = not any(role in positions for role in _NUMERIC)
        following = below if ids_only else below[:1]
        if all(_is_value(row, position) for row in following for position in telling):
            return True
    raise FlowGradError(
        f"{named(file)}: the columns have numbers, and nothing tells whether line {first.line} "
        f"({_numbered(first.fields)}) is a header; set dataset.header=true or dataset.header=false"
    )


def _is_value(row: Record, position: int) -> bool:
    if position >= len(row.fields):
        return False
    text = row.fields[position].strip()
    return finite(text) is not None or finite(text, ",") is not None or is_date(text)


def _likely(role: str, rows: Sequence[Record], separator: str) -> str:
    """The settings that may find the column, the likelier first: a row of one field was split by another character."""
    fields = rows[0].fields
    setting = suggested_separator(fields[0], separator) if len(fields) == 1 else ""
    return f"{setting}, or dataset.columns.{role}" if setting else f"dataset.columns.{role} or dataset.separator"


def _by_number(row: Record) -> str:
    """The setting that numbers the columns in the usual order, as it is given on a command line."""
    numbers = ", ".join(
        f"{role}: {number if number < len(row.fields) else 'null'}" for number, role in enumerate(COLUMNS)
    )
    return f"'dataset.columns={{{numbers}}}'"


def _numbered(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(f"{number}: {shortened(name)}" for number, name in enumerate(names[:_SHOWN])) + more


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 4 * _SHOWN else ""
    return ", ".join(map(shortened, names[: 4 * _SHOWN])) + more
