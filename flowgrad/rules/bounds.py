"""Bounds the content of a rule: plain values, not too many, and none that another program would fill in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowgrad.errors import RuleError

MOST_RULES = 10_000
"""Number of rules in one book."""
MOST_IN_A_RULE = 100_000
"""Number of characters and values in a rule."""
MOST_DEPTH = 20
"""Depth of collections within each other in one rule."""
MOST_BITS = 10_000
"""Number of bits of a whole number: Python refuses to write one of thousands of digits."""
LONGEST_MESSAGE = 2_000
"""Number of characters of an error about a rule."""
_LEFT_OUT = " ... "
"""Text in the place of the middle of a longer one."""


def check_bounds(content: Any) -> None:
    """Refuse content that is too large, and interpolations: text of a rule means the same wherever the rule is read.

    Raises:
        RuleError: the message names what is wrong.
    """
    size = 0
    for value in _values(content):
        size += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        if size > MOST_IN_A_RULE:
            raise RuleError(f"holds more than {MOST_IN_A_RULE} characters and values; make several rules of it")
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise RuleError(f"holds a whole number of {value.bit_length()} bits; at most {MOST_BITS} are read")
        if isinstance(value, str) and (place := value.find("${")) >= 0:
            piece = value[place : place + 60]
            raise RuleError(f"{piece!r} is an interpolation, which no rule may hold; write the value itself")


def cut(message: str) -> str:
    """The message, without its middle where it is too long."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    half = (LONGEST_MESSAGE - len(_LEFT_OUT)) // 2
    return f"{message[:half]}{_LEFT_OUT}{message[-half:]}"


def _values(content: Any) -> Iterator[Any]:
    """Yield the content, and everything in it at any depth; a content that holds itself has no end."""
    level, depth = [content], 0
    while level:
        if depth > MOST_DEPTH:
            raise RuleError(f"is nested too deeply, more than {MOST_DEPTH} levels")
        held: list[Any] = []
        for value in level:
            yield value
            if isinstance(value, Mapping):
                held += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set | frozenset):
                held += value
        level, depth = held, depth + 1
