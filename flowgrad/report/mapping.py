"""Writes a report as plain dicts, lists, texts and numbers, after `structure`: the twin of the XML for JSON."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from flowgrad.report.codec import clean
from flowgrad.report.report import Report, RunReport
from flowgrad.report.structure import CLAIMS, REPORT, RUN_REPORT, AnyReport, Attributes, Many, One, Shape, Text
from flowgrad.report.writing import defaults_of


def to_mapping(report: AnyReport) -> dict[str, Any]:
    """Make a mapping of the root's name to its content, which `json.dumps` takes.

    Names are those of the XML; items of one wrapper are a list under the wrapper's name, and what is left out there is
    left out here. Numbers have all their digits; one that is not finite is a text, as XML spells it (`NaN`, `INF`).
    """
    if isinstance(report, Report):
        return {f"flowgrad_{report.kind}_report": _report(report)}
    shape = RUN_REPORT if isinstance(report, RunReport) else CLAIMS
    content = fields_of(report, shape)
    if isinstance(report, RunReport):
        content["reports"] = [to_mapping(one) for one in report.reports]
    return {shape.tag: content}


def _report(report: Report) -> dict[str, Any]:
    content = fields_of(report, REPORT)
    found = content.pop("causal_model", [])
    return {**content, "status": report.status, "causal_model": found}


def fields_of(value: Any, shape: Shape, number: Callable[[float], Any] | None = None) -> dict[str, Any]:
    """Make a mapping of what a part of a report holds.

    Args:
        value: the part.
        shape: its form in XML, whose names are taken.
        number: form of a number that is not finite; None: a text, as XML spells it.
    """
    told = _spelled if number is None else number
    absent = defaults_of(shape, value)
    content: dict[str, Any] = {n: _plain(getattr(value, n), told) for n in shape.attributes if n not in absent}
    if shape.content:
        content[shape.content] = _plain(getattr(value, shape.content), told)
    for child in shape.children:
        held = getattr(value, child.field)
        if child.field in absent or held is None:
            continue
        match child:
            case Text(name):
                content[name] = _plain(held, told)
            case Attributes(_, tag) if held:
                inner = {str(key): _plain(item, told) for key, item in held.items()}
                content.update({tag: inner} if tag else inner)
            case One(_, inner_shape):
                content[inner_shape.tag] = fields_of(held, inner_shape, number)
            case Many(_, inner_shape, wrapper, _) if held:
                items = [fields_of(item, inner_shape, number) for item in held]
                content.setdefault(wrapper or inner_shape.tag, []).extend(items)
    return content


def _plain(value: Any, told: Callable[[float], Any]) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else told(number)
    return clean(str(value))


def _spelled(number: float) -> str:
    return "NaN" if math.isnan(number) else "INF" if number > 0 else "-INF"
