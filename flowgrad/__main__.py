"""`python -m flowgrad validate FILE ...`: do these reports follow the schema, and their verdicts from the observations
beside them? `python -m flowgrad evidence`: what the confidence in each rule's fix rests on, and adding to it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import flowgrad
from flowgrad.collecting import trials_of
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded
from flowgrad.ledger import SHIPPED, Ledger
from flowgrad.provenance import provenance
from flowgrad.recomputation import OBSERVATIONS, recompute
from flowgrad.report import from_xml
from flowgrad.report.schema import MOST_BYTES, Problem, examine
from flowgrad.rules import RuleBook

VALID, INVALID, UNREADABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status of `validate`: 0 all files hold, 1 one does not, 2 one cannot be read; of `evidence`: 0 done, 2 bad
    input. Bad usage raises SystemExit(2).
    """
    arguments = _parser().parse_args(argv)
    if arguments.command == "validate":
        try:
            book = _book(arguments.rules)
        except FlowGradError as error:
            print(f"error: {error}", file=sys.stderr)
            return UNREADABLE
        return max([_validate(file, book) for file in arguments.files])
    try:
        if arguments.what == "add":
            return _add(arguments.folders, arguments.into, _book(arguments.rules))
        return _show(arguments.files)
    except FlowGradError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE


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
        print(f"{file}:{checked.line}: {checked.reason}")
        return INVALID
    report, folder = from_xml(data), Path(file).parent
    found, origin = recompute(report, folder), provenance(report, folder, book)
    for problem in (*found.problems, *origin.problems):
        print(f"{file}: {problem}")
    for thing in (*found.unchecked, *origin.unchecked):
        print(f"{file}: not checked: {thing}", file=sys.stderr)
    if found.problems or origin.problems:
        return INVALID
    told = f"; {found.agreed} verdict(s) follow from {OBSERVATIONS}" if found.agreed else ""
    if found.missing:
        told = f"; {found.missing} is not beside it, so that no verdict was computed anew"
    print(f"{file}: valid{told}")
    return VALID


def _add(folders: Sequence[str], into: str, book: RuleBook | None) -> int:
    # Before the file is held, for this may take a while.
    trials = [trial for folder in folders for trial in trials_of(folder, book)]
    before, after = Ledger.extend(into, trials)
    print(f"{into}: {len(after.trials)} trial(s), {len(after.trials) - len(before.trials)} of them new")
    return VALID


def _show(files: Sequence[str]) -> int:
    ledger = Ledger.load(SHIPPED, *files)
    print(f"{'rule':<24} {'trials':>6} {'confirmed':>9} {'refuted':>7} {'confidence':>10}  95 % interval")
    for rule in RuleBook.load(ledger=ledger).values():
        if rule.fix is None:
            continue
        known = ledger.confidence(rule.id, rule.sha256)
        print(
            f"{rule.id:<24} {known.trials:>6} {known.confirmed:>9} {known.refuted:>7} {known.value:>10.2f}  "
            f"{known.low:.2f} to {known.high:.2f}{'  not prescribed by default' if known.refutes else ''}"
        )
    return VALID


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowgrad", description="FlowGrad's tools for reports.")
    parser.add_argument("--version", action="version", version=f"flowgrad {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    validate = commands.add_parser(
        "validate", help="check report files against the schema, and their verdicts against the observations"
    )
    validate.add_argument("files", nargs="+", metavar="FILE", help="report as XML")
    _add_rules(validate)
    evidence = commands.add_parser("evidence", help="validated runs behind the confidence in each rule's fix")
    kinds = evidence.add_subparsers(dest="what", required=True)
    show = kinds.add_parser("show", help="trials and confidence of every shipped rule with a fix")
    show.add_argument("files", nargs="*", metavar="FILE", help="further trials, beside the shipped ones")
    add = kinds.add_parser("add", help="collect the trials of finished runs in a file of your own")
    add.add_argument("folders", nargs="+", metavar="FOLDER", help="run folder")
    add.add_argument("--into", required=True, metavar="FILE", help="CSV file; made where it is missing")
    _add_rules(add)
    return parser


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file or folder of the rules that the run was judged by; else its config.yaml, or the shipped ones",
    )


def _version() -> str:
    try:
        return str(getattr(flowgrad, "__version__", "")) or version("flowgrad")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails again
        status = UNREADABLE
    sys.exit(status)
