"""Reads an element tree into a report, after `structure`."""

from __future__ import annotations

from typing import Any

from lxml import etree

from flowgrad.report.claims import ClaimsReport
from flowgrad.report.codec import codec, hints
from flowgrad.report.report import Report, RunReport
from flowgrad.report.structure import CLAIMS, REPORT, RUN, RUN_REPORT, AnyReport, Attributes, Many, One, Shape, Text


def from_element(root: etree._Element) -> AnyReport:
    """Make the report that a valid root element holds."""
    if root.tag == CLAIMS.tag:
        return ClaimsReport(**_fields(root, CLAIMS))
    if root.tag != RUN_REPORT.tag:
        return _report(root)
    parts = tuple(_report(element) for element in root if element.tag != RUN.tag)
    return RunReport(reports=parts, **_fields(root, RUN_REPORT))


def _report(element: etree._Element) -> Report:
    kind = str(element.tag).removeprefix("flowgrad_").removesuffix("_report")
    return Report(kind=kind, **_fields(element, REPORT))


def _fields(element: etree._Element, shape: Shape) -> dict[str, Any]:
    """Values of every field that the element holds, by field name; the others keep their defaults."""
    types = hints(shape.cls)
    found: dict[str, Any] = {}
    for name in shape.attributes:
        if (text := element.get(name)) is not None:
            found[name] = codec(types[name]).read(text)
    if shape.content:
        found[shape.content] = codec(types[shape.content]).read(element.text or "")
    for child in shape.children:
        match child:
            case Text(name):
                if (inner := element.find(name)) is not None:
                    found[name] = codec(types[name]).read(inner.text or "")
            case Attributes(name, tag):
                holder = element.find(tag) if tag else element
                found[name] = {} if holder is None else _mapping(holder, types[name], shape if not tag else None)
            case One(name, inner_shape):
                if (inner := element.find(inner_shape.tag)) is not None:
                    found[name] = inner_shape.cls(**_fields(inner, inner_shape))
            case Many(name, inner_shape, wrapper):
                holder = element.find(wrapper) if wrapper else element
                items = [] if holder is None else holder.findall(inner_shape.tag)
                found[name] = tuple(inner_shape.cls(**_fields(item, inner_shape)) for item in items)
    return found


def _mapping(holder: etree._Element, hint: Any, shape: Shape | None) -> dict[str, Any]:
    """Attributes as a mapping, without those that are fields of their own and without `xsi:` hints."""
    taken = shape.attributes if shape else ()
    read = codec(hint).read
    return {
        str(name): read(str(text))
        for name, text in holder.attrib.items()
        if name not in taken and not str(name).startswith("{")
    }
