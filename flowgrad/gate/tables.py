"""Tables of columns and a target: whether their rows are as many as they seem, and whether parts share them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.copies import CHANCE, COPIED, OPEN, Copies, Seen, copies_among, seen
from flowgrad.gate.objection import DOWNGRADED, NOTED, REFUSED, Objection
from flowgrad.gate.oversampling import oversampled
from flowgrad.gate.rows import Rows, columns_of, first_of, row_codes, rows_of

COPIED_ROWS, REPEATED_ROWS, SEEN_ROWS = "copied rows", "repeated rows", "seen rows"
"""Checks: rows with their target; rows without; rows of one part in another."""
TOLERATED_SHARE = 0.05
"""Share of the rows that may repeat others, or stand in another part, before a test is affected: of what chooses the
best of some 10,000 pairs (z about 4), a twentieth carries over to the rows that test them, .2 standard errors, and a
test at 5 % then rejects in 5.5 %."""
TOLERATED_DESIGN_EFFECT = 1.21
"""Rows over the rows that they are worth before a test is affected: 2 Phi(-1.96 / 1.1) = 7.5 %, the upper end of
Bradley's criterion (1978, Br. J. Math. Stat. Psychol. 31:144) for a test at 5 %."""
_FEW = 0.1
"""Distinct targets over rows up to which equal targets are no sign of a copy."""
_MIXED = 0.01
"""Share of the sets of equal rows in which targets differ above which rows are one thing met again, and no copies."""


def table_objection(X: Any, y: Any, groups: Any = None) -> Objection | None:
    """Copies among the rows of a table that will be divided at random, such as into halves or random splits.

    Copies within a group stay together, and are no objection. Equal rows that chance explains are none either; copies
    that are too few to change a test are noted.

    Args:
        X: data frame, array of shape (rows, columns) or sequence of columns.
        y: target, shape (rows,).
        groups: shape (rows,): what each row belongs to; None where rows are taken to be independent.
    """
    columns = columns_of(X)
    rows = rows_of([*columns, y])
    if groups is not None:
        return _between_groups(rows, groups)
    alone = copies_among(rows.columns(len(columns)))
    if not alone.copied:
        return None
    full = copies_among(rows)
    if full.multiple > 1:  # of rows without their target this may be a designed experiment
        return _copied(replace(full, kind=COPIED))
    if full.kind != CHANCE and not _met_again(rows):
        return _copied(full)
    if alone.kind != CHANCE:
        return _repeated(alone)
    if full.copied and oversampled(rows):
        return _copied(replace(full, kind=OPEN))
    return None


def distinct_rows(X: Any, y: Any, groups: Any) -> NDArray[np.intp] | None:
    """Places of the rows that are left where copies of a row in its own group, columns and target, count once; None
    where there are none, or where chance gives them. A jackknife over groups of which a few hold most rows by copying
    would reject a true null too often.

    Args:
        X: as of `table_objection`.
        y: target, shape (rows,).
        groups: shape (rows,).
    """
    rows = rows_of([*columns_of(X), y])
    found = copies_among(rows)
    if not found.copied or (found.kind == CHANCE and found.multiple == 1):
        return None
    places = first_of(row_codes(np.concatenate([rows.keys, rows_of([groups]).keys])))
    return places if len(places) < found.rows else None


def parts_objection(others: Any, table: Any, *, before: str = "training", after: str = "test") -> Objection | None:
    """Rows of a part that stand in another, columns and target alike.

    Args:
        others: data frame, array or sequence of columns, the target among them.
        table: the same of the part that is tested on.
        before: what the one part is called.
        after: what the other is called.
    """
    found = seen(others, table)
    if found.kind == CHANCE:
        return None
    return Objection(
        SEEN_ROWS,
        _level(found.kind, found.share > TOLERATED_SHARE),
        f"{found.count:,} of {found.rows:,} {after} rows ({found.share:.1%}) are exact copies of {before} rows, which "
        f"{_chance_of(found)}",
        "keep one of each before the data are split, or keep the copies of a row in one part",
        found.count,
        found.rows,
        float(found.rows - found.count),
        found.examples,
    )


def _chance_of(found: Seen) -> str:
    if found.kind == COPIED:
        return "chance does not give: a column has too many values for that"
    return "chance may give where columns follow from each other"


def _met_again(rows: Rows) -> bool:
    """Whether rows of equal columns have targets of their own, of so few values that these agree by chance."""
    target = pd.factorize(rows.keys[-1])[0]
    if int(target.max()) + 1 > _FEW * len(target):
        return False
    codes, whole = row_codes(rows.keys[:-1]), row_codes(rows.keys)
    times = np.bincount(codes)
    targets = np.bincount(codes[first_of(whole)], minlength=len(times))
    return bool((targets[times > 1] > 1).mean() > _MIXED)


def _level(kind: str, matters: bool) -> str:
    if not matters:
        return NOTED
    return REFUSED if kind == COPIED else DOWNGRADED


def _matters(found: Copies) -> bool:
    return found.copied > TOLERATED_SHARE * found.rows or found.rows > TOLERATED_DESIGN_EFFECT * found.effective


def _copied(full: Copies) -> Objection:
    doubt = "" if full.kind == COPIED else ", more often than chance gives where columns have so few values"
    return Objection(
        COPIED_ROWS,
        _level(full.kind, _matters(full)),
        f"{full.copied:,} of {full.rows:,} rows are exact copies of others, columns and target{doubt}: "
        f"{full.distinct:,} rows are distinct, and all count for {full.effective:,.0f}; copies of one row would choose "
        "and test the same",
        "drop_duplicates() before anything is drawn or split, or give groups= the original row of each"
        + ("" if full.kind == COPIED else " (groups=range(rows) where each row is a case of its own)"),
        full.copied,
        full.rows,
        full.effective,
        full.examples,
    )


def _repeated(alone: Copies) -> Objection:
    return Objection(
        REPEATED_ROWS,
        DOWNGRADED if _matters(alone) else NOTED,
        f"{alone.copied:,} of {alone.rows:,} rows have all columns of another row to the last bit and a target of "
        f"their own: they look like {alone.distinct:,} things met again, and count for {alone.effective:,.0f} at least",
        "give groups= what each row belongs to (a user, an item, a day), or groups=range(rows) where each is a case of "
        "its own",
        alone.copied,
        alone.rows,
        alone.effective,
        alone.examples,
    )


def _between_groups(rows: Rows, groups: Any) -> Objection | None:
    """Rows that are alike in a group are what a group is for; between groups, what is open is the caller's word."""
    group = rows_of([groups]).keys
    places = first_of(row_codes(np.concatenate([rows.keys, group])))
    full = copies_among(rows.at(places))
    if full.kind != COPIED:
        return None
    return Objection(
        COPIED_ROWS,
        _level(full.kind, _matters(full)),
        f"{full.copied:,} of {full.rows:,} rows are exact copies of a row in another group, columns and target",
        "give all copies of a row the same group, or drop_duplicates() first",
        full.copied,
        full.rows,
        full.effective,
        tuple(places[list(full.examples)].tolist()),
    )
