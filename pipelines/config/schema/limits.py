"""Limits of the values of settings beyond their types, for the annotations of their fields: `Annotated[float, SHARE]`.

Every number must be finite, and a whole one must fit into 64 bits. A field's own limit is narrower; that of a list or
mapping holds for each number in it. An upper limit is far above what anybody means: it keeps a slip of the finger from
asking for all memory, or from training for a year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import ge, gt, le, lt
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Limit:
    """Limits of one number, or of each of a list."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def complaint(self, value: float) -> str:
        """Name the end that the value is beyond; empty where it is within."""
        for beyond, end, bound in (
            (le, "above", self.above),
            (lt, "at least", self.least),
            (gt, "at most", self.most),
            (ge, "below", self.below),
        ):
            if bound is not None and beyond(value, bound):
                return f"must be {end} {bound}"
        return ""


@dataclass(frozen=True)
class Choices:
    """Texts that a setting may be."""

    values: tuple[str, ...]

    def complaint(self, value: str) -> str:
        """Name the texts; empty where the value is one of them."""
        return "" if value in self.values else f"is unknown; use one of {', '.join(self.values)}"


ANY = Limit(-1e30, 1e30)
"""Limits of numbers without a limit of their own: a float of 32 bits can still hold these, and some sums of them."""

COUNT = Limit(1, 10**9)
FROM_0 = Limit(0, 10**9)
TIMES = Limit(1, 10**6)
SIZE = Limit(1, 65536)
SEED = Limit(0, 2**32 - 1)
SCALE = Limit(0, 1e30)
POSITIVE = Limit(above=0, least=1e-12, most=1e30)
SHARE = Limit(above=0, least=1e-9, most=1)
PART = Limit(above=0, least=1e-9, below=1)
FROM_0_TO_1 = Limit(0, 1)
BELOW_1 = Limit(least=0, below=1)

MAY_REPEAT = frozenset({"widths", "shapes", "words", "overrides"})
"""Lists in which a value may stand twice; in any other it is a slip."""
OF_OVERRIDES = frozenset({"overrides", "trial"})
"""Lists of overrides."""
OVERRIDES = frozenset({"settings", "apart", "controls", "tables"})
"""Mappings to lists of overrides."""
PATHS = frozenset({"path", "cache", "files"})
"""Settings that name a file or a folder."""


def limit_of(kind: Any, name: str) -> Limit | Choices | None:
    """Find the limit of a setting of this dataclass, or of its bases; None where it has none of its own."""
    return _limits(kind).get(name) if isinstance(kind, type) else None


@cache
def _limits(kind: type) -> Mapping[str, Limit | Choices]:
    """Limits of all fields of a dataclass, by name."""
    hints = get_type_hints(kind, include_extras=True)
    noted = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: one for name, notes in noted.items() for one in notes if isinstance(one, Limit | Choices)}
