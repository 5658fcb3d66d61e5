"""Checks the state of a tracker, in all its depth: small checks are put together as the state is.

A check takes a value and where it stands in the state (`state['looks'][0]`), and raises `RefusedError` where a tracker
would not write such a value. Nothing is changed by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

Check = Callable[[Any, str], None]
MOST = 2**53
"""Largest count: beyond, a float64 does not distinguish neighbours."""
_LONGEST = 10_000
"""Number of characters of a text in a state, at most."""


class RefusedError(ValueError):
    """A value does not belong there: the message names where it stands, and what would be right."""


def _refuse(where: str, value: Any, wanted: str) -> RefusedError:
    return RefusedError(f"{where} is {shown(value)}, and must be {wanted}")


def shown(value: Any) -> str:
    """A value of a state in a few words."""
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and kind is not None:
        return f"a {type(value).__name__} of {kind} and shape {list(shape)}"
    if isinstance(value, Mapping | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = repr(value)
    except ValueError:  # of an integer with more digits than Python writes
        text = f"a {type(value).__name__} of many digits"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown_whole(value: Any) -> str:
    """A short list as it is, all else as `shown`."""
    text = " ".join(str(value).split()) if isinstance(value, list | str | dict) else ""
    return text if 0 < len(text) <= 200 else shown(value)


def length_of(value: Any, key: str) -> int:
    """Number of entries of a tensor of one axis in a dict; 0 where there is none, which then is refused elsewhere."""
    held = value.get(key) if isinstance(value, Mapping) else None
    return int(held.shape[0]) if held is not None and getattr(held, "ndim", 0) == 1 else 0


def count(least: int = 0, most: int = MOST) -> Check:
    """Make a check of a whole number."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _refuse(where, value, f"a whole number from {least} to {most}")

    return check


def number(*, finite: bool = False, least: float = -math.inf, most: float = math.inf) -> Check:
    """Make a check of a number; NaN stands for one that is not known, unless it must be `finite`."""

    def check(value: Any, where: str) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if right and isinstance(value, int):
            right = abs(value) <= MOST
        if right and (math.isnan(value) or math.isinf(value)):
            right = not finite and (math.isnan(value) or least <= value <= most)
        elif right:
            right = least <= value <= most
        if not right:
            bounds = "" if least == -math.inf and most == math.inf else f" from {least:g} to {most:g}"
            raise _refuse(where, value, f"a {'finite ' if finite else ''}number{bounds}")

    return check


def flag(value: Any, where: str) -> None:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise _refuse(where, value, "True or False")


def text(choices: Collection[str] | None = None) -> Check:
    """Make a check of a text, one of some where they are given."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise _refuse(where, value, "a text")
        if choices is not None and value not in choices:
            raise _refuse(where, value, f"one of {', '.join(map(repr, list(choices)[:8]))}")

    return check


def maybe(inner: Check) -> Check:
    """Make a check of None, or of a value that the other check takes."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def listed(inner: Check, *, length: int | None = None, most: int | None = None) -> Check:
    """Make a check of a list of such values."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple):
            raise _refuse(where, value, "a list")
        if length is not None and len(value) != length:
            raise _refuse(where, value, f"a list of {length}")
        if most is not None and len(value) > most:
            raise _refuse(where, value, f"a list of at most {most}")
        for place, one in enumerate(value):
            inner(one, f"{where}[{place}]")

    return check


def row(*inner: Check) -> Check:
    """Make a check of a list of as many values as there are checks."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise _refuse(where, value, f"a list of {len(inner)}")
        for place, (one, own) in enumerate(zip(value, inner, strict=True)):
            own(one, f"{where}[{place}]")

    return check


def record(
    needed: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    also: Callable[[Any], str] | None = None,
) -> Check:
    """Make a check of a dict with these keys and no others.

    Args:
        needed: by key.
        optional: keys that states of earlier releases lack.
        also: asked where all else is right: it says what does not fit together; empty where all does.
    """
    later = optional or {}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _refuse(where, value, "a dict")
        if missing := [key for key in needed if key not in value]:
            raise RefusedError(f"{where} lacks {missing[0]!r}")
        if odd := [key for key in value if key not in needed and key not in later]:
            raise RefusedError(f"{where} holds {shown(odd[0])}, which no such state has")
        for key, one in value.items():
            (needed[key] if key in needed else later[key])(one, f"{where}[{key!r}]")
        if also is not None and (said := also(value)):
            raise RefusedError(f"{where}{said}")

    return check


def mapped(key: Check, inner: Check, *, most: int | None = None) -> Check:
    """Make a check of a dict of any keys of a kind."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _refuse(where, value, "a dict")
        if most is not None and len(value) > most:
            raise _refuse(where, value, f"a dict of at most {most}")
        for name, one in value.items():
            key(name, f"a key of {where}")
            inner(one, f"{where}[{name!r}]")

    return check


def either(*inner: Check) -> Check:
    """Make a check of a value that one of the checks takes; the last one says what is wrong."""

    def check(value: Any, where: str) -> None:
        for one in inner[:-1]:
            try:
                return one(value, where)
            except RefusedError:
                continue
        return inner[-1](value, where)

    return check


FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("int32", "int64")


def tensor(
    kinds: str | Collection[str],
    shape: tuple[int | None, ...] | None,
    *,
    least: float | None = None,
    most: float | None = None,
    finite: bool = False,
) -> Check:
    """Make a check of a dense tensor with numbers.

    Args:
        kinds: names of the types that it may have, such as `int64`.
        shape: None for any, or an axis of it None for any size.
        least: its least entry at least; NaN is let pass unless `finite`.
        most: the same for its largest.
        finite: whether all entries must be.
    """
    names = (kinds,) if isinstance(kinds, str) else tuple(kinds)

    def check(value: Any, where: str) -> None:
        import torch

        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
            raise _refuse(where, value, "a dense tensor")
        if str(value.dtype).removeprefix("torch.") not in names:
            raise _refuse(where, value, f"a tensor of {' or '.join(names)}")
        right = shape is None or (
            value.dim() == len(shape)
            and all(size is None or size == own for size, own in zip(shape, value.shape, strict=True))
        )
        if not right:
            wanted = ", ".join("any" if size is None else str(size) for size in shape or ())
            raise _refuse(where, value, f"of shape [{wanted}]")
        if not value.numel():
            return
        if finite and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise RefusedError(f"{where} holds entries that are not finite")
        if least is not None and bool((value < least).any()):
            raise RefusedError(f"{where} holds entries below {least:g}")
        if most is not None and bool((value > most).any()):
            raise RefusedError(f"{where} holds entries above {most:g}")

    return check


def together(*pairs: tuple[Callable[[Any], bool], str]) -> Callable[[Any], str]:
    """Make the argument `also` of `record`: each pair is a condition, and the message where it does not hold."""

    def said(value: Any) -> str:
        return next((message for holds, message in pairs if not holds(value)), "")

    return said


def whole(
    content: Mapping[str, Any],
    inner: Mapping[str, Check],
    optional: Mapping[str, Check],
    tracker: str,
    ignored: Collection[str],
    also: Callable[[Any], str] | None = None,
) -> None:
    """Check the content of a state, each part by its own check.

    Raises:
        ValueError: names the tracker, where in the state it is, and the way out.
    """
    try:
        plain = {key: value for key, value in content.items() if key not in ignored}
        record(inner, optional, also=also)(plain, "state")
    except RefusedError as error:
        raise ValueError(
            f"{tracker}: {error}; the state is damaged or of another program: load another checkpoint, or go on with a "
            "new tracker"
        ) from None
