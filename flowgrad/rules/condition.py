"""Conditions: safe boolean expressions over named numbers, evaluated on one set of values or on many rows at once.

A value that is not known is NaN. Conditions follow Kleene's three-valued logic (Kleene 1952, Introduction to
Metamathematics, par. 64): a comparison with NaN on either side is *unknown* (also `!=`), `not unknown` is unknown,
`unknown and False` is False, `unknown or True` is True, and a whole condition that is unknown does not hold. So neither
`x > 1` nor `not (x > 1)` fires on a value that was not measured. Plain IEEE semantics, under which the second one would
fire, is refused. Division by zero gives an infinity, or NaN for 0/0; it raises and warns nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.rules.expression import ARITHMETIC, COMPARISONS, read_expression

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Flags = BoolArray | bool
Numbers = FloatArray | float
"""Values of rows, as arrays, or of one set of values, which Python compares faster as plain numbers."""


@dataclass(frozen=True)
class Condition:
    """A checked boolean expression. Make one with `Condition.parse`; two conditions are equal if their texts are."""

    text: str
    """Text of the condition, as written."""
    names: tuple[str, ...] = field(compare=False)
    """Names used, in order of appearance, each once."""
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, names: Iterable[str]) -> Condition:
        """Check `text` against the grammar in `flowgrad.rules.expression`; `names` are the names it may use.

        Raises:
            UnknownNameError: (a RuleError) a name outside `names`, with its 1-based column and the nearest known name.
            RuleError: anything else that is no boolean expression over numbers, with the piece and its column.
        """
        tree, used = read_expression(text, tuple(names))
        return cls(text, used, tree)

    @property
    def canonical(self) -> str:
        """Expression without what does not matter: spaces, needless brackets, how numbers are spelled."""
        return ast.unparse(self._tree)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether the condition is true of `values`. A missing name is unknown, as NaN is."""
        return bool(_truth(self._tree, self._numbers(values)).true)

    def truth(self, values: Mapping[str, float]) -> bool | None:
        """Whether the condition is true or false of `values`; None where that is unknown."""
        true, false = _truth(self._tree, self._numbers(values))
        return True if true else False if false else None

    def select(self, columns: Mapping[str, ArrayLike]) -> BoolArray:
        """Flags of where the condition is true, in the common broadcast shape of all `columns` given (rows and
        scalars).
        """
        shape = np.broadcast_shapes(*(np.shape(column) for column in columns.values()))
        return np.broadcast_to(_evaluate(self._tree, self._columns(columns)).true, shape).copy()

    def known(self, columns: Mapping[str, ArrayLike]) -> BoolArray:
        """Flags of where no name that the condition uses is NaN or missing, in the same shape as `select`."""
        shape = np.broadcast_shapes(*(np.shape(column) for column in columns.values()))
        known = np.ones(shape, dtype=np.bool_)
        for column in self._columns(columns).values():
            known &= ~np.isnan(column)
        return known

    def thresholds(self, values: Mapping[str, float] | None = None) -> dict[str, float]:
        """Number that each name is directly compared with. Where there are several, the first whose comparison `values`
        make true, else the first.
        """
        numbers = self._numbers(values or {})
        found: dict[str, tuple[bool, float]] = {}
        for node in _in_order(self._tree):
            if isinstance(node, ast.Compare):
                true = bool(_truth(node, numbers).true)
                sides = (node.left, *node.comparators)
                for left, right in pairwise(sides):
                    for name, number in ((left, right), (right, left)):
                        value = _literal(number)
                        if not isinstance(name, ast.Name) or value is None:
                            continue
                        if name.id not in found or (true and not found[name.id][0]):
                            found[name.id] = (true, value)
        return {name: value for name, (_, value) in found.items()}

    def turns_at(self, name: str, columns: Mapping[str, ArrayLike]) -> FloatArray:
        """Compute the value of `name` at which the comparison that holds it turns, in the broadcast shape of `columns`.

        The name has to stand in one comparison, both sides of which are linear in it. NaN where the comparison does not
        depend on it, or where another value is not known.
        """
        nodes = (node for node in ast.walk(self._tree) if isinstance(node, ast.Compare))
        node = next(n for n in nodes if any(isinstance(x, ast.Name) and x.id == name for x in ast.walk(n)))
        at_0, at_1 = (
            _number(node.left, known) - _number(node.comparators[0], known)
            for known in (self._columns({**columns, name: value}) for value in (0.0, 1.0))
        )
        with np.errstate(all="ignore"):
            turns = at_0 / (at_0 - at_1)
        return np.where(np.isfinite(turns), turns, np.nan)

    def _columns(self, columns: Mapping[str, ArrayLike]) -> dict[str, FloatArray]:
        return {name: np.asarray(columns.get(name, np.nan), dtype=np.float64) for name in self.names}

    def _numbers(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: float(values.get(name, np.nan)) for name in self.names}


class _Truth(NamedTuple):
    """Kleene truth values: `true` and `false` are never both set; neither set is unknown."""

    true: Flags
    false: Flags


def _evaluate(tree: ast.expr, columns: Mapping[str, FloatArray]) -> _Truth:
    with np.errstate(all="ignore"):
        return _truth(tree, columns)


def _truth(node: ast.expr, columns: Mapping[str, Numbers]) -> _Truth:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            found = _truth(values[0], columns)
            for value in values[1:]:
                if found.false is True:  # of one set of values; what follows changes nothing
                    break
                found = _and(found, _truth(value, columns))
            return found
        case ast.BoolOp(values=values):
            found = _truth(values[0], columns)
            for value in values[1:]:
                if found.true is True:
                    break
                found = _or(found, _truth(value, columns))
            return found
        case ast.UnaryOp(operand=operand):
            true, false = _truth(operand, columns)
            return _Truth(false, true)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_number(side, columns) for side in (left, *comparators)]
            return reduce(_and, map(_comparison, ops, sides, sides[1:]))
        case ast.Constant(value=bool() as value):
            return _Truth(value, not value)
    raise TypeError(f"{type(node).__name__} passed the check but has no truth value")


def _number(node: ast.expr, columns: Mapping[str, Numbers]) -> Numbers:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](_number(left, columns), _number(right, columns))
        case ast.UnaryOp(operand=operand):
            return -_number(operand, columns)
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return columns[name]
    raise TypeError(f"{type(node).__name__} passed the check but is no number")


def _comparison(op: ast.cmpop, left: Numbers, right: Numbers) -> _Truth:
    known = (left == left) & (right == right)  # NaN alone is not itself
    true = COMPARISONS[type(op)](left, right) & known
    return _Truth(true, known ^ true)


def _and(left: _Truth, right: _Truth) -> _Truth:
    return _Truth(left.true & right.true, left.false | right.false)


def _or(left: _Truth, right: _Truth) -> _Truth:
    return _Truth(left.true | right.true, left.false & right.false)


def _literal(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _literal(operand)
            return None if inner is None else -inner
    return None


def _in_order(node: ast.AST) -> Iterable[ast.AST]:
    """Yield `node` and all below it, in the order written (`ast.walk` goes level by level)."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)
