"""The grammar of conditions: which texts are safe boolean expressions over named numbers, and why others are not.

    truth  := truth (and|or) truth | not truth | True | False | number (< <= > >= == !=) number ...
    number := literal | name | -number | number (+ - * /) number

Python's parser reads the text and an allow-list of node and operator types judges the tree, so nothing is ever
executed. Truth values and numbers do not mix: `share + 1`, `a and 1` and `(a > b) > 1` are refused.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from flowgrad.errors import RuleError
from flowgrad.rules.suggestion import did_you_mean

MAX_LENGTH = 500
"""Longest condition, in characters."""
MAX_DEPTH = 40
"""Deepest nesting of operators; `a and b and c` counts as one level, `a + b + c` as two."""


def _divided(left: Any, right: Any) -> Any:
    """Divide as IEEE 754 does: by zero too, where numbers of Python raise."""
    with np.errstate(all="ignore"):
        return np.divide(left, right)


COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divided,
}
_REFUSED_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Pow: "**",
    ast.Mod: "%",
    ast.FloorDiv: "//",
    ast.MatMult: "@",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Invert: "~",
    ast.UAdd: "+",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_ALLOWED = "allowed are names, numbers, < <= > >= == !=, and, or, not, + - * / and parentheses"
_BLANKS = str.maketrans(dict.fromkeys("\t\n\r\f\v", " "))


class UnknownNameError(RuleError):
    """A condition names something that is not among the names it may use."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def read_expression(text: str, known: Collection[str]) -> tuple[ast.expr, tuple[str, ...]]:
    """Parse `text` into its checked tree and the names it uses, in order of appearance.

    Line breaks count as blanks, so that a condition may be folded over several YAML lines. Columns in messages are
    1-based positions in `text`.

    Raises:
        UnknownNameError: for a name outside `known`.
        RuleError: for everything else outside the grammar, naming the offending piece and its column.
    """
    return _read(text, tuple(known))


@lru_cache(maxsize=1 << 12)
def _read(text: str, known: tuple[str, ...]) -> tuple[ast.expr, tuple[str, ...]]:
    """Parse a text once, for a run makes several books of the same rules. Nobody changes a tree."""
    flat = _checked_text(text)
    tree = _tree(flat)
    checker = _Checker(flat, known)
    checker.truth(tree)
    return tree, tuple(dict.fromkeys(checker.used))


def _checked_text(text: str) -> str:
    """Replace line breaks in `text` by blanks, and refuse text that no condition can hold."""
    if len(text) > MAX_LENGTH:
        raise RuleError(f"is {len(text)} characters long; at most {MAX_LENGTH} are allowed")
    flat = text.translate(_BLANKS)
    if not flat.strip():
        raise RuleError("is empty; expected a comparison such as 'exposure_gini > 0.7'")
    for column, character in enumerate(flat, start=1):
        # '#' would silently cut off the rest of a condition folded over several lines.
        if not (character.isascii() and character.isprintable()) or character == "#":
            raise RuleError(f"character {character!r} at column {column} is not allowed; {_ALLOWED}")
    return flat


def _tree(flat: str) -> ast.expr:
    indent = len(flat) - len(flat.lstrip())
    source = flat.strip()  # the parser refuses an indent, so it is added back to the columns
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `1and 2` is deprecated spelling; refuse it
            return _shifted(ast.parse(source, mode="eval").body, indent)
    except SyntaxError as error:
        start = error.offset - 1 if error.offset else len(source)  # offset 0: the text ended too early
        piece = source[start : start + 20] or "its end"
        raise RuleError(f"does not parse at column {indent + start + 1}, near {piece!r}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise RuleError("does not parse at column 1: it is nested too deeply") from None
    except (ValueError, Warning) as error:
        raise RuleError(f"does not parse at column 1: {error}") from None


def _shifted(tree: ast.expr, by: int) -> ast.expr:
    for node in ast.walk(tree) if by else ():
        if isinstance(node, ast.expr):
            node.col_offset += by
            node.end_col_offset = (node.end_col_offset or 0) + by
    return tree


@dataclass
class _Checker:
    """Walks a tree once, statically typed: every node must be a truth value or a number where one is needed."""

    text: str
    known: tuple[str, ...]
    used: list[str] = field(default_factory=list)

    def truth(self, node: ast.expr, depth: int = 1) -> None:
        self._check_depth(node, depth)
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self.truth(value, depth + 1)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.truth(operand, depth + 1)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op in ops:
                    self._check_operator(node, op, type(op) in COMPARISONS)
                for side in (left, *comparators):
                    self.number(side, depth + 1)
            case ast.Constant(value=bool()):
                pass
            case _:
                self.number(node, depth)  # a value that is no number either is refused as such
                raise self._refused(node, "is a number where true or false is needed; compare it with something")

    def number(self, node: ast.expr, depth: int) -> None:
        self._check_depth(node, depth)
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                self._check_operator(node, op, type(op) in ARITHMETIC)
                self.number(left, depth + 1)
                self.number(right, depth + 1)
            case ast.UnaryOp(op=ast.Not()) | ast.BoolOp() | ast.Compare() | ast.Constant(value=bool()):
                raise self._refused(node, "is true or false where a number is needed")
            case ast.UnaryOp(op=op, operand=operand):
                self._check_operator(node, op, isinstance(op, ast.USub))
                self.number(operand, depth + 1)
            case ast.Constant(value=int() | float() as value):
                self._check_literal(node, value)
            case ast.Name(id=name):
                self._check_name(node, name)
            case _:
                raise self._refused(node, f"is not allowed; {_ALLOWED}")

    def _check_depth(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._refused(node, f"is nested more than {MAX_DEPTH} levels deep")

    def _check_operator(self, node: ast.expr, op: ast.AST, allowed: bool) -> None:
        if not allowed:
            raise self._refused(node, f"uses the operator {_REFUSED_SYMBOLS[type(op)]!r}; {_ALLOWED}")

    def _check_literal(self, node: ast.expr, value: float) -> None:
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            raise self._refused(node, "is too large for a number")

    def _check_name(self, node: ast.expr, name: str) -> None:
        if name not in self.known:
            message = f"unknown name {name!r} at column {node.col_offset + 1}{did_you_mean(name, self.known)}"
            raise UnknownNameError(name, message)
        self.used.append(name)

    def _refused(self, node: ast.expr, why: str) -> RuleError:
        piece = self.text[node.col_offset : node.end_col_offset]
        shown = piece if len(piece) <= 40 else f"{piece[:37]}..."
        return RuleError(f"{shown!r} at column {node.col_offset + 1} {why}")
