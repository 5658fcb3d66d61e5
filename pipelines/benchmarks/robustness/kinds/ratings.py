"""Files of ratings: damaged, in other encodings, without an end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datasets.ratings_csv import load_ratings_csv
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged

_FIELDS = (
    "", " ", "nan", "inf", "-inf", "1e308", "1e400", "9" * 400, "x" * 100_000, "\0", '"', '""', '"a', "'", "\r", "é",
    "٣",
    "\u2028", "\ufeff", "2001-02-30", "31/12/2001", "20240131", "-1", "1,5", "=1+1", "NULL", "0x10", "1_000", "True",
)  # fmt: skip
_SETTINGS: tuple[dict[str, Any], ...] = (
    {}, {"encoding": "utf-16"}, {"encoding": "latin-1"}, {"encoding": "nosuch"}, {"encoding": "rot13"},
    {"separator": ";"}, {"separator": ""}, {"separator": "\\"}, {"separator": "::"}, {"quote": None}, {"quote": ","},
    {"decimal": ","}, {"decimal": "x"}, {"timestamp_format": "%Q"}, {"timestamp_format": "%d/%m/%Y"},
    {"timestamp_unit": "ms"}, {"timestamp_unit": "mixed"}, {"max_bad_share": 1.0}, {"max_dropped_share": 0.0},
    {"duplicates": "drop"}, {"duplicates": "mean"}, {"duplicates": "keep"}, {"header": True}, {"header": False},
)  # fmt: skip
_LEAST = 0.04
"""Share of a file's lines that is read, where it is not refused; what a cut file lacks nobody knows."""
_ENDLESS: dict[str, Callable[[Path], Any]] = {
    "a line without end": lambda path: path.write_bytes(b"user,item,rating,timestamp\n" + b"1" * (64 << 20)),
    "a quote without end": lambda path: path.write_bytes(b'user,item,rating,timestamp\n"' + b"1,2\n" * (4 << 20)),
    "a huge hole": lambda path: _hole(path),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "100,000 columns": lambda path: path.write_bytes(b",".join([b"c"] * 100_000) + b"\n" + b"," * 100_000 + b"\n"),
    "a link to itself": lambda path: path.symlink_to(path),
    "quotes only": lambda path: path.write_bytes(b'"' * 1_000_001),
    "empty lines": lambda path: path.write_bytes(b"\n" * 1_000_000),
    "NUL": lambda path: path.write_bytes(bytes(1_000_000)),
}


def _hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """Bytes, lines and fields damaged, read with other settings too; or something that has no end."""
    way = int(rng.integers(8))
    if way == 0:
        name = list(_ENDLESS)[int(rng.integers(len(_ENDLESS)))]
        return _attack(name, _ENDLESS[name], {})
    settings = _SETTINGS[int(rng.integers(len(_SETTINGS)))] if rng.random() < 0.6 else {}
    text = _text(rng)
    if way < 3:
        data, tried = bytes_damaged(text.encode(), rng)
    elif way == 3:
        made, tried = lines_damaged(text, rng)
        data = made.encode()
    else:
        lines = text.splitlines()
        put = _FIELDS[int(rng.integers(len(_FIELDS)))]
        share = float(rng.choice([0.001, 0.005, 0.2, 1.0]))
        column = int(rng.integers(4))
        for at in range(len(lines)):
            if rng.random() < share:
                fields = lines[at].split(",")
                fields[column] = put
                lines[at] = ",".join(fields)
        data, tried = "\n".join(lines).encode(), f"{put[:20]!r} in {share:.1%} of column {column}"
    told = f"{tried}{f', read with {settings}' if settings else ''}"
    return _attack(told, lambda path: path.write_bytes(data), settings)


def _text(rng: np.random.Generator) -> str:
    pairs = rng.permutation(30 * 20)[:400]
    lines = [f"{pair // 20},{pair % 20},{rng.integers(1, 6)},{10**9 + int(pair)}" for pair in pairs]
    return "\n".join(["user,item,rating,timestamp", *lines]) + "\n"


def _attack(tried: str, write: Callable[[Path], Any], settings: dict[str, Any]) -> Attack:
    columns = {name: name for name in ("user", "item", "rating", "timestamp")}

    def perform(place: Place) -> None:
        file = place.given / "ratings.csv"
        write(file)
        found = load_ratings_csv(file, columns, **settings).frame
        if not np.isfinite(found[["rating", "timestamp"]].to_numpy(dtype=float)).all():
            raise Fault("accepted", "ratings or times that are not finite were read")
        lines = file.read_bytes().count(b"\n")
        if len(found) < _LEAST * lines:
            raise Fault("accepted", f"{len(found)} of {lines} lines were read, and nothing was said")

    return Attack(f"ratings: {tried}", perform)
