"""The commands of `python -m flowgrad`, which `__main__` calls once it has read its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from flowgrad.evidence.ledger import SHIPPED, Ledger
from flowgrad.files import read_bounded, write_atomically
from flowgrad.lines import told_line
from flowgrad.report import from_xml
from flowgrad.report.schema import MOST_BYTES, Problem, examine
from flowgrad.rules import RuleBook
from flowgrad.verification.ablations import check_ablations
from flowgrad.verification.collecting import trials_of
from flowgrad.verification.provenance import provenance
from flowgrad.verification.recomputation import OBSERVATIONS, recompute

VALID, INVALID, UNREADABLE = 0, 1, 2


def validate(files: Sequence[str], rules: Sequence[str]) -> int:
    """Check report files against the schema, and their verdicts against the observations in the same folder.

    Args:
        files: reports as XML.
        rules: YAML files or folders of the rules that the runs were judged by.

    Returns:
        The exit code, 0 where all hold, 1 where one does not, 2 where one cannot be read.

    Raises:
        FlowGradError: the rules cannot be read.
    """
    book = _book(rules)
    return max([_validate(file, book) for file in files])


def run(command: Sequence[str], module: bool, report: str | None, as_json: bool, fail_on: str | None) -> int:
    """Run a script unchanged and print the report of what it trained; see `flowgrad.running.command.run_watched`.

    Returns:
        The exit code: the script's, or 1 where that is 0 and a finding is as severe as `fail_on`.

    Raises:
        FlowGradError: there is no such script.
    """
    from flowgrad.running.command import run_watched

    return run_watched(command, module=module, report=report, as_json=as_json, fail_on=fail_on)


def html(file: str, out: str | None, twin: str | None) -> int:
    """Write a report as one file of HTML, with pictures of what lies beside it where it stands in a run's folder.

    Args:
        file: report as XML, or a folder of a run, a sweep or claims.
        out: file to write; None: the report's name with the ending .html, `report.html` in a folder.
        twin: file for the same content as JSON; None: none is written.

    Returns:
        The exit code, 0 where the page was written, 1 where the report does not follow the schema, 2 where it cannot be
        read, holds nothing, or the page cannot be written.

    Raises:
        FlowGradError: jinja2 is not installed.
    """
    from flowgrad.html import folder_page, to_html, to_json

    path = Path(file)
    if path.is_dir():
        page, target = folder_page(path), path / "report.html"
        if page.kind == "job" and not page.sections and not page.missing:
            print(
                f"{file}: no report.xml and no table is in it; `flowgrad runs` lists folders of runs", file=sys.stderr
            )
            return UNREADABLE
    elif (wrong := _examined(file)) is not None:
        return wrong
    else:
        page, target = folder_page(path.parent, path.name), path.with_suffix(".html")
    target = target if out is None else Path(out)
    for name, content in ((target, to_html(page)), (twin, to_json(page) if twin else b"")):
        if name is None:
            continue
        try:
            write_atomically(name, content)
        except OSError as error:
            print(f"{name}: cannot be written: {error.strerror}", file=sys.stderr)
            return UNREADABLE
        print(told_line(str(name)))
    return VALID


def _examined(file: str) -> int | None:
    """The exit code for a file that is no valid report, which is told; None for one that is."""
    try:
        checked = examine(read_bounded(file, MOST_BYTES))
    except OSError as error:
        print(f"{file}: cannot be read: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    if isinstance(checked, Problem):
        print(told_line(f"{file}:{checked.line}: {checked.reason}"))
        return INVALID
    return None


def add(folders: Sequence[str], into: str, rules: Sequence[str]) -> int:
    """Collect the trials of finished runs in a file.

    Args:
        folders: of the runs.
        into: the file, which is made where it is missing.
        rules: as of `validate`.

    Returns:
        The exit code, 0.

    Raises:
        FlowGradError: a folder has no trials, or they do not follow from its observations.
    """
    # Before the file is held, for this may take a while.
    book = _book(rules)
    trials = [trial for folder in folders for trial in trials_of(folder, book)]
    before, after = Ledger.extend(into, trials)
    print(f"{into}: {len(after.trials)} trial(s), {len(after.trials) - len(before.trials)} of them new")
    return VALID


def show(files: Sequence[str]) -> int:
    """Print trials and confidence of every shipped rule with a fix.

    Args:
        files: further trials, besides the shipped ones.

    Returns:
        The exit code, 0.

    Raises:
        EvidenceError: a file cannot be read.
    """
    ledger = Ledger.load(SHIPPED, *files)
    print(f"{'rule':<24} {'trials':>6} {'confirmed':>9} {'refuted':>7} {'confidence':>10}  95 % interval")
    # Below a rule stand its overrides that were left out, and how often each earned its place.
    for rule in RuleBook.load(ledger=ledger).values():
        if rule.fix is None:
            continue
        known = ledger.confidence(rule.id, rule.sha256)
        print(
            f"{rule.id:<24} {known.trials:>6} {known.confirmed:>9} {known.refuted:>7} {known.value:>10.2f}  "
            f"{known.low:.2f} to {known.high:.2f}{'  not prescribed by default' if known.refutes else ''}"
        )
        for path, (earned, tried) in ledger.overrides(rule.id, rule.sha256).items():
            print(f"  {path}: earned its place in {earned} of {tried} runs")
    return VALID


def _book(paths: Sequence[str]) -> RuleBook | None:
    """The rules that were named; None where none were."""
    return RuleBook.load(*paths, ledger=Ledger()) if paths else None


def _validate(file: str, book: RuleBook | None) -> int:
    try:
        data = read_bounded(file, MOST_BYTES)
    except OSError as error:
        print(f"{file}: cannot be read: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    checked = examine(data)
    if isinstance(checked, Problem):
        print(told_line(f"{file}:{checked.line}: {checked.reason}"))
        return INVALID
    report, folder = from_xml(data), Path(file).parent
    found, origin = recompute(report, folder), provenance(report, folder, book)
    left_out = check_ablations(report, folder)
    for problem in (*found.problems, *origin.problems, *left_out.problems):
        print(told_line(f"{file}: {problem}"))
    for thing in (*found.unchecked, *origin.unchecked):
        print(told_line(f"{file}: not checked: {thing}"), file=sys.stderr)
    if left_out.missing:
        told = f"what its overrides do without each other ({left_out.missing} is not beside it)"
        print(told_line(f"{file}: not checked: {told}"), file=sys.stderr)
    if found.problems or origin.problems or left_out.problems:
        return INVALID
    told = f"; {found.agreed} verdict(s) follow from {OBSERVATIONS}" if found.agreed else ""
    if found.missing:
        told = f"; {found.missing} is not beside it, so that no verdict was computed anew"
    print(f"{file}: valid{told}")
    return VALID
