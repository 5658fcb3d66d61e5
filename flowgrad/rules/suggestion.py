"""Suggests a name to a user who misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_COMPARED, LONGEST = 1_000, 100
"""Number of names that a misspelt one is compared with, and of characters that it may have: comparing takes the
product.
"""
_LISTED = 60


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest a name: `; did you mean 'nearest'?`, or `; known: ...` where nothing is near, or "" where nothing is
    known.

    A word of more than `LONGEST` characters is compared with nothing, and of the known names no more than the first
    `MOST_COMPARED` are.
    """
    choices = list(dict.fromkeys(known))
    near = (
        []
        if len(word) > LONGEST
        else get_close_matches(word, [one for one in choices[:MOST_COMPARED] if len(one) <= LONGEST], n=1)
    )
    if near:
        return f"; did you mean {near[0]!r}?"
    more = ", ..." if len(choices) > _LISTED else ""
    return f"; known: {', '.join(choices[:_LISTED])}{more}" if choices else ""


def shortened(value: object, most: int = 60) -> str:
    """Write the value as Python does, cut where that is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
