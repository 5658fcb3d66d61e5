"""Batches that a plan is made on: whether they are as many as they seem, and say anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.objection import DOWNGRADED, REFUSED, Objection
from flowgrad.gate.rows import row_codes, rows_of

EMPTY, NOT_FINITE, COPIED_BATCHES, ONE_LABEL, ALIKE = (
    "no values", "values not finite", "copied batches", "one label", "rows alike",
)  # fmt: skip


def batches_objection(
    inputs: Sequence[NDArray | None], targets: Sequence[NDArray | None] | None = None
) -> Objection | None:
    """What is wrong with calibration batches; the first that is found, the worst first.

    Args:
        inputs: values of each batch, of any shape, rows first; None where they are not known.
        targets: of each batch; None where they are not known.
    """
    n = len(inputs)
    targets = [None] * n if targets is None else targets
    held = [np.asarray(values) for values in (*inputs, *targets) if values is not None]
    known = [
        (np.asarray(x), None if y is None else np.asarray(y))
        for x, y in zip(inputs, targets, strict=True)
        if x is not None
    ]
    if bad := [place for place, pair in enumerate(zip(inputs, targets, strict=True)) if not all(map(_finite, pair))]:
        return Objection(
            NOT_FINITE, REFUSED, f"calibration: {len(bad)} of {n} batches hold NaN or infinity",
            "leave these rows out, or fill them as in training", len(bad), n, float(n - len(bad)), tuple(bad[:3]),
        )  # fmt: skip
    if len(known) < n or not held:
        return None
    if alike := _rows_alike(known):
        return alike
    if copied := _copied(known):
        return copied
    labels = [y.ravel() for _, y in known if y is not None]
    if len(labels) == n and sum(map(len, labels)) > 1 and len(np.unique(np.concatenate(labels))) == 1:
        return Objection(
            ONE_LABEL, DOWNGRADED, f"calibration: every target is {np.concatenate(labels)[0]}",
            "give rows of all targets, drawn at random from validation rows", sum(map(len, labels)),
            sum(map(len, labels)),
        )  # fmt: skip
    return None


def _finite(values: NDArray | None) -> bool:
    if values is None:
        return True
    array = np.asarray(values)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _rows_alike(known: Sequence[tuple[NDArray, NDArray | None]]) -> Objection | None:
    rows = [_flat(x) for x, _ in known if x.ndim]
    total = sum(map(len, rows))
    if total < 2 or len({row.shape[1:] for row in rows}) != 1:
        return None
    if any((part != rows[0][:1]).any() for part in rows):
        return None
    what = "zero" if not rows[0].any() else "the same"
    return Objection(
        ALIKE, REFUSED, f"calibration: the inputs of all {total:,} rows are {what}",
        "give rows as the model meets them, drawn at random from validation rows", total, total, 1.0,
    )  # fmt: skip


def _copied(known: Sequence[tuple[NDArray, NDArray | None]]) -> Objection | None:
    """Batches that are another batch once more: what differs between batches is what plans are told apart by."""
    prints = [_print(x) + (b"" if y is None else _print(y)) for x, y in known]
    distinct = len(set(prints))
    n = len(prints)
    if distinct == n:
        return None
    repeated = tuple(place for place in range(n) if prints[place] in prints[:place])
    level = REFUSED if distinct == 1 else DOWNGRADED
    return Objection(
        COPIED_BATCHES, level, f"calibration: {n - distinct} of {n} batches are exact copies of another",
        "give each batch once, of rows of its own", n - distinct, n, float(distinct), repeated[:3],
    )  # fmt: skip


def _flat(x: NDArray) -> NDArray:
    return x.reshape(len(x), -1)


def _print(values: NDArray) -> bytes:
    plain = values + 0.0 if values.dtype.kind == "f" else values
    return f"{plain.dtype.str} {plain.shape} ".encode() + np.ascontiguousarray(plain).tobytes()


def shared_rows(inputs: Sequence[NDArray]) -> int:
    """Rows of later batches that stand in an earlier one or before in their own."""
    table = np.concatenate([_flat(np.asarray(x)) for x in inputs])
    codes = row_codes(rows_of(list(table.T)).keys)
    return len(codes) - int(codes.max(initial=-1)) - 1
