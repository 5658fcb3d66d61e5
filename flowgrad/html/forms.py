"""Writes a report in the form that the ending of its file says, a page of HTML among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowgrad.html.figures import Figure
from flowgrad.html.of_report import report_page
from flowgrad.html.rendering import to_html
from flowgrad.report import ENDINGS as FORMS
from flowgrad.report import Report, RunReport, to_bytes

HTML = ".html"
ENDINGS = (*FORMS, HTML)
"""Endings of the files that a report can be written to."""


def report_bytes(report: Report | RunReport, ending: str, pictures: Callable[[], Sequence[Figure]] = tuple) -> bytes:
    """Write a report in the form of an ending of `ENDINGS`; as XML where it is another.

    Args:
        report: the report.
        ending: of the file.
        pictures: makes those of a page of HTML, where that is what is asked for.
    """
    return to_html(report_page(report, pictures())) if ending == HTML else to_bytes(report, ending)
