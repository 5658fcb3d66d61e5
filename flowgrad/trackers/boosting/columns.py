"""Measures the columns that a booster learns from, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from flowgrad.gate import DOWNGRADED, SEEN_ROWS, columns_of, near_copies_seen, parts_objection, rows_between
from flowgrad.measures import trees
from flowgrad.measures.codes import columns_by_value
from flowgrad.measures.masked import unmasked
from flowgrad.measures.row_figures import BELONGING_MEASURES, belonging_figures
from flowgrad.measures.windows import hold_own_target
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.trackers.boosting.joined import joined_by_index
from flowgrad.trackers.boosting.signs import MOST_CLASSES, copies_target, tells_by_presence

PER_COLUMN = (
    "train_r2", "val_r2", "r2_loss", "shift_z", "recovered", "twin_correlation", "distinct_share", "distinct",
    "mode_share", "whole",
    "alone_p", "code_r2_loss", "code_shift_z", "code_p_held_out", "part_distance", "joined_by_index",
    "one_value_held_out", "known_in_time", "told_late",
    "copies_target", "tells_by_presence", "holds_own_target", "value_effect", "value_p", "neighbours_alike",
)  # fmt: skip
HELD_OUT = (
    "val_r2", "r2_loss", "shift_z", "code_r2_loss", "code_shift_z", "code_p_held_out", "one_value_held_out",
)  # fmt: skip
"""Measures that need held-out rows."""
LEAST_HELD_OUT = 30
"""Number of validation rows below which nothing is said of a column on them: of 30, R2 has a standard error of up to
.18.
"""
MOST_COLUMNS = 5_000
"""Number of columns that are compared with each other; of more, that takes minutes and gigabytes."""
MOST_ENTRIES = 100_000_000
"""Number of rows times columns up to which a sparse matrix is looked at: as numbers they take 0.8 GB."""
_USUAL = 0.25
"""Share of the training rows from which a value is one that a column may have while nothing is written in it. A month
or a weekday has its value in a seventh of them or less.
"""
_LARGEST = 1e150
"""Size of a value up to which squares are floats."""
SIGNS = ("told_late", "copies_target", "tells_by_presence", "holds_own_target")
_SCALARS = (
    "leak_r2", "leak_ratio", "leak_rest", "told_after", "target_copies", "target_presence", "target_windows", "twins",
    "val_rows", "val_error", "target_values", "new_target_sd", "target_distance", "seen_rows", "seen_share",
    "near_rows", "near_share", "near_within", "between_share", "groups", "grouped_columns",
    *(measure.name for measure in BELONGING_MEASURES),
)  # fmt: skip


class Columns:
    """Measures how much each column explains of the target alone, and which columns repeat each other."""

    def __init__(self) -> None:
        self._table = pd.DataFrame(columns=list(PER_COLUMN), dtype=float)
        self._scalars: dict[str, float] = {}
        self.targets: tuple[NDArray[np.float64], NDArray[np.float64]] = (np.empty(0), np.empty(0))
        """Targets of training and of validation; empty before `observe`."""
        self.zeros = math.nan
        """Share of zeros of the part that is no sparse matrix, where the other one is; 0 where both have one form."""
        self.unseen: dict[str, str] = {}
        """Reasons why figures of the data that were given are not known, by name."""
        self.class_map = ""
        """Classes of validation that match others of training, in words."""

    def observe(
        self,
        X: Any,
        y: Any,
        X_validation: Any,
        y_validation: Any,
        written_after: Iterable[str] = (),
        known_in_time: Iterable[str] = (),
        groups: Any = None,
        groups_validation: Any = None,
    ) -> None:
        """Measure both parts. See `BoostingTracker.observe_data`."""
        train, held_out = _frame(X, "X"), _frame(X_validation, "X_validation")
        if list(train.columns) != list(held_out.columns):
            raise ValueError(f"X has the columns {list(train)}, X_validation {list(held_out)}; give the same")
        target = _target(y, len(train), "y")
        if np.ptp(target) == 0:
            raise ValueError(f"y holds nothing but {target[0]:.6g}; there is nothing to predict")
        new_target = _target(y_validation, len(held_out), "y_validation")
        names = [str(name) for name in train.columns]
        told = {"groups": (groups, len(train)), "groups_validation": (groups_validation, len(held_out))}
        of_groups = {what: _groups(given, rows, what) for what, (given, rows) in told.items() if given is not None}
        late, known = _named(written_after, names, "written_after"), _named(known_in_time, names, "known_in_time")
        if late & known:
            raise ValueError(f"{min(late & known)!r} stands in written_after and in known_in_time; it is one of them")
        self.targets = target, new_target
        self.zeros = _zeros_against_none(X, X_validation)
        lines, numbered = {}, []
        numbers = np.full(train.shape, math.nan)
        rows, new_rows = (np.empty(part.shape) for part in (train, held_out))
        for place, name in enumerate(train.columns):
            column, new_column, ordered = _numbers(train.iloc[:, place], held_out.iloc[:, place])
            if ordered:
                numbers[:, place] = column
            numbered.append(ordered)
            rows[:, place], new_rows[:, place] = column, new_column
            parts = (column, target, new_column, new_target)
            stated = str(name) in late | known
            lines[str(name)] = {
                **_alone(*parts, ordered),
                **_values(column, ordered),
                "part_distance": trees.part_distance(column, new_column),
                "joined_by_index": float(joined_by_index(train.iloc[:, place], held_out.iloc[:, place])),
                "one_value_held_out": float(_one_value(column, new_column)),
                "known_in_time": float(str(name) in known),
                "told_late": float(str(name) in late),
                "copies_target": float(not stated and copies_target(*parts, ordered=ordered)),
                "tells_by_presence": float(not stated and tells_by_presence(*parts)),
            }
        table = pd.DataFrame.from_dict(lines, orient="index", dtype=float)
        table["twin_correlation"] = trees.twins(numbers)
        series = np.unique(of_groups["groups"], return_inverse=True)[1] if "groups" in of_groups else None
        holding = hold_own_target(rows, numbered, target, series)
        table["holds_own_target"] = [
            float(held and str(name) not in late | known) for name, held in zip(train.columns, holding, strict=True)
        ]
        by_value = columns_by_value(rows, numbered, target, classes=_names_classes(target))
        table[["value_effect", "value_p", "neighbours_alike"]] = np.array(by_value)
        self.unseen = {}
        if why := _too_little(new_target):
            table[list(HELD_OUT)] = math.nan
            self.unseen["columns_on_validation_rows"] = why
        self._table = table[list(PER_COLUMN)]
        figures = belonging_figures(rows, target, new_rows, new_target, _names_classes(target))
        self.class_map = str(figures.pop("class_map"))
        self._scalars = {
            "val_rows": float(len(held_out)),
            "val_error": 1 / math.sqrt(len(held_out)),
            "target_values": float(len(np.unique(target))),
            "new_target_sd": float(np.std(new_target)),
            **_seen(train, target, held_out, new_target),
            "target_distance": trees.part_distance(target, new_target),
            **{name: float(value) for name, value in figures.items()},
            **_of_groups(
                [
                    (np.column_stack([part, values]), of_groups[what])
                    for what, part, values in (("groups", rows, target), ("groups_validation", new_rows, new_target))
                    if what in of_groups
                ]
            ),
        }

    def table(self) -> pd.DataFrame:
        """Table of one line a column; empty before `observe`."""
        return self._table.copy()

    def scalars(self) -> dict[str, float]:
        """Figures over all columns; NaN before `observe`."""
        table = self._table
        if table.empty:
            return {"observed": 0.0, **dict.fromkeys(_SCALARS, math.nan)}
        r2 = table["val_r2"].dropna()
        asked = r2[(table.loc[r2.index, [*SIGNS, "known_in_time"]] == 0).all(axis=1)]
        best = float(asked.max()) if len(asked) else math.nan
        others = r2.drop(index=asked.idxmax()) if len(asked) else r2
        second = float(others.max()) if len(others) else math.nan
        found = {
            "leak_r2": best,
            "leak_ratio": best / max(second, 1e-6),
            "leak_rest": (1 - best) / max(1 - second, 1e-6),
            "told_after": float(table["told_late"].sum()),
            "target_copies": float(table["copies_target"].sum()),
            "target_presence": float(table["tells_by_presence"].sum()),
            "target_windows": float(table["holds_own_target"].sum()),
            "twins": float((table["twin_correlation"] > trees.TWINS).sum()),
        }
        return {"observed": 1.0, **found, **self._scalars}

    @property
    def observed(self) -> bool:
        """Whether the data were given."""
        return not self._table.empty


def _names_classes(target: NDArray[np.float64]) -> bool:
    """Whether targets are numbers of classes, as the libraries want them: 0, 1 and so on, none left out."""
    values = np.unique(target)
    return len(values) == 2 or (len(values) <= MOST_CLASSES and bool((values == np.arange(len(values))).all()))


def _seen(
    train: pd.DataFrame, target: NDArray[np.float64], held_out: pd.DataFrame, new_target: NDArray[np.float64]
) -> dict[str, float]:
    """Held-out rows that are copies of rows that training saw. Where that is uncertain, none is claimed."""
    before, after = ([*columns_of(part), values] for part, values in ((train, target), (held_out, new_target)))
    found = parts_objection(before, after)
    count = 0.0 if found is None or found.level == DOWNGRADED or found.check != SEEN_ROWS else float(found.count)
    near = near_copies_seen(before, after)
    return {
        "seen_rows": count,
        "seen_share": count / len(held_out),
        "near_rows": math.nan if near is None else float(near.count),
        "near_share": math.nan if near is None else near.share,
        "near_within": math.nan if near is None else near.within if near.count else 0.0,
        "between_share": rows_between(before, after).share,
    }


def _alone(
    column: NDArray[np.float64],
    target: NDArray[np.float64],
    new_column: NDArray[np.float64],
    new_target: NDArray[np.float64],
    ordered: bool,
) -> dict[str, float]:
    """Figures of the prediction of the target by the column alone."""
    if not ordered:
        fit = trees.alone_by_value(column, target, new_column, new_target)
        again = _fitted_again(trees.alone_by_value, new_column, new_target)
        return _of_fit(fit, again) | {"alone_p": fit.p} | _by_value(column, target, new_column, new_target)
    fit = trees.alone(column, target, new_column, new_target)
    found = [p for p in (fit.p, trees.linear_p(column, target)) if not math.isnan(p)]
    again = _fitted_again(trees.alone, new_column, new_target)
    told = _of_fit(fit, again) | {"alone_p": min(len(found) * min(found), 1.0) if found else math.nan}  # Bonferroni
    codes = _codes(column, new_column)
    return told | (_NO_CODES if codes is None else _by_value(codes[0], target, codes[1], new_target))


_NO_CODES = {"code_r2_loss": 0.0, "code_shift_z": 0.0, "code_p_held_out": 1.0}


def _by_value(
    codes: NDArray[np.float64],
    target: NDArray[np.float64],
    new_codes: NDArray[np.float64],
    new_target: NDArray[np.float64],
) -> dict[str, float]:
    """Fit of a mean for each value on the held-out rows whose value was trained on: a week that is yet to come has no
    mean to go by, and is no reason to mistrust the column.
    """
    known = np.isnan(new_codes) | np.isin(new_codes, codes)
    if known.sum() < LEAST_HELD_OUT or np.ptp(new_target[known]) == 0:
        return _NO_CODES
    fit = trees.alone_by_value(codes, target, new_codes[known], new_target[known])
    own = trees.alone_by_value(new_codes[known], new_target[known], new_codes[known], new_target[known]).p
    return {
        "code_r2_loss": fit.train_r2 - fit.val_r2,
        "code_shift_z": fit.shift_z,
        "code_p_held_out": 1.0 if math.isnan(own) else own,
    }


def _fitted_again(alone: Callable[..., trees.Fit], column: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """R2 of the column on half of the held-out rows, fitted on their other half; the mean of both ways. NaN where there
    are too few rows, or one target.
    """
    halves = (slice(0, None, 2), slice(1, None, 2))
    if len(target) < 2 * LEAST_HELD_OUT or any(np.ptp(target[half]) == 0 for half in halves):
        return math.nan
    one, other = halves
    ways = ((one, other), (other, one))
    return float(np.mean([alone(column[a], target[a], column[b], target[b]).val_r2 for a, b in ways]))


def _of_fit(fit: trees.Fit, again: float) -> dict[str, float]:
    loss, least = fit.train_r2 - fit.val_r2, max(fit.val_r2, 0.0)
    recovered = (again - least) / (fit.train_r2 - least) if fit.train_r2 > least and not math.isnan(again) else 0.0
    return {
        "train_r2": fit.train_r2, "val_r2": fit.val_r2, "r2_loss": loss, "shift_z": fit.shift_z,
        "recovered": min(max(recovered, 0.0), 1.0),
    }  # fmt: skip


def _codes(
    column: NDArray[np.float64], new_column: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Whole numbers that recur, numbered; None for other columns. One that was not trained on has the next number."""
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
    """Figures of the values that the column has in training."""
    known = column[~np.isnan(column)]
    values, counts = np.unique(known, return_counts=True)
    most = max(int(counts.max()) if len(counts) else 0, len(column) - len(known))
    return {
        "distinct_share": len(values) / len(column),
        "distinct": float(len(values)),
        "mode_share": most / len(column),
        "whole": float(ordered and len(values) > 0 and bool((values == np.round(values)).all())),
    }


