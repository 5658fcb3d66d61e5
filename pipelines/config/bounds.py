"""Bounds of one setting: beside its field, or in the table of `pipelines.config.schema.limits`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import Field, dataclass, field
from operator import ge, gt, le, lt
from typing import Any

import omegaconf

_KEY = "flowgrad_bounds"
"""Key of a field's metadata."""


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
    """Values that a text may have."""

    values: tuple[str, ...]

    def complaint(self, value: str) -> str:
        """Name the values; empty where the text is one of them."""
        return "" if value in self.values else f"is unknown; use one of {', '.join(self.values)}"


def bounded(
    default: Any = omegaconf.MISSING,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of settings with its bounds, which every run checks before anything is trained.

    Args:
        default: value where the config gives none; without one, the config has to.
        least: smallest number, or smallest of each in a list.
        most: largest number.
        above: number that the setting is above.
        below: number that the setting is below.
        choices: the texts that it may be; for texts, in the place of numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Settings:
    ...     width: int = bounded(16, least=1, most=64)
    >>> Settings().width, bounds_of(Settings, "width").complaint(65)
    (16, 'must be at most 64')
    """
    known = {_KEY: Choices(tuple(choices)) if choices else Limit(least, most, above, below)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=known)
    return field(default=default, metadata=known)


def bounds_of(kind: object, name: str) -> Limit | Choices | None:
    """Bounds that stand beside the field of this name; None where there are none."""
    found: Field[Any] | None = getattr(kind, "__dataclass_fields__", {}).get(name)
    return None if found is None else found.metadata.get(_KEY)
