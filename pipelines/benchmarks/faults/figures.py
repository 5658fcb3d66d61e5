"""Finds, for every number in a rule, the value of it at which the rule's verdict on one run turns."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Measurements
from flowgrad.rules import Rule, RuleBook
from flowgrad.rules.condition import Condition

CLAUSES = ("condition", "requires", "rows")
_MOVED = "_"
"""Name that stands for the number that moves; no measure has it."""
_ORDERED = ast.Lt | ast.LtE | ast.Gt | ast.GtE


@dataclass(frozen=True)
class Threshold:
    """One number in a rule that a figure, or its multiple, is compared with."""

    rule: str
    """Id of the rule."""
    clause: str
    """Clause that holds it, one of `CLAUSES`."""
    start: int
    """Place of its first character in the text of the clause."""
    end: int
    """Place after its last one."""
    comparison: str
    """Text of the comparison, as shipped: `collided_share > 0.2`."""
    shipped: float
    """The number in the rule book; without a sign, which stands before it."""


@dataclass(frozen=True)
class Figure:
    """Verdicts of a rule on one run by the value of one of its thresholds, all else as shipped.

    The rule fires where the threshold is less than `below` or more than `above`: always where `below` is infinite, and
    never where it has both defaults.
    """

    below: float = -np.inf
    above: float = np.inf


def thresholds(rule: Rule) -> tuple[Threshold, ...]:
    """List the numbers that the rule compares with: a side of `<`, `<=`, `>` or `>=`, or a factor in one.

    Zeros, summands and numbers that something has to equal say what is meant and not how much, and are left out.

    >>> [found.comparison for found in thresholds(RuleBook.load()["values_share_rows"])]
    ['collided_share > 0.2', 'loss_rise_z > 3']
    """
    found = []
    for clause in CLAUSES:
        condition = getattr(rule, clause)
        for compared, number in _numbers(condition.text) if condition is not None else ():
            text = ast.unparse(number)
            end = number.end_col_offset or number.col_offset + len(text)
            found.append(Threshold(rule.id, clause, number.col_offset, end, ast.unparse(compared), float(text)))
    return tuple(found)


def with_values(rule: Rule, values: Mapping[Threshold, float]) -> Rule:
    """The rule with other numbers, of four digits, in the places of thresholds."""
    for threshold in sorted(values, key=lambda one: -one.start):  # the last first, so that places stay
        rule = _with(rule, threshold, f"{values[threshold]:.4g}")
    return rule


def figures(book: RuleBook, rules: Collection[str], run: Sequence[Measurements]) -> dict[Threshold, Figure]:
    """Find where the verdicts of rules on one run turn: on whichever of its subjects they do.

    A rule that names candidates fires where it claims its cause.

    Args:
        book: rules as shipped.
        rules: ids of the rules asked for.
        run: measurements of the run's subjects.
    """
    measured = [({**seen.scalars, **book.shares(seen)}, seen) for seen in run if not seen.coverage.stopped]
    found = {}
    for rule in map(book.__getitem__, rules):
        for threshold in thresholds(rule):
            parts = [_of_subject(rule, threshold, *one) for one in measured if one[1].kind == rule.subject]
            below = max((one.below for one in parts), default=-np.inf)
            found[threshold] = Figure(below, min((one.above for one in parts), default=np.inf))
    return found


def _numbers(text: str) -> Iterator[tuple[ast.Compare, ast.Constant]]:
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _ORDERED):
            for side in (node.left, *node.comparators):
                yield from ((node, number) for number in _scaling(side) if number.value != 0)


def _scaling(side: ast.expr) -> Iterator[ast.Constant]:
    """Numbers that are a side of a comparison or a factor in it."""
    match side:
        case ast.Constant():
            yield side
        case ast.UnaryOp(operand=operand):
            yield from _scaling(operand)
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            yield from _scaling(left)
            yield from _scaling(right)
        case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right):
            for part in (left, right):
                if not isinstance(part, ast.Constant):
                    yield from _scaling(part)


def _with(rule: Rule, threshold: Threshold, put: str) -> Rule:
    condition: Condition = getattr(rule, threshold.clause)
    # The rest without blanks, for a text has a longest length.
    rest = re.sub(r" ([<>]=?|[-+*/]) ", r"\1", condition.text[threshold.end :])
    text = f"{condition.text[: threshold.start]}{put}{rest}"
    clause: dict[str, Any] = {threshold.clause: Condition.parse(text, (*condition.names, _MOVED))}
    return replace(rule, **clause)


def _of_subject(rule: Rule, threshold: Threshold, measured: Mapping[str, float], seen: Measurements) -> Figure:
    moved = _with(rule, threshold, _MOVED)
    columns: dict[str, ArrayLike] = dict(measured)
    if threshold.clause == "rows":
        rows = seen.tables.get("rows", pd.DataFrame())
        columns |= {str(name): values.to_numpy() for name, values in rows.items()}
    turns = getattr(moved, threshold.clause).turns_at(_MOVED, columns)
    points = np.unique(turns[~np.isnan(turns)])

    def fires(place: int) -> bool:
        """Whether the rule fires with the threshold above the first `place` points and below the others."""
        known = {**measured, _MOVED: _between(points, place)}
        if threshold.clause == "rows":
            known |= RuleBook({rule.id: moved}, Ledger()).shares(replace(seen, scalars=known))
        return moved.condition.holds(known) and (moved.requires is None or moved.requires.holds(known))

    low, high = 0, len(points)
    first = fires(low)
    if first == fires(high):
        return Figure(below=np.inf if first else -np.inf)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fires(middle) == first else (low, middle)
    turn = float(points[low])
    return Figure(below=turn) if first else Figure(above=turn)


def _between(points: NDArray[np.float64], place: int) -> float:
    """A value above the first `place` points and below the others."""
    if not len(points):
        return 1.0
    far = 1 + np.abs(points).max()
    ends = [points[0] - far, *points, points[-1] + far]
    return float((ends[place] + ends[place + 1]) / 2)