def _one_value(column: NDArray[np.float64], new_column: NDArray[np.float64]) -> bool:
    """Whether all held-out rows hold the same usual value, or none, while the training rows differ."""
    missing, usual = np.isnan(new_column), new_column[0]
    if missing.all():
        return not np.isnan(column).all()
    if missing.any() or (new_column != usual).any():
        return False
    return bool(_USUAL <= np.mean(column == usual) < 1)


def _frame(data: Any, what: str) -> pd.DataFrame:
    frame = data if isinstance(data, pd.DataFrame) else _from_array(data, what)
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{what} has the shape {frame.shape}; give rows and columns")
    if len(frame.columns) > MOST_COLUMNS:
        raise ValueError(
            f"{what} has {len(frame.columns)} columns; at most {MOST_COLUMNS} are compared: give those that matter"
        )
    names = pd.Index([str(name) for name in frame.columns])
    if not names.is_unique:
        raise ValueError(f"{what}: two columns are named {names[names.duplicated()][0][:80]!r}; rename one")
    return frame


def _zeros_against_none(one: Any, other: Any) -> float:
    """Share of zeros of the part that is no sparse matrix, where the other is one; else 0."""
    if sparse.issparse(one) == sparse.issparse(other):
        return 0.0
    whole = other if sparse.issparse(one) else one
    return float((np.asarray(unmasked(whole)) == 0).mean())


