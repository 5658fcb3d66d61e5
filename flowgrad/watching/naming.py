"""Names many things in a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGITS = re.compile(r"\d[\d.,]*(?:e[-+]?\d+)?")


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write names, the last of many after a few of the first.

    >>> listed(["a.0", "a.1", "a.2", "a.3", "a.4"])
    'a.0, a.1, a.2, ..., a.4'
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])}, ..., {names[-1]}"


def without_numbers(text: str) -> str:
    """Write a text with every number replaced, so that texts compare that differ in their figures alone.

    >>> without_numbers("12 rows moved in 3.5 steps")
    '# rows moved in # steps'
    """
    return _DIGITS.sub("#", text)
