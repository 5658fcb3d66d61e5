"""Makes columns of one or two others, and their names: a term's name is all that computing it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean

Floats = NDArray[np.float64]

SQUARE = " ^ 2"
OPERATORS = {"product": " * ", "ratio": " / ", "sum": " + ", "difference": " - "}
KINDS = ("product", "square", "ratio", "sum", "difference")
INTERACTIONS = ("product", "ratio")
"""Kinds that no sum of curves of single columns can express."""
LINEAR = ("sum", "difference")
"""Kinds that a linear model of the columns has already."""


@dataclass(frozen=True)
class Term:
    """A column made of others."""

    kind: str
    """One of `KINDS`."""
    first: str
    second: str | None = None
    """Name of the second column; None for a square."""

    @property
    def name(self) -> str:
        """Name of the term: `a * b`, `a / b`, `a + b`, `a - b` or `a ^ 2`."""
        return self.first + (SQUARE if self.second is None else OPERATORS[self.kind] + self.second)

    def values(self, frame: pd.DataFrame) -> Floats:
        """The column, shape (rows,), of a frame that has those it is made of; NaN where it divides by 0.

        Raises:
            FlowGradError: the frame lacks a column.
        """
        a = _column(frame, self.first)
        return compute(self.kind, a, a if self.second is None else _column(frame, self.second))


def check_terms(terms: Sequence[object]) -> None:
    """Refuse what is no term, such as its name.

    Raises:
        FlowGradError: says how to make one.
    """
    for term in terms:
        if not isinstance(term, Term):
            raise FlowGradError(
                f"suggestions: {term!r} is no term; use Term('product', 'a', 'b') or parse_term('a * b', columns)"
            )


def compute(kind: str, a: Floats, b: Floats) -> Floats:
    """The values of a term of this kind; `b` is not used for a square.

    >>> compute("ratio", np.array([1.0, 2.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    return _COMPUTE[kind](a, b)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)


_COMPUTE: dict[str, Callable[[Floats, Floats], Floats]] = {
    "product": lambda a, b: a * b,
    "square": lambda a, b: a * a,
    "ratio": _ratio,
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
}


def term_values(name: str, frame: pd.DataFrame) -> Floats:
    """The column called `name`, such as `user_mean * item_mean`, computed from those of `frame`; shape (rows,).

    Raises:
        FlowGradError: as `parse_term`.
    """
    return parse_term(name, [str(column) for column in frame.columns]).values(frame)


def parse_term(name: str, columns: Sequence[str]) -> Term:
    """The term that `name` means, where the columns are called `columns`. These may hold spaces and signs.

    >>> parse_term("user mean * item mean", ["user mean", "item mean"])
    Term(kind='product', first='user mean', second='item mean')

    Raises:
        FlowGradError: no term; a column that is not there; a name that can be read in two ways.
    """
    known = set(columns)
    readings = list(_readings(name))
    if not readings:
        raise FlowGradError(f"{name!r} is no term; write 'a * b', 'a / b', 'a + b', 'a - b' or 'a ^ 2'")
    found = [term for term in readings if term.first in known and (term.second is None or term.second in known)]
    if len(found) > 1:
        ways = " or ".join(f"{term.kind} of {term.first!r} and {term.second!r}" for term in found)
        raise FlowGradError(f"{name!r} can be read as {ways}; rename a column")
    if not found:
        # The reading with most columns known says best which one is wrong.
        best = max(readings, key=lambda term: (term.first in known) + (term.second in known))
        missing = next(part for part in (best.first, best.second) if part is not None and part not in known)
        raise FlowGradError(
            f"{name!r} needs the column {missing!r}, which is not there{did_you_mean(missing, columns)}"
        )
    return found[0]


def _readings(name: str) -> list[Term]:
    found = []
    if name.endswith(SQUARE):
        found.append(Term("square", name.removesuffix(SQUARE)))
    for kind, operator in OPERATORS.items():
        place = name.find(operator)
        while place >= 0:
            found.append(Term(kind, name[:place], name[place + len(operator) :]))
            place = name.find(operator, place + 1)
    return [term for term in found if term.first and term.second != ""]


def _column(frame: pd.DataFrame, name: str) -> Floats:
    places = [place for place, column in enumerate(frame.columns) if str(column) == name]
    if len(places) != 1:
        known = [str(column) for column in frame.columns]
        raise FlowGradError(
            f"there is no column {name!r}{did_you_mean(name, known)}"
            if not places
            else f"two columns are named {name!r}"
        )
    return frame.iloc[:, places[0]].to_numpy(dtype=float, na_value=np.nan)
