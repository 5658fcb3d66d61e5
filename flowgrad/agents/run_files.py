"""Finds the files of a run: RUN is its folder, or a report."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from flowgrad.errors import EvidenceError, FlowGradError, ReportError
from flowgrad.lines import told_line
from flowgrad.report import AnyReport, ClaimsReport, Report, RunReport, read

REPORT = "report.xml"
MOST_REPORTS = 200
"""Number of reports that one folder may hold."""
_OTHER_FORMS = (".json", ".html", ".txt")


@dataclass(frozen=True)
class RunFiles:
    """The files of a run."""

    given: str
    """RUN as it was given."""
    folder: Path
    reports: tuple[Path, ...]
    """Reports, the one that was meant first; empty where there is none."""

    @property
    def report(self) -> Path:
        """The report that was meant.

        Raises:
            ReportError: there is none.
        """
        if not self.reports:
            raise ReportError(
                f"{self.given}: there is no report*.xml in it; `flowgrad runs` lists folders that have one"
            )
        return self.reports[0]

    def read(self, path: Path | None = None) -> tuple[RunReport | None, tuple[Report, ...]]:
        """Read a report, the one that was meant where none is named; the document is None where it holds one subject.

        Raises:
            ReportError: it cannot be read, is no report, or holds claims.
        """
        return parts_of(self.report if path is None else path)

    def table(self, name: str) -> Path:
        """Path of a file beside the report.

        Raises:
            EvidenceError: the name leads elsewhere.
        """
        if not name or Path(name).name != name or name in (".", ".."):
            raise EvidenceError(f"{self.given}: {name!r} is no name of a file in its folder")
        return self.folder / name


def run_files(run: str | os.PathLike[str]) -> RunFiles:
    """Find the files of a run.

    Args:
        run: run folder, or a report as XML.

    Raises:
        FlowGradError: there is nothing, or something else.
    """
    given = os.fspath(run)
    path = Path(given)
    try:
        if path.is_dir():
            return RunFiles(given, path, tuple(_reports(path)))
        known = path.exists()
    except (OSError, ValueError) as error:
        raise FlowGradError(f"{given}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not known:
        raise FlowGradError(f"{given}: there is no such file or folder; `flowgrad runs` lists run folders")
    if path.suffix in _OTHER_FORMS:
        raise ReportError(f"{given}: reports are read as XML; write it with --report FILE.xml or watch.to_agent_xml()")
    return RunFiles(given, path.parent, (path,))


def _reports(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("report*.xml") if path.is_file())[:MOST_REPORTS]
    return sorted(found, key=lambda path: path.name != REPORT)


def parts_of(path: Path) -> tuple[RunReport | None, tuple[Report, ...]]:
    """Read the reports that a file holds, and the document of several.

    Raises:
        ReportError: as `RunFiles.read`.
    """
    try:
        document: AnyReport = read(path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror or error}") from error
    if isinstance(document, ClaimsReport):
        raise ReportError(f"{path}: these are claims, not the report of a run; name the folder of a run")
    return (document, document.reports) if isinstance(document, RunReport) else (None, (document,))


def shown(path: str | os.PathLike[str]) -> str:
    """Write a path as part of a command that is shown."""
    return shlex.quote(told_line(os.fspath(path)))
