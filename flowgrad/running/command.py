"""The command `flowgrad run`: a script is run, watched, and its report printed at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from flowgrad.html import HTML, report_bytes
from flowgrad.report import Report, RunReport, to_json, to_short_text
from flowgrad.rules import SEVERITIES
from flowgrad.running.importing import AfterImport
from flowgrad.running.observer import Observer
from flowgrad.running.script import run

FOUND, BAD_INPUT = 1, 2


def run_watched(command: Sequence[str], *, module: bool, report: str | None, as_json: bool, fail_on: str | None) -> int:
    """Run a script or module unchanged, watch what it trains, and print the report at its end, however it ends.

    Args:
        command: the script or module, and its arguments.
        module: whether it is the name of a module.
        report: file that the report is written to, as XML, or as its ending says: .json, .html or .txt.
        as_json: whether JSON is printed instead of text.
        fail_on: severity from which on a finding makes the exit code 1.

    Returns:
        The exit code of the script; where that is 0, 1 where a finding is as severe as `fail_on`.

    Raises:
        FlowGradError: no script was given, or it or the folder of the report does not exist.
    """
    if not command:
        raise FlowGradError("no script was given; write python -m flowgrad run train.py, or run -m package.train")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise FlowGradError(f"--report {report}: there is no folder {Path(report).absolute().parent}; make it first")
    observer = Observer(command[0], drawn=report is not None and Path(report).suffix == HTML)
    waiting = AfterImport("torch", observer.install)
    waiting.start()
    code = 0
    try:
        code = run(command[0], command[1:], module=module)
    finally:
        waiting.stop()
        observer.close(code)
    made = observer.report()
    if _is_first_rank():
        sys.stdout.flush()
        print(to_json(made) if as_json else to_short_text(made), flush=True)
        if report is not None:
            write_atomically(report, report_bytes(made, Path(report).suffix, observer.pictures))
    return code or (FOUND if _is_found(made, fail_on) else 0)


def _is_first_rank() -> bool:
    """Whether this process is the one of a distributed run that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _is_found(report: Report | RunReport, fail_on: str | None) -> bool:
    if fail_on is None:
        return False
    least = SEVERITIES.index(fail_on)
    parts = report.reports if isinstance(report, RunReport) else (report,)
    return any(SEVERITIES.index(finding.severity) >= least for part in parts for finding in part.findings)