def _from_array(data: Any, what: str) -> pd.DataFrame:
    if sparse.issparse(data):
        if math.prod(data.shape) > MOST_ENTRIES:
            raise ValueError(
                f"{what} is a sparse matrix of the shape {data.shape}; at most {MOST_ENTRIES:.0e} entries are "
                "compared: give some of the rows, or the columns that matter"
            )
        data = data.toarray()
    try:
        array = np.asarray(unmasked(data))
    except ValueError as error:
        raise ValueError(f"{what} is no array ({error}); give a data frame, or rows of one length") from error
    if array.ndim > 2 or not array.ndim:
        raise ValueError(f"{what} has the shape {array.shape}; give a data frame or an array of rows and columns")
    return pd.DataFrame(array.astype(str) if array.dtype.kind == "S" else array)


def _target(values: Any, rows: int, what: str) -> NDArray[np.float64]:
    if np.iscomplexobj(values):
        raise ValueError(f"{what} holds complex numbers; give real ones")
    try:
        target = np.asarray(unmasked(values), dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} holds no numbers; code two classes as 0 and 1") from error
    if target.shape != (rows,):
        raise ValueError(f"{what} has the shape {target.shape}; its rows are {rows}")
    if not np.isfinite(target).all():
        raise ValueError(f"{what} holds NaN or infinity; leave out the rows without a target")
    if np.abs(target).max(initial=0.0) > _LARGEST:
        raise ValueError(f"{what} has values above {_LARGEST:g}, whose squares no float holds; give it in other units")
    return target


