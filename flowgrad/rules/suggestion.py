"""What to offer a user who misspelt a name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'nearest'?`, or `; known: ...` where nothing is near, or "" where nothing is known."""
    choices = list(dict.fromkeys(known))
    near = get_close_matches(word, choices, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(choices)}" if choices else ""
