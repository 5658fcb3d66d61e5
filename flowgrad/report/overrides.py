"""Writes config values as Hydra's override grammar reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_MEANT_OTHERWISE = frozenset({"null", "true", "false", "inf", "nan"})
_BEFORE_QUOTE = re.compile(r"(\\*)('|\Z)")


def override_text(value: Any) -> str:
    r"""Write `value` for the right-hand side of `path=value`; Hydra reads it back as the same value and type.

    Other objects than None, bool, numbers, lists and mappings are written as their text. Hydra has no way to write
    an interpolation (`${...}`) that is not one.

    >>> override_text([1, 0.5, "1e3", None]), override_text({"a": True}), override_text("it's")
    ("[1,0.5,'1e3',null]", '{a:true}', "'it\\'s'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{override_text(key)}:{override_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(override_text(item) for item in value) + "]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _MEANT_OTHERWISE:
        return text
    # Hydra unescapes backslashes only where they stand before a quote.
    return "'" + _BEFORE_QUOTE.sub(lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"
