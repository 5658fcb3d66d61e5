"""Makes the page of whatever a folder holds: a run, a report alone, a sweep, claims, or the tables of another job."""

from __future__ import annotations

from pathlib import Path

from flowgrad.errors import ReportError
from flowgrad.files import read_bounded
from flowgrad.html.of_claims import claims_page
from flowgrad.html.of_job import job_page
from flowgrad.html.of_report import report_page
from flowgrad.html.of_run import run_page
from flowgrad.html.of_sweep import sweep_page
from flowgrad.html.page import Page
from flowgrad.report import ClaimsReport, from_xml
from flowgrad.report.schema import MOST_BYTES

REPORT, CLAIMS, SWEEP = "report.xml", "claims.xml", "sweep.csv"
_BESIDE = ("prescription.yaml", "significance.csv")
"""Files by one of which a report is told to be that of a run."""


def folder_page(path: Path, file: str = "") -> Page:
    """Make the page of a folder.

    Args:
        path: the folder.
        file: name of a report in it, which the page is about; empty: the one that is there, if any.

    Raises:
        ReportError: the file is no report, or cannot be read.
    """
    if file == CLAIMS or (not file and (path / CLAIMS).is_file()):
        return claims_page(path, CLAIMS)
    if file in ("", REPORT) and (path / REPORT).is_file() and any((path / name).is_file() for name in _BESIDE):
        return run_page(path)
    if not file and (path / REPORT).is_file() and not (path / SWEEP).is_file():
        file = REPORT
    if file:
        try:
            report = from_xml(read_bounded(path / file, MOST_BYTES))
        except OSError as error:
            raise ReportError(f"{path / file}: cannot be read: {error.strerror}") from error
        return claims_page(path, file) if isinstance(report, ClaimsReport) else report_page(report)
    return sweep_page(path) if (path / SWEEP).is_file() else job_page(path)
