"""Reads Universal Binary JSON as XGBoost writes it (https://ubjson.org, draft 12): arrays of one type become NumPy
arrays.

Reading a model's JSON text takes ten times as long where trees are deep, most of it for digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_NUMBERS = {"i": "i1", "U": "u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_TYPES = {ord(marker): np.dtype(code) for marker, code in _NUMBERS.items()}
_CONSTANTS = {ord("Z"): None, ord("T"): True, ord("F"): False}
_LONG, _TEXT, _ARRAY, _OBJECT = b"LS[{"
_TYPED, _COUNTED, _ARRAY_END, _OBJECT_END = b"$#]}"


def loads(content: bytes) -> Any:
    r"""Decode the value that the bytes hold: dict, list, array, text, number, truth value or None.

    Raises:
        ValueError: the bytes are no UBJSON, or hold what XGBoost does not write, such as objects of one type.

    >>> loads(b"{i\x01a[$l#i\x02" + (7).to_bytes(4) + (8).to_bytes(4) + b"i\x01bSi\x02hi}")
    {'a': array([7, 8], dtype='>i4'), 'b': 'hi'}
    """
    try:
        value, end = _value(content, 0)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"no UBJSON that can be read: {len(content)} bytes, {error}") from error
    if end != len(content):
        raise ValueError(f"no UBJSON that can be read: {len(content)} bytes, of which {end} are a value")
    return value


def _value(content: bytes, at: int) -> tuple[Any, int]:
    """Decode the value whose marker stands at `at`, and say where it ends."""
    marker = content[at]
    if marker in _CONSTANTS:
        return _CONSTANTS[marker], at + 1
    return _READERS.get(marker, _number)(content, at)


def _number(content: bytes, at: int) -> tuple[Any, int]:
    kind = _TYPES[content[at]]
    return np.frombuffer(content, kind, 1, at + 1)[0].item(), at + 1 + kind.itemsize


def _length(content: bytes, at: int) -> tuple[int, int]:
    if content[at] == _LONG:  # all that XGBoost writes
        return int.from_bytes(content[at + 1 : at + 9]), at + 9
    return _number(content, at)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """The text whose length stands after the marker."""
    return _key(content, at + 1)


def _key(content: bytes, at: int) -> tuple[str, int]:
    length, at = _length(content, at)
    return content[at : at + length].decode(), at + length


def _array(content: bytes, at: int) -> tuple[Any, int]:
    at += 1
    if content[at] == _TYPED:
        kind = _TYPES[content[at + 1]]
        length, at = _length(content, at + 3)  # behind the type and the `#`
        return np.frombuffer(content, kind, length, at), at + length * kind.itemsize
    values = []
    if content[at] == _COUNTED:
        length, at = _length(content, at + 1)
        for _ in range(length):
            value, at = _value(content, at)
            values.append(value)
        return values, at
    while content[at] != _ARRAY_END:
        value, at = _value(content, at)
        values.append(value)
    return values, at + 1


def _object(content: bytes, at: int) -> tuple[dict[str, Any], int]:
    at += 1
    found = {}
    while content[at] != _OBJECT_END:
        key, at = _key(content, at)
        found[key], at = _value(content, at)
    return found, at + 1


_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {_TEXT: _text, _ARRAY: _array, _OBJECT: _object}
