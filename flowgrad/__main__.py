"""`python -m flowgrad validate FILE [FILE ...]`: do these reports follow the schema, and their verdicts from the
observations beside them?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import flowgrad
from flowgrad.recomputation import OBSERVATIONS, recompute
from flowgrad.report import from_xml
from flowgrad.report.schema import Problem, examine

VALID, INVALID, UNREADABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 all files hold, 1 one does not, 2 one cannot be read. Bad usage raises SystemExit(2)."""
    arguments = _parser().parse_args(argv)
    return max([_validate(file) for file in arguments.files])


def _validate(file: str) -> int:
    try:
        data = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"{file}: cannot be read: {reason}", file=sys.stderr)
        return UNREADABLE
    checked = examine(data)
    if isinstance(checked, Problem):
        print(f"{file}:{checked.line}: {checked.reason}")
        return INVALID
    found = recompute(from_xml(data), Path(file).parent)
    for problem in found.problems:
        print(f"{file}: {problem}")
    if found.problems:
        return INVALID
    told = f"; {found.agreed} verdict(s) follow from {OBSERVATIONS}" if found.agreed else ""
    if found.missing:
        told = f"; {found.missing} is not beside it, so that no verdict was computed anew"
    print(f"{file}: valid{told}")
    return VALID


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowgrad", description="FlowGrad's tools for reports.")
    parser.add_argument("--version", action="version", version=f"flowgrad {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    validate = commands.add_parser("validate", help="check report files against the schema, and their verdicts against the observations")
    validate.add_argument("files", nargs="+", metavar="FILE", help="report as XML")
    return parser


def _version() -> str:
    try:
        return str(getattr(flowgrad, "__version__", "")) or version("flowgrad")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
