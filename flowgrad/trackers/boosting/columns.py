"""The columns that a booster learns from, looked at one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate import columns_of, parts_objection
from flowgrad.measures import trees

PER_COLUMN = (
    "train_r2", "val_r2", "r2_loss", "shift_z", "twin_correlation", "distinct_share", "distinct", "mode_share", "whole",
    "alone_p", "code_r2_loss", "code_shift_z",
)  # fmt: skip


class Columns:
    """What each column says of the target alone, and which of them repeat each other."""

    def __init__(self) -> None:
        self._table = pd.DataFrame(columns=list(PER_COLUMN), dtype=float)
        self._scalars = dict.fromkeys(("target_values", "seen_rows", "seen_share"), math.nan) | {"val_error": 0.0}

    def observe(self, X: Any, y: Any, X_validation: Any, y_validation: Any) -> None:
        """Measure both parts. See `BoostingTracker.observe_data`."""
        train, held_out = _frame(X, "X"), _frame(X_validation, "X_validation")
        if list(train.columns) != list(held_out.columns):
            raise ValueError(f"X has the columns {list(train)}, X_validation {list(held_out)}; give the same")
        target = _target(y, len(train), "y")
        new_target = _target(y_validation, len(held_out), "y_validation")
        lines = {}
        numbers = np.full(train.shape, math.nan)
        for place, name in enumerate(train.columns):
            column, new_column, ordered = _numbers(train.iloc[:, place], held_out.iloc[:, place])
            if ordered:
                numbers[:, place] = column
            lines[str(name)] = _alone(column, target, new_column, new_target, ordered) | _values(column, ordered)
        table = pd.DataFrame.from_dict(lines, orient="index", dtype=float)
        table["twin_correlation"] = trees.twins(numbers)
        self._table = table[list(PER_COLUMN)]
        self._scalars = {
            "val_error": 1 / math.sqrt(len(held_out)),
            "target_values": float(len(np.unique(target))),
            **_seen(train, target, held_out, new_target),
        }

    def table(self) -> pd.DataFrame:
        """A line a column; empty before `observe`."""
        return self._table.copy()

    def scalars(self) -> dict[str, float]:
        """The figures over all columns; NaN before `observe`."""
        if self._table.empty:
            return dict.fromkeys(("leak_r2", "leak_ratio", "leak_rest", "twins"), math.nan) | self._scalars
        held_out = np.sort(self._table["val_r2"].dropna().to_numpy())[::-1]
        best, second = (float(held_out[k]) if len(held_out) > k else math.nan for k in (0, 1))
        return {
            "leak_r2": best,
            "leak_ratio": best / max(second, 1e-6),
            "leak_rest": (1 - best) / max(1 - second, 1e-6),
            "twins": float((self._table["twin_correlation"] > trees.TWINS).sum()),
            **self._scalars,
        }


def _seen(
    train: pd.DataFrame, target: NDArray[np.float64], held_out: pd.DataFrame, new_target: NDArray[np.float64]
) -> dict[str, float]:
    """Held-out rows that training saw."""
    before, after = ([*columns_of(part), values] for part, values in ((train, target), (held_out, new_target)))
    found = parts_objection(before, after)
    count = 0.0 if found is None else float(found.count)
    return {"seen_rows": count, "seen_share": count / len(held_out)}


def _alone(
    column: NDArray[np.float64],
    target: NDArray[np.float64],
    new_column: NDArray[np.float64],
    new_target: NDArray[np.float64],
    ordered: bool,
) -> dict[str, float]:
    """What the column says of the target alone."""
    if not ordered:
        fit = trees.alone_by_value(column, target, new_column, new_target)
        return _of_fit(fit) | {"alone_p": fit.p, "code_r2_loss": fit.train_r2 - fit.val_r2, "code_shift_z": fit.shift_z}
    fit = trees.alone(column, target, new_column, new_target)
    found = [p for p in (fit.p, trees.linear_p(column, target)) if not math.isnan(p)]
    told = _of_fit(fit) | {"alone_p": min(len(found) * min(found), 1.0) if found else math.nan}  # Bonferroni
    codes = _codes(column, new_column)
    if codes is None:
        return told | {"code_r2_loss": 0.0, "code_shift_z": 0.0}
    by_value = trees.alone_by_value(codes[0], target, codes[1], new_target)
    return told | {"code_r2_loss": by_value.train_r2 - by_value.val_r2, "code_shift_z": by_value.shift_z}


def _of_fit(fit: trees.Fit) -> dict[str, float]:
    return {
        "train_r2": fit.train_r2, "val_r2": fit.val_r2, "r2_loss": fit.train_r2 - fit.val_r2, "shift_z": fit.shift_z,
    }  # fmt: skip


def _codes(
    column: NDArray[np.float64], new_column: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Whole numbers that recur, numbered; None for other columns."""
    values = np.unique(column[~np.isnan(column)])
    if not 1 < len(values) <= len(column) / 2 or (values != np.round(values)).any():
        return None
    coded = []
    for part in (column, new_column):
        place = np.clip(np.searchsorted(values, part), 0, len(values) - 1)
        unseen = (values[place] != part) & ~np.isnan(part)
        coded.append(np.where(np.isnan(part), math.nan, np.where(unseen, len(values), place)))
    return coded[0], coded[1]


def _values(column: NDArray[np.float64], ordered: bool) -> dict[str, float]:
    """What values the column has in training."""
    known = column[~np.isnan(column)]
    values, counts = np.unique(known, return_counts=True)
    most = max(int(counts.max()) if len(counts) else 0, len(column) - len(known))
    return {
        "distinct_share": len(values) / len(column),
        "distinct": float(len(values)),
        "mode_share": most / len(column),
        "whole": float(ordered and len(values) > 0 and bool((values == np.round(values)).all())),
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
