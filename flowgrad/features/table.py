"""Checks a table of features and its target: numbers without gaps, or an error that says what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError
from flowgrad.gate import REFUSED, GateError, Objection, distinct_rows, table_objection
from flowgrad.measures.masked import unmasked

Floats = NDArray[np.float64]

MOST_COLUMNS = 10_000
"""Each is compared with every other: of more, that takes gigabytes."""
_LARGEST = 1e60
"""Size of a value up to which sums of fourth powers are floats."""


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Columns that vary, as numbers."""

    names: tuple[str, ...]
    X: Floats
    """Values, shape (rows, columns)."""
    y: Floats
    """Target, shape (rows,)."""
    left_out: tuple[str, ...] = ()
    """Columns that are constant."""
    groups: NDArray[np.intp] | None = None
    """Number of each row's group, shape (rows,); None where rows stand alone."""

    @cached_property
    def objection(self) -> Objection | None:
        """The gate's objection to a random division of the rows; None where there is none."""
        return table_objection(self.frame, self.y, self.groups)

    @cached_property
    def units(self) -> FeatureTable:
        """The table in which copies of a row within its group count once; itself where there are no groups."""
        places = None if self.groups is None else distinct_rows(self.X, self.y, self.groups)
        return self if places is None else self.part(places)

    @property
    def frame(self) -> pd.DataFrame:
        """The columns by name."""
        return pd.DataFrame(self.X, columns=pd.Index(self.names), copy=False)

    def part(self, rows: NDArray[np.intp]) -> FeatureTable:
        """Some of the rows, without the columns that are constant on them.

        Raises:
            GateError: no column varies on them, or the target does not.
        """
        X, y = self.X[rows], self.y[rows]
        varies = np.array([not _constant(column) for column in X.T])
        if not varies.any() or _constant(y):
            raise GateError(
                Objection(
                    "rows alike",
                    REFUSED,
                    f"of {len(self.y)} rows, {len(rows)} at random are all alike",
                    "give more rows",
                    len(rows),
                    len(self.y),
                )
            )
        names = np.array(self.names, dtype=object)
        groups = None if self.groups is None else self.groups[rows]
        return FeatureTable(tuple(names[varies]), X[:, varies], y, (*self.left_out, *names[~varies]), groups)

    def halves(self, seed: int) -> tuple[FeatureTable, FeatureTable]:
        """Two random halves of the rows, or of their groups.

        Raises:
            FlowGradError: as `part`; fewer than two groups.
        """
        rng = np.random.default_rng(seed)
        if self.groups is None:
            order = rng.permutation(len(self.y))
            one = np.zeros(len(self.y), dtype=bool)
            one[order[: len(order) // 2]] = True
        else:
            known = np.unique(self.groups)
            if len(known) < 2:
                raise FlowGradError("all rows are of one group; halves need two at least")
            one = np.isin(self.groups, rng.permutation(known)[: len(known) // 2])
        return self.part(np.flatnonzero(one)), self.part(np.flatnonzero(~one))


def checked_table(X: Any, y: Any, groups: Any = None) -> FeatureTable:
    """Columns and target as numbers.

    Raises:
        FlowGradError: as `FeatureAnalyzer`.
    """
    frame = X if isinstance(X, pd.DataFrame) else _from_array(X)
    names = [str(name) for name in frame.columns]
    if not len(frame) or not names:
        raise FlowGradError(f"X has the shape {frame.shape}; give rows and columns")
    if len(names) > MOST_COLUMNS:
        raise FlowGradError(f"X has {len(names)} columns; at most {MOST_COLUMNS} are compared: give those that matter")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise FlowGradError(f"two columns are named {twice[:80]!r}; rename one")
    columns = [_numbers(frame.iloc[:, place], name) for place, name in enumerate(names)]
    if isinstance(y, pd.Series) and not y.index.equals(frame.index) and _same_labels(y.index, frame.index):
        raise FlowGradError("y has the index of X in another order; give y.loc[X.index], or y.to_numpy() if rows match")
    target = _target(y, len(frame))
    varies = [not _constant(column) for column in columns]
    kept = tuple(name for name, used in zip(names, varies, strict=True) if used)
    if not kept:
        raise FlowGradError(f"every column is constant ({', '.join(names[:5])}); there is nothing to look at")
    numbers = np.column_stack([column for column, used in zip(columns, varies, strict=True) if used])
    _check_target_is_no_column(numbers, target, kept)
    left_out = tuple(name for name, used in zip(names, varies, strict=True) if not used)
    return FeatureTable(kept, numbers, target, left_out, _groups(groups, len(frame)))


def _groups(groups: Any, rows: int) -> NDArray[np.intp] | None:
    if groups is None:
        return None
    if np.shape(groups) != (rows,):
        raise FlowGradError(f"groups has the shape {np.shape(groups)}; X has {rows} rows")
    codes, _ = pd.factorize(np.asarray(groups))
    if (codes < 0).any():
        raise FlowGradError(f"groups is missing in {int((codes < 0).sum())} of {rows} rows; give each row one")
    return codes


def _from_array(X: Any) -> pd.DataFrame:
    try:
        array = np.asarray(unmasked(X))
    except ValueError as error:
        raise FlowGradError(f"X is no array ({error}); give a data frame, or rows of one length") from error
    if array.ndim != 2:
        raise FlowGradError(f"X has the shape {array.shape}; give a data frame or an array of rows and columns")
    return pd.DataFrame(array, columns=pd.Index([f"x{place}" for place in range(array.shape[1])]))


def _numbers(column: pd.Series, name: str) -> Floats:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        raise FlowGradError(
            f"column {name!r} holds {column.dtype}, not numbers; encode it first (one column of 0 and 1 a value, or "
            "the target's mean of other rows), or leave it out"
        )
    values = column.to_numpy(dtype=float, na_value=np.nan)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise FlowGradError(
            f"column {name!r} is missing in {len(missing)} of {len(values)} rows (the first: "
            f"{column.index[missing[0]]}); fill it, e.g. X[{name!r}].fillna(X[{name!r}].median()), and say where by a "
            f"column X[{name!r}].isna(), or leave the column out"
        )
    endless = np.flatnonzero(np.isinf(values))
    if len(endless):
        raise FlowGradError(
            f"column {name!r} is infinite in {len(endless)} of {len(values)} rows (the first: "
            f"{column.index[endless[0]]}); replace it by a number, or leave the column out"
        )
    _check_size(values, f"column {name!r}")
    return values


def _check_size(values: Floats, name: str) -> None:
    size = np.abs(values).max(initial=0.0)
    if size > _LARGEST or 0 < size < 1 / _LARGEST:
        raise FlowGradError(f"{name} has values up to {size:.3g}, whose squares no float holds; give it in other units")


def _same_labels(one: pd.Index, other: pd.Index) -> bool:
    return bool(one.is_unique and len(one) == len(other) and one.isin(other).all())


def _target(y: Any, rows: int) -> Floats:
    if np.shape(y) != (rows,):
        raise FlowGradError(f"y has the shape {np.shape(y)}; X has {rows} rows")
    given = pd.Series(unmasked(y)).infer_objects()
    if not pd.api.types.is_numeric_dtype(given) or pd.api.types.is_complex_dtype(given):
        raise FlowGradError(f"y holds {given.dtype}, not numbers; code two classes as 0 and 1")
    target = given.to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(target).all():
        raise FlowGradError("y holds NaN or infinity; leave out the rows without a target")
    _check_size(target, "y")
    if _constant(target):
        raise FlowGradError(f"y holds nothing but {target[0]:.6g}; one class alone leaves nothing to explain")
    return target


def _constant(values: Floats) -> bool:
    return bool(values.std() <= 1e-12 * np.abs(values).max(initial=0.0))


def _check_target_is_no_column(X: Floats, y: Floats, names: tuple[str, ...]) -> None:
    target = y - y.mean()
    target /= np.sqrt(target @ target)
    roughly = np.abs(target @ X) / (X.std(axis=0) * np.sqrt(len(y)))
    for place in np.flatnonzero(roughly > 1 - 1e-6):
        column = X[:, place] - X[:, place].mean()
        if 1 - abs(target @ column) / np.sqrt(column @ column) < 1e-9:
            raise FlowGradError(f"column {names[place]!r} is the target, or a multiple of it; leave it out of X")
