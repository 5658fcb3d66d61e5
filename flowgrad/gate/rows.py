"""Codes rows as numbers: equal rows have the same one, whatever their types, in time linear in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Codes = NDArray[np.intp]

WHOLE, NUMBER, OTHER = "whole", "number", "other"

_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Constants of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA)."""


def columns_of(table: Any) -> list[Any]:
    """Columns of a data frame, of an array of shape (rows, columns) or (rows,), or of a sequence of columns."""
    if isinstance(table, pd.DataFrame):
        return [table.iloc[:, place] for place in range(table.shape[1])]
    if isinstance(table, (list, tuple)):
        return list(table)
    array = np.asarray(table)
    return [array] if array.ndim == 1 else list(array.reshape(len(array), -1).T)


def names_of(table: Any) -> list[str]:
    """Names of the columns of `columns_of`; their numbers where the table has no names."""
    if isinstance(table, pd.DataFrame):
        return [str(name) for name in table.columns]
    return [str(place) for place in range(len(columns_of(table)))]


@dataclass(frozen=True, eq=False)
class Rows:
    """Values of one table, or of several below each other."""

    keys: Keys
    """Code of 64 bits for each value, shape (columns, rows): equal exactly where values are equal."""
    kinds: tuple[str, ...]
    """Kind of each column: `whole` numbers, `number`s or `other` values."""

    def columns(self, count: int) -> Rows:
        """The first so many columns."""
        return Rows(self.keys[:count], self.kinds[:count])

    def at(self, places: Codes) -> Rows:
        """The rows at these places."""
        return Rows(self.keys[:, places], self.kinds)


def rows_of(*tables: Sequence[Any]) -> Rows:
    """Code the rows of all tables, which have the same columns.

    0 and -0 are one value, and so are all kinds of missing ones. Numbers are compared as float64, and where one table
    holds a column at the precision of float32, as float32; those of integer types as int64; other values are compared
    as they are.
    """
    found = [_keys([table[place] for table in tables]) for place in range(len(tables[0]))]
    return Rows(np.array([keys for keys, _ in found], dtype=np.uint64), tuple(kind for _, kind in found))


def numbers_of(keys: Keys, kind: str) -> NDArray[np.float64]:
    """The finite numbers that keys of this kind stand for."""
    values = keys.view(np.int64).astype(np.float64) if kind == WHOLE else keys.view(np.float64)
    return values[np.isfinite(values)]


def _keys(parts: Sequence[Any]) -> tuple[Keys, str]:
    given = [part if isinstance(part, (pd.Series, np.ndarray)) else np.asarray(part) for part in parts]
    if all(_is_whole(part) for part in given):
        return np.concatenate([np.asarray(part).astype(np.int64) for part in given]).view(np.uint64), WHOLE
    if all(pd.api.types.is_numeric_dtype(part.dtype) and not _is_complex(part) for part in given):
        values = np.concatenate(_at_one_precision([_floats(part) for part in given])) + 0.0  # no negative zero
        values[np.isnan(values)] = np.nan  # one kind of it
        return values.view(np.uint64), NUMBER
    codes, _ = pd.factorize(np.concatenate([np.asarray(part, dtype=object) for part in given]))
    return codes.astype(np.int64).view(np.uint64), OTHER


def _at_one_precision(parts: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Parts of a column, rounded to 32 bits where one of them was: it is the same column, kept in another format."""
    if len(parts) < 2:
        return parts
    with np.errstate(over="ignore"):
        rounded = [part.astype(np.float32).astype(np.float64) for part in parts]
    single = [bool(((part == small) | np.isnan(part)).all()) for part, small in zip(parts, rounded, strict=True)]
    # Whole numbers tell nothing of the format.
    fine = [bool((part % 1 != 0)[np.isfinite(part)].any()) for part in parts]
    coarse = any(one and fractions for one, fractions in zip(single, fine, strict=True))
    if all(single) or not coarse:
        return parts
    pairs = zip(parts, rounded, strict=True)
    return [np.where(np.isinf(small), part, small) for part, small in pairs]


def _is_whole(part: pd.Series | NDArray) -> bool:
    return isinstance(part.dtype, np.dtype) and part.dtype.kind in "iub"


def _is_complex(part: pd.Series | NDArray) -> bool:
    return bool(pd.api.types.is_complex_dtype(part.dtype))


def _floats(part: pd.Series | NDArray) -> NDArray[np.float64]:
    if isinstance(part, pd.Series):
        return part.to_numpy(dtype=np.float64, na_value=np.nan)
    return part.astype(np.float64)


def row_codes(keys: Keys) -> Codes:
    """Number each row's content, from 0 in order of first appearance, shape (rows,).

    Rows are distinguished by a hash of 64 bits, and those of equal hash are compared value by value.
    """
    codes = pd.factorize(hashes(keys))[0].astype(np.intp)
    first = first_of(codes)[codes]
    again = np.flatnonzero(first != np.arange(len(codes)))
    if all(np.array_equal(column[again], column[first[again]]) for column in keys):
        return codes
    exact = np.zeros(keys.shape[1], dtype=np.int64)  # two rows share a hash: number them column by column
    for column in keys:
        exact = pd.factorize(exact * (keys.shape[1] + 1) + pd.factorize(column)[0])[0].astype(np.int64)
    return exact.astype(np.intp)


def first_of(codes: Codes) -> Codes:
    """Place of the first row of each code, shape (codes,)."""
    first = np.empty(int(codes.max(initial=-1)) + 1, dtype=np.intp)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first


def hashes(keys: Keys) -> Keys:
    """Hash of 64 bits of each row of keys of shape (columns, rows); equal rows have equal hashes."""
    total = np.zeros(keys.shape[1], dtype=np.uint64)
    for column in keys:
        total = mixed((total + np.uint64(_ODD[0])) ^ column)
    return total


def mixed(z: Keys) -> Keys:
    """Keys mixed by SplitMix64's finaliser, a bijection of 64 bits."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(_ODD[1])
    z ^= z >> np.uint64(27)
    z *= np.uint64(_ODD[2])
    z ^= z >> np.uint64(31)
    return z
