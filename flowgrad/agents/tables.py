"""Reads the tables of a run folder as texts, without pandas; a bad one is an error that names the file and the line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowgrad.csv_tables import read_lines
from flowgrad.errors import EvidenceError

SIGNIFICANCE, OBSERVATIONS = "significance.csv", "observations.csv"
PRIMARY = ("paired_t", "corrected_t", "sign", "no_worse")
"""Tests that a verdict rests on, as `flowgrad.statistics.PRIMARY` and `NO_WORSE` name them."""
CONTROL = "control"
"""Family of the comparison of an arm with itself."""


def lines_of(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read the lines of a table, each a mapping of column to text.

    Raises:
        EvidenceError: as `flowgrad.csv_tables.read_lines`, or a column is missing or stands twice.
    """
    rows = read_lines(path)
    _, header = next(rows)
    if missing := [name for name in columns if name not in header]:
        raise EvidenceError(f"{path}:1: there is no column {missing[0]!r}; there are {', '.join(header)[:300]}")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise EvidenceError(f"{path}:1: the column {twice!r} stands twice")
    return [dict(zip(header, values, strict=True)) for _, values in rows]


def primary_of(lines: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Lines that verdicts rest on: not those of tests that only check another, nor of the control where there are
    others.
    """
    tested = [line for line in lines if line["test"] in PRIMARY]
    return [line for line in tested if line.get("family") != CONTROL] or tested