def _groups(values: Any, rows: int, what: str) -> NDArray[Any]:
    """Read the group of each row, from as many entries as rows or from the sizes of groups that follow each other."""
    given = np.asarray(unmasked(values))
    if given.shape == (rows,):
        return given
    if given.ndim == 1 and given.dtype.kind in "iu" and (given > 0).all() and given.sum() == rows:
        return np.repeat(np.arange(len(given)), given)
    raise ValueError(
        f"{what} has {len(given) if given.ndim else 1} entries, which are neither one for each of {rows} rows nor "
        "sizes of groups that sum to them"
    )


def _of_groups(parts: list[tuple[NDArray[np.float64], NDArray[Any]]]) -> dict[str, float]:
    """Figures on groups, of the part that has least."""
    counted = [(len(np.unique(groups)), trees.columns_of_groups(columns, groups)) for columns, groups in parts]
    return {
        "groups": float(min((count for count, _ in counted), default=0)),
        "grouped_columns": float(min((apart for _, apart in counted), default=math.nan)),
    }


def _named(wanted: Iterable[str], names: list[str], what: str) -> set[str]:
    """Names of the columns that the user gave, checked."""
    found = {wanted} if isinstance(wanted, str) else {str(name) for name in wanted}
    for name in sorted(found):
        if name not in names:
            raise ValueError(f"{what} names {name!r}, which is no column of X{did_you_mean(name, names)}")
    return found


