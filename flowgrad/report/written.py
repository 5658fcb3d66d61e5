"""Writes a report in the form that the ending of its file says."""

from __future__ import annotations

import json

from flowgrad.report.mapping import to_mapping
from flowgrad.report.report import Report, RunReport
from flowgrad.report.short_text import to_short_text
from flowgrad.report.xml import to_xml

ENDINGS = (".xml", ".json", ".txt")
"""Endings of the files that a report can be written to; `flowgrad.html` writes another."""


def to_json(report: Report | RunReport) -> str:
    """Write a report as JSON text, with the names of the XML."""
    return json.dumps(to_mapping(report), indent=2, ensure_ascii=False, allow_nan=False)


def to_bytes(report: Report | RunReport, ending: str) -> bytes:
    """Write a report in the form of an ending of `ENDINGS`; as XML where it is another."""
    if ending == ".json":
        return to_json(report).encode()
    return to_short_text(report).encode() if ending == ".txt" else to_xml(report)
