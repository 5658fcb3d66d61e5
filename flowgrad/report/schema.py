"""Turns bytes into a tree that is safe to read: hardened parsing, then `report.xsd`, then checks that XSD 1.0 cannot
express.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
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
    schema = _schema()
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


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMA)))