def _too_little(target: NDArray[np.float64]) -> str:
    """Why held-out rows say nothing of a column; empty where they do."""
    if len(target) < LEAST_HELD_OUT:
        return f"{len(target)} validation rows are too few to judge a column by; give {LEAST_HELD_OUT} or more"
    if np.ptp(target) == 0:
        return f"y_validation holds nothing but {target[0]:.6g}; give rows of every class"
    return ""


def _numbers(column: pd.Series, new_column: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Both parts as numbers, and whether their order means something; categories are numbered."""
    if any(pd.api.types.is_complex_dtype(part) for part in (column, new_column)):
        raise ValueError(f"column {column.name!r} holds complex numbers; give their parts as two columns")
    if pd.api.types.is_numeric_dtype(column) and pd.api.types.is_numeric_dtype(new_column):
        parts = [part.to_numpy(dtype=float, na_value=math.nan) for part in (column, new_column)]
        if any(np.isinf(part).any() for part in parts):
            raise ValueError(f"column {column.name!r} holds infinity; replace it, or leave the column out")
        if any(np.abs(part[~np.isnan(part)]).max(initial=0.0) > _LARGEST for part in parts):
            raise ValueError(
                f"column {column.name!r} has values above {_LARGEST:g}, whose squares no float holds; give it in other "
                "units"
            )
        return parts[0], parts[1], True
    try:
        codes, values = pd.factorize(column)
        found = values.get_indexer(pd.Index(new_column)) if len(values) else np.full(len(new_column), -1)
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"column {str(column.name)[:80]!r} holds things that cannot be compared ({error}); give numbers or texts"
        ) from error
    unseen = (found == -1) & new_column.notna().to_numpy()
    new_codes = np.where(unseen, len(values), found).astype(float)
    return _known(codes.astype(float)), _known(new_codes), False


def _known(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(codes < 0, math.nan, codes)
