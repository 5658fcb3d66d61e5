"""Writes a report as plain dicts, lists, texts and numbers, after `structure`: the twin of the XML for JSON."""

from __future__ import annotations

import math
import numbers
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
    content = _fields(report, shape)
    if isinstance(report, RunReport):
        content["reports"] = [to_mapping(one) for one in report.reports]
    return {shape.tag: content}


def _report(report: Report) -> dict[str, Any]:
    content = _fields(report, REPORT)
    found = content.pop("causal_model", [])
    return {**content, "status": report.status, "causal_model": found}


def _fields(value: Any, shape: Shape) -> dict[str, Any]:
    absent = defaults_of(shape, value)
    content: dict[str, Any] = {name: _plain(getattr(value, name)) for name in shape.attributes if name not in absent}
    if shape.content:
        content[shape.content] = _plain(getattr(value, shape.content))
    for child in shape.children:
        held = getattr(value, child.field)
        if child.field in absent or held is None:
            continue
        match child:
            case Text(name):
                content[name] = _plain(held)
            case Attributes(_, tag) if held:
                inner = {str(key): _plain(item) for key, item in held.items()}
                content.update({tag: inner} if tag else inner)
            case One(_, inner_shape):
                content[inner_shape.tag] = _fields(held, inner_shape)
            case Many(_, inner_shape, wrapper, _) if held:
                content.setdefault(wrapper or inner_shape.tag, []).extend(_fields(item, inner_shape) for item in held)
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number):
            return number
        return "NaN" if math.isnan(number) else "INF" if number > 0 else "-INF"
    return clean(str(value))
