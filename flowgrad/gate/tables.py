"""Checks tables of columns and a target: whether their rows are as many as they seem, and whether parts share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.between import rows_within
from flowgrad.gate.copies import CHANCE, COPIED, OPEN, Copies, Seen, copies_among, seen, seen_among
from flowgrad.gate.near import nearly
from flowgrad.gate.objection import DOWNGRADED, NOTED, REFUSED, Objection
from flowgrad.gate.oversampling import oversampled
from flowgrad.gate.recurring import targets_differ, things_met_again
from flowgrad.gate.rows import Rows, columns_of, first_of, names_of, row_codes, rows_of
from flowgrad.gate.units import units_among

COPIED_ROWS, REPEATED_ROWS, SEEN_ROWS = "copied rows", "repeated rows", "seen rows"
"""Names of checks: rows with their target; rows without; rows of one part in another."""
NEAR_COPIES = "near copies"
"""Name of the check of rows, with their target, that are equal but for noise or but for one column."""
ROWS_OF_UNITS = "rows of units"
"""Name of the check of rows that belong together, such as visits of one patient, with columns that do not change."""
ROWS_BETWEEN = "rows between others"
"""Name of the check of rows that stand on a straight line between two others of their class."""
_NAMED = 4
"""Number of columns that are named at most."""
TOLERATED_SHARE = 0.05
"""Share of the rows that may repeat others, or stand in another part, before a test is affected: of the noise that
chooses the best of some 10,000 pairs (z about 4), a twentieth carries over to the rows that test them, .2 standard
errors, and a test at 5 % then rejects in 5.5 %.
"""
TOLERATED_DESIGN_EFFECT = 1.21
"""Ratio of rows to the rows that they are worth up to which a test is not affected: 2 Phi(-1.96 / 1.1) = 7.5 %, the
upper end of Bradley's criterion (1978, Br. J. Math. Stat. Psychol. 31:144) for a test at 5 %.
"""


def table_objection(X: Any, y: Any, groups: Any = None) -> Objection | None:
    """Find copies among the rows of a table that will be divided at random, such as into halves or random splits.

    Copies within a group stay together, and are no objection. Equal rows that chance explains are none either; copies
    that are too few to change a test are noted. Rows that belong together, as several columns that repeat together
    show, are downgraded where their targets are alike.

    Args:
        X: data frame, array of shape (rows, columns) or sequence of columns.
        y: target, shape (rows,).
        groups: shape (rows,): what each row belongs to; None where rows are taken to be independent.
    """
    rows = rows_of([*columns_of(X), y])
    if groups is not None:
        return _between_groups(rows, groups)
    found = _of_copies(rows, names_of(X))
    return found if found is not None and found.blocks else _of_units(rows, names_of(X)) or found


def _of_copies(rows: Rows, names: Sequence[str]) -> Objection | None:
    alone = copies_among(rows.columns(len(rows.keys) - 1))
    if not alone.copied:
        return _nearly_copied(rows, names) or _made(rows)
    full = copies_among(rows)
    if full.multiple > 1:  # of rows without their target this may be a designed experiment
        return _copied(replace(full, kind=COPIED))
    if full.kind != CHANCE and not targets_differ(rows):
        return _copied(full)
    if alone.kind != CHANCE:
        return _repeated(alone)
    if full.copied and oversampled(rows):
        return _copied(replace(full, kind=OPEN))
    return None


def _nearly_copied(rows: Rows, names: Sequence[str]) -> Objection | None:
    """Copies but for noise, or but for one column: rows that agree with their target, and that chance does not give."""
    near = nearly(rows)
    if near is None:
        return None
    found = copies_among(near[0])
    if found.kind == CHANCE or not _matters(found) or targets_differ(near[0]):
        return None
    return Objection(
        NEAR_COPIES,
        DOWNGRADED,
        f"{found.copied:,} of {found.rows:,} rows agree with another in three digits of every column"
        f"{_but_for(near[1], names)} and the target, which chance does not give: {found.distinct:,} are distinct, and "
        f"all count for {found.effective:,.0f}",
        "give groups= the original row, session or thing of each, or keep one of each; groups=range(rows) where each "
        "is a case of its own",
        found.copied,
        found.rows,
        found.effective,
        found.examples,
    )


def _made(rows: Rows) -> Objection | None:
    """Rows of a class that were made from others, as SMOTE makes them."""
    found = rows_within(rows)
    if not found.share > TOLERATED_SHARE:
        return None
    count, total = round(found.share * found.rows), rows.keys.shape[1]
    return Objection(
        ROWS_BETWEEN,
        DOWNGRADED,
        f"some {count:,} of {total:,} rows stand on a straight line with two others of their class, as rows that were "
        "made from these do (SMOTE): they are no cases of their own",
        "give the rows that were measured, and let rows be made in the training part of each split alone",
        count,
        total,
        float(total - count),
    )


def _of_units(rows: Rows, names: Sequence[str]) -> Objection | None:
    """Rows that belong together and have alike targets, by columns that do not change within a unit."""
    found = units_among(rows)
    total = rows.keys.shape[1]
    if found is None or total <= TOLERATED_DESIGN_EFFECT * found.effective:
        return None
    shown = ", ".join(repr(names[place]) for place in found.columns[:_NAMED])
    more = len(found.columns) - _NAMED
    return Objection(
        ROWS_OF_UNITS,
        DOWNGRADED,
        f"{shown}{f' and {more} more columns' if more > 0 else ''} repeat together: {total:,} rows are of "
        f"{found.number:,} units (a patient, a user, a day), whose targets are alike beyond these columns (intraclass "
        f"correlation {found.alike:.2f}), and count for {found.effective:,.0f}",
        "give groups= the unit of each row, or groups=range(rows) where each is a case of its own",
        total - found.number,
        total,
        found.effective,
    )


def _but_for(place: int | None, names: Sequence[str]) -> str:
    return "" if place is None else f" but {names[place]!r}"


def distinct_rows(X: Any, y: Any, groups: Any) -> NDArray[np.intp] | None:
    """Find the rows that are left where copies of a row in its own group, columns and target, count once, also those
    that differ by noise; None where there are none, or where chance gives them. A jackknife over groups of which a few
    hold most rows by copying would reject a true null too often.

    Args:
        X: as of `table_objection`.
        y: target, shape (rows,).
        groups: shape (rows,).
    """
    rows = rows_of([*columns_of(X), y])
    found = copies_among(rows)
    if not found.copied or (found.kind == CHANCE and found.multiple == 1):
        near = nearly(rows)
        if near is None or near[1] is not None or copies_among(near[0]).kind == CHANCE:
            return None
        rows = near[0]
    places = first_of(row_codes(np.concatenate([rows.keys, rows_of([groups]).keys])))
    return places if len(places) < len(groups) else None


def near_copies_seen(others: Any, table: Any) -> Seen | None:
    """Find rows of a part that stand in another but for noise, or but for one column such as the time of writing; none
    where chance may give them, or where their targets differ. None where too few columns tell rows apart to look.
    `within` tells how many rows of the other part repeat each other in the same way.

    Args:
        others: data frame, array or sequence of columns, the target last.
        table: the same of the part that is tested on.
    """
    one, other = columns_of(others), columns_of(table)
    near = nearly(rows_of(one, other))
    if near is None:
        return None
    found = seen_among(near[0], len(one[0]))
    if found.kind == CHANCE or targets_differ(near[0]):
        return Seen(len(other[0]), 0, 0.0, CHANCE, ())
    own = row_codes(near[0].keys[:, : len(one[0])])
    return replace(found, within=1 - len(np.unique(own)) / len(own))


def parts_objection(
    others: Any, table: Any, *, before: str = "training", after: str = "test", groups: Any = None
) -> Objection | None:
    """Find rows of a part that stand in another, columns and target alike.

    Rows of things that are met often, such as stores, are alike where the target has few values, and are no copies:
    they are downgraded, unless the caller says what the rows belong to.

    Args:
        others: data frame, array or sequence of columns, the target last.
        table: the same of the part that is tested on.
        before: name of the one part.
        after: name of the other.
        groups: what the rows of both parts belong to, such as `Table.groups`; None where that is not known. With
            groups, recurrence within one is the caller's word; copies are objected to all the same.
    """
    found = seen(others, table)
    if found.kind == CHANCE:
        return None
    one, other = columns_of(others), columns_of(table)
    rows = rows_of(one, other)
    if len(one) > 1 and things_met_again(rows):
        alone = seen(one[:-1], other[:-1])
        if alone.kind != CHANCE:
            return _met_in_both(alone, before, after) if groups is None else None
        if not oversampled(rows):
            return None
        found = replace(found, kind=OPEN)
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


def _met_in_both(alone: Seen, before: str, after: str) -> Objection:
    return Objection(
        REPEATED_ROWS,
        DOWNGRADED if alone.share > TOLERATED_SHARE else NOTED,
        f"{alone.count:,} of {alone.rows:,} {after} rows ({alone.share:.1%}) have all columns of a {before} row to the "
        "last bit: they look like things met again, and copies among them would look the same",
        "give groups= what each row belongs to (a store, a user, a day), or groups=range(rows) where each is a case of "
        "its own; where new things are predicted, keep each group in one part",
        alone.count,
        alone.rows,
        float(alone.rows - alone.count),
        alone.examples,
    )


def _chance_of(found: Seen) -> str:
    if found.kind == COPIED:
        return "chance does not give: a column has too many values for that"
    return "chance may give where columns follow from each other"


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
    """Copies between groups: rows that are alike in a group are what a group is for; between groups, an open case is
    the caller's word.
    """
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
