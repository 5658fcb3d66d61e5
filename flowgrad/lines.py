"""Text of others in a line of a terminal: it shows it, and does not obey it."""

from __future__ import annotations

import re
import unicodedata

_TURNING = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
"""Classes of characters that turn the direction in which others are shown."""
_LONG_WORD = re.compile(r"\S{400,}")
_KEPT = 60
_LONGEST = 1200


_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""The characters of these classes."""


def unturned(text: str) -> str:
    r"""The text with characters that turn the direction of others as escapes, so that it is shown as it stands.

    >>> print(unturned("a\u202eb"))
    a\u202eb
    """
    return _TURNS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def told_line(text: str) -> str:
    r"""One line that a terminal can show: control characters, those that turn the direction and halves of characters as
    escapes, words that fill a screen cut in their middle, and the whole where it still does.

    >>> print(told_line("a\tb"))
    a\tb
    """
    shown = "".join(repr(c)[1:-1] if _acts(c) else c for c in text)
    words = _LONG_WORD.sub(lambda word: f"{word[0][:_KEPT]}...{word[0][-_KEPT:]}", shown)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST // 2]} ... {words[-_LONGEST // 2 :]}"


def _acts(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(c) in _TURNING
