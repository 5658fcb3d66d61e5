"""Reads which part of a rule's fix may be applied while training runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flowgrad.errors import RuleError
from flowgrad.rules.rule import InTraining
from flowgrad.rules.suggestion import did_you_mean

_PARTS = tuple(field.name for field in fields(InTraining))


def read_in_training(content: Any) -> InTraining:
    """Read the mapping of a rule's `in_training`.

    Raises:
        RuleError: it is no mapping, empty, or holds an unknown key or a value that cannot be meant.
    """
    if not isinstance(content, Mapping) or not content:
        raise RuleError(f"must be a mapping of {', '.join(_PARTS)}, got {content!r}")
    for part, value in content.items():
        if part not in _PARTS:
            raise RuleError(f"unknown key {part!r}{did_you_mean(str(part), _PARTS)}")
        if part in ("stop", "exclude"):
            if value is not True:
                raise RuleError(f"{part}: must be true, or left out, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise RuleError(f"{part}: must be a positive number such as 0.1, got {value!r}")
    return InTraining(**content)
