"""Premises: format strings whose fields are `{name}` or `{name:spec}` and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from string import Formatter

from flowgrad.errors import RuleError
from flowgrad.rules.expression import UnknownNameError
from flowgrad.rules.suggestion import did_you_mean

_TRIALS = (0.5, math.nan, math.inf)
JUDGED = "judged"
"""Name of the one field that is text: which metric was judged, and which way."""


def check_premise(text: str, known: Collection[str]) -> None:
    """Check that `text` can be rendered from numbers named in `known`, whatever their values.

    Attribute access, indexing, positional fields, conversions (`!r`) and nested format specs are refused: a premise
    shows numbers and reaches into nothing.

    Raises:
        UnknownNameError: (a RuleError) a field outside `known`.
        RuleError: anything else that cannot be rendered, naming the field.
    """
    try:
        fields = [(name, spec or "", conversion) for _, name, spec, conversion in Formatter().parse(text)]
    except ValueError as error:
        raise RuleError(f"is no format string: {error} (write {{{{ and }}}} for braces)") from None
    for name, spec, conversion in fields:
        if name is not None and (name, spec, conversion) != (JUDGED, "", None):
            _check_field(name, spec, conversion, known)


def render_premise(text: str, values: Mapping[str, float], judged: object = None) -> str:
    """Fill in the fields of `text`; a name without a value is shown as nan.

    Args:
        text: the premise of a rule.
        values: figures by name.
        judged: text for `{judged}`; "the validated metric" if None.
    """
    names = {name for _, name, _, _ in Formatter().parse(text) if name}
    fields: dict[str, object] = {name: float(values.get(name, math.nan)) for name in names - {JUDGED}}
    fields[JUDGED] = "the validated metric" if judged is None else str(judged)
    return text.format_map(fields)


def _check_field(name: str, spec: str, conversion: str | None, known: Collection[str]) -> None:
    shown = f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
    if conversion:
        raise RuleError(f"field {shown!r} uses the conversion '!{conversion}'; write {{name}} or {{name:spec}}")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise RuleError(f"field {shown!r} is no plain name; write {{name}} or {{name:spec}}")
    if name not in known:
        raise UnknownNameError(name, f"unknown name {name!r} in field {shown!r}{did_you_mean(name, known)}")
    # A width of a billion would be tried out below. Python takes the digits of every script.
    if "{" in spec or "}" in spec or re.search(r"\d{3}", spec):
        raise RuleError(f"field {shown!r} has a nested or oversized format spec; write a plain one such as '.3g'")
    try:
        for value in _TRIALS:
            format(value, spec)
    except ValueError as error:
        raise RuleError(f"field {shown!r} has a format spec that does not fit a number: {error}") from None
