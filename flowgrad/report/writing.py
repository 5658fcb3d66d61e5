"""Writes a report as an element tree, after `structure`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lxml import etree

from flowgrad.errors import ReportError
from flowgrad.measures import VOCABULARY
from flowgrad.report.codec import canonical, codec, hints
from flowgrad.report.report import WATCH, Report, RunReport
from flowgrad.report.structure import (
    CLAIMS,
    REPORT,
    RUN_REPORT,
    SCHEMA_VERSION,
    AnyReport,
    Attributes,
    Many,
    One,
    Shape,
    Text,
)


def to_element(report: AnyReport) -> etree._Element:
    """Make the root element of a report.

    Raises:
        ReportError: for a value of the wrong type, or a name that cannot be an XML attribute.
    """
    if isinstance(report, Report):
        return _report(report)
    shape = RUN_REPORT if isinstance(report, RunReport) else CLAIMS
    root = etree.Element(shape.tag)
    _fill(root, shape, report)
    root.set("schema_version", SCHEMA_VERSION)
    if isinstance(report, RunReport):
        root.extend([_report(part) for part in report.reports])
    return root


def _report(report: Report) -> etree._Element:
    try:
        element = etree.Element(f"flowgrad_{report.kind}_report")
    except ValueError as error:
        raise ReportError(f"kind={report.kind!r} cannot be part of an element name") from error
    if report.kind != WATCH and report.kind not in VOCABULARY:
        raise ReportError(f"{element.tag}: nothing here measures the kind {report.kind!r}; import its tracker first")
    _fill(element, REPORT, report)
    element.set("schema_version", SCHEMA_VERSION)
    status = etree.Element("status")
    status.text = report.status
    element.insert(len(element) - len(report.findings), status)
    return element


def _fill(element: etree._Element, shape: Shape, value: Any) -> None:
    types = hints(shape.cls)
    left_out = defaults_of(shape, value)
    for name in shape.attributes:
        if name not in left_out:
            _set(element, name, getattr(value, name), types[name])
    if shape.content:
        element.text = _spelled(element, shape.content, getattr(value, shape.content), types[shape.content])
    for child in shape.children:
        if child.field in left_out:
            continue
        field = getattr(value, child.field)
        match child:
            case Text(name):
                inner = etree.SubElement(element, name)
                inner.text = _spelled(inner, name, field, types[name])
            case Attributes(name, tag) if field:
                inner = etree.SubElement(element, tag) if tag else element
                for key, item in field.items():
                    _set(inner, key, item, types[name])
            case One(_, inner_shape) if field is not None:
                _fill(etree.SubElement(element, inner_shape.tag), inner_shape, field)
            case Many(_, inner_shape, wrapper, count):
                if count:
                    element.set(count, str(len(field)))
                inner = _wrapper(element, wrapper) if wrapper and field else element
                for item in field:
                    _fill(etree.SubElement(inner, inner_shape.tag), inner_shape, item)


def _wrapper(element: etree._Element, tag: str) -> etree._Element:
    """Find the element that holds items: the last one, where it has this name already (two fields share it)."""
    return element[-1] if len(element) and element[-1].tag == tag else etree.SubElement(element, tag)


def defaults_of(shape: Shape, value: Any) -> set[str]:
    """Names of fields that hold their plain default: an absent attribute or element reads back as that."""
    types = hints(shape.cls)
    plain = [
        field for field in fields(shape.cls) if field.default is None or isinstance(field.default, str | int | float)
    ]
    return {f.name for f in plain if _equal(getattr(value, f.name), f.default, types[f.name])}


def _equal(held: Any, default: Any, hint: Any) -> bool:
    if held is None or default is None:
        return held is default
    try:
        return canonical(held, hint) == canonical(default, hint)
    except (TypeError, ValueError, OverflowError):
        return False  # writing it raises, with its name


def _set(element: etree._Element, name: str, value: Any, hint: Any) -> None:
    text = _spelled(element, name, value, hint)
    try:
        free = name not in element.attrib and name != "xmlns" and not name.startswith("{")
        if free:
            element.set(name, text)
    except (AttributeError, TypeError, ValueError) as error:
        right = "use letters, digits, `_`, `-` and `.`, a letter first"
        raise ReportError(f"<{element.tag}>: {name!r} cannot be an attribute name; {right}") from error
    if not free:
        raise ReportError(f"<{element.tag}>: {name!r} is taken or reserved; choose another name")


def _spelled(element: etree._Element, name: str, value: Any, hint: Any) -> str:
    try:
        return codec(hint).write(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReportError(f"<{element.tag}> {name}={value!r}: {error}") from error
