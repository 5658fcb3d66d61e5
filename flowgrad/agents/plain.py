"""Makes content of reports plain and bounded: numbers that JSON holds, texts and lists that have an end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST_CHARACTERS = 2_000
"""Number of characters of one text."""
MOST_ITEMS = 50
"""Number of items of one list, and of names of one mapping."""


def plain(value: Any) -> Any:
    """Make a value of mappings, lists, texts and numbers one that JSON holds, and that has an end.

    In each mapping, `not_finite` names the numbers that are not finite, whose place holds None, and `cut` the lists and
    texts that were cut, with their length.

    >>> plain({"name": "loss", "value": float("inf")})
    {'name': 'loss', 'value': None, 'not_finite': {'value': 'INF'}}
    """
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value[:MOST_ITEMS]]
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else f"{value[: MOST_CHARACTERS - 1]}…"
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    held = list(value.items())[:MOST_ITEMS]
    found = {name: plain(item) for name, item in held}
    odd = {name: spelled(item) for name, item in held if isinstance(item, float) and not math.isfinite(item)}
    if odd:
        found["not_finite"] = odd
    cut = {name: len(item) for name, item in held if _is_cut(item)}
    if len(value) > MOST_ITEMS:
        cut["names"] = len(value)
    if cut:
        found["cut"] = cut
    return found


def _is_cut(item: Any) -> bool:
    if isinstance(item, str):
        return len(item) > MOST_CHARACTERS
    return isinstance(item, list | tuple) and len(item) > MOST_ITEMS


def spelled(number: float) -> str:
    """Write a number that is not finite as the XML does."""
    return "NaN" if math.isnan(number) else "INF" if number > 0 else "-INF"


def figure(text: str) -> float | None:
    """Read the number in a field of a table; None for an empty one, or another text.

    >>> figure("1e-3"), figure(""), figure("inf"), figure("a")
    (0.001, None, inf, None)
    """
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
