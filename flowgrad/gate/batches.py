"""Checks the batches that a plan is made on: whether they are as many as they seem, and vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.copies import CHANCE, EXAMPLES, copies
from flowgrad.gate.objection import DOWNGRADED, REFUSED, Objection
from flowgrad.gate.tables import TOLERATED_SHARE

_COLUMNS = 64
"""Number of values of a row that are compared where rows repeat, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Arrays of one batch; rows come first in each."""

    inputs: tuple[NDArray, ...]
    target: NDArray | None = None
    """Target of each row; None where it is not known."""


def batches_objection(batches: Sequence[Batch]) -> Objection | None:
    """Find the worst objection to calibration batches, or None.

    Inputs that are NaN, rows that are all alike, and batches that are all one are refused. Copies among batches, rows
    that are copies of others (more than a twentieth), and targets of one value are downgraded.

    Args:
        batches: where one has no inputs, its arrays are not known, and nothing is checked.
    """
    if not batches or not all(batch.inputs for batch in batches):
        return None
    checks = (_missing, _rows_alike, _copied_batches, _copied_rows, _one_target)
    found = [objection for check in checks if (objection := check(batches)) is not None]
    return min(found, key=lambda objection: objection.level != REFUSED, default=None)


def targets_objection(own: float, dealt: float, mean: float, batches: int) -> Objection:
    """Make the objection to calibration batches of which the model knows nothing.

    Args:
        own: mean loss of the batches.
        dealt: the same with the targets of other rows.
        mean: the same where every row has the mean output of its batch.
        batches: number of batches.
    """
    return _objection(
        "targets unknown",
        DOWNGRADED,
        f"the loss is {own:.4g}, {dealt:.4g} with the targets of other rows, and {mean:.4g} where every row has the "
        "mean output: the model knows nothing of these batches",
        "check that inputs and targets stand row by row, and that inputs are made as in training",
        range(batches),
        batches,
    )


def _missing(batches: Sequence[Batch]) -> Objection | None:
    bad = [place for place, batch in enumerate(batches) if any(map(_has_nan, batch.inputs))]
    if not bad:
        return None
    return _objection("inputs missing", REFUSED, f"{len(bad)} of {len(batches)} batches hold NaN in their inputs",
                      "leave these rows out, or fill them as in training", bad, len(batches))  # fmt: skip


def _rows_alike(batches: Sequence[Batch]) -> Objection | None:
    table = _table(batches)
    if table is None or len(table) < 2 or (table != table[0]).any():
        return None
    what = "zero" if not table[0].any() else "the same"
    return _objection("rows alike", REFUSED, f"the inputs of all {len(table):,} rows are {what}",
                      "give rows as the model meets them, drawn at random", range(len(table)), len(table))  # fmt: skip


def _copied_batches(batches: Sequence[Batch]) -> Objection | None:
    """Objection to batches that equal another: differences between batches decide between plans."""
    prints = [_print(batch) for batch in batches]
    again = [place for place, found in enumerate(prints) if found in prints[:place]]
    if not again:
        return None
    level = REFUSED if len(again) == len(batches) - 1 else DOWNGRADED
    return _objection("copied batches", level, f"{len(again)} of {len(batches)} batches are exact copies of another",
                      "give each batch once, of rows of its own", again, len(batches))  # fmt: skip


def _copied_rows(batches: Sequence[Batch]) -> Objection | None:
    table = _table(batches)
    if table is None or len({row.tobytes() for row in table}) >= (1 - TOLERATED_SHARE) * len(table):
        return None
    chosen = np.unique(np.linspace(0, table.shape[1] - 1, min(_COLUMNS, table.shape[1])).round().astype(int))
    found = copies(table[:, chosen])
    if found.kind == CHANCE:
        return None
    return _objection("copied rows", DOWNGRADED, f"{found.copied:,} of {len(table):,} rows are copies of others",
                      "give each row once", range(found.copied), len(table))  # fmt: skip


def _one_target(batches: Sequence[Batch]) -> Objection | None:
    targets = [batch.target.ravel() for batch in batches if batch.target is not None]
    if len(targets) < len(batches):
        return None
    values = np.concatenate(targets)
    if len(values) < 2 or (values != values[0]).any():
        return None
    return _objection("one value", DOWNGRADED, f"the target is {float(values[0]):.6g} in all {len(values):,} rows",
                      "give rows of all targets, drawn at random", range(len(values)), len(values))  # fmt: skip


def _objection(check: str, level: str, reason: str, way_out: str, places: Sequence[int], of: int) -> Objection:
    left = float(max(of - len(places), 1))
    return Objection(check, level, f"calibration: {reason}", way_out, len(places), of, left, tuple(places[:EXAMPLES]))


def _has_nan(values: NDArray) -> bool:
    return values.dtype.kind in "fc" and bool(np.isnan(values).any())


def _table(batches: Sequence[Batch]) -> NDArray | None:
    """All rows of the only input; None where there are several, or rows of several shapes."""
    if any(len(batch.inputs) != 1 or not batch.inputs[0].ndim for batch in batches):
        return None
    rows = [batch.inputs[0].reshape(len(batch.inputs[0]), -1) for batch in batches]
    return np.concatenate(rows) if len({part.shape[1] for part in rows}) == 1 and rows[0].shape[1] else None


def _print(batch: Batch) -> bytes:
    arrays = [*batch.inputs, *(() if batch.target is None else (batch.target,))]
    plain = [values + 0.0 if values.dtype.kind == "f" else values for values in arrays]  # no negative zero
    return b"".join(f"{a.dtype.str} {a.shape} ".encode() + np.ascontiguousarray(a).tobytes() for a in plain)
