"""The columns that a booster learns from, looked at one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.measures import trees

PER_COLUMN = ("train_r2", "val_r2", "r2_loss", "shift_z", "twin_correlation", "distinct_share")


class Columns:
    """What each column says of the target alone, and which of them repeat each other."""

    def __init__(self) -> None:
        self._table = pd.DataFrame(columns=list(PER_COLUMN), dtype=float)

    def observe(self, X: Any, y: Any, X_validation: Any, y_validation: Any) -> None:
        """Measure both parts. See `BoostingTracker.observe_data`."""
        train, held_out = _frame(X, "X"), _frame(X_validation, "X_validation")
        if list(train.columns) != list(held_out.columns):
            raise ValueError(f"X has the columns {list(train)}, X_validation {list(held_out)}; give the same")
        target = _target(y, len(train), "y")
        new_target = _target(y_validation, len(held_out), "y_validation")
        lines = []
        numbers = np.full(train.shape, math.nan)
        for place, name in enumerate(train.columns):
            column, new_column, ordered = _numbers(train.iloc[:, place], held_out.iloc[:, place])
            measure = trees.alone if ordered else trees.alone_by_value
            fit = measure(column, target, new_column, new_target)
            if ordered:
                numbers[:, place] = column
            distinct = len(np.unique(column[~np.isnan(column)])) / len(column)
            lines.append((str(name), fit.train_r2, fit.val_r2, fit.train_r2 - fit.val_r2, fit.shift_z, distinct))
        table = pd.DataFrame(lines, columns=["name", "train_r2", "val_r2", "r2_loss", "shift_z", "distinct_share"])
        table["twin_correlation"] = trees.twins(numbers)
        self._table = table.set_index("name")[list(PER_COLUMN)]

    def table(self) -> pd.DataFrame:
        """A line a column; empty before `observe`."""
        return self._table.copy()

    def scalars(self) -> dict[str, float]:
        """The figures over all columns; NaN before `observe`."""
        if self._table.empty:
            return dict.fromkeys(("leak_r2", "leak_ratio", "twins"), math.nan)
        held_out = np.sort(self._table["val_r2"].dropna().to_numpy())[::-1]
        next_best = max(float(held_out[1]), 1e-6) if len(held_out) > 1 else math.nan
        return {
            "leak_r2": float(held_out[0]) if len(held_out) else math.nan,
            "leak_ratio": float(held_out[0]) / next_best if len(held_out) else math.nan,
            "twins": float((self._table["twin_correlation"] > trees.TWINS).sum()),
        }


def _frame(data: Any, what: str) -> pd.DataFrame:
    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(np.asarray(data))
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{what} has the shape {frame.shape}; give rows and columns")
    if not frame.columns.is_unique:
        raise ValueError(f"{what}: two columns are named {frame.columns[frame.columns.duplicated()][0]!r}")
    return frame


def _target(values: Any, rows: int, what: str) -> NDArray[np.float64]:
    try:
        target = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} holds no numbers; code two classes as 0 and 1") from error
    if target.shape != (rows,):
        raise ValueError(f"{what} has the shape {target.shape}; its rows are {rows}")
    if not np.isfinite(target).all():
        raise ValueError(f"{what} holds NaN or infinity; leave out the rows without a target")
    if np.ptp(target) == 0:
        raise ValueError(f"{what} holds nothing but {target[0]:.6g}; there is nothing to predict")
    return target


def _numbers(column: pd.Series, new_column: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Both parts as numbers, and whether their order means something; categories are numbered."""
    if pd.api.types.is_numeric_dtype(column) and pd.api.types.is_numeric_dtype(new_column):
        parts = [part.to_numpy(dtype=float, na_value=math.nan) for part in (column, new_column)]
        if any(np.isinf(part).any() for part in parts):
            raise ValueError(f"column {column.name!r} holds infinity; replace it, or leave the column out")
        return parts[0], parts[1], True
    codes, values = pd.factorize(column)
    found = values.get_indexer(pd.Index(new_column)) if len(values) else np.full(len(new_column), -1)
    unseen = (found == -1) & new_column.notna().to_numpy()
    new_codes = np.where(unseen, len(values), found).astype(float)
    return _known(codes.astype(float)), _known(new_codes), False


def _known(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(codes < 0, math.nan, codes)
