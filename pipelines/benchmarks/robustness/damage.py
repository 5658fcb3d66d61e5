"""Damage to bytes, texts and nested values, whatever they are of."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

HOSTILE_BYTES = (
    b"\0",
    b"\xff\xfe",
    b"\r",
    b"\n",
    b'"',
    b"'",
    b",",
    b";",
    b"\xed\xa0\x80",
    b"\x1a",
    b"<",
    b"&",
    b"{",
    b"-",
    b"9" * 400,
)
ODD_VALUES: tuple[Any, ...] = (
    None, "", "text", " ", "\0", "x" * 5000, -1, 0, 1, 2, 1.5, -0.0, 1e308, -1e308, float("nan"), float("inf"),
    float("-inf"), 10**23, -(10**23), 2**63, 2**31, True, False, [], {}, [None], [[[[]]]], {"a": 1}, {"": None},
    "${oc.env:HOME}", "${nothing.there}", "١٢", "1e3", "0x10", "null", "../../etc/passwd", "/dev/zero", "a\nb",
    "os.abort", ["a", "a"], [1, 2, 3], list(range(1000)),
)  # fmt: skip
"""Values that replace another."""


def bytes_damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """The bytes with one to three of them flipped, cut, doubled, moved, or replaced by hostile ones; what was done."""
    done = []
    for _ in range(int(rng.integers(1, 4))):
        made, said = _one(data, rng)
        if made != data:
            data = made
            done.append(said)
    return data, "; ".join(done) or "nothing"


def _one(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    size = len(data)
    at, end = sorted(int(place) for place in rng.integers(0, size + 1, size=2))
    way = int(rng.integers(8))
    if way == 0 and size:
        at = min(at, size - 1)
        bit = int(rng.integers(8))
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], f"bit {bit} of byte {at} flipped"
    if way == 1:
        return data[:at], f"cut at {at}"
    if way == 2:
        return data[:at] + data[end:], f"bytes {at} to {end} left out"
    if way == 3:
        return data[:end] + data[at:end] + data[end:], f"bytes {at} to {end} doubled"
    if way == 4:
        return data[end:] + data[:end], f"turned at {end}"
    if way == 5:
        return data[:at] + bytes(end - at) + data[end:], f"bytes {at} to {end} zeroed"
    put = HOSTILE_BYTES[int(rng.integers(len(HOSTILE_BYTES)))]
    return data[:at] + put + data[at:], f"{put[:6]!r} put at {at}"


def lines_damaged(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """The text with a line left out, doubled, moved or indented; what was done."""
    lines = text.splitlines(keepends=True)
    at, other = (int(place) for place in rng.integers(0, max(len(lines), 1), size=2))
    way = int(rng.integers(5))
    if not lines:
        return text, "nothing"
    if way == 0:
        return "".join(lines[:at] + lines[at + 1 :]), f"line {at + 1} left out"
    if way == 1:
        return "".join(lines[: at + 1] + lines[at:]), f"line {at + 1} doubled"
    if way == 2:
        lines[at], lines[other] = lines[other], lines[at]
        return "".join(lines), f"lines {at + 1} and {other + 1} changed about"
    if way == 3:
        lines[at] = "  " + lines[at]
        return "".join(lines), f"line {at + 1} indented"
    lines[at] = lines[at].replace(":", ": [", 1)
    return "".join(lines), f"a bracket in line {at + 1}"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested mappings and lists, the containers among them; of a long list the first three."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, one in value.items():
            yield from places(one, (*path, key))
    elif isinstance(value, list | tuple):
        for place, one in list(enumerate(value))[:3]:
            yield from places(one, (*path, place))


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    """Value at a place."""
    for key in path:
        value = value[key]
    return value


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a place; everything that is not on the way to it is the same object."""
    if not path:
        return new
    made: Any = list(value) if isinstance(value, tuple) else copy.copy(value)
    made[path[0]] = replaced(value[path[0]], path[1:], new)
    return tuple(made) if isinstance(value, tuple) else made


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy without what stands at a place."""
    holder = value_at(value, path[:-1])
    made: Any = list(holder) if isinstance(holder, tuple) else copy.copy(holder)
    del made[path[-1]]
    return replaced(value, path[:-1], made)


def value_damaged(value: Any, rng: np.random.Generator, odd: tuple[Any, ...] = ODD_VALUES) -> tuple[Any, str]:
    """A copy of nested values in which one is left out, has another value or another name; what was done."""
    every = list(places(value))
    path = every[int(rng.integers(len(every)))]
    where = ".".join(map(str, path))
    way = int(rng.integers(8))
    if way == 0:
        return without(value, path), f"{where} left out"
    holder = value_at(value, path[:-1])
    if way == 1 and isinstance(holder, dict):
        named = {(f"{key}_" if key == path[-1] else key): one for key, one in holder.items()}
        return replaced(value, path[:-1], named), f"{where} named {path[-1]}_"
    was = value_at(value, path)
    pool = [*odd, *_near(was)]
    new = (
        pool[int(rng.integers(len(pool)))]
        if way < 5 or not _near(was)
        else _near(was)[int(rng.integers(len(_near(was))))]
    )
    return replaced(value, path, new), f"{where}={short(new)}"


def _near(was: Any) -> list[Any]:
    """Values that look like it."""
    if isinstance(was, bool):
        return [not was, str(was)]
    if isinstance(was, int):
        return [was + 1, was - 1, -was, was * 1000, float(was), str(was), [was]]
    if isinstance(was, float):
        return [-was, was * 2, was * 1e300, str(was), [was]]
    if isinstance(was, str):
        return [was[:-1], was + "x", was.upper(), was * 300, [was], was[1:], was.replace(" ", "  ")]
    if isinstance(was, list | tuple):
        return [[*was, *was], list(was)[1:], list(was)[::-1], dict(enumerate(was)), [list(was)]]
    if isinstance(was, dict):
        return [list(was), {**was, "extra": 1}, {**was, 7: 1}, [was], dict.fromkeys(was)]
    return []


def short(value: Any) -> str:
    """Write a value in a short text for a table."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a very long number"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
