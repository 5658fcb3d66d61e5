"""Makes observations of a table of anybody's results, or refuses it in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.statistics.pairs import LEAST_PAIRS

UNITS = ("seed", "split", "fold", "user")
"""Columns that pair runs, where the caller names none: the first that is there."""
ARMS = ("arm", "model", "method")
"""Columns that name the arms, where the caller names none: the first that is there."""
FOLD, SPLIT = "fold", "split"
"""Columns whose runs share training rows; folds do so as unit or beside it."""
REPEATS = ("seed", "repeat", "repetition")
"""Columns that tell one round of repeated cross-validation from another."""
_DIRECTIONS = {"higher": True, "lower": False}
_LONG = ("metric", "value")


@dataclass(frozen=True)
class Frame:
    """Results in one form."""

    observations: pd.DataFrame
    """One line an arm, unit and metric: `arm`, `seed` (the unit), `metric`, `value`, `higher_is_better` and
    `experiment`.
    """
    arms: tuple[str, ...]
    """Arms in their order, the baseline first."""
    metrics: tuple[str, ...]
    unit: str
    """Column that pairs the runs."""
    folds: int
    """Number of folds that the runs stand in; 0 where they stand in none."""
    by_user: Mapping[str, Mapping[str, np.ndarray]]
    """For each metric the values of each arm, shape (seeds, users); empty where there are no users in seeds."""


def read_frame(
    frame: pd.DataFrame,
    *,
    baseline: str | None = None,
    better: Mapping[str, str] | None = None,
    arm: str | None = None,
    unit: str | None = None,
) -> Frame:
    """Read results, one line an arm, unit and metric (columns `metric`, `value`), or one line an arm and unit with a
    column a metric. With a column `user` beside the seeds, values of one seed are its users'. With a column of folds
    beside one of `REPEATS`, each of its runs is one fold of one round.

    Args:
        frame: the results.
        baseline: arm that the others are compared with; None: the one of that name, else the first of two.
        better: `higher` or `lower` by metric; where it names some metrics alone, only these are compared. None: the
            column `higher_is_better` says it.
        arm: column of the arms; None: one of `ARMS`.
        unit: column of what pairs the runs; None: one of `UNITS`.

    Raises:
        StatisticsError: in one line, what is wrong with the table and what would be right.
    """
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise StatisticsError("there is nothing to compare: give a table with a line a run")
    if frame.columns.duplicated().any():
        raise StatisticsError(f"the column {frame.columns[frame.columns.duplicated()][0]!r} stands twice")
    arm = _column(frame, arm, ARMS, "the arms", "arm")
    frame, unit = _folds_in_rounds(frame, arm, unit)
    unit = _column(frame, unit, UNITS, "what pairs the runs", "unit")
    within = "user" if "user" in frame and unit != "user" else None
    long = _long(frame, arm, unit, within, better)
    _check_cells(long)
    long, names = long.assign(arm=long["arm"].astype(str)), tuple(long["arm"].astype(str).unique())
    if len(names) < 2:
        raise StatisticsError(f"{arm!r} holds one arm, {names[0]!r}; two are needed to compare")
    first = _baseline(names, baseline, arm)
    directions = _directions(long, better)
    long = long[long["metric"].isin(directions)]
    cells = ["arm", "seed", "metric", *(["user"] if within else [])]
    if long.duplicated(cells).any():
        twice = long[long.duplicated(cells)].iloc[0]
        where = ", ".join(str(twice[name]) for name in cells)
        raise StatisticsError(
            f"{where} stands twice; keep one line of each run, or name what tells them apart as unit (folds of one "
            "sample share rows: keep their column 'fold')"
        )
    arms = (first, *(name for name in names if name != first))
    _check_pairs(long, arms, unit, within)
    by_user = {metric: _by_user(long[long["metric"] == metric], arms) for metric in directions} if within else {}
    means = long.groupby(["arm", "seed", "metric"], sort=False)["value"].mean().reset_index() if within else long
    means = means.assign(higher_is_better=means["metric"].map(directions), experiment="compare")
    if (count := means["seed"].nunique()) < LEAST_PAIRS:
        raise StatisticsError(f"{count} {unit}(s) in common; a paired test needs {LEAST_PAIRS} at least")
    folds = frame[FOLD].nunique() if FOLD in frame else 0
    return Frame(means.reset_index(drop=True), arms, tuple(directions), unit, folds if folds > 1 else 0, by_user)


def _folds_in_rounds(frame: pd.DataFrame, arm: str, unit: str | None) -> tuple[pd.DataFrame, str | None]:
    """The table, with a column that names round and fold where it holds cross-validation that was repeated and nobody
    named the unit, and the name of that column, else the given one.
    """
    rounds = next((name for name in REPEATS if name in frame), None)
    if unit is not None or rounds is None or FOLD not in frame or frame[FOLD].nunique() < 2:
        return frame, unit
    metric = ["metric"] if all(name in frame for name in _LONG) else []
    if not frame.duplicated([arm, rounds, *metric]).any() or frame[[rounds, FOLD]].isna().any(axis=None):
        return frame, unit
    name = f"{rounds} and {FOLD}"
    return frame.assign(**{name: frame[rounds].astype(str) + ", " + frame[FOLD].astype(str)}), name


def _column(frame: pd.DataFrame, given: str | None, known: Sequence[str], what: str, argument: str) -> str:
    if given is not None:
        if given not in frame:
            raise StatisticsError(f"{argument}={given!r}: there is no such column; there are {_few(frame.columns)}")
        return given
    found = [name for name in known if name in frame]
    if not found:
        raise StatisticsError(
            f"no column names {what} ({', '.join(known)}); there are {_few(frame.columns)}: name one as {argument}"
        )
    return found[0]


def _long(
    frame: pd.DataFrame, arm: str, unit: str, within: str | None, better: Mapping[str, str] | None
) -> pd.DataFrame:
    keys = {arm: "arm", unit: "seed"} | ({within: "user"} if within else {})
    if all(name in frame for name in _LONG):
        kept = [*keys, *_LONG, *(["higher_is_better"] if "higher_is_better" in frame else [])]
        return frame[kept].rename(columns=keys)
    metrics = [name for name in (better or ()) if name in frame]
    if not metrics:
        raise StatisticsError(
            "say which columns are metrics, and which way each is better, as in better={'rmse': 'lower'}; there are "
            f"{_few([name for name in frame if name not in keys])}"
        )
    return frame[[*keys, *metrics]].rename(columns=keys).melt([*keys.values()], var_name="metric", value_name="value")


def _check_cells(long: pd.DataFrame) -> None:
    for name in (name for name in ("arm", "seed", "user", "metric") if name in long):
        if long[name].isna().any():
            raise StatisticsError(f"line {int(np.flatnonzero(long[name].isna())[0]) + 1} has no {name}")
    if not pd.api.types.is_numeric_dtype(long["value"]) or pd.api.types.is_bool_dtype(long["value"]):
        wrong = pd.to_numeric(long["value"], errors="coerce").isna()
        told = long["value"][wrong].iloc[0] if wrong.any() else long["value"].iloc[0]
        raise StatisticsError(f"the value {str(told)[:40]!r} is no number")
    if long["value"].isna().any():
        one, count = long[long["value"].isna()].iloc[0], int(long["value"].isna().sum())
        raise StatisticsError(
            f"{one['metric']} is missing in {one['arm']} at {one['seed']} ({count} in all); leave that unit "
            " out of every arm, or write inf (-inf where higher is better) for a run that diverged"
        )


def _baseline(names: Sequence[str], given: str | None, arm: str) -> str:
    if given is not None:
        if given not in names:
            raise StatisticsError(f"baseline={given!r} is none of the arms {_few(names)}")
        return given
    if "baseline" in names:
        return "baseline"
    raise StatisticsError(f"which of {_few(names)} is the baseline? Name it as baseline")


def _directions(long: pd.DataFrame, better: Mapping[str, str] | None) -> dict[str, bool]:
    metrics = [str(name) for name in long["metric"].unique()]
    if better is not None:
        for name, way in better.items():
            if way not in _DIRECTIONS:
                raise StatisticsError(f"better: {name} is {way!r}; say higher or lower")
            if name not in metrics:
                raise StatisticsError(f"better: there is no metric {name!r}; there are {_few(metrics)}")
        return {name: _DIRECTIONS[way] for name, way in better.items()}
    if "higher_is_better" not in long:
        raise StatisticsError(f"say which way {_few(metrics)} is better, as in better={{{metrics[0]!r}: 'lower'}}")
    told = {name: long.loc[long["metric"] == name, "higher_is_better"].unique() for name in metrics}
    for name, ways in told.items():
        if len(ways) != 1 or str(ways[0]).lower() not in ("true", "false", "1", "0"):
            raise StatisticsError(f"higher_is_better of {name} is {_few(ways)}; it must be one of true and false")
    return {name: str(ways[0]).lower() in ("true", "1") for name, ways in told.items()}


def _check_pairs(long: pd.DataFrame, arms: Sequence[str], unit: str, within: str | None) -> None:
    keys = ["metric", "seed", *(["user"] if within else [])]
    cells = {name: set(map(tuple, long.loc[long["arm"] == name, keys].to_numpy().tolist())) for name in arms}
    for name in arms[1:]:
        if alone := cells[arms[0]] ^ cells[name]:
            one = min(alone, key=str)
            where = arms[0] if one in cells[arms[0]] else name
            raise StatisticsError(
                f"{len(alone)} value(s) have no pair, e.g. {', '.join(map(str, one))} stands in {where!r} and not in "
                f"{name if where == arms[0] else arms[0]!r}; give each arm the same {unit}s"
            )
    values = {name: _values(long, name, keys) for name in arms}
    for at, name in enumerate(arms):
        for other in arms[:at]:
            if values[name].equals(values[other]):
                raise StatisticsError(
                    f"every value of {name!r} is that of {other!r} to the last bit: one run, told twice; take one out"
                )


def _values(long: pd.DataFrame, arm: str, keys: Sequence[str]) -> pd.Series:
    return long[long["arm"] == arm].set_index(list(keys))["value"].sort_index(key=lambda index: index.astype(str))


def _by_user(long: pd.DataFrame, arms: Sequence[str]) -> dict[str, np.ndarray]:
    """Values of one metric of each arm, shape (seeds, users); nothing where some user has no value in some seed."""
    tables = {name: long[long["arm"] == name].pivot_table("value", "seed", "user") for name in arms}
    if any(table.isna().to_numpy().any() for table in tables.values()):
        return {}
    return {name: table.to_numpy(dtype=float) for name, table in tables.items()}


def _few(names: object) -> str:
    told = [str(name)[:40] for name in names]  # type: ignore[attr-defined]
    return ", ".join(told[:10]) + (f" and {len(told) - 10} more" if len(told) > 10 else "")
