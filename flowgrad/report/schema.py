"""Turns bytes into a tree that is safe to read: hardened parsing, then `report.xsd`, then checks that XSD 1.0 cannot
express.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

from flowgrad.errors import ReportError
from flowgrad.files import told_size
from flowgrad.report.codec import DOUBLE
from flowgrad.report.report import FINDINGS, HEALTHY, NOT_OBSERVED

SCHEMA = Path(__file__).with_name("report.xsd")
MOST_BYTES = 32 << 20
"""Number of bytes that a report may have."""

_REPORT = re.compile(r"flowgrad_[a-z][a-z0-9]*(_[a-z0-9]+)*_report")
"""Name of the element of a report of any kind."""
_MOST_KINDS = 64
"""Number of kinds that are not the library's own, in one document."""
_ELEMENT = "{http://www.w3.org/2001/XMLSchema}element"
_POSITION = re.compile(r"\s*,? line \d+, column \d+$")  # lxml repeats it in the message


class Problem(NamedTuple):
    """The fault of a document that is no report."""

    line: int
    """Number of the line in the document, from 1."""
    reason: str
    """The fault, in one line."""


def validate(data: bytes | str) -> None:
    """Check that `data` is a report.

    Raises:
        ReportError: `line N: reason`, for the first thing that is wrong.
    """
    validated(data)


def validated(data: bytes | str) -> etree._Element:
    """Parse data and return the root element of a valid report.

    Raises:
        ReportError: as `validate`.
    """
    checked = examine(data)
    if isinstance(checked, Problem):
        raise ReportError(f"line {checked.line}: {checked.reason}")
    return checked


def examine(data: bytes | str) -> etree._Element | Problem:
    """Parse data and return the root element of a valid report, or its first fault.

    No DTD is read, no entity expanded and nothing fetched; a document with a DOCTYPE is refused. Comments and
    processing instructions are dropped. A `str` (such as `Tracker.to_agent_xml()` gives) is taken as UTF-8.
    """
    data = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if len(data) > MOST_BYTES:
        return _problem(1, f"longer than the {told_size(MOST_BYTES)} that are read of a report")
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        return _problem(error.lineno, f"not XML: {_POSITION.sub('', error.msg or 'the document is empty')}")
    if root.getroottree().docinfo.internalDTD is not None:
        return _problem(data[: max(data.find(b"<!DOCTYPE"), 0)].count(b"\n") + 1, "a report has no DOCTYPE")
    schema = _schema(_own_kinds(root))
    if not schema.validate(root):
        log: Any = schema.error_log  # the stubs know nothing of it
        first = log[0]
        return _problem(first.line, first.message)
    return next(_beyond_schema(root), None) or root


def _beyond_schema(root: etree._Element) -> Iterator[Problem]:
    """Yield problems that the schema cannot express: `anyAttribute` has no type in XSD 1.0, and neither an attribute
    nor a text can be tied to what else is there.
    """
    for status in root.iter("status"):
        report = status.getparent()
        findings = 0 if report is None else len(report.findall("causal_model"))
        coverage = None if report is None else report.find("coverage")
        blind = coverage is not None and bool(coverage.get("blind"))
        right = FINDINGS if findings else NOT_OBSERVED if blind else HEALTHY
        if status.text != right:
            told = f"{findings} causal_model elements and {'a' if blind else 'no'} coverage/@blind make it {right}"
            yield _problem(status.sourceline, f"Element 'status': it is {status.text}, but {told}.")
    for model in root.iter("causal_model"):
        if model.find("candidates") is not None and model.find("fix") is not None:
            yield _problem(
                model.sourceline, "Element 'causal_model': it has candidates, so its cause is open, and a fix."
            )
    for rows in root.iter("rows"):
        shown, held, count = int(rows.get("shown", "")), len(rows), int(rows.get("count", ""))
        if shown != held:
            yield _problem(rows.sourceline, f"Element 'rows': shown={shown}, but it holds {held} row elements.")
        if count < held:
            yield _problem(rows.sourceline, f"Element 'rows': count={count} is less than the {held} rows shown.")
        for row in rows:
            for name, value in row.attrib.items():
                if name != "id" and not str(name).startswith("{") and not DOUBLE.fullmatch(str(value)):
                    text = f"Element 'row', attribute '{name!s}': '{value!s}' is not a valid value of 'xs:double'."
                    yield _problem(row.sourceline, text)


def _problem(line: Any, reason: str) -> Problem:
    words = " ".join(reason.split())
    return Problem(max(line or 1, 1), words if len(words) <= 300 else words[:299] + "…")


def _own_kinds(root: etree._Element) -> tuple[str, ...]:
    """Elements of reports of kinds that the schema does not name: those of trackers of somebody's own."""
    tags = {str(element.tag) for element in (root, *root) if _REPORT.fullmatch(str(element.tag))}
    own = sorted(tags - _known())
    return tuple(own) if len(own) <= _MOST_KINDS else ()


@cache
def _known() -> frozenset[str]:
    return frozenset(str(element.get("name")) for element in etree.parse(str(SCHEMA)).getroot().iterfind(_ELEMENT))


@lru_cache(maxsize=16)
def _schema(own: tuple[str, ...]) -> etree.XMLSchema:
    """The schema, with a line for each of these elements, as the kinds of the library have."""
    tree = etree.parse(str(SCHEMA))
    for name in own:
        tree.getroot().append(etree.Element(_ELEMENT, {"name": name, "substitutionGroup": "report"}))
    return etree.XMLSchema(tree)
