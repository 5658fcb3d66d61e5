"""Writes and reads values in a report, and says when two values are the same: one codec for each type of field.

A field's type annotation picks its codec, so reading, writing and equality cannot disagree about it.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

DOUBLE = re.compile(r"\s*([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|-?INF|NaN)\s*", re.ASCII)
"""Form of text that xs:double accepts."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,4000}")  # Python refuses to read more than 4300 digits


def clean(text: str) -> str:
    r"""Clean `text`: every character that cannot stand in XML 1.0 is replaced by U+FFFD.

    Those are control characters other than tab, line feed and carriage return, lone surrogates, U+FFFE and U+FFFF.

    >>> clean("a\x00b") == "a\ufffdb"
    True
    """
    return _NOT_XML.sub("\ufffd", str(text))


DIGITS = 6
"""Number of significant digits of a number in a report: more than any figure here is known to."""


def format_number(value: float) -> str:
    """Write a number as xs:double spells it, rounded to `DIGITS` significant digits.

    >>> [format_number(value) for value in (0.1, 2 / 3, float("-inf"), float("nan"))]
    ['0.1', '0.666667', '-INF', 'NaN']
    """
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "INF" if number > 0 else "-INF"
    return repr(float(f"{number:.{DIGITS}g}"))


def _write_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return clean(value)


def _write_scalar(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return format_number(float(value))
    return _write_text(value)


def _read_integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _read_scalar(text: str) -> str | float | int:
    """Read the number that `format_number` or `str(int)` writes exactly so; other text (`1.10`, `inf`, `+3`) stays as
    it is.
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    if text in ("INF", "-INF", "NaN"):
        return float(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and repr(number) == text else text


class Codec(NamedTuple):
    """A value's way into an XML text and back. `write` raises TypeError or ValueError on a value of another type."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


_TEXT = Codec(_write_text, str)
_NUMBER = Codec(format_number, float)
_COUNT = Codec(lambda value: str(operator.index(value)), int)  # refuses 2.7, takes numpy integers

_CODECS: dict[Any, Codec] = {
    str: _TEXT,
    float: _NUMBER,
    float | None: _NUMBER,
    int: _COUNT,
    int | None: _COUNT,
    int | str: Codec(_write_scalar, _read_integer),
    str | float | int: Codec(_write_scalar, _read_scalar),
}


@cache
def hints(cls: type) -> dict[str, Any]:
    """Type of each field of a dataclass, by name."""
    return get_type_hints(cls)


def codec(hint: Any) -> Codec:
    """The codec of a field's type; for a mapping, that of its values."""
    return _CODECS[get_args(hint)[1] if get_origin(hint) is Mapping else hint]


def canonical(value: Any, hint: Any = None) -> Hashable:
    """Canonical form of a value, as it is once written and read: the form in which reports are compared.

    NaN equals NaN, a numpy number the Python number it spells, a text the same text after `clean`, a list a tuple.
    Mappings compare without regard to order. Where a field takes text and numbers (`RunIdentity.training`,
    `RowRecord.id`) the text `5` and the number 5 are the same, since XML attributes cannot distinguish them.
    """
    if value is None:
        return None
    if is_dataclass(value) and not isinstance(value, type):
        types = hints(type(value))
        return (type(value).__name__, *(canonical(getattr(value, f.name), types[f.name]) for f in fields(value)))
    if isinstance(value, tuple | list):
        return tuple(canonical(item) for item in value)
    if isinstance(value, Mapping):
        return frozenset((name, _same(codec(hint), item)) for name, item in value.items())
    return _same(codec(hint), value)


def _same(way: Codec, value: object) -> Hashable:
    read: Hashable = way.read(way.write(value))
    return "NaN" if read != read else read
